//! The running daemon's state, owned by one task: everything that changes is changed here, one thing after the other. Decides nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::desk::Shown;
use super::geo::Records;
use super::hand_over::Offer;
use super::nic::NicPart;
use super::relay::RelayPart;
use crate::admin::{Admin, Store};
use crate::config::Config;
use crate::decide::admission::Book;
use crate::decide::event::{Event, What};
use crate::decide::inforce::InForce;
use crate::decide::overrides::Overrides;
use crate::decide::policy::Policy;
use crate::decide::pressure::Pressure;
use crate::decide::ramps::Ramps;
use crate::decide::rates::{Meter, Rates};
use crate::decide::region::Regions;
use crate::decide::report::nic::NicReport;
use crate::decide::sources::SourceTables;
use crate::decide::view::ConfigSource;
use crate::proxy::Proxy;

/// Everything that runs.
pub(super) struct Core {
    /// The configuration's file.
    pub(super) path: PathBuf,
    pub(super) config: Arc<Config>,
    pub(super) source: ConfigSource,
    /// The texts of its files.
    pub(super) sources: super::reload::Sources,
    /// What is odd, from the start or the last reload.
    pub(super) warnings: Vec<String>,
    pub(super) started: Timestamp,
    pub(super) steady: Instant,
    pub(super) store: Arc<Store>,
    pub(super) overrides: Arc<Overrides>,
    pub(super) ramps: Ramps,
    pub(super) in_force: Arc<InForce>,
    pub(super) records: Records,
    pub(super) tables: Arc<SourceTables>,
    pub(super) policy: Arc<ArcSwap<Policy>>,
    pub(super) book: Book,
    pub(super) proxy: Arc<Proxy>,
    pub(super) nic: NicPart,
    pub(super) relay: RelayPart,
    pub(super) admin: Arc<Admin>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) meter: Meter,
    pub(super) rates: Arc<Rates>,
    /// Failover as it was seen last, by whatever cause: its beginning starts ramps.
    pub(super) failover: Regions<bool>,
    /// How far the NIC's connection rates are lowered.
    pub(super) pressure: Pressure,
    /// The configuration before an unconfirmed reload, and when it comes back.
    pub(super) rollback: Option<super::reload::Rollback>,
    /// What views are made of; follows each change.
    pub(super) shown: Arc<ArcSwap<Option<Shown>>>,
    /// The NIC as it was last seen.
    pub(super) last_nic: Option<NicReport>,
    /// Listens for a daemon that wants to take over.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) offer: Option<Offer>,
}

impl Core {
    /// Everything laid over each other at `now`, for a configuration and overrides that may not be in force yet.
    pub(super) fn in_force_at(&self, config: &Config, overrides: &Overrides, now: Timestamp) -> InForce {
        let mut in_force = InForce::at(config, overrides, &self.ramps, now);
        if config.xdp.pressure {
            self.pressure.lay_over(&mut in_force);
        }
        in_force
    }

    /// Tells everyone who listens; nobody may.
    pub(super) fn tell(&self, now: Timestamp, what: What) {
        _ = self.events.send(Arc::new(Event { at: now, what }));
    }

    /// Milliseconds of a clock that never goes back.
    pub(super) fn steady_ms(&self) -> u64 {
        u64::try_from(self.steady.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
