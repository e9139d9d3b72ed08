//! Carries out operators' orders: check, store durably, put into force, tell. Decides nothing of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::core::Core;
use crate::decide::event::{Admin, Cause, What};
use crate::decide::overrides::{self, Caller, Changed, Order, Overrides};
use crate::decide::verb::{ChangedWords, Done, Refusal, RefusalKind};

impl Core {
    /// Makes a change. It is durable and in force when this returns.
    pub(super) async fn change(&mut self, order: Order, caller: Caller) -> Result<Done, Refusal> {
        let now = Timestamp::now();
        let (order, mut notes) = overrides::fit(order, &self.config, &self.overrides, &self.in_force)?;
        let applied = self.overrides.apply(&order, now);
        let (next, changed) =
            applied.map_err(|refused| Refusal::new(RefusalKind::Invalid, refused.to_string()))?;
        let before = self.in_force_at(&self.config, &self.overrides, now);
        let in_force = self.in_force_at(&self.config, &next, now);
        let prepared = self.prepare(in_force).await;
        let prepared = prepared
            .map_err(|error| Refusal::new(RefusalKind::Conflict, format!("nothing changed: {error}")))?;
        let until = order.valid_for.map(|time| now.saturating_add(time).unwrap_or(Timestamp::MAX));
        let confirm_by = order.confirm.map(|time| now.saturating_add(time).unwrap_or(Timestamp::MAX));
        self.store(next).await?;
        notes.extend(self.put_in_force(prepared, &before, Cause::Operator, now).await);
        let reason = order.reason.as_deref();
        let changed = self.log_changes(&changed, Some(caller), Cause::Operator, reason, now);
        Ok(Done { changed, until, confirm_by, notes })
    }

    /// Keeps what waits for a confirmation; says how much that was.
    pub(super) async fn confirm(&mut self, caller: Caller) -> Result<usize, Refusal> {
        let (next, mut count) = self.overrides.confirm();
        if count > 0 {
            self.store(next).await?;
        }
        if self.rollback.is_some() {
            let store = Arc::clone(&self.store);
            let forgotten = tokio::task::spawn_blocking(move || super::unconfirmed::forget(&store)).await;
            let failed = |error: String| Refusal::new(RefusalKind::Failed, format!("not confirmed: {error}"));
            forgotten
                .map_err(|error| failed(error.to_string()))?
                .map_err(|error| failed(error.to_string()))?;
            self.rollback = None;
            count += 1;
        }
        if count == 0 {
            return Err(Refusal::new(RefusalKind::Conflict, "nothing waits for a confirmation"));
        }
        tracing::info!(uid = caller.uid, pid = caller.pid, count, "changes confirmed");
        Ok(count)
    }

    /// Takes back what has run out and what nobody confirmed.
    pub(super) async fn expire(&mut self, now: Timestamp) {
        if self.overrides.next_due().is_none_or(|due| due > now) {
            return;
        }
        let before = self.in_force_at(&self.config, &self.overrides, now);
        let (next, changed) = self.overrides.expire(now);
        let in_force = self.in_force_at(&self.config, &next, now);
        let prepared = match self.prepare(in_force).await {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(%error, "what ran out can't be taken back yet");
                return;
            }
        };
        // Without a disk it is taken back all the same: the stored state says the same after a restart, since it carries the times.
        if let Err(refusal) = self.store(next.clone()).await {
            tracing::error!(error = %refusal, "state could not be written");
            self.overrides = Arc::new(next);
        }
        self.put_in_force(prepared, &before, Cause::Expired, now).await;
        self.log_changes(&changed, None, Cause::Expired, None, now);
    }

    /// Stores a state durably, then takes it as the present one.
    async fn store(&mut self, next: Overrides) -> Result<(), Refusal> {
        let next = Arc::new(next);
        let (store, saved) = (Arc::clone(&self.store), Arc::clone(&next));
        let result = tokio::task::spawn_blocking(move || store.save(&saved)).await;
        let failed = |error: String| Refusal::new(RefusalKind::Failed, format!("nothing changed: {error}"));
        result.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        self.overrides = next;
        Ok(())
    }

    /// Logs and tells every change; returns them in words.
    fn log_changes(
        &self,
        changed: &[Changed],
        caller: Option<Caller>,
        cause: Cause,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Vec<ChangedWords> {
        let (uid, pid) = (caller.map(|caller| caller.uid), caller.map(|caller| caller.pid));
        let word = crate::admin::wire::event::cause(cause);
        let mut all = Vec::with_capacity(changed.len());
        for change in changed {
            let (slot, config) = (&change.slot, &self.config);
            let what = slot.to_string();
            let until = |at: usize| change.untils.and_then(|untils| untils[at]);
            let lasting = |text: String, until: Option<Timestamp>| match until {
                Some(until) => format!("{text} until {until:.0}"),
                None => text,
            };
            let old = lasting(slot.shown(change.old.as_ref(), config), until(0));
            let new = lasting(slot.shown(change.new.as_ref(), config), until(1));
            tracing::info!(uid, pid, what, old, new, cause = word, reason, "changed");
            all.push(ChangedWords { what: what.clone(), old: old.clone(), new: new.clone() });
            self.tell(now, What::Admin(Admin { uid, pid, what, old, new, cause }));
        }
        all
    }
}
