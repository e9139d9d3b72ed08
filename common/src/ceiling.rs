//! The bucket's arithmetic: a generic cell rate algorithm (ITU-T I.371) from which each CPU leases units in advance.
//! Never reads a clock: `now` comes in, and the caller stores what comes out by compare-and-swap.
//!
//! A bucket is one number, its theoretical arrival time `tat`: the allowance saved up at `now` is `now - tat`, at most the
//! burst and what the taker needs itself. Taking units moves `tat` forward by their cost. A burst of zero spaces units strictly;
//! a frame whose cost exceeds the burst passes as soon as its cost is saved.

use crate::abi::{Limit, Stash};

/// Costs are nanoseconds times two to this power: 10 Gbit/s costs 0.8 ns for a byte, held to a millionth.
pub const COST_SHIFT: u32 = 20;
/// Cost of a limit of zero: nothing is admitted.
pub const CLOSED: u64 = u64::MAX;
/// Longest burst, in nanoseconds: one hour. Keeps `(burst + price) << COST_SHIFT` in 64 bits.
pub const MAX_BURST_NS: u64 = 3_600_000_000_000;
/// Largest cost of a byte: 64 bits per second; keeps the cost of a frame in 64 bits.
pub const MAX_BYTE_COST: u64 = 1 << 47;
/// Most units taken at once: larger frames count as this.
pub const MAX_NEED: u32 = 65_536;
/// With at least this burst, a CPU that found the bucket empty waits for the coarse clock to move before it looks again;
/// no allowance is lost, because what accrues within a tick of at most 10 ms is saved up.
pub const PATIENT_BURST_NS: u64 = 20_000_000;
/// Most packets or connections leased at once.
pub const MAX_LEASE: u64 = 64;
/// Most bytes leased at once.
pub const MAX_LEASE_BYTES: u64 = 65_536;
/// Share of a second's allowance that all CPUs together may hold in advance: one 200th.
const LEASE_SHARE: u64 = 200;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// What a slot limits, by its place in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Measure {
    /// `connections_per_second`: TCP SYNs without ACK.
    Connections = 0,
    /// `packets_per_second`
    Packets = 1,
    /// `bits_per_second`: whole frames as XDP sees them (link-layer header included, checksum and gap not), times 8.
    Bytes = 2,
}

impl Measure {
    /// By place.
    pub const ALL: [Self; crate::abi::MEASURES] = [Self::Connections, Self::Packets, Self::Bytes];

    /// Place in a slot's arrays.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Bit in a slot's sets.
    #[must_use]
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Limit {
    /// A limit of `per_second` connections or packets on a host with `cpus` CPUs; 0 admits nothing.
    #[must_use]
    pub fn of_units(per_second: u64, burst_ns: u64, cpus: u32, generation: u32) -> Self {
        let cost = (NS_PER_SECOND << COST_SHIFT).checked_div(per_second).unwrap_or(CLOSED);
        Self {
            cost: cost.max(1),
            burst_ns: burst_ns.min(MAX_BURST_NS),
            lease: lease(per_second, cpus, MAX_LEASE),
            generation,
        }
    }

    /// A limit of `bits_per_second`, kept in bytes; below 64 counts as 64, 0 admits nothing.
    #[must_use]
    pub fn of_bits(bits_per_second: u64, burst_ns: u64, cpus: u32, generation: u32) -> Self {
        let cost = ((8 * NS_PER_SECOND) << COST_SHIFT)
            .checked_div(bits_per_second)
            .map_or(CLOSED, |cost| cost.min(MAX_BYTE_COST));
        Self {
            cost: cost.max(1),
            burst_ns: burst_ns.min(MAX_BURST_NS),
            lease: lease(bits_per_second / 8, cpus, MAX_LEASE_BYTES),
            generation,
        }
    }

    /// Whether nothing is admitted.
    #[must_use]
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        self.cost == CLOSED
    }
}

