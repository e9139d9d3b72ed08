//! A rate ceiling that many threads share without a lock: GCRA over one atomic. Never reads a clock; `now` comes in.
//!
//! The bucket is the *theoretical arrival time* (ITU-T I.371): the instant at which the allowance would be whole again. Taking one
//! moves it by the cost of one request with a compare-and-swap, so that no two threads spend the same credit, and a refusal writes nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::pace::{Bucket, Pace};

/// An instant on the process's monotonic clock, in nanoseconds since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// Fractional bits of a cost: 1/256 ns keeps the rate within 0.0004 % up to a million per second, for 800 days of uptime.
pub(super) const FRACTION: u32 = 8;
/// The cost that stands for "no limit".
const UNLIMITED: u64 = 0;
/// The cost that stands for "let nothing through".
const CLOSED: u64 = u64::MAX;

/// A rate and the allowance that is left of it.
#[derive(Debug)]
pub struct Rate {
    arrival: AtomicU64,
    cost: AtomicU64,
    burst: AtomicU64,
    pace: Pace,
}

impl Rate {
    /// A whole allowance, without a limit.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            arrival: AtomicU64::new(0),
            cost: AtomicU64::new(UNLIMITED),
            burst: AtomicU64::new(0),
            pace: Pace::new(),
        }
    }

    /// Moves the limit. What was spent stays spent: the debt is kept in time.
    pub fn set(&self, per_second: Option<f64>, burst: Duration) {
        let cost = match per_second {
            None => UNLIMITED,
            Some(rate) if rate <= 0.0 => CLOSED,
            Some(rate) => cost_of(rate),
        };
        let burst = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX) & (u64::MAX >> (FRACTION + 2));
        self.burst.store(burst << FRACTION, Relaxed);
        self.cost.store(cost, Relaxed);
    }

    /// Takes one; `false` takes nothing. What is not `hurried` must also conform to the pace of a ceiling that refuses.
    #[must_use]
    pub fn take(&self, hurried: bool, now: Tick) -> bool {
        let cost = match self.cost.load(Relaxed) {
            UNLIMITED => return true,
            CLOSED => return false,
            cost => cost,
        };
        let bucket = self.bucket(cost, now);
        if hurried || self.pace.take(bucket) {
            if self.spend(now) {
                return true;
            }
            if !hurried {
                self.pace.give_back(cost);
            }
        }
        self.pace.refused(bucket);
        false
    }

    /// Takes one for what is never refused, as far as the allowance goes; `false` takes nothing.
    pub fn spend(&self, now: Tick) -> bool {
        let (cost, now) = (self.cost.load(Relaxed), now.0 << FRACTION);
        match cost {
            UNLIMITED => return true,
            CLOSED => return false,
            _ => {}
        }
        let most = now.saturating_add(self.burst.load(Relaxed).max(cost));
        let mut arrival = self.arrival.load(Relaxed);
        loop {
            let next = arrival.max(now).saturating_add(cost);
            if next > most {
                return false;
            }
            match self.arrival.compare_exchange_weak(arrival, next, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(found) => arrival = found,
            }
        }
    }

    /// Whether [`Self::take`] would succeed at this instant. A refusal is remembered as one: what is asked first is not taken then.
    #[must_use]
    pub fn has(&self, hurried: bool, now: Tick) -> bool {
        match self.cost.load(Relaxed) {
            UNLIMITED => true,
            CLOSED => false,
            cost => {
                let bucket = self.bucket(cost, now);
                let has = bucket.saved >= cost && (hurried || self.pace.has(bucket));
                if !has {
                    self.pace.refused(bucket);
                }
                has
            }
        }
    }

    fn bucket(&self, cost: u64, now: Tick) -> Bucket {
        let now = now.0 << FRACTION;
        let burst = self.burst.load(Relaxed).max(cost);
        let saved = burst.saturating_sub(self.arrival.load(Relaxed).saturating_sub(now));
        Bucket { now, cost, burst, saved }
    }

    /// Gives back what one [`Self::take`] took, when another ceiling refused the same request.
    pub fn give_back(&self) {
        let cost = self.cost.load(Relaxed);
        if cost != UNLIMITED && cost != CLOSED {
            let lower = |arrival: u64| Some(arrival.saturating_sub(cost));
            _ = self.arrival.fetch_update(Relaxed, Relaxed, lower);
            self.pace.give_back(cost);
        }
    }

    /// How much of the saved-up allowance is spent: 0 is none, 1 is all.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share, not an amount")]
    pub fn fill(&self, now: Tick) -> f64 {
        let cost = self.cost.load(Relaxed);
        match cost {
            UNLIMITED => 0.0,
            CLOSED => 1.0,
            _ => {
                let debt = self.arrival.load(Relaxed).saturating_sub(now.0 << FRACTION);
                debt as f64 / self.burst.load(Relaxed).max(cost) as f64
            }
        }
    }

    /// The limit, in requests per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate, not an amount")]
    pub fn per_second(&self) -> Option<f64> {
        match self.cost.load(Relaxed) {
            UNLIMITED => None,
            CLOSED => Some(0.0),
            cost => Some(1e9 * f64::from(1_u32 << FRACTION) / cost as f64),
        }
    }

    /// How many requests the saved-up allowance is worth, at least one.
    #[must_use]
    pub fn depth(&self) -> u64 {
        match self.cost.load(Relaxed) {
            UNLIMITED | CLOSED => 1,
            cost => (self.burst.load(Relaxed) / cost).max(1),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn cost_of(per_second: f64) -> u64 {
    let cost = 1e9 * f64::from(1_u32 << FRACTION) / per_second;
    cost.round().clamp(1.0, 9e18) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admitted(rate: &Rate, from: u64, to: u64, step: u64) -> u64 {
        (from..to)
            .step_by(usize::try_from(step).expect("small"))
            .filter(|now| rate.take(false, Tick(*now)))
            .count() as u64
    }

    fn fullest_tenth(through: &[u64]) -> usize {
        let within = |at: usize| through[at..].partition_point(|then| *then < through[at] + 100_000_000);
        (0..through.len()).map(within).max().unwrap_or(0)
    }

    #[test]
    fn what_a_pause_saved_is_not_lost() {
        let rate = Rate::unlimited();
        rate.set(Some(2_000.0), Duration::from_millis(100));
        let second = 1_000_000_000;
        admitted(&rate, second, 2 * second, 125_000);
        let paused = (2 * second..12 * second).step_by(125_000).map(|due| {
            let since = due % (second / 2);
            if since < 8_000_000 { due - since + 8_000_000 } else { due }
        });
        let through = paused.filter(|now| rate.take(false, Tick(*now))).count();
        assert!((19_980..=20_020).contains(&through), "ten seconds, each with two pauses of 8 ms: {through}");
    }

    #[test]
    fn a_burst_after_a_pause_of_the_traffic_is_let_through() {
        let rate = Rate::unlimited();
        rate.set(Some(2_000.0), Duration::from_millis(100));
        let second = 1_000_000_000;
        admitted(&rate, second, 2 * second, 125_000);
        let burst = |now: u64| (0..1_000).filter(|_| rate.take(false, Tick(now))).count();
        assert!((80..=81).contains(&burst(2 * second + 40_000_000)), "40 ms were saved");
        assert_eq!(burst(3 * second), 200, "all of the burst");
    }

    #[test]
    fn a_small_burst_remains_one() {
        let rate = Rate::unlimited();
        rate.set(Some(2_000.0), Duration::from_millis(8));
        let second = 1_000_000_000;
        let bursts = |from: u64| -> usize {
            let burst = |now: u64| (0..20).filter(|_| rate.take(false, Tick(now))).count();
            (0..100).map(|at| burst(from + at * 8_000_000)).sum()
        };
        assert_eq!(bursts(second), 1_600, "16 of 20 in each, as the burst says");
    }

    #[test]
    fn twice_the_ceiling_lets_the_ceiling_through() {
        let rate = Rate::unlimited();
        rate.set(Some(2_000.0), Duration::from_millis(100));
        let second = 1_000_000_000;
        let first = admitted(&rate, second, 2 * second, 250_000);
        assert!((2_199..=2_201).contains(&first), "the first second also has the burst: {first}");
        let next = admitted(&rate, 2 * second, 12 * second, 250_000);
        assert!((19_999..=20_001).contains(&next), "{next}");
    }

    #[test]
    fn a_moved_limit_holds_at_once() {
        let rate = Rate::unlimited();
        rate.set(Some(1_000.0), Duration::from_millis(100));
        let second = 1_000_000_000;
        admitted(&rate, second, 2 * second, 100_000);
        rate.set(Some(3_000.0), Duration::from_millis(100));
        let after = admitted(&rate, 2 * second, 3 * second, 100_000);
        assert!((2_990..=3_010).contains(&after), "{after}");
    }

    #[test]
    fn zero_lets_nothing_through_and_none_everything() {
        let rate = Rate::unlimited();
        assert!((0..100).all(|_| rate.take(false, Tick(1))));
        rate.set(Some(0.0), Duration::from_secs(1));
        assert!(!rate.take(false, Tick(1_000_000_000)) && !rate.has(false, Tick(2_000_000_000)));
    }

    proptest! {
        /// A bucket of whole requests, filled continuously: the model that GCRA must agree with, but just after a refusal, when it may
        /// refuse more.
        #[test]
        fn agrees_with_a_bucket_of_tokens(
            per_second in 1_u32..5_000,
            burst_ms in 0_u64..2_000,
            gaps in prop::collection::vec(0_u64..40_000_000, 1..300),
        ) {
            let rate = Rate::unlimited();
            rate.set(Some(f64::from(per_second)), Duration::from_millis(burst_ms));
            let per_ns = f64::from(per_second) / 1e9;
            let size = (burst_ms as f64 * 1e6 * per_ns).max(1.0);
            let (mut tokens, mut now, mut refused) = (size, 1_000_000_000, None);
            for gap in gaps {
                now += gap;
                tokens = (tokens + gap as f64 * per_ns).min(size);
                let peek = rate.has(false, Tick(now));
                let taken = rate.take(false, Tick(now));
                prop_assert_eq!(peek, taken);
                let long_ago = refused.is_none_or(|refused| now - refused >= 25_000_000);
                if (tokens - 1.0).abs() > 1e-3 && (taken || long_ago) {
                    prop_assert_eq!(taken, tokens > 1.0, "tokens {}", tokens);
                }
                if taken {
                    tokens -= 1.0;
                } else {
                    refused = Some(now);
                }
            }
        }

        /// A tenth more than the ceiling or much more is offered, on a machine that stands still now and then: what came meanwhile is there all
        /// at once. For a 50th of the time at most, which is what the pace can make good; nearer to the ceiling, or in longer pauses,
        /// refusals are too far apart for it to be kept.
        #[test]
        fn pauses_beside_a_flow_that_is_refused_make_no_bump(
            offered_us in 50_u64..225,
            pauses in prop::collection::vec((0_u64..1_000, 0_u64..20), 1..8),
        ) {
            let rate = Rate::unlimited();
            rate.set(Some(4_000.0), Duration::from_millis(100));
            while rate.take(false, Tick(1_000_000_000)) {}
            let mut through: Vec<u64> = Vec::new();
            let (mut now, mut due) = (1_000_000_000_u64, 1_000_000_000_u64);
            let step = offered_us * 1_000;
            for (running_ms, pause_ms) in pauses {
                let until = now + (50 * pause_ms + running_ms) * 1_000_000;
                while now < until {
                    if rate.take(false, Tick(now)) {
                        through.push(now);
                    }
                    due += step;
                    now = now.max(due);
                }
                now = due + pause_ms * 1_000_000;
            }
            let fullest = fullest_tenth(&through);
            prop_assert!(fullest <= 420, "{fullest} of 400 in a tenth of a second");
        }

        #[test]
        fn what_is_given_back_was_never_taken(takes in 1_usize..50) {
            let rate = Rate::unlimited();
            rate.set(Some(100.0), Duration::from_secs(1));
            for _ in 0..takes {
                if rate.take(false, Tick(5_000_000_000)) {
                    rate.give_back();
                }
            }
            prop_assert!(rate.fill(Tick(5_000_000_000)) < 1e-9);
        }
    }
}
