//! The metrics of one instant in the Prometheus text format. Keeps no counter: every value comes from a view.

mod exposition;
mod nic;
mod proxy;
mod relay;

use exposition::{Exposition, Kind};

use crate::decide::measure::Measure;
use crate::decide::region::RegionId;
use crate::decide::view::View;

/// Everything, as text.
#[must_use]
pub(super) fn render(view: &View) -> String {
    let mut out = Exposition::default();
    daemon(view, &mut out);
    proxy::render(view, &mut out);
    shed(view, &mut out);
    ceilings(view, &mut out);
    failover(view, &mut out);
    nic::render(view, &mut out);
    relay::render(view, &mut out);
    out.finish()
}

/// The label for a home; packets whose source was not looked up have none.
fn home(view: &View, home: Option<RegionId>) -> String {
    home.map_or_else(|| "none".to_owned(), |home| super::show::name(view, home))
}

fn daemon(view: &View, out: &mut Exposition) {
    out.family("tidegate_build_info", Kind::Gauge, "Always 1; the labels tell what was built.");
    out.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.family(
        "tidegate_config_generation",
        Kind::Gauge,
        "Grows by one with each configuration taken into use.",
    );
    out.whole("", &[], view.source.generation);
    out.family(
        "tidegate_config_last_reload_success",
        Kind::Gauge,
        "0 after a reload that found faults, until one succeeds.",
    );
    let failed = matches!(view.source.last_reload, Some((_, Err(_))));
    out.whole("", &[], u64::from(!failed));
}

fn shed(view: &View, out: &mut Exposition) {
    out.family(
        "tidegate_shed_total",
        Kind::Counter,
        "What was refused: requests at the proxy, packets at the NIC.",
    );
    for count in view.proxy.iter().flat_map(|proxy| &proxy.shed) {
        let home = home(view, Some(count.home));
        out.whole("", &[("layer", "proxy"), ("reason", count.reason.name()), ("home", &home)], count.count);
    }
    for count in view.nic.iter().flat_map(|nic| &nic.counts).filter(|count| count.verdict == "shed") {
        let home = home(view, count.home);
        out.whole("", &[("layer", "nic"), ("reason", count.reason), ("home", &home)], count.packets);
    }
}

fn ceilings(view: &View, out: &mut Exposition) {
    let ceilings = super::show::ceilings(view);
    let limits =
        || ceilings.iter().flat_map(|ceiling| ceiling.limits.iter().map(move |limit| (ceiling, limit)));
    out.family(
        "tidegate_ceiling_limit",
        Kind::Gauge,
        "The limit in force now: file, operator, schedule and ramp taken together.",
    );
    for (ceiling, limit) in limits() {
        if let Some(value) = limit.limit {
            out.whole("", &[("ceiling", &ceiling.name), ("measure", &limit.measure)], value);
        }
    }
    out.family("tidegate_ceiling_used", Kind::Gauge, "What of the limit is used, in the same unit.");
    for (ceiling, limit) in limits() {
        if let Some(used) = limit.used {
            out.sample("", &[("ceiling", &ceiling.name), ("measure", &limit.measure)], used);
        }
    }
    debug_assert!(limits().all(|(_, limit)| limit.measure.parse::<Measure>().is_ok()));
}

fn failover(view: &View, out: &mut Exposition) {
    out.family(
        "tidegate_region_failover",
        Kind::Gauge,
        "1 while the region is in failover as this host sees it: by an operator, by health, or by its own word.",
    );
    for region in super::show::regions(view) {
        out.whole("", &[("region", &region.name)], u64::from(region.failover));
    }
}

#[cfg(test)]
mod tests;
