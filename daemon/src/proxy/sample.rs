//! Which requests are told about: a bounded sample for the event stream and the access log. Never slows a request that is not.

use std::cell::Cell;

use crate::decide::admission::Tick;

/// Most samples of a kind per second and worker.
const PER_SECOND: u64 = 20;

/// Counts what was told and what was left out.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    served: Quota,
    shed: Quota,
}

#[derive(Debug, Default)]
struct Quota {
    second: Cell<u64>,
    told: Cell<u64>,
    skipped: Cell<u64>,
}

impl Quota {
    /// How many were left out since the last sample, if this one is to be told.
    fn take(&self, now: Tick) -> Option<u64> {
        let second = now.0 / 1_000_000_000;
        if self.second.replace(second) != second {
            self.told.set(0);
        }
        if self.told.get() >= PER_SECOND {
            self.skipped.set(self.skipped.get() + 1);
            return None;
        }
        self.told.set(self.told.get() + 1);
        Some(self.skipped.replace(0))
    }
}

impl Sampler {
    /// For a request that was carried or redirected.
    pub(crate) fn served(&self, now: Tick) -> Option<u64> {
        self.served.take(now)
    }

    /// For a request that was refused.
    pub(crate) fn shed(&self, now: Tick) -> Option<u64> {
        self.shed.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_quota_and_the_next_sample_tells_what_was_left_out() {
        let quota = Quota::default();
        let told = (0..100).filter(|step| quota.take(Tick(5_000_000_000 + step)).is_some()).count();
        assert_eq!(told, 20);
        assert_eq!(quota.take(Tick(6_000_000_000)), Some(80));
        assert_eq!(quota.take(Tick(6_000_000_001)), Some(0));
    }
}
