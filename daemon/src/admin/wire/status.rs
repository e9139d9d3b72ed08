//! `GET /v1/status` and its parts. Never asks anybody: it is made from a view.

use serde::{Deserialize, Serialize};

/// The daemon on one screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the instance.
    pub instance: String,
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// This host's region.
    pub region: String,
    /// When this was gathered (RFC 3339).
    pub now: String,
    /// When the daemon started.
    pub started: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The running configuration.
    pub config: ConfigStatus,
    /// The mode for mis-routed requests.
    pub misroute: Misroute,
    /// Every region, in file order.
    pub regions: Vec<Region>,
    /// Every ceiling, in file order.
    pub ceilings: Vec<Ceiling>,
    /// The proxy's upstreams.
    pub upstreams: Vec<Upstream>,
    /// Open client and peer connections.
    pub connections: u64,
    /// The NIC.
    pub nic: Nic,
    /// The relay; `null` without pools.
    pub relay: Option<Relay>,
    /// What differs from the file.
    pub overrides: Vec<Override>,
    /// Changes that wait for `tidegate confirm`.
    pub pending: Vec<Pending>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
}

/// The running configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Its files.
    pub files: Vec<String>,
    /// Counts up with each one put in force.
    pub generation: u64,
    /// When it was read.
    pub loaded: String,
    /// The last reload: `null` where there was none.
    pub last_reload: Option<Reload>,
    /// Geo prefixes by source.
    pub geo: Geo,
}

/// A reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// When.
    pub at: String,
    /// Whether it succeeded.
    pub success: bool,
    /// Why not.
    pub error: Option<String>,
}

/// Where geo prefixes come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Geo {
    /// `prefixes` of `[[geo.record]]`.
    pub records: usize,
    /// Geofeeds.
    pub geofeeds: usize,
    /// The database.
    pub database: usize,
    /// Lines that could not be read.
    pub skipped: usize,
    /// Milliseconds to compile the tables.
    pub compile_ms: u64,
}

/// The mode for mis-routed requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Misroute {
    /// In force.
    pub mode: String,
    /// The file's.
    pub file: String,
    /// Until when an operator's holds.
    pub until: Option<String>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// This host's.
    pub own: bool,
    /// In failover, for whatever cause.
    pub failover: bool,
    /// Why: `operator`, `automatic` (no edge up), `peers` (its own edges say so).
    pub failover_causes: Vec<String>,
    /// Until when an operator's holds.
    pub until: Option<String>,
    /// The operator's words.
    pub reason: Option<String>,
    /// Its edges, as this host sees them.
    pub edges: Vec<Endpoint>,
    /// Requests of its clients since the start, by route.
    pub requests: Routes<u64>,
    /// The same per second.
    pub requests_per_second: Routes<f64>,
    /// Requests of its clients that came here though their home is elsewhere.
    pub misrouted: u64,
    /// NIC: packets of its clients per second.
    pub packets_per_second: Verdicts<f64>,
    /// NIC: bits of its clients per second.
    pub bits_per_second: Verdicts<f64>,
}

/// A value for each route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routes<T> {
    /// Handled here.
    pub local: T,
    /// Proxied to the home region.
    pub isthmus: T,
    /// Sent there.
    pub redirect: T,
    /// Refused.
    pub shed: T,
}

impl<T: Copy> From<[T; 4]> for Routes<T> {
    fn from([local, isthmus, redirect, shed]: [T; 4]) -> Self {
        Self { local, isthmus, redirect, shed }
    }
}

/// A value for each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts<T> {
    /// Let through.
    pub pass: T,
    /// Refused.
    pub shed: T,
}

impl<T: Copy> From<[T; 2]> for Verdicts<T> {
    fn from([pass, shed]: [T; 2]) -> Self {
        Self { pass, shed }
    }
}

/// An edge or an upstream's endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its URL.
    pub url: String,
    /// Counts as up.
    pub up: bool,
    /// Requests in flight.
    pub in_flight: u64,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Requests in flight.
    pub in_flight: u64,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A ceiling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Its name.
    pub name: String,
    /// Whose clients; `null` is everyone's together.
    pub home: Option<String>,
    /// Counts, sheds nothing.
    pub observe: bool,
    /// Share by its ramp, 0 to 1.
    pub ramp: f64,
    /// Share of connections that the proxy's pressure leaves, 0 to 1; daemons before this key had none.
    #[serde(default = "whole")]
    pub pressure: f64,
    /// An entry of its schedule holds.
    pub scheduled: bool,
    /// How much unused allowance may be saved up, in milliseconds.
    pub burst_ms: u64,
    /// `reset` or `drop`.
    pub over: String,
    /// Its limits.
    pub limits: Vec<Limit>,
}

