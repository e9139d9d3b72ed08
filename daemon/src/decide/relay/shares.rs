//! How much each pool may have on its way over one link: all of them together a total, and each a share of it that no other can take,
//! so that a pool whose servers are down holds up none of the others. Never waits and never counts anything twice.

/// Batches, and bytes of them.
pub type Load = (usize, usize);

/// What is on its way, by the pool's place.
#[derive(Clone, Debug)]
pub struct Shares {
    most: Load,
    share: Load,
    total: Load,
    own: Vec<Load>,
}

impl Shares {
    /// None on its way. All `places` together may have `most`, and each its even part of it in any case (a batch at least): what is on
    /// its way stays below twice `most` and one step for each place.
    #[must_use]
    pub fn new(most: Load, places: usize) -> Self {
        let share = (most.0.div_ceil(places.max(1)), most.1.div_ceil(places.max(1)));
        Self { most, share, total: (0, 0), own: vec![(0, 0); places] }
    }

    /// Whether a batch of this place may go now.
    #[must_use]
    pub fn room(&self, place: usize) -> bool {
        let below = |load: Load, most: Load| load.0 < most.0 && load.1 < most.1;
        below(self.total, self.most) || self.own.get(place).is_some_and(|&own| below(own, self.share))
    }

    /// This goes.
    pub fn enter(&mut self, place: usize, load: Load) {
        self.total = (self.total.0 + load.0, self.total.1 + load.1);
        if let Some(own) = self.own.get_mut(place) {
            *own = (own.0 + load.0, own.1 + load.1);
        }
    }

    /// This, which went, is done.
    pub fn leave(&mut self, place: usize, load: Load) {
        self.total = (self.total.0 - load.0, self.total.1 - load.1);
        if let Some(own) = self.own.get_mut(place) {
            *own = (own.0 - load.0, own.1 - load.1);
        }
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.total == (0, 0)
    }

    /// None is on its way any more.
    pub fn clear(&mut self) {
        self.total = (0, 0);
        self.own.fill((0, 0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_takes_all_and_the_others_keep_their_share() {
        let mut shares = Shares::new((8, 100), 2);
        let fill = |shares: &mut Shares, place| {
            let mut count = 0;
            while shares.room(place) {
                shares.enter(place, (1, 1));
                count += 1;
            }
            count
        };
        assert_eq!((fill(&mut shares, 0), fill(&mut shares, 1)), (8, 4));
        // The one that has more than its share waits until the total allows more; the other one does not.
        shares.leave(1, (1, 1));
        shares.leave(0, (1, 1));
        assert!(!shares.room(0) && shares.room(1));
        shares.clear();
        assert_eq!(fill(&mut shares, 1), 8);
    }

    #[test]
    fn bytes_count_as_batches_do() {
        let mut shares = Shares::new((100, 100), 4);
        shares.enter(0, (1, 1000));
        assert!(!shares.room(0) && shares.room(1));
        shares.enter(1, (1, 25));
        assert!(!shares.room(1) && shares.room(2));
        shares.leave(0, (1, 1000));
        assert!(shares.room(0) && shares.room(1));
    }

    proptest! {
        /// Whatever goes and ends: bounded, every place has its share, and the total is what the places have.
        #[test]
        fn memory_is_bounded(steps in proptest::collection::vec((0usize..5, 0usize..40), 1..300)) {
            let mut shares = Shares::new((16, 200), 5);
            let mut under_way = Vec::new();
            for (place, bytes) in steps {
                if shares.room(place) {
                    shares.enter(place, (1, bytes));
                    under_way.push((place, bytes));
                } else if let Some((place, bytes)) = under_way.pop() {
                    shares.leave(place, (1, bytes));
                }
                prop_assert!(shares.total.0 <= 2 * 16 + 5 && shares.total.1 <= 2 * 200 + 5 * 40);
                let sum = shares.own.iter().fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
                prop_assert_eq!(sum, shares.total);
                prop_assert!(shares.own.iter().enumerate().all(|(at, own)| *own != (0, 0) || shares.room(at)));
            }
        }
    }
}
