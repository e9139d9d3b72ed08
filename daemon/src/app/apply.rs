//! Puts what holds into force: the proxy's policy, the NIC's tables and limits. Decides nothing of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::core::Core;
use super::error::RunError;
use super::nic::{Occasion, Wanted};
use super::{geo, notify};
use crate::decide::event::{Cause, CeilingMove, Failover, What};
use crate::decide::inforce::InForce;
use crate::decide::measure::Measure;
use crate::decide::policy::Policy;
use crate::decide::sources::SourceTables;

/// Told where the NIC would follow if it were not detached.
const STAYS_OFF: &str = "the NIC program was detached by hand and stays off until a reload or a restart";

/// What was worked out for the next step, before anything was changed.
pub(super) struct Prepared {
    pub(super) in_force: InForce,
    /// New tables, where the lists differ.
    pub(super) tables: Option<(Arc<SourceTables>, u64)>,
}

impl Core {
    /// Works out what `in_force` needs; the slow part is done off the async threads.
    pub(super) async fn prepare(&self, in_force: InForce) -> Result<Prepared, RunError> {
        let same = in_force.allow == self.in_force.allow && in_force.deny == self.in_force.deny;
        if same {
            return Ok(Prepared { in_force, tables: None });
        }
        let (config, records) = (Arc::clone(&self.config), self.records.clone());
        let (allow, deny) = (in_force.allow.clone(), in_force.deny.clone());
        let compiled = notify::patiently(tokio::task::spawn_blocking(move || {
            geo::compile(&config, &records, &allow, &deny)
        }))
        .await;
        let tables = compiled.map_err(|error| RunError::Runtime(std::io::Error::other(error)))??;
        Ok(Prepared { in_force, tables: Some(tables) })
    }

    /// Puts it into force. What the NIC refuses is returned as text: the proxy enforces all the same. What differs from `before` is told:
    /// everything as it would hold now without the change, so that a ramp's steps are not put down to it.
    pub(super) async fn put_in_force(
        &mut self,
        prepared: Prepared,
        before: &InForce,
        cause: Cause,
        now: Timestamp,
    ) -> Vec<String> {
        let reload_nic = prepared.tables.is_some();
        let mut notes = self.take_up(prepared);
        let nic = if reload_nic {
            let wanted = Wanted { config: &self.config, in_force: &self.in_force, tables: &self.tables };
            let applied = self.nic.apply(wanted, Occasion::Followed).await;
            if matches!(&applied, Ok(Some(report)) if report.stays_off) {
                notes.push(STAYS_OFF.to_owned());
            }
            applied.map(drop).map_err(|error| error.to_string())
        } else {
            notify::patiently(self.nic.set_limits(&self.config, &self.in_force)).await
        };
        if let Err(error) = nic {
            tracing::error!(%error, "the NIC did not take the change; it goes on with what it had");
            notes.push(format!("the NIC did not take the change: {error}"));
        }
        self.tell_differences(before, cause, now);
        notes
    }

    /// Makes it what the daemon goes by, and the proxy with it; returns what the operator should know.
    pub(super) fn take_up(&mut self, prepared: Prepared) -> Vec<String> {
        self.in_force = Arc::new(prepared.in_force);
        if let Some((tables, compile_ms)) = prepared.tables {
            self.tables = tables;
            self.records.summary.compile_ms = compile_ms;
        }
        self.publish_policy().err().map(|error| error.to_string()).into_iter().collect()
    }

    /// This host's addresses changed: the program is made for others.
    pub(super) async fn addresses_changed(&mut self) {
        let wanted = Wanted { config: &self.config, in_force: &self.in_force, tables: &self.tables };
        match self.nic.apply(wanted, Occasion::Followed).await {
            Ok(Some(report)) if report.stays_off => {
                tracing::info!("local addresses changed: {STAYS_OFF}");
            }
            Ok(_) => tracing::info!("local addresses changed: the NIC program follows"),
            Err(error) => {
                tracing::error!(%error, "local addresses changed, and the NIC program could not follow");
            }
        }
    }

    /// Compiles and publishes the proxy's policy from what holds.
    pub(super) fn publish_policy(&mut self) -> Result<(), RunError> {
        let homes = Arc::clone(&self.tables) as Arc<dyn crate::decide::home::Homes>;
        let policy =
            Policy::compile(&self.config, &self.in_force, homes, &mut self.book, self.source.generation)?;
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    pub(super) fn tell_differences(&mut self, before: &InForce, cause: Cause, now: Timestamp) {
        let here = Arc::clone(&self.in_force);
        for (region, on) in here.failover.iter() {
            if before.failover.get(region) != Some(on) {
                self.tell(now, What::Failover(Failover { region, on: *on, cause, reason: None }));
            }
        }
        // Ramps and schedules move limits several times per second: only what somebody did is told.
        if cause == Cause::Clock {
            return;
        }
        for ceiling in &here.ceilings {
            let Some(old) = before.ceiling(&ceiling.name) else { continue };
            for measure in Measure::ALL {
                let (old, new) = (old.limits.get(&measure).copied(), ceiling.limits.get(&measure).copied());
                if old != new {
                    let ceiling = ceiling.name.clone();
                    self.tell(now, What::Ceiling(CeilingMove { ceiling, measure, old, new, cause }));
                }
            }
        }
    }
}
