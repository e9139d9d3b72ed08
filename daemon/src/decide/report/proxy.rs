//! What the proxy reports. Never counts anything itself.

use crate::decide::measure::Measure;
use crate::decide::reason::{Reason, RouteKind};
use crate::decide::region::{RegionId, Regions};

/// Upper bounds of the duration histogram's buckets in microseconds; one more bucket holds what is longer.
pub const DURATION_BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000,
];

/// The proxy at one instant. Counters grow while the daemon runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyReport {
    /// Requests by home and route ([`RouteKind::index`]).
    pub requests: Regions<[u64; 4]>,
    /// Time from a request's head to its response's head, by route.
    pub durations: [Histogram; 4],
    /// Refused requests.
    pub shed: Vec<ShedCount>,
    /// What ceilings with `observe` would have refused.
    pub observed: Vec<ShedCount>,
    /// Requests that arrived here with another home, by home (`from` is this host's region).
    pub misrouted: Regions<u64>,
    /// Requests per second carried (local or isthmus) over the last minute, by home: what `simulate` counts with.
    pub carried_per_second: Regions<f64>,
    /// In flight and health, by upstream.
    pub upstreams: Vec<UpstreamReport>,
    /// Health of the other regions' edges.
    pub edges: Vec<EdgeReport>,
    /// Regions in failover because no edge is up.
    pub automatic_failover: Regions<bool>,
    /// Regions in failover by their own edges' word.
    pub peer_failover: Regions<bool>,
    /// Limits and use of the ceilings' request limits.
    pub ceilings: Vec<CeilingReport>,
    /// Client and peer connections open.
    pub connections: u64,
    /// Connections that ended before they could ask for anything, by cause ([`Rejected::index`]).
    pub rejected: [u64; Rejected::ALL.len()],
    /// Session pins that were ignored: forged, expired, or naming no region.
    pub pins_ignored: u64,
    /// Every configured listener accepts.
    pub draining: bool,
}

impl ProxyReport {
    /// Requests with this route, whatever their home.
    #[must_use]
    pub fn by_route(&self, route: RouteKind) -> u64 {
        self.requests.iter().map(|(_, routes)| routes[route.index()]).sum()
    }
}

/// Why a connection was ended before it could ask for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Nothing whole came within `header_timeout`: no PROXY header, no TLS handshake, no preface of HTTP/2, or not a byte.
    Late,
    /// It does not begin with a PROXY header where one is required.
    ProxyProtocol,
    /// The TLS handshake failed.
    Tls,
}

impl Rejected {
    /// Every cause, by index.
    pub const ALL: [Self; 3] = [Self::Late, Self::ProxyProtocol, Self::Tls];

    /// The metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Tls => "tls",
        }
    }

    /// Place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A histogram over [`DURATION_BOUNDS_US`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Not cumulative; one more than there are bounds.
    pub counts: [u64; DURATION_BOUNDS_US.len() + 1],
    /// Sum of all values.
    pub sum_us: u64,
}

/// How often something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShedCount {
    /// Why.
    pub reason: Reason,
    /// The client's home.
    pub home: RegionId,
    /// How often.
    pub count: u64,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamReport {
    /// Its name.
    pub name: String,
    /// Requests in flight to all its endpoints.
    pub in_flight: u64,
    /// Its endpoints, in file order.
    pub endpoints: Vec<EndpointReport>,
}

/// An endpoint of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointReport {
    /// As configured.
    pub url: String,
    /// Counts as up.
    pub up: bool,
    /// Requests in flight.
    pub in_flight: u64,
}

/// An edge of another region.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeReport {
    /// Its region.
    pub region: RegionId,
    /// As configured.
    pub url: String,
    /// Counts as up.
    pub up: bool,
    /// Requests in flight.
    pub in_flight: u64,
}

/// One limit of a ceiling.
#[derive(Clone, Debug, PartialEq)]
pub struct CeilingReport {
    /// The ceiling.
    pub ceiling: String,
    /// Which of its limits.
    pub measure: Measure,
    /// In force at this instant.
    pub limit: u64,
    /// Used: requests in flight, or admitted per second over the last second.
    pub used: u64,
}
