//! Answers the admin socket's questions. What takes long and changes nothing is answered beside the line.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::nic::NicPart;
use super::relay::RelayHandle;
use crate::admin::Ask;
use crate::decide::overrides::Caller;
use crate::decide::report::nic::NicReport;
use crate::decide::verb::{Answer, Refusal, RefusalKind, Verb};
use crate::decide::view::View;
use crate::kernel::Nic;
use crate::proxy::Proxy;

type Reply = oneshot::Sender<Result<Answer, Refusal>>;

/// What a view is made of, as it was after the last change.
pub(super) struct Shown {
    view: View,
    nic: Option<Nic>,
    failure: Option<String>,
    last_nic: Option<NicReport>,
    proxy: Arc<Proxy>,
    relay: RelayHandle,
}

/// Longest wait for the NIC's own word; while it loads a program, what was seen last is shown.
const NIC_PATIENCE: Duration = Duration::from_millis(150);

/// Answers every wish to see, beside the line: whoever only looks never waits for a change.
pub(super) async fn answer_views(
    mut wishes: mpsc::Receiver<oneshot::Sender<Box<View>>>,
    shown: Arc<ArcSwap<Option<Shown>>>,
    stop: CancellationToken,
) {
    let mut gathering = JoinSet::new();
    loop {
        let wish = tokio::select! {
            wish = wishes.recv() => wish,
            _ = gathering.join_next(), if !gathering.is_empty() => continue,
            () = stop.cancelled() => break,
        };
        let Some(answer) = wish else { break };
        let shown = shown.load_full();
        gathering.spawn(async move {
            if let Some(shown) = shown.as_ref() {
                _ = answer.send(shown.gather().await);
            }
        });
    }
    // They hold the parts that are shown.
    gathering.shutdown().await;
}

impl Shown {
    async fn gather(&self) -> Box<View> {
        let mut view = Box::new(self.view.clone());
        view.now = Timestamp::now();
        let asked = NicPart::report(self.nic.clone(), self.failure.clone());
        view.nic = match (tokio::time::timeout(NIC_PATIENCE, asked).await, &self.last_nic) {
            (Ok(report), _) => report,
            (Err(_), last) => last.clone(),
        };
        view.proxy = Some(self.proxy.report());
        view.relay = self.relay.report();
        view
    }
}

impl Core {
    /// Answers one question; whoever asked may be gone.
    pub(super) async fn answer(&mut self, ask: Ask) {
        let Ask { verb, caller, answer: reply } = ask;
        let answer = match *verb {
            Verb::Change(order) => self.change(order, caller).await.map(Answer::Changed),
            Verb::Confirm => self.confirm(caller).await.map(Answer::Confirmed),
            Verb::Reload { confirm } => self.reload(confirm, Some(caller)).await.map(Answer::Reloaded),
            Verb::ExplainPacket(question) => return self.explain_packet(question, reply),
            Verb::ExplainRequest(question) => self.explain_request(&question).map(Answer::Request),
            Verb::Invalidate { pool, keys } => return self.invalidate(pool, keys, caller, reply),
            Verb::Simulate { region } => self.simulate(&region).map(Answer::Simulated),
        };
        // Before the answer: who then looks sees what was changed.
        self.publish_view();
        _ = reply.send(answer);
    }

    /// What is shown from now on.
    pub(super) fn publish_view(&self) {
        let undone = self.rollback.as_ref().map(|rollback| {
            format!("the last reload is undone at {:.0} unless `tidegate confirm`", rollback.deadline)
        });
        let view = View {
            now: Timestamp::now(),
            started: self.started,
            config: Arc::clone(&self.config),
            source: self.source.clone(),
            overrides: Arc::clone(&self.overrides),
            in_force: Arc::clone(&self.in_force),
            warnings: self.warnings.iter().cloned().chain(undone).collect(),
            rates: Arc::clone(&self.rates),
            nic: None,
            proxy: None,
            relay: None,
            geo: self.records.summary,
        };
        self.shown.store(Arc::new(Some(Shown {
            view,
            nic: self.nic.handle(),
            failure: self.nic.failure(),
            last_nic: self.last_nic.clone(),
            proxy: Arc::clone(&self.proxy),
            relay: self.relay.handle(),
        })));
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
