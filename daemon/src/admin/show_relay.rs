//! The relay's report turned into the wire's. Never asks the relay.

use std::time::Duration;

use super::show::name;
use super::wire::status::{Lane, Link, Pool, Relay};
use crate::decide::report::relay::{LaneReport, PoolReport, RelayReport};
use crate::decide::view::View;

/// The relay.
pub(super) fn relay(report: &RelayReport, view: &View) -> Relay {
    let link = |link: &crate::decide::report::relay::LinkReport| Link {
        region: name(view, link.region),
        edge: link.edge.clone(),
        failure: link.failure.clone(),
    };
    Relay {
        pools: report.pools.iter().map(pool).collect(),
        lanes: report.lanes.iter().map(|lane| self::lane(lane, view)).collect(),
        links: report.links.iter().map(link).collect(),
        spool_bytes: report.spool.bytes,
        spool_limit_bytes: report.spool.limit_bytes,
        spool_failure: report.spool.failure.clone(),
    }
}

fn pool(report: &PoolReport) -> Pool {
    let failure = |server: &crate::decide::report::relay::ServerReport| {
        server.failure.as_ref().map(|why| format!("{}: {why}", server.address))
    };
    Pool {
        pool: report.pool.clone(),
        connections: report.connections,
        refills: report.refills,
        stale_sets: report.stale_sets,
        applied_here: report.applied_here,
        deleted_here: report.deleted_here,
        equal_here: report.equal_here,
        ping_pong: report.ping_pong,
        failures: report.servers.iter().filter_map(failure).collect(),
    }
}

fn lane(report: &LaneReport, view: &View) -> Lane {
    let ms = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let books = &report.books;
    Lane {
        pool: report.pool.clone(),
        region: name(view, report.region),
        captured: books.captured,
        applied: books.applied,
        coalesced: books.coalesced,
        converted: books.converted,
        expired: books.expired,
        unknown: books.unknown,
        pending: report.pending,
        oldest_ms: ms(report.oldest),
        lag_ms: ms(report.lag),
        refused: report.refused.clone(),
    }
}
