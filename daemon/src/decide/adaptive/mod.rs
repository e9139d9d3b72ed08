//! A limit on requests in flight that finds itself, from queueing delay. Never refuses anything to learn something, and reads no clock.
//!
//! Many threads record what came of requests without a lock; whichever finds that a window is over takes the step ([`Gradient`]).

mod gradient;
mod histogram;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use gradient::{Bounds, Gradient, Window};

use super::admission::Tick;
use histogram::Histogram;

/// Shortest window.
const WINDOW_NS: u64 = 200_000_000;
/// A window with fewer answers goes on, up to [`LONGEST_NS`].
const FEWEST_ANSWERS: u64 = 40;
const LONGEST_NS: u64 = 2_000_000_000;

/// What came of a request, as far as the limit may learn from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered in the ordinary way: time until the head of its response.
    Answered(Duration),
    /// Nothing to learn from: a stream or upgrade, a client that gave up, an upstream that failed or refused fast.
    LeftOut,
}

/// The limit and what it learns from.
#[derive(Debug)]
pub struct Adaptive {
    answers: Histogram,
    in_flight_sum: AtomicU64,
    records: AtomicU64,
    refused: AtomicU32,
    ends_ns: AtomicU64,
    step: Mutex<Step>,
}

#[derive(Debug)]
struct Step {
    gradient: Gradient,
    began_ns: u64,
}

impl Adaptive {
    /// Begins at the bounds' start.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            answers: Histogram::default(),
            in_flight_sum: AtomicU64::new(0),
            records: AtomicU64::new(0),
            refused: AtomicU32::new(0),
            ends_ns: AtomicU64::new(0),
            step: Mutex::new(Step { gradient: Gradient::new(bounds), began_ns: 0 }),
        }
    }

    /// Other bounds from now on.
    pub fn bound(&self, bounds: Bounds) {
        self.step().gradient.bound(bounds);
    }

    /// The limit as it stands.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.step().gradient.limit()
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request that is over. `in_flight` is how many others were in flight *when it was admitted*: what it waited for. Returns the
    /// limit when it may have moved.
    pub fn record(&self, outcome: Outcome, in_flight: u64, now: Tick) -> Option<u64> {
        if let Outcome::Answered(time) = outcome {
            self.answers.count(time);
        }
        self.in_flight_sum.fetch_add(in_flight, Relaxed);
        self.records.fetch_add(1, Relaxed);
        (now.0 >= self.ends_ns.load(Relaxed)).then(|| self.close(now)).flatten()
    }

    /// Records a request that the limit refused.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    fn close(&self, now: Tick) -> Option<u64> {
        let mut step = self.step.try_lock().ok()?;
        let passed_ns = now.0.saturating_sub(step.began_ns);
        if now.0 < self.ends_ns.load(Relaxed) {
            return None;
        }
        if step.began_ns != 0 && passed_ns < LONGEST_NS && self.answers.total() < FEWEST_ANSWERS {
            self.ends_ns.store(now.0 + WINDOW_NS / 4, Relaxed);
            return None;
        }
        let begun = step.began_ns != 0;
        step.began_ns = now.0.max(1);
        let window = self.window(Duration::from_nanos(passed_ns));
        self.ends_ns.store(now.0.saturating_add(length_ns(window.median_s)), Relaxed);
        Some(if begun { step.gradient.step(window) } else { step.gradient.limit() })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one window")]
    fn window(&self, passed: Duration) -> Window {
        let (answers, median_s) = self.answers.drain();
        let records = self.records.swap(0, Relaxed).max(1);
        Window {
            seconds: passed.as_secs_f64(),
            answers,
            median_s,
            in_flight: self.in_flight_sum.swap(0, Relaxed) as f64 / records as f64,
            refused: u64::from(self.refused.swap(0, Relaxed)),
        }
    }
}

/// A window is longer than what it measures.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most two seconds")]
fn length_ns(median_s: f64) -> u64 {
    ((2e9 * median_s) as u64).clamp(WINDOW_NS, LONGEST_NS)
}

#[cfg(test)]
mod tests;
