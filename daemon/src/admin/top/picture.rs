//! What the live view shows, as plain values. Never asks the daemon and never draws.

use std::time::Duration;

/// One instant of the daemon, as the view wants it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// The title line.
    pub host: HostLine,
    /// Regions in file order.
    pub regions: Vec<RegionRow>,
    /// Limits of ceilings in file order.
    pub ceilings: Vec<CeilingRow>,
    /// The program on the interfaces; `None` where there is none.
    pub nic: Option<NicPane>,
    /// Pools and the regions that must forget what is written in them.
    pub relay: Vec<RelayRow>,
}

/// Which daemon this is, and how it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostLine {
    /// `[host] instance`
    pub instance: String,
    /// The region it stands in.
    pub region: String,
    /// Its version.
    pub version: String,
    /// Since its start.
    pub up: Duration,
    /// The configuration's generation.
    pub generation: u64,
    /// What to worry about first, e.g. a reload that failed.
    pub warning: Option<String>,
    /// What becomes of mis-routed requests.
    pub misroute: String,
}

/// One region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionRow {
    /// Its name.
    pub name: String,
    /// This host stands in it.
    pub own: bool,
    /// Requests of its clients, per second.
    pub rates: Rates,
    /// Its edges that are up; `None` where it has none.
    pub edges: Option<(usize, usize)>,
    /// Why it is in failover; `None` is in service.
    pub failover: Option<String>,
    /// Requests per second of its clients, oldest first.
    pub history: Vec<u64>,
}

/// Requests per second by route.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Handled by this region.
    pub local: f64,
    /// Handed over to the home region.
    pub isthmus: f64,
    /// Sent to the home region.
    pub redirect: f64,
    /// Refused.
    pub shed: f64,
    /// Of all of them, those whose client belongs elsewhere.
    pub misrouted: f64,
}

impl Rates {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.local + self.isthmus + self.redirect + self.shed
    }
}

/// One limit of a ceiling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CeilingRow {
    /// The ceiling.
    pub name: String,
    /// The limit's key.
    pub measure: String,
    /// In force.
    pub limit: u64,
    /// Used, in the limit's unit.
    pub used: f64,
    /// Why the limit is not the file's, or that it only observes.
    pub notes: Vec<String>,
}

impl CeilingRow {
    /// Used share, 0 to 1; a limit of 0 is full.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.limit == 0 {
            return 1.0;
        }
        let limit = self.limit as f64;
        (self.used / limit).clamp(0.0, 1.0)
    }
}

/// The program on the interfaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NicPane {
    /// Loaded, detached, failed and why.
    pub state: String,
    /// Interfaces and how the program is on them.
    pub interfaces: Vec<String>,
    /// The lease, in words.
    pub lease: String,
    /// Packets per second that passed.
    pub passed: f64,
    /// Packets per second that were shed.
    pub shed: f64,
    /// Packets per second by reason, the most first; `within` left out.
    pub reasons: Vec<(String, f64)>,
}

/// A pool towards one region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RelayRow {
    /// The pool.
    pub pool: String,
    /// The region that must forget.
    pub region: String,
    /// Waiting or in flight.
    pub pending: u64,
    /// Age of the oldest.
    pub oldest: Option<Duration>,
    /// From capture to acknowledgement.
    pub lag: Option<Duration>,
    /// Why it does not move; `None` is fine.
    pub trouble: Option<String>,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventLine {
    /// Time of day.
    pub at: String,
    /// Its kind.
    pub kind: String,
    /// What happened.
    pub text: String,
}
