//! The relay as text for people. Asks nobody.

use super::output::{Paint, plain};
use super::render::number;
use super::table::{Cell, Table};
use crate::admin::wire::status::Relay;

/// Per pool and region: pending, oldest, lag, and the books.
pub(super) fn relay(relay: &Relay, paint: Paint) -> String {
    let mut table = Table::new(&[
        "pool",
        "region",
        "pending",
        "oldest",
        "lag",
        "captured",
        "applied",
        "coalesced",
        "converted",
        "expired",
        "unknown",
    ]);
    let time = |ms: Option<u64>| Cell::number(ms.map_or("-".to_owned(), |ms| format!("{ms} ms")));
    for lane in &relay.lanes {
        let mut cells = vec![
            Cell::text(&lane.pool),
            Cell::text(&lane.region),
            Cell::number(lane.pending.to_string()),
            time(lane.oldest_ms),
            time(lane.lag_ms),
        ];
        let books = [lane.captured, lane.applied, lane.coalesced, lane.converted, lane.expired, lane.unknown];
        cells.extend(books.map(|count| Cell::number(count.to_string())));
        table.line(cells);
    }
    let mut text = table.render();
    for link in &relay.links {
        let state = match (&link.edge, &link.failure) {
            (Some(edge), _) => paint.good(&format!("up ({edge})")),
            (None, why) => {
                paint.bad(&format!("down: {}", plain(why.as_deref().unwrap_or("not connected yet"))))
            }
        };
        text.push_str(&format!("  link to {}: {state}\n", link.region));
    }
    for pool in relay.pools.iter().flat_map(|pool| pool.failures.iter().map(move |why| (pool, why))) {
        text.push_str(&format!("  pool {}: {}\n", pool.0.pool, paint.bad(&plain(pool.1))));
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let spool = (relay.spool_bytes as f64, relay.spool_limit_bytes as f64);
    text.push_str(&format!("  spool {}B of {}B", number(spool.0), number(spool.1)));
    if let Some(why) = &relay.spool_failure {
        text.push_str(&paint.bad(&format!(": {}", plain(why))));
    }
    text.push('\n');
    text
}