/// Nothing is taken away.
fn whole() -> f64 {
    1.0
}

/// One limit of a ceiling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// What is limited.
    pub measure: String,
    /// `proxy` or `nic`.
    pub layer: String,
    /// In force; `null` is no limit (or one found by itself: `adaptive`).
    pub limit: Option<u64>,
    /// The file's; `null` where it sets none.
    pub file: Option<u64>,
    /// Found by itself.
    pub adaptive: bool,
    /// Used, in the same unit; `null` where it can't be told.
    pub used: Option<f64>,
    /// `file`, `schedule`, `operator`.
    pub by: String,
    /// Until when an operator's holds.
    pub until: Option<String>,
    /// The operator's words.
    pub reason: Option<String>,
}

/// The NIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nic {
    /// `off`, `loaded`, `detached`, `failed` or `unknown`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// The kernel's id of the program.
    pub program_id: Option<u32>,
    /// Counters were taken over from an earlier daemon.
    pub adopted: bool,
    /// `held`, `expired` or `none`.
    pub lease: String,
    /// Milliseconds until everything would pass if the daemon stopped now.
    pub lease_remaining_ms: Option<u64>,
    /// The configured interfaces.
    pub interfaces: Vec<Interface>,
    /// Packets since the maps were made.
    pub packets: Verdicts<u64>,
    /// Packets per second.
    pub packets_per_second: Verdicts<f64>,
    /// Bits per second.
    pub bits_per_second: Verdicts<f64>,
    /// Packets by reason.
    pub reasons: Vec<Reason>,
    /// Samples that were lost.
    pub events_lost: u64,
    /// How long the last change took to load, in milliseconds.
    pub load_ms: Option<f64>,
    /// From the first interface swapped to the last, in milliseconds.
    pub swap_ms: Option<f64>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `attached`, `missing` or `failed`.
    pub state: String,
    /// `native`, `generic` or `offloaded`.
    pub mode: Option<String>,
    /// Since when.
    pub since: Option<String>,
    /// Taken over from an earlier daemon.
    pub adopted: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// Packets of one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// `pass` or `shed`.
    pub verdict: String,
    /// The reason.
    pub reason: String,
    /// How many, whatever their home.
    pub packets: u64,
}

/// The relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relay {
    /// Its pools.
    pub pools: Vec<Pool>,
    /// Pools by region.
    pub lanes: Vec<Lane>,
    /// Links to other regions.
    pub links: Vec<Link>,
    /// Bytes of pending invalidations on disk.
    pub spool_bytes: u64,
    /// Most that are kept.
    pub spool_limit_bytes: u64,
    /// Why the spool can't be written.
    pub spool_failure: Option<String>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub pool: String,
    /// Open client connections.
    pub connections: u64,
    /// Sets that followed a miss.
    pub refills: u64,
    /// Sets older than an invalidation.
    pub stale_sets: u64,
    /// Invalidations of other regions that were applied here.
    pub applied_here: u64,
    /// Copies deleted by these.
    pub deleted_here: u64,
    /// Copies that were equal and stayed.
    pub equal_here: u64,
    /// Keys that went back and forth.
    pub ping_pong: u64,
    /// Servers that can't be reached, with why.
    pub failures: Vec<String>,
}

/// A pool towards a region, with its books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// The pool.
    pub pool: String,
    /// The region.
    pub region: String,
    /// Captured.
    pub captured: u64,
    /// Applied there.
    pub applied: u64,
    /// Merged with a later one of the same key.
    pub coalesced: u64,
    /// Became a flush.
    pub converted: u64,
    /// Too old to be worth sending.
    pub expired: u64,
    /// Could not be accounted for.
    pub unknown: u64,
    /// Waiting or in flight.
    pub pending: u64,
    /// Age of the oldest, in milliseconds.
    pub oldest_ms: Option<u64>,
    /// From capture to the other region's word, or the age of the oldest if that is more, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Why the other region refuses it.
    pub refused: Option<String>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The region.
    pub region: String,
    /// The edge it is connected to; `null` while down.
    pub edge: Option<String>,
    /// Why it is down.
    pub failure: Option<String>,
}

/// Something that differs from the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// What, e.g. `ceiling from-us requests_per_second`.
    pub what: String,
    /// In force.
    pub value: String,
    /// The file's.
    pub file: String,
    /// Since when.
    pub since: String,
    /// Until when, where it is for a time.
    pub until: Option<String>,
    /// The operator's words.
    pub reason: Option<String>,
    /// Who.
    pub by_uid: u32,
}

/// A change that waits for a confirmation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// When it is undone.
    pub deadline: String,
    /// Who made it.
    pub by_uid: u32,
    /// What it touches.
    pub what: Vec<String>,
}
