//! What an invalidation asks of the other region. Never holds a value, only its hash.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Longest key that memcached takes, in bytes.
pub const MAX_KEY: usize = 250;

/// What the other region does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Forget its copy in any case.
    Forget,
    /// Forget its copy if that has another [`value_hash`].
    Differs(u128),
    /// As `Differs`, and the value came from the store after a miss: nobody wrote. Such keys are slowed when they go back and forth.
    Refill(u128),
}

impl Effect {
    /// The hash that a copy may have and stay.
    #[must_use]
    pub fn hash(self) -> Option<u128> {
        match self {
            Self::Forget => None,
            Self::Differs(hash) | Self::Refill(hash) => Some(hash),
        }
    }

    /// One effect that covers both, whatever their order: equal hashes stay, everything else forgets.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if self == other { self } else { Self::Forget }
    }
}

/// Identity of a cached value: its bytes and its client flags; not its lifetime. XXH3, 128 bits, seeded by the flags.
#[must_use]
pub fn value_hash(value: &[u8], flags: u32) -> u128 {
    xxh3_128_with_seed(value, u64::from(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_hashes_survive_a_merge() {
        let (a, b) = (Effect::Differs(1), Effect::Differs(2));
        assert_eq!(a.merge(a), a);
        assert_eq!(a.merge(b), Effect::Forget);
        assert_eq!(a.merge(Effect::Forget), Effect::Forget);
    }

    #[test]
    fn flags_count() {
        assert_ne!(value_hash(b"v", 0), value_hash(b"v", 1));
    }
}
