//! A ceiling on requests in flight, shared by many threads without a lock. Never waits: a full ceiling refuses.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const UNLIMITED: u64 = u64::MAX;

/// Requests in flight and the most there may be.
#[derive(Debug)]
pub struct Slots {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Slots {
    /// Nothing in flight, no limit.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { used: AtomicU64::new(0), limit: AtomicU64::new(UNLIMITED) }
    }

    /// Moves the limit; what is in flight stays in flight.
    pub fn set(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(UNLIMITED), Relaxed);
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Relaxed);
        (limit != UNLIMITED).then_some(limit)
    }

    /// In flight now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Whether one more would be let in at this instant.
    #[must_use]
    pub fn has(&self) -> bool {
        self.used.load(Relaxed) < self.limit.load(Relaxed)
    }

    /// Lets one in; `false` changes nothing. Who was let in must [`Self::leave`] once.
    #[must_use]
    pub fn enter(&self) -> bool {
        let mut used = self.used.load(Relaxed);
        loop {
            if used >= self.limit.load(Relaxed) {
                return false;
            }
            match self.used.compare_exchange_weak(used, used + 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(found) => used = found,
            }
        }
    }

    /// Lets one in whatever the limit: for what is never shed, but counts.
    pub fn enter_always(&self) {
        self.used.fetch_add(1, Relaxed);
    }

    /// One that was let in is gone.
    pub fn leave(&self) {
        self.used.fetch_sub(1, Relaxed);
    }
}
