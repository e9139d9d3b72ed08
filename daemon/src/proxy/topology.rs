//! The upstreams' endpoints and the other regions' edges, with what all workers share of each. Never connects to any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use http::Uri;

use crate::config::Config;
use crate::config::types::{Upstream, UpstreamHealth};
use crate::decide::outlier::{self, Turn};
use crate::decide::region::{RegionId, Regions};

/// One address that requests are sent to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Unique for the process's life: the key of pools.
    pub(crate) id: u64,
    /// As configured.
    pub(crate) url: Uri,
    /// Host to resolve or address to connect to.
    pub(crate) host: String,
    /// Port, by scheme where the URL has none.
    pub(crate) port: u16,
    /// What is spoken to it.
    pub(crate) link: Link,
    up: AtomicBool,
    ejected_until: AtomicU64,
    /// Failures since the last answer.
    failures: AtomicU32,
    in_flight: AtomicU64,
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// `http://`.
    Plain,
    /// `https://` of an upstream: its name must be in its certificate.
    Outward,
    /// `https://` of an edge: its certificate must speak for this region, and we show ours.
    Peer(RegionId),
}

impl Endpoint {
    fn new(url: &Uri, region: Option<RegionId>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let tls = url.scheme_str() == Some("https");
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            url: url.clone(),
            host,
            port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            link: match (tls, region) {
                (false, _) => Link::Plain,
                (true, None) => Link::Outward,
                (true, Some(region)) => Link::Peer(region),
            },
            up: AtomicBool::new(true),
            ejected_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            in_flight: AtomicU64::new(0),
        })
    }

    /// Counts as up by its probes.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Probes changed sides.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Relaxed);
    }

    /// Failed lately: passed over until `now_ns` is past the time it was ejected for.
    pub(crate) fn is_ejected(&self, now_ns: u64) -> bool {
        self.ejected_until.load(Relaxed) > now_ns
    }

    /// Passed over until then, unless nothing else is left.
    pub(crate) fn eject_until(&self, until_ns: u64) {
        self.ejected_until.store(until_ns, Relaxed);
    }

    /// Takes a request's end into account: who fails too often in a row is passed over for a while.
    pub(crate) fn took_turn(&self, turn: Turn, now_ns: u64) {
        match turn {
            // Most of the time nothing is written that other workers read.
            Turn::Answered if self.failures.load(Relaxed) == 0 => {}
            Turn::Answered => self.failures.store(0, Relaxed),
            Turn::Failed => {
                let in_a_row = self.failures.fetch_add(1, Relaxed).saturating_add(1);
                if let Some(time) = outlier::passed_over(in_a_row) {
                    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                    self.eject_until(now_ns.saturating_add(ns));
                    tracing::warn!(endpoint = %self.url, in_a_row, "failed too often: passed over for {time:?}");
                }
            }
        }
    }

    /// Requests in flight to it, from all workers.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
}

/// One request in flight to an endpoint; dropped when its response's body ends or is given up.
#[derive(Debug)]
pub(crate) struct InFlight(pub(crate) Arc<Endpoint>);

impl InFlight {
    pub(crate) fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(endpoint))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// An upstream with its endpoints.
#[derive(Debug)]
pub(crate) struct UpstreamNet {
    /// As configured.
    pub(crate) spec: Upstream,
    /// In file order.
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
}

/// Everything that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Topology {
    /// In file order.
    pub(crate) upstreams: Vec<Arc<UpstreamNet>>,
    /// The other regions' edges; none for the own region.
    pub(crate) edges: Regions<Vec<Arc<Endpoint>>>,
}

impl Topology {
    /// Lays out the configuration, and keeps each endpoint that `before` had under the same upstream or region.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Self {
        let upstreams = config.upstreams.iter().map(|spec| {
            let known =
                before.and_then(|before| before.upstreams.iter().find(|net| net.spec.name == spec.name));
            let known = known.map_or(&[][..], |net| &net.endpoints);
            let endpoints = spec.endpoints.iter().map(|url| keep(known, url, None)).collect();
            Arc::new(UpstreamNet { spec: spec.clone(), endpoints })
        });
        let edges = config.regions.map(|(id, region)| {
            let wanted = if id == config.host.region { &[][..] } else { &region.edges };
            let known = before.and_then(|before| before.edges.get(id)).map_or(&[][..], Vec::as_slice);
            wanted.iter().map(|url| keep(known, url, Some(id))).collect()
        });
        Self { upstreams: upstreams.collect(), edges }
    }
}

fn keep(known: &[Arc<Endpoint>], url: &Uri, region: Option<RegionId>) -> Arc<Endpoint> {
    known.iter().find(|endpoint| endpoint.url == *url).map_or_else(|| Endpoint::new(url, region), Arc::clone)
}

/// How an endpoint is watched: an upstream's and a region's tables say the same things.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    pub(crate) path: String,
    pub(crate) interval: std::time::Duration,
    pub(crate) timeout: std::time::Duration,
    pub(crate) fall: u32,
    pub(crate) rise: u32,
}

impl From<&UpstreamHealth> for Probing {
    fn from(health: &UpstreamHealth) -> Self {
        let UpstreamHealth { path, interval, timeout, fall, rise } = health.clone();
        Self { path, interval, timeout, fall, rise }
    }
}

impl From<&crate::config::types::RegionHealth> for Probing {
    fn from(health: &crate::config::types::RegionHealth) -> Self {
        let crate::config::types::RegionHealth { path, interval, timeout, fall, rise } = health.clone();
        Self { path, interval, timeout, fall, rise }
    }
}