/// Units that one CPU takes at once: small enough that what all CPUs hold is at most half a percent of a second.
fn lease(per_second: u64, cpus: u32, most: u64) -> u32 {
    let share = per_second / (LEASE_SHARE * u64::from(cpus.max(1)));
    u32::try_from(share.clamp(1, most)).unwrap_or(1)
}

/// Units taken from a bucket, and its next level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The level to store.
    pub tat_ns: u64,
    /// At least what was needed.
    pub units: u32,
}

/// Takes `need` units, and as many more as [`Limit::lease`] and the allowance permit, from a bucket at level `tat_ns`.
/// `None` when there is not enough: nothing is taken then.
#[must_use]
#[inline(always)]
pub fn take(limit: &Limit, tat_ns: u64, now_ns: u64, need: u32) -> Option<Grant> {
    if limit.is_closed() {
        return None;
    }
    let price = price(limit.cost, need);
    let oldest = now_ns.saturating_sub(limit.burst_ns + price);
    let start = if tat_ns > oldest { tat_ns } else { oldest };
    if start + price > now_ns {
        return None;
    }
    let saved = now_ns - start;
    let affordable = (saved << COST_SHIFT).checked_div(limit.cost).unwrap_or(0);
    let wanted = if limit.lease > need { limit.lease } else { need };
    let units = if affordable < u64::from(wanted) { affordable as u32 } else { wanted };
    let units = if units > need { units } else { need };
    Some(Grant { tat_ns: start + self::price(limit.cost, units), units })
}

/// Nanoseconds that `units` cost, rounded up.
#[inline(always)]
fn price(cost: u64, units: u32) -> u64 {
    let exact = cost.wrapping_mul(u64::from(units));
    (exact >> COST_SHIFT) + u64::from(exact & ((1 << COST_SHIFT) - 1) != 0)
}

/// What a CPU can say about a need without looking at the shared level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It holds enough.
    Enough,
    /// It must look at the shared level.
    Short,
    /// The bucket was empty at this very time.
    Empty,
}

impl Stash {
    /// Whether `need` is held under `limit` at the coarse time `coarse_ns`.
    #[must_use]
    #[inline(always)]
    pub fn holds(&self, limit: &Limit, coarse_ns: u64, need: u32) -> Held {
        if self.generation != limit.generation {
            return Held::Short;
        }
        if self.credits >= need {
            return Held::Enough;
        }
        if self.empty_at_ns == coarse_ns && limit.burst_ns >= PATIENT_BURST_NS {
            return Held::Empty;
        }
        Held::Short
    }

