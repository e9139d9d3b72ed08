//! A rate ceiling that many threads share without a lock: GCRA over one atomic. Never reads a clock; `now` comes in.
//!
//! The bucket is the *theoretical arrival time* (ITU-T I.371): the instant at which the allowance would be whole again. Taking one
//! moves it by the cost of one request with a compare-and-swap, so that no two threads spend the same credit, and a refusal writes nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// An instant on the process's monotonic clock, in nanoseconds since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// Fractional bits of a cost: 1/256 ns keeps the rate within 0.0004 % up to a million per second, for 800 days of uptime.
const FRACTION: u32 = 8;
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
}

impl Rate {
    /// A whole allowance, without a limit.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { arrival: AtomicU64::new(0), cost: AtomicU64::new(UNLIMITED), burst: AtomicU64::new(0) }
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

    /// The limit per second, if there is one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate, not an amount")]
    pub fn limit(&self) -> Option<f64> {
        match self.cost.load(Relaxed) {
            UNLIMITED => None,
            CLOSED => Some(0.0),
            cost => Some(1e9 * f64::from(1_u32 << FRACTION) / cost as f64),
        }
    }

    /// Takes one; `false` takes nothing.
    #[must_use]
    pub fn take(&self, now: Tick) -> bool {
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

    /// Whether [`Self::take`] would succeed at this instant.
    #[must_use]
    pub fn has(&self, now: Tick) -> bool {
        let (cost, now) = (self.cost.load(Relaxed), now.0 << FRACTION);
        match cost {
            UNLIMITED => true,
            CLOSED => false,
            _ => {
                let next = self.arrival.load(Relaxed).max(now).saturating_add(cost);
                next <= now.saturating_add(self.burst.load(Relaxed).max(cost))
            }
        }
    }

    /// Gives back what one [`Self::take`] took, when another ceiling refused the same request.
    pub fn give_back(&self) {
        let cost = self.cost.load(Relaxed);
        if cost != UNLIMITED && cost != CLOSED {
            let lower = |arrival: u64| Some(arrival.saturating_sub(cost));
            _ = self.arrival.fetch_update(Relaxed, Relaxed, lower);
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
        (from..to).step_by(usize::try_from(step).expect("small")).filter(|now| rate.take(Tick(*now))).count()
            as u64
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
        assert!((0..100).all(|_| rate.take(Tick(1))));
        rate.set(Some(0.0), Duration::from_secs(1));
        assert!(!rate.take(Tick(1_000_000_000)) && !rate.has(Tick(2_000_000_000)));
    }

    proptest! {
        /// A bucket of whole requests, filled continuously: the model that GCRA must agree with.
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
            let (mut tokens, mut now) = (size, 1_000_000_000);
            for gap in gaps {
                now += gap;
                tokens = (tokens + gap as f64 * per_ns).min(size);
                let peek = rate.has(Tick(now));
                let taken = rate.take(Tick(now));
                prop_assert_eq!(peek, taken);
                if (tokens - 1.0).abs() > 1e-3 {
                    prop_assert_eq!(taken, tokens > 1.0, "tokens {}", tokens);
                }
                if taken {
                    tokens -= 1.0;
                }
            }
        }

        #[test]
        fn what_is_given_back_was_never_taken(takes in 1_usize..50) {
            let rate = Rate::unlimited();
            rate.set(Some(100.0), Duration::from_secs(1));
            for _ in 0..takes {
                if rate.take(Tick(5_000_000_000)) {
                    rate.give_back();
                }
            }
            prop_assert!(rate.fill(Tick(5_000_000_000)) < 1e-9);
        }
    }
}
