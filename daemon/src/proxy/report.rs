//! The proxy's report, put together from counters and snapshots. Never changes either.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::clock;
use super::shared::Shared;
use super::stats::Stats;
use super::topology::{Endpoint, Topology};
use crate::config::units::show_origin;
use crate::decide::admission::Applied;
use crate::decide::measure::Measure;
use crate::decide::policy::Policy;
use crate::decide::reason::RouteKind;
use crate::decide::region::{RegionId, Regions};
use crate::decide::report::proxy::{CeilingReport, EdgeReport, EndpointReport, ProxyReport, UpstreamReport};
use crate::decide::route;

/// Looks back this far for rates.
const WINDOW_NS: u64 = 60_000_000_000;

/// Requests carried so far, by home, at past instants.
#[derive(Debug, Default)]
pub(crate) struct Rates(VecDeque<(u64, Vec<u64>)>);

impl Rates {
    /// Notes the counts of this instant; instants nearer than a second to the last one replace it.
    fn note(&mut self, now_ns: u64, counts: Vec<u64>) {
        if self.0.len() > 1 && self.0.iter().nth_back(1).is_some_and(|(at, _)| now_ns - at < 1_000_000_000) {
            self.0.pop_back();
        }
        self.0.push_back((now_ns, counts));
        while self.0.front().is_some_and(|(at, _)| now_ns - at > WINDOW_NS) {
            self.0.pop_front();
        }
    }

    /// Per second since `back_ns` ago, or since the first note after it.
    #[expect(clippy::cast_precision_loss, reason = "a rate, not an amount")]
    fn per_second(&self, home: RegionId, back_ns: u64) -> f64 {
        let Some((now, last)) = self.0.back() else { return 0.0 };
        let since = self.0.iter().rev().take_while(|(at, _)| now - at <= back_ns).last();
        let Some((at, first)) = since.filter(|(at, _)| at < now) else { return 0.0 };
        let count = |counts: &[u64]| counts.get(home.index()).copied().unwrap_or(0);
        count(last).saturating_sub(count(first)) as f64 * 1e9 / (now - at) as f64
    }
}

/// Puts the report together.
pub(crate) fn make(shared: &Shared, stats: &Stats, rates: &mut Rates) -> ProxyReport {
    let (policy, topology, live) = (shared.policy.load(), shared.topology.load(), shared.live.load());
    let homes: Vec<RegionId> = policy.regions.iter().map(|(id, _)| id).collect();
    let requests = policy.regions.map(|(id, _)| stats.requests(id));
    let carried = |routes: &[u64; 4]| routes[RouteKind::Local.index()] + routes[RouteKind::Isthmus.index()];
    rates.note(clock::now().0, requests.iter().map(|(_, routes)| carried(routes)).collect());
    let (shed, observed) = stats.shed(&homes);
    ProxyReport {
        requests,
        durations: stats.durations(),
        shed,
        observed,
        misrouted: policy.regions.map(|(id, _)| stats.misrouted(id)),
        carried_per_second: policy.regions.map(|(id, _)| rates.per_second(id, WINDOW_NS)),
        upstreams: upstreams(&topology),
        edges: edges(&topology),
        automatic_failover: policy
            .regions
            .map(|(id, _)| live.edges_up.get(id).is_some() && route::automatic_failover(&policy, &live, id)),
        peer_failover: policy.regions.map(|(id, _)| live.peer_failover.get(id).is_some_and(|on| *on)),
        ceilings: ceilings(&policy, rates),
        connections: stats.connections(),
        rejected: stats.rejected(),
        pins_ignored: stats.pins_ignored(),
        draining: shared.draining.load(Relaxed),
    }
}

fn upstreams(topology: &Topology) -> Vec<UpstreamReport> {
    let endpoint = |endpoint: &Arc<Endpoint>| EndpointReport {
        url: show_origin(&endpoint.url),
        up: endpoint.is_up(),
        in_flight: endpoint.in_flight(),
    };
    let upstream = |upstream: &Arc<super::topology::UpstreamNet>| {
        let endpoints: Vec<_> = upstream.endpoints.iter().map(endpoint).collect();
        let in_flight = endpoints.iter().map(|endpoint| endpoint.in_flight).sum();
        UpstreamReport { name: upstream.spec.name.clone(), in_flight, endpoints }
    };
    topology.upstreams.iter().map(upstream).collect()
}

fn edges(topology: &Topology) -> Vec<EdgeReport> {
    let edges =
        topology.edges.iter().flat_map(|(region, edges)| edges.iter().map(move |edge| (region, edge)));
    let report = edges.map(|(region, edge)| EdgeReport {
        region,
        url: show_origin(&edge.url),
        up: edge.is_up(),
        in_flight: edge.in_flight(),
    });
    report.collect()
}

/// Each ceiling once, with the limits that hold at this instant.
fn ceilings(policy: &Policy, rates: &Rates) -> Vec<CeilingReport> {
    let mut reports: Vec<CeilingReport> = Vec::new();
    for (_, applying) in policy.ceilings.iter() {
        for applied in applying.list() {
            let name = &applied.ceiling.name;
            if !reports.iter().any(|report| report.ceiling == *name) {
                reports.extend(ceiling(applied, used_per_second(policy, applied, rates)));
            }
        }
    }
    reports
}

/// Carried requests of all homes that the ceiling applies to, over the last second or so.
fn used_per_second(policy: &Policy, applied: &Applied, rates: &Rates) -> f64 {
    let applies = |applying: &Regions<crate::decide::admission::Applying>, id: RegionId| {
        applying[id].list().iter().any(|other| Arc::ptr_eq(&other.ceiling, &applied.ceiling))
    };
    let homes = policy.regions.iter().map(|(id, _)| id).filter(|id| applies(&policy.ceilings, *id));
    homes.map(|id| rates.per_second(id, 1_500_000_000)).sum()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are small and positive")]
fn ceiling(applied: &Applied, per_second: f64) -> Vec<CeilingReport> {
    let ceiling = &applied.ceiling;
    let report = |measure, limit, used| CeilingReport { ceiling: ceiling.name.clone(), measure, limit, used };
    let rate = ceiling
        .rate
        .per_second()
        .map(|limit| report(Measure::RequestsPerSecond, limit.round() as u64, per_second.round() as u64));
    let slots =
        ceiling.slots.limit().map(|limit| report(Measure::ConcurrentRequests, limit, ceiling.slots.used()));
    rate.into_iter().chain(slots).collect()
}
