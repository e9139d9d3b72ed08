//! The NIC's place in the daemon: the plan made of what holds, handed over when it differs. Never touches the kernel itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use super::error::RunError;
use super::notify;
use crate::config::Config;
use crate::config::types::Xdp;
use crate::decide::event::Event;
use crate::decide::inforce::InForce;
use crate::decide::measure::Measure;
use crate::decide::nic::{LimitRow, NicPlan};
use crate::decide::report::nic::{LeaseState, NicReport, NicState};
use crate::decide::sources::SourceTables;
use crate::kernel::{self, ApplyReport, AttachError, Nic, NicOptions, NicWish, OpenError};

/// Everything that makes a program and its limits.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) config: &'a Config,
    pub(super) in_force: &'a InForce,
    pub(super) tables: &'a Arc<SourceTables>,
}

/// Why a program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A start or a reload: one that was detached by hand comes back.
    Asked,
    /// Anything else that the program has to follow: one that was detached stays off.
    Followed,
}

/// The NIC, or that there is none.
pub(super) struct NicPart {
    nic: Option<Nic>,
    addresses: Option<watch::Receiver<Arc<BTreeSet<IpAddr>>>>,
    rows: Vec<LimitRow>,
    failure: Option<String>,
}

impl NicPart {
    /// Opens the NIC where the configuration names interfaces, and puts the program on them; every one must take it, or be missing.
    pub(super) async fn begin(
        wanted: Wanted<'_>,
        events: &broadcast::Sender<Arc<Event>>,
    ) -> Result<Self, RunError> {
        let config = wanted.config;
        let mut part = Self { nic: None, addresses: None, rows: Vec::new(), failure: None };
        if config.xdp.interfaces.is_empty() {
            leave_none_behind(config.host.instance.clone()).await;
        } else {
            part.start(config, events).await?;
        }
        let report = part.apply(wanted, Occasion::Asked).await?;
        if let Some(error) = report.and_then(fatal) {
            return Err(RunError::NicAttach(error));
        }
        Ok(part)
    }

    async fn start(
        &mut self,
        config: &Config,
        events: &broadcast::Sender<Arc<Event>>,
    ) -> Result<(), RunError> {
        let options = NicOptions {
            instance: config.host.instance.clone(),
            object: kernel::object()?,
            lease: config.xdp.lease,
            events: events.clone(),
        };
        let nic = open_patiently(options).await?;
        self.addresses = Some(nic.addresses());
        self.nic = Some(nic);
        Ok(())
    }

    /// Goes over to `next`: opens the NIC where interfaces are named for the first time, loads, swaps. What is refused changes nothing:
    /// `now` is in force then as it was.
    pub(super) async fn switch(
        &mut self,
        now: Wanted<'_>,
        next: Wanted<'_>,
        occasion: Occasion,
        events: &broadcast::Sender<Arc<Event>>,
    ) -> Result<(), RunError> {
        let opened = self.nic.is_none() && !next.config.xdp.interfaces.is_empty();
        if opened {
            self.start(next.config, events).await?;
        }
        let refused = match self.apply(next, occasion).await {
            Ok(report) => {
                match report.and_then(|report| refusal(report, &now.config.xdp, &next.config.xdp)) {
                    None => return Ok(()),
                    Some(refused) => RunError::NicAttach(refused),
                }
            }
            Err(error) => error,
        };
        if opened {
            (self.nic, self.addresses, self.failure) = (None, None, None);
            leave_none_behind(now.config.host.instance.clone()).await;
        } else if let Err(error) = self.apply(now, occasion).await {
            tracing::error!(%error, "the NIC could not be put back to what it was");
        }
        Err(refused)
    }

    /// The handle, for questions.
    pub(super) fn handle(&self) -> Option<Nic> {
        self.nic.clone()
    }