    /// Credits that still count under `limit`.
    #[must_use]
    #[inline(always)]
    pub fn credits_under(&self, limit: &Limit) -> u32 {
        if self.generation == limit.generation { self.credits } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const SECOND: u64 = NS_PER_SECOND;

    /// Admits one unit at each of `times`, from one CPU that leases.
    fn admitted(limit: &Limit, times: impl Iterator<Item = u64>) -> Vec<u64> {
        let (mut tat, mut credits) = (0, 0);
        times
            .filter(|&now| {
                if credits == 0
                    && let Some(grant) = take(limit, tat, now, 1)
                {
                    tat = grant.tat_ns;
                    credits = grant.units;
                }
                let admit = credits > 0;
                credits = credits.saturating_sub(1);
                admit
            })
            .collect()
    }

    #[test]
    fn a_rate_of_zero_admits_nothing() {
        let limit = Limit::of_units(0, SECOND, 2, 0);
        assert_eq!(take(&limit, 0, 10 * SECOND, 1), None);
        assert_eq!(take(&Limit::of_bits(0, SECOND, 2, 0), 0, 10 * SECOND, 60), None);
    }

    #[test]
    fn every_rate_holds_over_every_second_and_over_ten() {
        for rate in [1, 3, 10, 333, 2_000, 99_999, 1_000_000] {
            for burst_ns in [0, 1_000_000, 100_000_000] {
                let limit = Limit::of_units(rate, burst_ns, 2, 0);
                let step = (SECOND / (rate * 4)).max(1);
                let start = 7 * SECOND;
                let end = start + 10 * SECOND;
                let times = admitted(&limit, (start..end).step_by(step as usize));
                let burst = (rate * burst_ns).div_ceil(SECOND);
                let most = rate * 10 + burst + 1;
                assert!(
                    times.len() as u64 <= most + rate / 20,
                    "{rate}/s, burst {burst_ns}: {}",
                    times.len()
                );
                if burst_ns >= step {
                    assert!(
                        times.len() as u64 * 1000 >= rate * 9_950,
                        "{rate}/s, burst {burst_ns}: {}",
                        times.len()
                    );
                }
                for from in (start..end - SECOND).step_by((SECOND / 10) as usize) {
                    let low = times.partition_point(|&time| time < from);
                    let high = times.partition_point(|&time| time < from + SECOND);
                    let bound = rate + rate / 50 + burst + 1;
                    assert!((high - low) as u64 <= bound, "{rate}/s, burst {burst_ns}: {}", high - low);
                }
            }
        }
    }

    #[test]
    fn a_frame_larger_than_the_burst_is_admitted_and_paid_for() {
        let limit = Limit::of_bits(8_000, 0, 2, 0);
        let first = take(&limit, 0, 2 * SECOND, 1_500).expect("a full bucket");
        assert_eq!(first, Grant { tat_ns: 2 * SECOND, units: 1_500 });
        assert_eq!(take(&limit, first.tat_ns, 2 * SECOND + 999_999, 1), None);
        assert!(take(&limit, first.tat_ns, 2 * SECOND + 1_000_000, 1).is_some());
        assert_eq!(take(&limit, first.tat_ns, 3 * SECOND, 1_500), None);
    }

    #[test]
    fn a_partial_lease_is_what_is_left() {
        let limit = Limit::of_units(1_000_000, 100_000_000, 2, 0);
        assert_eq!(limit.lease, 64);
        let grant = take(&limit, SECOND - 10_500, SECOND, 1).expect("ten units saved");
        assert_eq!(grant, Grant { tat_ns: SECOND - 500, units: 10 });
        assert_eq!(take(&limit, grant.tat_ns, SECOND, 1), None);
    }

    #[test]
    fn leases_shrink_with_the_rate_and_the_cpus() {
        assert_eq!(Limit::of_units(10, 0, 1, 0).lease, 1);
        assert_eq!(Limit::of_units(10_000, 0, 2, 0).lease, 25);
        assert_eq!(Limit::of_units(u64::MAX, 0, 64, 0).lease, 64);
        assert_eq!(Limit::of_bits(8_000_000_000, 0, 2, 0).lease, 65_536);
    }

    #[test]
    fn credits_of_another_generation_do_not_count() {
        let limit = Limit::of_units(100, SECOND, 2, 7);
        let mut stash = Stash { credits: 5, generation: 6, empty_at_ns: 9 };
        assert_eq!(stash.holds(&limit, 9, 1), Held::Short);
        stash.generation = 7;
        assert_eq!(stash.holds(&limit, 9, 5), Held::Enough);
        assert_eq!(stash.holds(&limit, 9, 6), Held::Empty);
        assert_eq!(stash.holds(&limit, 10, 6), Held::Short);
        let impatient = Limit::of_units(100, 0, 2, 7);
        assert_eq!(stash.holds(&impatient, 9, 6), Held::Short);
    }

    #[test]
    fn extremes_do_not_overflow() {
        for (rate, burst) in [(1, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 0), (1, 0)] {
            for limit in [Limit::of_units(rate, burst, 1, 0), Limit::of_bits(rate, burst, 1, 0)] {
                let need = if rate == 1 { 64 } else { MAX_NEED };
                let _ = take(&limit, 0, 0, need);
                let _ = take(&limit, u64::MAX >> 1, u64::MAX >> 1, need);
            }
        }
        assert_eq!(Limit::of_bits(1, 0, 1, 0).cost, MAX_BYTE_COST);
    }
}
