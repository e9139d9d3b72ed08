//! The relay's metrics.

use super::exposition::{Exposition, Kind};
use crate::admin::show::name;
use crate::decide::report::relay::RelayReport;
use crate::decide::view::View;

/// Writes them; nothing without pools.
pub(super) fn render(view: &View, out: &mut Exposition) {
    let Some(relay) = &view.relay else { return };
    books(view, relay, out);
    pools(relay, out);
    lanes(view, relay, out);
}

fn books(view: &View, relay: &RelayReport, out: &mut Exposition) {
    out.family(
        "tidegate_relay_invalidations_total",
        Kind::Counter,
        "The relay's books: captured = applied + coalesced + converted + expired + pending.",
    );
    for lane in &relay.lanes {
        let region = name(view, lane.region);
        let books = &lane.books;
        for (outcome, count) in [
            ("captured", books.captured),
            ("applied", books.applied),
            ("coalesced", books.coalesced),
            ("converted", books.converted),
            ("expired", books.expired),
            ("unknown", books.unknown),
        ] {
            out.whole("", &[("pool", &lane.pool), ("region", &region), ("outcome", outcome)], count);
        }
    }
}

fn pools(relay: &RelayReport, out: &mut Exposition) {
    out.family(
        "tidegate_relay_stale_sets_total",
        Kind::Counter,
        "Sets that were older than an invalidation of their key, and deleted again.",
    );
    for pool in &relay.pools {
        out.whole("", &[("pool", &pool.pool)], pool.stale_sets);
    }
    out.family("tidegate_relay_refills_total", Kind::Counter, "Sets that followed a miss.");
    for pool in &relay.pools {
        out.whole("", &[("pool", &pool.pool)], pool.refills);
    }
}

fn lanes(view: &View, relay: &RelayReport, out: &mut Exposition) {
    out.family("tidegate_relay_verified_total", Kind::Counter, "Read-backs in the other region.");
    for lane in &relay.lanes {
        let region = name(view, lane.region);
        let verified = lane.verified;
        for (result, count) in
            [("equal", verified.equal), ("absent", verified.absent), ("stale", verified.stale)]
        {
            out.whole("", &[("pool", &lane.pool), ("region", &region), ("result", result)], count);
        }
    }
    out.family("tidegate_relay_pending", Kind::Gauge, "Invalidations that wait or are in flight.");
    for lane in &relay.lanes {
        let region = name(view, lane.region);
        out.whole("", &[("pool", &lane.pool), ("region", &region)], lane.pending);
    }
    out.family(
        "tidegate_relay_lag_seconds",
        Kind::Gauge,
        "From capture to the other region's word that it was applied, or the age of the oldest without one if that is more.",
    );
    for lane in &relay.lanes {
        let region = name(view, lane.region);
        if let Some(lag) = lane.lag {
            out.sample("", &[("pool", &lane.pool), ("region", &region)], lag.as_secs_f64());
        }
    }
}
