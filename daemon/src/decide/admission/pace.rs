//! Spends little by little what a short pause saved up while a ceiling refuses. Never reads a clock, never lets through more than the bucket
//! does.
//!
//! A bucket can't tell a pause of the traffic from a pause of the machine: after either it holds what accrued meanwhile, and lets it through
//! at once. Beside a flow that is being refused that is a bump on services which are at their ceiling already. So for as long as the flow was
//! refused a moment ago, requests must also conform to a second cell rate, a little above the ceiling's and with hardly any burst (the *peak
//! rate* of RFC 2698's two-rate meter): what was saved is still spent, only not all in one moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::rate::FRACTION;

const MS: u64 = 1_000_000 << FRACTION;
/// Longest pause that is spread; what a longer one saved is a burst like any other.
const PAUSE: u64 = 25 * MS;
/// Share of the burst that is spread at most: of a small burst, nearly all remains one.
const PAUSE_OF_BURST: u64 = 4;
/// What may be spent at once: with [`faster`], any 100 ms in which the pace is kept hold at most 1.02 x (100 + 2.5) ms of allowance, which is
/// 1.046 of its share. It is kept throughout where refusals are less than [`PAUSE`] apart, pauses included.
const DEPTH: u64 = 5 * MS / 2;

/// The second cell rate. Times are those of [`super::Rate`]: nanoseconds times two to the power of [`FRACTION`].
#[derive(Debug)]
pub(super) struct Pace {
    /// Its theoretical arrival time.
    arrival: AtomicU64,
    /// When the bucket was last found empty, or nearly so; 0 is never.
    refused: AtomicU64,
}

/// The bucket that is paced, at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) now: u64,
    /// Of one request, at the ceiling's rate.
    pub(super) cost: u64,
    /// The most it may save.
    pub(super) burst: u64,
    /// What it has saved.
    pub(super) saved: u64,
}

impl Bucket {
    /// The longest pause that is spread.
    fn pause(self) -> u64 {
        PAUSE.min(self.burst / PAUSE_OF_BURST)
    }
}

/// What one request costs at 1.02 times the rate.
const fn faster(cost: u64) -> u64 {
    cost - cost / 51
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { arrival: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// Whether one more request fits.
    pub(super) fn has(&self, bucket: Bucket) -> bool {
        !self.applies(bucket) || self.next(self.arrival.load(Relaxed), bucket).is_some()
    }

    /// Takes one; `false` takes nothing.
    pub(super) fn take(&self, bucket: Bucket) -> bool {
        let next = |arrival| self.next(arrival, bucket);
        !self.applies(bucket) || self.arrival.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Gives back what one request of this cost took, or nothing if it took nothing.
    pub(super) fn give_back(&self, cost: u64) {
        let lower = |arrival: u64| Some(arrival.saturating_sub(faster(cost)));
        _ = self.arrival.fetch_update(Relaxed, Relaxed, lower);
    }

    /// A request was refused, by the bucket or by this. Remembered while the bucket holds no more than a pause may save: a flow that stays
    /// below the ceiling soon has more, and is a flow like any other again.
    pub(super) fn refused(&self, bucket: Bucket) {
        let known = self.refused.load(Relaxed);
        if bucket.saved <= bucket.pause() && bucket.now >= known + MS {
            self.refused.store(bucket.now, Relaxed);
        }
    }

    fn applies(&self, bucket: Bucket) -> bool {
        let refused = self.refused.load(Relaxed);
        refused != 0 && bucket.now < refused.saturating_add(bucket.pause())
    }

    fn next(&self, arrival: u64, bucket: Bucket) -> Option<u64> {
        let cost = faster(bucket.cost);
        let next = arrival.max(bucket.now).saturating_add(cost);
        (next <= bucket.now.saturating_add(DEPTH.max(cost))).then_some(next)
    }
}
