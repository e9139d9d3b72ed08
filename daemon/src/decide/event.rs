//! What happened, as `watch`, the event stream and the log tell it. Never carries a secret, a body or a header.
//!
//! Producers send [`Event`]s into one bounded broadcast channel (`tokio::sync::broadcast::Sender<Arc<Event>>`) and never wait
//! for readers; whoever produces many of a kind samples them first and says in `skipped` how many it left out.

use std::net::IpAddr;

use jiff::Timestamp;

use super::measure::Measure;
use super::region::RegionId;

/// One thing that happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened (wall clock).
    pub at: Timestamp,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Traffic was refused (or would have been: `observed`).
    Shed(Shed),
    /// A request was routed: a sample.
    Route(Route),
    /// A region went into failover or came back.
    Failover(Failover),
    /// An edge of a region or an endpoint of an upstream went down or came up.
    Health(Health),
    /// A ceiling's limit moved.
    Ceiling(CeilingMove),
    /// The relay did something that an operator wants to know.
    Relay(Relay),
    /// An operator (or an expiry) changed something.
    Admin(Admin),
}

/// Where traffic was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// By the program on the interface.
    Nic,
    /// By the proxy.
    Proxy,
}

/// A sample of refused traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Shed {
    /// Who refused.
    pub layer: Layer,
    /// The reason's label, as in the metrics.
    pub reason: &'static str,
    /// The client's home region, where known.
    pub home: Option<RegionId>,
    /// The client.
    pub source: Option<IpAddr>,
    /// Destination port (NIC).
    pub port: Option<u16>,
    /// Bytes of the frame (NIC).
    pub size: Option<u32>,
    /// Method and path (proxy).
    pub request: Option<String>,
    /// Only observed: the traffic passed.
    pub observed: bool,
    /// How many alike were left out since the sample before.
    pub skipped: u64,
}

/// A sample of routed requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `local`, `isthmus`, `redirect` or `shed`.
    pub route: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The client's home region.
    pub home: Option<RegionId>,
    /// The client.
    pub client: IpAddr,
    /// Request method.
    pub method: String,
    /// Path without its query.
    pub path: String,
    /// Status that the client saw.
    pub status: u16,
    /// From the request's head to the response's head, in microseconds.
    pub duration_us: u64,
    /// How many were left out since the sample before.
    pub skipped: u64,
}

/// Why something changed by itself or by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An operator.
    Operator,
    /// Health: no edge up, or one is up again.
    Automatic,
    /// A time limit or a missing confirmation.
    Expired,
    /// A new configuration.
    Reload,
    /// A ramp or a schedule.
    Clock,
    /// The proxy's pressure on the NIC.
    Pressure,
}

/// A region's failover.
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// Which.
    pub region: RegionId,
    /// In failover, or back.
    pub on: bool,
    /// Why.
    pub cause: Cause,
    /// The operator's words.
    pub reason: Option<String>,
}

/// An edge or endpoint's health.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Whose.
    pub target: HealthTarget,
    /// Its URL.
    pub url: String,
    /// Up or down now.
    pub up: bool,
    /// The last probe's failure, in words.
    pub why: Option<String>,
}

/// What was probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTarget {
    /// An edge of this region.
    Edge(RegionId),
    /// An endpoint of the upstream with this name.
    Upstream(String),
}

/// A ceiling's limit moved.
#[derive(Clone, Debug, PartialEq)]
pub struct CeilingMove {
    /// The ceiling's name.
    pub ceiling: String,
    /// Which limit.
    pub measure: Measure,
    /// Before; `None` is no limit.
    pub old: Option<u64>,
    /// Now.
    pub new: Option<u64>,
    /// Why.
    pub cause: Cause,
}

/// Something the relay did.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// The pool's name.
    pub pool: String,
    /// The other region, where there is one.
    pub region: Option<RegionId>,
    /// What it was.
    pub what: RelayWhat,
}

/// What the relay did.
#[derive(Clone, Debug, PartialEq)]
pub enum RelayWhat {
    /// A link came up.
    LinkUp,
    /// A link went down, and why.
    LinkDown(String),
    /// The pool was flushed here: caches are cold, `cache_flush` ramps start.
    Flushed,
    /// The spool is full: this many keys became one flush of the pool in that region.
    Converted(u64),
    /// What could not be accounted for.
    Unknown(u64),
    /// Read-back found this many stale copies.
    Stale(u64),
    /// Keys that go back and forth between regions.
    PingPong(u64),
}

/// A change by an operator, or its undoing.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Who asked; `None` where time did.
    pub uid: Option<u32>,
    /// Their process.
    pub pid: Option<i32>,
    /// What was changed, e.g. `ceiling from-us requests_per_second`.
    pub what: String,
    /// Before.
    pub old: String,
    /// Now.
    pub new: String,
    /// Why it happened.
    pub cause: Cause,
}

impl What {
    /// The kind that `watch --kind` selects by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Shed(_) => "shed",
            Self::Route(_) => "route",
            Self::Failover(_) | Self::Health(_) => "failover",
            Self::Ceiling(_) => "ceiling",
            Self::Relay(_) => "relay",
            Self::Admin(_) => "admin",
        }
    }
}

/// Every kind that `watch --kind` knows.
pub const KINDS: [&str; 6] = ["shed", "route", "failover", "ceiling", "relay", "admin"];
