//! What one worker counts, and the sum over all of them. Never decides; readers see each number whole, not all at one instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::decide::reason::{Reason, RouteKind};
use crate::decide::region::{MAX_REGIONS, RegionId};
use crate::decide::report::proxy::{DURATION_BOUNDS_US, Histogram, Rejected, ShedCount};

const ROUTES: usize = RouteKind::ALL.len();
const BUCKETS: usize = DURATION_BOUNDS_US.len() + 1;

/// One worker's counters. Only that worker writes, so a plain load and store is enough.
#[derive(Debug)]
pub(crate) struct WorkerStats {
    requests: Vec<AtomicU64>,
    durations: Vec<AtomicU64>,
    duration_sums: [AtomicU64; ROUTES],
    shed: Vec<AtomicU64>,
    observed: Vec<AtomicU64>,
    misrouted: Vec<AtomicU64>,
    pub(crate) connections: AtomicU64,
    pub(crate) pins_ignored: AtomicU64,
    rejected: [AtomicU64; Rejected::ALL.len()],
}

fn zeroes(count: usize) -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default).take(count).collect()
}

/// Adds to a counter that only this thread writes.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

impl WorkerStats {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            requests: zeroes(MAX_REGIONS * ROUTES),
            durations: zeroes(ROUTES * BUCKETS),
            duration_sums: Default::default(),
            shed: zeroes(MAX_REGIONS * Reason::ALL.len()),
            observed: zeroes(MAX_REGIONS * Reason::ALL.len()),
            misrouted: zeroes(MAX_REGIONS),
            connections: AtomicU64::new(0),
            pins_ignored: AtomicU64::new(0),
            rejected: Default::default(),
        })
    }

    /// A response's head is ready.
    pub(crate) fn answered(&self, home: RegionId, route: RouteKind, took_ns: u64) {
        let took_us = took_ns / 1_000;
        add(&self.requests[home.index() * ROUTES + route.index()], 1);
        let bucket = DURATION_BOUNDS_US.partition_point(|bound| *bound < took_us);
        add(&self.durations[route.index() * BUCKETS + bucket], 1);
        add(&self.duration_sums[route.index()], took_us);
    }

    /// A request was refused.
    pub(crate) fn shed(&self, home: RegionId, reason: Reason) {
        add(&self.shed[home.index() * Reason::ALL.len() + reason.index()], 1);
    }

    /// A request would have been refused by a ceiling that only observes.
    pub(crate) fn observed(&self, home: RegionId, reason: Reason) {
        add(&self.observed[home.index() * Reason::ALL.len() + reason.index()], 1);
    }

    /// A connection ended before it could ask for anything.
    pub(crate) fn rejected(&self, why: Rejected) {
        add(&self.rejected[why.index()], 1);
    }

    /// A request arrived in a region that is not its home.
    pub(crate) fn misrouted(&self, home: RegionId) {
        add(&self.misrouted[home.index()], 1);
    }
}

/// The counters of all workers.
#[derive(Clone, Debug)]
pub(crate) struct Stats(pub(crate) Arc<[Arc<WorkerStats>]>);

impl Stats {
    fn sum(&self, counter: impl Fn(&WorkerStats) -> &AtomicU64) -> u64 {
        self.0.iter().map(|worker| counter(worker).load(Relaxed)).sum()
    }

    pub(crate) fn requests(&self, home: RegionId) -> [u64; ROUTES] {
        std::array::from_fn(|route| self.sum(|worker| &worker.requests[home.index() * ROUTES + route]))
    }

    pub(crate) fn misrouted(&self, home: RegionId) -> u64 {
        self.sum(|worker| &worker.misrouted[home.index()])
    }

    pub(crate) fn durations(&self) -> [Histogram; ROUTES] {
        std::array::from_fn(|route| Histogram {
            counts: std::array::from_fn(|bucket| {
                self.sum(|worker| &worker.durations[route * BUCKETS + bucket])
            }),
            sum_us: self.sum(|worker| &worker.duration_sums[route]),
        })
    }

    pub(crate) fn connections(&self) -> u64 {
        self.sum(|worker| &worker.connections)
    }

    pub(crate) fn rejected(&self) -> [u64; Rejected::ALL.len()] {
        std::array::from_fn(|why| self.sum(|worker| &worker.rejected[why]))
    }

    pub(crate) fn pins_ignored(&self) -> u64 {
        self.sum(|worker| &worker.pins_ignored)
    }

    /// Every (reason, home) that occurred, refused and observed.
    pub(crate) fn shed(&self, homes: &[RegionId]) -> (Vec<ShedCount>, Vec<ShedCount>) {
        let counts = |of: fn(&WorkerStats) -> &Vec<AtomicU64>| {
            let each = homes.iter().flat_map(|home| Reason::ALL.iter().map(move |reason| (*home, *reason)));
            let counted = each.map(|(home, reason)| {
                let at = home.index() * Reason::ALL.len() + reason.index();
                ShedCount { reason, home, count: self.sum(|worker| &of(worker)[at]) }
            });
            counted.filter(|shed| shed.count > 0).collect()
        };
        (counts(|worker| &worker.shed), counts(|worker| &worker.observed))
    }
}
