//! How many requests may be sent again, as a share of all requests. Never retries.

use std::cell::Cell;

/// What a quiet upstream may always spend.
const LEAST: f64 = 3.0;
/// The most that is saved up.
const MOST: f64 = 20.0;

/// A balance of retries: each request pays in its share, each retry takes one.
#[derive(Debug)]
pub struct Budget(Cell<f64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(LEAST))
    }
}

impl Budget {
    /// A request came: `share` retries more may be made (the configuration's `budget`).
    pub fn deposit(&self, share: f64) {
        self.0.set((self.0.get() + share).min(MOST.max(share)));
    }

    /// Takes one retry; `false` when there is none left.
    #[must_use]
    pub fn spend(&self) -> bool {
        let left = self.0.get() - 1.0;
        if left >= 0.0 {
            self.0.set(left);
        }
        left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_a_share_of_requests() {
        let budget = Budget::default();
        let retried = (0..10_000).filter(|_| {
            budget.deposit(0.2);
            budget.spend()
        });
        let retried = retried.count();
        assert!((2_000..=2_004).contains(&retried), "{retried}");
        assert_eq!((0..10).filter(|_| Budget::default().spend()).count(), 10, "a fresh one has some");
    }
}
