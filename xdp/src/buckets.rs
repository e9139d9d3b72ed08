//! From a limit and a need to yes or no: a CPU's own credits first, then a lease from the shared level by compare-and-swap.
//! Never spins: who loses the race a few times sheds this one frame.

use tidegate_common::abi::{Limit, Stash};
use tidegate_common::ceiling;

/// The shared level of one bucket.
pub trait Level {
    /// The level, in CLOCK_MONOTONIC nanoseconds.
    fn tat_ns(&self) -> u64;
    /// Stores `new` if the level is still `old`; whether it was.
    fn swap(&self, old: u64, new: u64) -> bool;
}

/// Attempts at the shared level for one frame.
const ATTEMPTS: usize = 4;

/// What a CPU holds after it asked the shared level for at least `units`, of which it has `credits` already: enough, or as
/// little as before with the note that nothing is left at `coarse_ns`.
#[inline(always)]
pub fn lease<L: Level>(
    level: &L,
    limit: &Limit,
    units: u32,
    credits: u32,
    now_ns: u64,
    coarse_ns: u64,
) -> Stash {
    let mut stash = Stash { credits, generation: limit.generation, empty_at_ns: 0 };
    for _ in 0..ATTEMPTS {
        let tat_ns = level.tat_ns();
        let Some(grant) = ceiling::take(limit, tat_ns, now_ns, units.saturating_sub(credits)) else {
            stash.empty_at_ns = coarse_ns;
            break;
        };
        if level.swap(tat_ns, grant.tat_ns) {
            stash.credits = credits + grant.units;
            break;
        }
    }
    stash
}

/// Whether [`lease`] would bring enough; changes nothing.
#[inline(always)]
pub fn peek<L: Level>(level: &L, limit: &Limit, units: u32, credits: u32, now_ns: u64) -> bool {
    ceiling::take(limit, level.tat_ns(), now_ns, units.saturating_sub(credits)).is_some()
}
