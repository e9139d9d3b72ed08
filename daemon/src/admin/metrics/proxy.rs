//! The proxy's metrics.

use super::exposition::{Exposition, Kind};
use super::home;
use crate::decide::reason::RouteKind;
use crate::decide::report::proxy::{DURATION_BOUNDS_US, Histogram, ProxyReport, Rejected};
use crate::decide::view::View;

/// Writes them.
pub(super) fn render(view: &View, out: &mut Exposition) {
    let Some(proxy) = &view.proxy else { return };
    requests(view, proxy, out);
    durations(proxy, out);
    out.family("tidegate_requests_in_flight", Kind::Gauge, "Requests that an upstream has not finished.");
    for upstream in &proxy.upstreams {
        out.whole("", &[("upstream", &upstream.name)], upstream.in_flight);
    }
    health(view, proxy, out);
    rejected(proxy, out);
}

fn rejected(proxy: &ProxyReport, out: &mut Exposition) {
    out.family(
        "tidegate_connections_rejected_total",
        Kind::Counter,
        "Connections that ended before they could ask for anything.",
    );
    for why in Rejected::ALL {
        out.whole("", &[("cause", why.name())], proxy.rejected[why.index()]);
    }
}

fn requests(view: &View, proxy: &ProxyReport, out: &mut Exposition) {
    out.family("tidegate_requests_total", Kind::Counter, "Requests that were given a route.");
    for (id, routes) in proxy.requests.iter() {
        let home = home(view, Some(id));
        for route in RouteKind::ALL {
            out.whole("", &[("route", route.name()), ("home", &home)], routes[route.index()]);
        }
    }
    out.family(
        "tidegate_misrouted_total",
        Kind::Counter,
        "Requests that reached this region (from) though their clients belong to another (home).",
    );
    let own = view.config.host.region;
    let from = home(view, Some(own));
    for (id, count) in proxy.misrouted.iter().filter(|(id, _)| *id != own) {
        let home = home(view, Some(id));
        out.whole("", &[("from", &from), ("home", &home)], *count);
    }
}

fn durations(proxy: &ProxyReport, out: &mut Exposition) {
    out.family(
        "tidegate_request_duration_seconds",
        Kind::Histogram,
        "From a request's head to its response's head.",
    );
    for route in RouteKind::ALL {
        histogram(route.name(), &proxy.durations[route.index()], out);
    }
}

fn histogram(route: &str, durations: &Histogram, out: &mut Exposition) {
    let mut total = 0;
    for (index, count) in durations.counts.iter().enumerate() {
        total += count;
        let bound =
            DURATION_BOUNDS_US.get(index).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us).to_string());
        out.whole("_bucket", &[("route", route), ("le", &bound)], total);
    }
    out.sample("_sum", &[("route", route)], seconds(durations.sum_us));
    out.whole("_count", &[("route", route)], total);
}

#[expect(clippy::cast_precision_loss, reason = "sums below 285 years are exact to the microsecond")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn health(view: &View, proxy: &ProxyReport, out: &mut Exposition) {
    out.family("tidegate_edge_up", Kind::Gauge, "1 while that edge of the other region answers its probes.");
    for edge in &proxy.edges {
        let region = home(view, Some(edge.region));
        out.whole("", &[("region", &region), ("edge", &edge.url)], u64::from(edge.up));
    }
    out.family("tidegate_upstream_up", Kind::Gauge, "1 while that endpoint answers its probes.");
    for upstream in &proxy.upstreams {
        for endpoint in &upstream.endpoints {
            out.whole(
                "",
                &[("upstream", &upstream.name), ("endpoint", &endpoint.url)],
                u64::from(endpoint.up),
            );
        }
    }
}
