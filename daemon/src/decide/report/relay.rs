//! What the relay reports. Never counts anything itself.

use std::time::Duration;

use crate::decide::region::RegionId;
use crate::decide::relay::books::Books;

/// The relay at one instant; a pool is in `pools` once, a pool and region once in `lanes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RelayReport {
    /// Every pool, in file order.
    pub pools: Vec<PoolReport>,
    /// Every pool and region that must forget what is written in it.
    pub lanes: Vec<LaneReport>,
    /// The links to other regions, one per region.
    pub links: Vec<LinkReport>,
    /// The spool on disk.
    pub spool: SpoolReport,
}

/// A pool's front and what was applied to it here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolReport {
    /// Its name.
    pub pool: String,
    /// Client connections open.
    pub connections: u64,
    /// Sets that followed a miss.
    pub refills: u64,
    /// Sets whose miss was older than an invalidation: answered, and the key deleted right behind.
    pub stale_sets: u64,
    /// Connections whose dialogue could not be followed; their writes were captured by appearance.
    pub blind: u64,
    /// Invalidations from other regions that were applied here (repeats not counted).
    pub applied_here: u64,
    /// Copies that were there and were deleted.
    pub deleted_here: u64,
    /// Copies that were there and equal, so that they stayed.
    pub equal_here: u64,
    /// Keys that went back and forth and were slowed.
    pub ping_pong: u64,
    /// The pool was flushed at another region's word.
    pub flushed_here: u64,
    /// Servers of the pool: address, and the last failure while it is down.
    pub servers: Vec<ServerReport>,
}

/// One memcached server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerReport {
    /// As configured.
    pub address: String,
    /// Why invalidations cannot be applied to it; `None` is fine.
    pub failure: Option<String>,
}

/// A pool towards one region.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneReport {
    /// The pool's name.
    pub pool: String,
    /// The region that must forget.
    pub region: RegionId,
    /// The books, since the spool was made.
    pub books: Books,
    /// Invalidations that wait or are in flight; part of the books' equation.
    pub pending: u64,
    /// Age of the oldest one.
    pub oldest: Option<Duration>,
    /// From capture to the other region's word that it was applied, of the newest one that came back, and no less than the age of the
    /// oldest one that did not; by this host's clock alone.
    pub lag: Option<Duration>,
    /// Read-backs: equal, absent, stale.
    pub verified: Verified,
    /// What the other region last said against this pool, e.g. that it does not share it.
    pub refused: Option<String>,
}

/// Results of read-backs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The other region's copy was equal.
    pub equal: u64,
    /// It had none, or this region had none to compare with.
    pub absent: u64,
    /// It differed and was deleted.
    pub stale: u64,
}

/// The link to a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// The region.
    pub region: RegionId,
    /// The edge it is connected to; `None` while down.
    pub edge: Option<String>,
    /// Why it is down.
    pub failure: Option<String>,
}

/// The spool on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolReport {
    /// Bytes of pending invalidations.
    pub bytes: u64,
    /// Most that are kept.
    pub limit_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Why the spool cannot be written; clients get no answers to writes meanwhile.
    pub failure: Option<String>,
}
