//! Random numbers from a seed that is printed, so that a failure can be repeated. Never from the operating system.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

/// The splitmix64 sequence from a seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From `TIDEGATE_TEST_SEED`, else from the clock; printed either way.
    ///
    /// # Errors
    /// The variable is no number.
    pub fn new() -> Result<Self> {
        let seed = match std::env::var("TIDEGATE_TEST_SEED") {
            Ok(seed) => seed.parse()?,
            Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
        };
        println!("seed {seed} (TIDEGATE_TEST_SEED repeats it)");
        Ok(Self(seed))
    }

    /// From a seed of one's own.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, below `bound` (which must not be 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}
