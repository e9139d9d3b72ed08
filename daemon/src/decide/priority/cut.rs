//! Which users of a class are cut: whole bins of the user hash, and a part of one bin. Never measures.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Bins of the user hash. The users of one bin at most are treated unlike each other.
pub(super) const BINS: usize = 32;
const BINS_U64: u64 = BINS as u64;
const WHOLE: u32 = 1 << 16;

/// The bin of a place between 0 and 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place is between 0 and 1")]
pub(super) fn bin(place: f64) -> usize {
    ((place * BINS_U64 as f64) as usize).min(BINS - 1)
}

/// The cut of one class, read by many threads.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// First bin (bits 0–15), whole bins (16–31), part of the next bin in 65,536ths (32–63).
    packed: AtomicU64,
    turns: AtomicU32,
}

impl Cut {
    /// Sets the cut so that `share` of the traffic in `rates` (by bin) goes, beginning with bin `first`.
    pub(super) fn set(&self, share: f64, first: usize, rates: &[f64; BINS]) {
        let mut rest = share.clamp(0.0, 1.0) * rates.iter().sum::<f64>();
        let order = (0..BINS).map(|rank| rates[(first + rank) % BINS]);
        let mut whole = 0_u64;
        let mut part = 0.0;
        for rate in order {
            if rest < rate {
                part = rest / rate;
                break;
            }
            rest -= rate;
            whole += 1;
        }
        let nothing = share <= 0.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 65,536")]
        let part = (part * f64::from(WHOLE)) as u64;
        let packed = first as u64 | whole << 16 | part << 32;
        self.packed.store(if nothing { 0 } else { packed }, Relaxed);
    }

    /// Whether a request of a user in `bin` is cut. In the bin that is cut in part, requests take turns (a Weyl sequence: as even as can be).
    pub(super) fn takes(&self, bin: usize) -> bool {
        let packed = self.packed.load(Relaxed);
        let (first, whole, part) = (packed & 0xffff, packed >> 16 & 0xffff, packed >> 32);
        let rank = (bin as u64 + BINS_U64 - first) % BINS_U64;
        if rank != whole {
            return rank < whole;
        }
        part > 0 && {
            let turn = self.turns.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9);
            u64::from(turn >> 16) < part
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(cut: &Cut, bin: usize) -> usize {
        (0..10_000).filter(|_| !cut.takes(bin)).count()
    }

    #[test]
    fn the_same_bins_go_and_one_goes_in_part() {
        let cut = Cut::default();
        assert_eq!(passing(&cut, 0), 10_000);
        cut.set(0.453_125, 30, &[1.0; BINS]); // 14.5 bins
        let whole: Vec<usize> = (0..BINS).filter(|bin| passing(&cut, *bin) == 0).collect();
        assert_eq!(whole, (0..12).chain(30..32).collect::<Vec<_>>());
        assert!((4_990..=5_010).contains(&passing(&cut, 12)), "{}", passing(&cut, 12));
        assert_eq!(passing(&cut, 13), 10_000);
    }

    #[test]
    fn a_lone_user_is_cut_in_part_and_not_all_or_nothing() {
        let mut rates = [0.0; BINS];
        rates[17] = 8_000.0;
        let cut = Cut::default();
        for first in 0..BINS {
            cut.set(0.75, first, &rates);
            assert!((2_490..=2_510).contains(&passing(&cut, 17)), "{first}: {}", passing(&cut, 17));
        }
    }
}
