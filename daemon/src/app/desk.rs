//! Answers the admin socket's questions. What takes long and changes nothing is answered beside the line.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::core::Core;
use super::nic::NicPart;
use crate::admin::Ask;
use crate::decide::overrides::Caller;
use crate::decide::verb::{Answer, Refusal, RefusalKind, Verb};
use crate::decide::view::View;

type Reply = oneshot::Sender<Result<Answer, Refusal>>;

impl Core {
    /// Answers one question; whoever asked may be gone.
    pub(super) async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::View(answer) => self.show(answer),
            Ask::Do { verb, caller, answer } => self.carry_out(*verb, caller, answer).await,
        }
    }

    async fn carry_out(&mut self, verb: Verb, caller: Caller, reply: Reply) {
        let answer = match verb {
            Verb::Change(order) => self.change(order, caller).await.map(Answer::Changed),
            Verb::Confirm => self.confirm(caller).await.map(Answer::Confirmed),
            Verb::Reload { confirm } => self.reload(confirm, Some(caller)).await.map(Answer::Reloaded),
            Verb::ExplainPacket(question) => return self.explain_packet(question, reply),
            Verb::ExplainRequest(question) => self.explain_request(&question).map(Answer::Request),
            Verb::Invalidate { pool, keys } => return self.invalidate(pool, keys, caller, reply),
            Verb::Simulate { region } => self.simulate(&region).map(Answer::Simulated),
        };
        _ = reply.send(answer);
    }

    /// The view waits for the NIC, so it is gathered beside the line.
    fn show(&self, answer: oneshot::Sender<Box<View>>) {
        let (nic, failure) = (self.nic.handle(), self.nic.failure());
        let proxy = Arc::clone(&self.proxy);
        let relay = self.relay.handle();
        let mut view = Box::new(View {
            now: Timestamp::now(),
            started: self.started,
            config: Arc::clone(&self.config),
            source: self.source.clone(),
            overrides: Arc::clone(&self.overrides),
            in_force: Arc::clone(&self.in_force),
            warnings: self.warnings.clone(),
            rates: Arc::clone(&self.rates),
            nic: None,
            proxy: None,
            relay: None,
            geo: self.records.summary,
        });
        tokio::spawn(async move {
            view.nic = NicPart::report(nic, failure).await;
            view.proxy = Some(proxy.report());
            view.relay = relay.report();
            _ = answer.send(view);
        });
    }

    fn invalidate(&self, pool: String, keys: Vec<Vec<u8>>, caller: Caller, reply: Reply) {
        let known: Vec<&str> = self.config.relay.pools.iter().map(|pool| pool.name.as_str()).collect();
        let Some(found) = self.config.relay.pools.iter().find(|known| known.name == pool) else {
            _ = reply.send(Err(crate::decide::overrides::unknown("pool", &pool, &known)));
            return;
        };
        let name = |region: &crate::decide::region::RegionId| {
            self.config.regions.get(*region).map(|region| region.name.clone())
        };
        let regions: Vec<String> = found.regions.iter().filter_map(name).collect();
        let relay = self.relay.handle();
        tokio::spawn(async move {
            let count = keys.len();
            let taken = relay.invalidate(&pool, keys).await;
            let answer = taken.map_err(|error| Refusal::new(RefusalKind::Unavailable, error));
            if answer.is_ok() {
                tracing::info!(uid = caller.uid, pid = caller.pid, pool, keys = count, "invalidated");
            }
            _ = reply.send(answer.map(|()| Answer::Invalidated { keys: count, regions }));
        });
    }
}
