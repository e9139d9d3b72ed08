//! What happened, and what must hold of it. Never changes the world.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::host::HELD_NS;
use crate::decide::reason::Reason;
use crate::decide::region::RegionId;

/// How a request ended, for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its upstream saw it, once.
    Served { host: usize },
    /// Refused, with a reason.
    Shed(Reason),
    /// Sent to a region of which no host is there: the client's browser says so.
    NobodyThere,
}

/// Admissions under one host's ceiling: when, and the limit then (requests per second).
type Admissions = BTreeMap<(usize, String), Vec<(u64, f64)>>;

#[derive(Default)]
pub(super) struct Ledger {
    /// How many upstreams saw each request.
    seen: Vec<u32>,
    ended: Vec<Option<Ended>>,
    admissions: Admissions,
    /// When automatic failovers began, by host and region.
    failovers: BTreeMap<(usize, RegionId), Option<u64>>,
    totals: Totals,
}

/// How much of everything happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: u64,
    pub(super) served: u64,
    pub(super) hops: u64,
    pub(super) redirects: u64,
    pub(super) shed: u64,
    pub(super) loops: u64,
    pub(super) too_many_hops: u64,
    pub(super) failovers: u64,
    pub(super) unreachable: u64,
    pub(super) disturbances: u64,
    pub(super) sides_changed: u64,
    pub(super) failovers_changed: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.served += other.served;
        self.hops += other.hops;
        self.redirects += other.redirects;
        self.shed += other.shed;
        self.loops += other.loops;
        self.too_many_hops += other.too_many_hops;
        self.failovers += other.failovers;
        self.unreachable += other.unreachable;
        self.disturbances += other.disturbances;
        self.sides_changed += other.sides_changed;
        self.failovers_changed += other.failovers_changed;
    }
}

impl Totals {
    pub(super) fn assert_rich(&self) {
        let all = [
            self.served,
            self.hops,
            self.redirects,
            self.shed,
            self.loops,
            self.too_many_hops,
            self.failovers,
            self.unreachable,
            self.disturbances,
            self.sides_changed,
            self.failovers_changed,
        ];
        assert!(all.iter().all(|count| *count > 0), "{self:?}");
    }
}

impl Ledger {
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn count(&mut self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.totals);
    }

    /// A request arrives; returns its number.
    pub(super) fn arrived(&mut self) -> usize {
        self.totals.requests += 1;
        self.seen.push(0);
        self.ended.push(None);
        self.seen.len() - 1
    }

    /// A host's upstream gets a request.
    pub(super) fn upstream(&mut self, request: usize, hops: u8, max_hops: u8) {
        assert!(hops <= max_hops, "request {request} came over {hops} hops, {max_hops} are allowed");
        self.seen[request] += 1;
        assert!(self.seen[request] == 1, "request {request} is doubled");
        self.totals.served += 1;
        self.totals.hops += u64::from(hops);
    }

    pub(super) fn ended(&mut self, request: usize, ended: Ended) {
        assert!(self.ended[request].is_none(), "request {request} was answered twice");
        let served = matches!(ended, Ended::Served { .. });
        assert!(
            served == (self.seen[request] == 1),
            "request {request}: {ended:?}, seen by {}",
            self.seen[request]
        );
        if let Ended::Shed(reason) = ended {
            self.totals.shed += 1;
            self.totals.loops += u64::from(reason == Reason::Loop);
            self.totals.too_many_hops += u64::from(reason == Reason::TooManyHops);
        }
        self.ended[request] = Some(ended);
    }

    /// A host's view of a region turned, the first time into failover: what has begun lasts.
    pub(super) fn failed_over(&mut self, host: usize, region: RegionId, now_ns: u64) {
        self.totals.failovers_changed += 1;
        let began = self.failovers.entry((host, region)).or_default();
        match began.take() {
            None => *began = Some(now_ns),
            Some(began) => assert!(
                now_ns - began >= HELD_NS,
                "host {host}: the automatic failover of {region:?} flaps: from {began} to {now_ns} ns"
            ),
        }
    }

    pub(super) fn admitted(&mut self, host: usize, ceiling: &str, now_ns: u64, limit: f64) {
        self.admissions.entry((host, ceiling.to_owned())).or_default().push((now_ns, limit));
    }

    /// No request is lost, and over any second no more was admitted than the ceiling and its burst.
    pub(super) fn check(&self, burst_s: f64) {
        for (request, ended) in self.ended.iter().enumerate() {
            assert!(ended.is_some(), "request {request} is lost");
        }
        for ((host, ceiling), admissions) in &self.admissions {
            let mut from = 0;
            for (to, (at, _)) in admissions.iter().enumerate() {
                while at - admissions[from].0 > 1_000_000_000 {
                    from += 1;
                }
                let window = &admissions[from..=to];
                let most = window.iter().map(|(_, limit)| *limit).fold(0.0, f64::max);
                let passed_s = (at - admissions[from].0) as f64 / 1e9;
                let allowed = most * (passed_s + burst_s) + 1.5;
                let count = window.len() as f64;
                assert!(
                    count <= allowed,
                    "host {host}, {ceiling}: {count} in {passed_s} s, {allowed} are allowed"
                );
            }
        }
    }
}