    /// This host's addresses, as the NIC sees them.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.as_ref().map(|addresses| (**addresses.borrow()).clone()).unwrap_or_default()
    }

    /// A receiver of address changes, from now on.
    pub(super) fn watch(&self) -> Option<watch::Receiver<Arc<BTreeSet<IpAddr>>>> {
        self.addresses.clone()
    }

    /// Loads and swaps in a program for everything that holds. `None` where there is no NIC.
    pub(super) async fn apply(
        &mut self,
        wanted: Wanted<'_>,
        occasion: Occasion,
    ) -> Result<Option<ApplyReport>, RunError> {
        let Some(nic) = &self.nic else { return Ok(None) };
        let Wanted { config, in_force, tables } = wanted;
        let plan = NicPlan::new(Arc::clone(tables), self.addresses(), &config.xdp.ports)?;
        let rows = rows(config, in_force);
        let wish = NicWish {
            plan: Arc::new(plan),
            limits: rows.clone(),
            regions: config.regions.iter().map(|(_, region)| region.name.clone()).collect(),
            interfaces: config.xdp.interfaces.clone(),
            mode: config.xdp.mode,
            lease: config.xdp.lease,
        };
        let report = match occasion {
            Occasion::Asked => notify::patiently(nic.apply(wish)).await,
            Occasion::Followed => notify::patiently(nic.follow(wish)).await,
        };
        self.failure = report.as_ref().err().map(ToString::to_string);
        let report = report?;
        self.rows = rows;
        for failure in &report.failures {
            tracing::warn!(error = %failure, "NIC program is not on an interface");
        }
        Ok(Some(report))
    }

    /// Hands over the limits where they differ.
    pub(super) async fn set_limits(&mut self, config: &Config, in_force: &InForce) -> Result<(), String> {
        let Some(nic) = &self.nic else { return Ok(()) };
        let rows = rows(config, in_force);
        if rows == self.rows {
            return Ok(());
        }
        nic.set_limits(rows.clone()).await.map_err(|error| error.to_string())?;
        self.rows = rows;
        Ok(())
    }

    /// What the NIC tells of itself; `None` where it can't answer.
    pub(super) async fn report(nic: Option<Nic>, failure: Option<String>) -> Option<NicReport> {
        let Some(nic) = nic else { return Some(none(failure)) };
        match nic.report().await {
            Ok(report) => Some(report),
            Err(error) => {
                tracing::warn!(%error, "the NIC can't report");
                failure.map(|failure| none(Some(failure)))
            }
        }
    }

    /// Why the last change failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}

/// Longest wait for the daemon before to let go of the pins.
const HELD: Duration = Duration::from_secs(5);

/// Opens the NIC; a daemon that is just ending may hold the pins for a moment.
async fn open_patiently(options: NicOptions) -> Result<Nic, OpenError> {
    let until = Instant::now() + HELD;
    loop {
        match Nic::open(options.clone()).await {
            Err(error) if error.is_held() && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            opened => return opened,
        }
    }
}

/// What a reload is refused for: an interface that does not take the program, unless the same was asked of it before and it is in trouble
/// anyway. One that is missing is attached to when it appears.
fn refusal(report: ApplyReport, before: &Xdp, next: &Xdp) -> Option<AttachError> {
    let asked_before =
        |name: &str| before.mode == next.mode && before.interfaces.iter().any(|known| known == name);
    let refused =
        |failure: &AttachError| !failure.is_missing() && !failure.interface().is_some_and(asked_before);
    report.failures.into_iter().find(refused)
}

/// Without interfaces the daemon must not leave a program of an earlier configuration where it was.
async fn leave_none_behind(instance: String) {
    let done = tokio::task::spawn_blocking(move || kernel::abandon(&instance)).await;
    let failure = match done {
        Ok(Ok(done)) if done.is_nothing() => return,
        Ok(Ok(done)) => {
            tracing::info!(interfaces = ?done.interfaces, "[xdp] interfaces is empty now: the NIC program was detached");
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(error = failure, "a NIC program of an earlier configuration may still be attached");
}

/// Waits until an address comes or goes; for ever where there is no NIC.
pub(super) async fn addresses_changed(receiver: &mut Option<watch::Receiver<Arc<BTreeSet<IpAddr>>>>) {
    let changed = match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// The first failure that keeps a daemon from starting: an interface that is missing is attached to when it appears.
fn fatal(report: ApplyReport) -> Option<AttachError> {
    report.failures.into_iter().find(|failure| !matches!(failure, AttachError::Missing { .. }))
}

fn none(failure: Option<String>) -> NicReport {
    NicReport {
        state: failure.map_or(NicState::Off, NicState::Failed),
        program_id: None,
        loaded_at: None,
        abi: tidegate_common::abi::ABI_VERSION,
        interfaces: Vec::new(),
        lease: LeaseState::None,
        adopted: false,
        counts: Vec::new(),
        limits: Vec::new(),
        events_lost: 0,
        last_apply: None,
    }
}

/// What the ceilings ask of the NIC.
fn rows(config: &Config, in_force: &InForce) -> Vec<LimitRow> {
    let pairs = in_force.ceilings.iter().zip(&config.ceilings);
    let row = |(here, file): (&crate::decide::inforce::CeilingInForce, &crate::config::types::Ceiling)| {
        let limit = |measure| here.limits.get(&measure).copied();
        LimitRow {
            home: here.home,
            connections_per_second: limit(Measure::ConnectionsPerSecond),
            packets_per_second: limit(Measure::PacketsPerSecond),
            bits_per_second: limit(Measure::BitsPerSecond),
            burst: file.burst,
            over: file.over,
            observe: here.observe,
        }
    };
    let limits_nic = |row: &LimitRow| {
        row.connections_per_second.is_some()
            || row.packets_per_second.is_some()
            || row.bits_per_second.is_some()
    };
    pairs.map(row).filter(limits_nic).collect()
}
