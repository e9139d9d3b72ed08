//! Chance from a seed (xorshift64*). Never asks the system.

pub(in crate::decide) struct Chance(u64);

impl Chance {
    pub(in crate::decide) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to less than `end`.
    pub(in crate::decide) fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 16) % end.max(1) as u64).expect("small")
    }

    /// Between both, the second included.
    pub(in crate::decide) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + (self.next() >> 16) % (most - least + 1)
    }

    /// True so many times in a hundred.
    pub(in crate::decide) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(in crate::decide) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Time to the next arrival of a Poisson process.
    pub(in crate::decide) fn gap_ns(&mut self, per_second: f64) -> u64 {
        let unit = ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        (-unit.ln() / per_second * 1e9) as u64 + 1
    }
}
