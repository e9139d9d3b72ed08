//! Misses and invalidations of one slice of a pool's keys, to tell refills and stale sets. Never grows; what it must forget it counts
//! as older than everything it still knows.
//!
//! A set is *stale* when the miss before it is older than an invalidation of its key: the client read the store before the other
//! region's write got there. Times are counts of invalidations, given by the caller; seconds only age
//! what nobody came back for.
//!
//! A refill is a *reread* if no set of its key came between its miss and it: its reader saw all that this region wrote before, since who
//! writes tells the store before the cache. Sets are numbered here as they come, before they are captured.

use super::io::Storing;

/// Entries that share a bucket.
const WAYS: usize = 8;
/// A miss that another connection than its own is measured by counts for so long, in seconds.
const FOREIGN_MISS_S: u32 = 30;
/// Nothing older than this is looked at, in seconds.
const MAX_AGE_S: u32 = 600;

#[derive(Clone, Copy, Debug, Default)]
struct Miss {
    key: u64,
    /// Invalidations so far when it was answered.
    count: u64,
    /// Number of the newest set then.
    sets: u64,
    connection: u64,
    at_s: u32,
    /// Answered for certain.
    sure: bool,
    used: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Invalidation {
    key: u64,
    /// Number of this invalidation, from 1; 0 is an empty entry.
    count: u64,
    at_s: u32,
    /// The copy that would be fresh; `None` where none is.
    hash: Option<u128>,
    /// The newest invalidation before it that asked for something else: who missed before that is not told by `hash`.
    other: u64,
    /// Times in a row that a copy was found to differ.
    rounds: u8,
}

/// One slice; the caller picks it by key and holds it alone.
#[derive(Debug)]
pub struct Fences {
    misses: Vec<Miss>,
    invalidations: Vec<Invalidation>,
    /// Number of the newest set.
    sets: u64,
    /// Number of the newest set of any of the keys that share a bucket.
    newest: Vec<u64>,
    /// The newest invalidation that had to be forgotten: any miss before it counts as overtaken.
    floor: u64,
    /// When a miss had to be forgotten last; sets without a miss are then measured by their key's invalidation alone.
    lost_miss_s: Option<u32>,
}

impl Fences {
    /// Room for `buckets` × 8 misses and as many invalidations; `buckets` is rounded up to a power of two.
    #[must_use]
    pub fn new(buckets: usize) -> Self {
        let slots = buckets.next_power_of_two() * WAYS;
        Self {
            misses: vec![Miss::default(); slots],
            invalidations: vec![Invalidation::default(); slots],
            sets: 0,
            newest: vec![0; slots / WAYS],
            floor: 0,
            lost_miss_s: None,
        }
    }

    fn bucket(&self, key: u64) -> std::ops::Range<usize> {
        let buckets = self.misses.len() / WAYS;
        let start = (usize::try_from(key >> 32).unwrap_or(0) & (buckets - 1)) * WAYS;
        start..start + WAYS
    }

    /// A client on `connection` was told that `key` is not there, when `count` invalidations had been made.
    pub fn missed(&mut self, key: u64, connection: u64, sure: bool, count: u64, now_s: u32) {
        let bucket = self.bucket(key);
        let fresh = Miss { key, count, sets: self.sets, connection, at_s: now_s, sure, used: true };
        let misses = &mut self.misses[bucket];
        if let Some(own) = misses.iter_mut().find(|m| m.used && m.key == key && m.connection == connection) {
            // Two misses in a row: the older one may still lead to a set.
            own.at_s = now_s;
            own.sure = sure;
            return;
        }
        let aged = |m: &Miss| !m.used || now_s.saturating_sub(m.at_s) > MAX_AGE_S;
        let place = misses.iter().position(aged);
        if place.is_none() {
            self.lost_miss_s = Some(now_s);
        }
        let oldest = place.or_else(|| (0..WAYS).min_by_key(|&way| misses[way].at_s));
        if let Some(way) = oldest {
            misses[way] = fresh;
        }
    }

    /// `key` is invalidated here, as number `count`; only a value with `hash` would be fresh.
    pub fn invalidated(&mut self, key: u64, hash: Option<u128>, count: u64, now_s: u32) {
        let bucket = self.bucket(key);
        let entries = &mut self.invalidations[bucket];
        let place = entries
            .iter()
            .position(|entry| entry.count > 0 && entry.key == key)
            .or_else(|| entries.iter().position(|entry| entry.count == 0))
            .or_else(|| (0..WAYS).min_by_key(|&way| entries[way].count));
        let Some(way) = place else { return };
        let entry = &mut entries[way];
        let same = entry.count > 0 && entry.key == key;
        if !same {
            self.floor = self.floor.max(entry.count);
        }
        let recent = same && now_s.saturating_sub(entry.at_s) <= FOREIGN_MISS_S;
        let rounds = if recent { entry.rounds } else { 0 };
        let other = match same {
            true if entry.hash == hash => entry.other,
            true => entry.count,
            false => 0,
        };
        *entry = Invalidation { key, count, at_s: now_s, hash, other, rounds };
    }

    /// Everything is invalidated at once, as number `count`.
    pub fn flushed(&mut self, count: u64) {
        self.floor = self.floor.max(count);
    }

    /// A copy of `key` was found to differ and deleted; how many times in a row by now.
    pub fn differed(&mut self, key: u64) -> u8 {
        let bucket = self.bucket(key);
        let entry = self.invalidations[bucket].iter_mut().find(|entry| entry.count > 0 && entry.key == key);
        entry.map_or(0, |entry| {
            entry.rounds = entry.rounds.saturating_add(1);
            entry.rounds
        })
    }

    /// How many times in a row a copy of `key` differed.
    #[must_use]
    pub fn rounds(&self, key: u64) -> u8 {
        self.last(key).map_or(0, |entry| entry.rounds)
    }

    /// A client on `connection` sets `key`.
    pub fn storing(&mut self, key: u64, connection: u64, hash: Option<u128>, now_s: u32) -> Storing {
        let bucket = self.bucket(key);
        self.sets += 1;
        let before = std::mem::replace(&mut self.newest[bucket.start / WAYS], self.sets);
        let known = |m: &Miss| m.used && m.key == key && now_s.saturating_sub(m.at_s) <= MAX_AGE_S;
        let own =
            bucket.clone().find(|&at| known(&self.misses[at]) && self.misses[at].connection == connection);
        if let Some(at) = own {
            let miss = std::mem::take(&mut self.misses[at]);
            let stale = self.overtaken(key, hash, miss.count);
            let reread = miss.sure && !stale && before <= miss.sets;
            let reread = reread.then_some(self.sets);
            return Storing { refill: miss.sure, stale, since: Some(miss.count), reread };
        }
        let recent = |m: &Miss| known(m) && now_s.saturating_sub(m.at_s) <= FOREIGN_MISS_S;
        let foreign = bucket.filter(|&at| recent(&self.misses[at])).min_by_key(|&at| self.misses[at].count);
        if let Some(at) = foreign {
            let miss = self.misses[at];
            let stale = self.overtaken(key, hash, miss.count);
            if !stale {
                self.misses[at].used = false;
            }
            return Storing { refill: miss.sure, stale, since: Some(miss.count), reread: None };
        }
        let lost = self.lost_miss_s.is_some_and(|at| now_s.saturating_sub(at) <= FOREIGN_MISS_S);
        let stale = lost
            && self.last(key).is_some_and(|entry| {
                let told = hash.is_some() && entry.hash == hash && entry.other == 0;
                now_s.saturating_sub(entry.at_s) <= FOREIGN_MISS_S && !told
            });
        Storing { refill: false, stale, since: None, reread: None }
    }

    /// Whether no set of `key` came after the one of that number. What is in order before that one when this is asked came before.
    #[must_use]
    pub fn is_newest(&self, key: u64, set: u64) -> bool {
        self.newest[self.bucket(key).start / WAYS] == set
    }

    /// Whether `key` was invalidated after `since`, other than towards the very value with `hash`.
    #[must_use]
    pub fn overtaken(&self, key: u64, hash: Option<u128>, since: u64) -> bool {
        match self.last(key) {
            Some(entry) if entry.count > since => {
                hash.is_none() || entry.hash != hash || entry.other > since || entry.count < self.floor
            }
            _ => since < self.floor,
        }
    }

    fn last(&self, key: u64) -> Option<&Invalidation> {
        self.invalidations[self.bucket(key)].iter().find(|entry| entry.count > 0 && entry.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 7 << 32;

    #[test]
    fn a_set_after_an_invalidation_of_its_miss_is_stale() {
        let mut fences = Fences::new(4);
        fences.missed(K, 1, true, 0, 10);
        fences.invalidated(K, None, 1, 11);
        let storing = fences.storing(K, 1, Some(5), 12);
        assert!(storing.stale && storing.refill);
        assert!(!fences.storing(K, 1, Some(5), 12).stale, "the miss was used up");
    }

    #[test]
    fn a_miss_after_the_invalidation_is_fresh_even_beside_an_older_one() {
        let mut fences = Fences::new(4);
        fences.missed(K, 1, true, 0, 10);
        fences.invalidated(K, None, 1, 11);
        fences.missed(K, 2, true, 1, 12);
        assert!(!fences.storing(K, 2, Some(5), 13).stale);
        assert!(fences.storing(K, 1, Some(5), 13).stale);
    }

    #[test]
    fn a_set_from_another_connection_is_measured_by_the_oldest_miss_and_leaves_it() {
        let mut fences = Fences::new(4);
        fences.missed(K, 1, true, 0, 10);
        fences.invalidated(K, None, 1, 11);
        assert!(fences.storing(K, 3, Some(5), 12).stale);
        assert!(fences.storing(K, 4, Some(5), 12).stale, "nobody knows whose set it was");
        assert!(!fences.storing(K, 4, Some(5), 12 + 31).stale);
    }

    #[test]
    fn the_value_that_the_invalidation_asks_for_is_not_stale() {
        let mut fences = Fences::new(4);
        fences.missed(K, 1, true, 0, 10);
        fences.invalidated(K, Some(5), 1, 11);
        assert!(!fences.storing(K, 1, Some(5), 12).stale);
    }

    #[test]
    fn an_older_invalidation_that_comes_again_does_not_make_its_value_fresh() {
        let mut fences = Fences::new(4);
        fences.missed(K, 1, true, 1, 10);
        for (count, hash) in [(2, 6), (3, 5)] {
            fences.invalidated(K, Some(hash), count, 11);
        }
        assert!(fences.overtaken(K, Some(5), 1), "6 may be the newer one");
        assert!(!fences.overtaken(K, Some(5), 2), "who missed in between saw at least 6");
        assert!(fences.storing(K, 1, Some(5), 12).stale);
    }

    #[test]
    fn a_forgotten_invalidation_overtakes_every_older_miss() {
        let mut fences = Fences::new(1);
        fences.missed(K, 1, true, 0, 10);
        fences.invalidated(K, None, 1, 10);
        for other in 1..=8u64 {
            fences.invalidated(K + other, None, 1 + other, 10);
        }
        assert!(fences.storing(K, 1, Some(5), 12).stale);
    }

    #[test]
    fn a_forgotten_miss_makes_sets_without_a_miss_suspect() {
        let mut fences = Fences::new(1);
        for connection in 0..9 {
            fences.missed(K + connection, connection, true, 0, 10);
        }
        fences.invalidated(K, None, 1, 11);
        assert!(fences.storing(K, 0, Some(5), 12).stale);
        assert!(!fences.storing(K + 100, 0, Some(5), 12).stale, "never invalidated");
    }

    #[test]
    fn a_refill_is_a_reread_unless_its_key_was_set_after_its_miss() {
        let mut fences = Fences::new(4);
        let set = |fences: &mut Fences, connection| fences.storing(K, connection, Some(5), 11).reread;
        set(&mut fences, 9);
        fences.missed(K, 1, true, 1, 10);
        let own = set(&mut fences, 1);
        assert!(own.is_some_and(|own| fences.is_newest(K, own)), "its reader saw the write");
        set(&mut fences, 9);
        assert!(own.is_some_and(|own| !fences.is_newest(K, own)), "another write may be in order before it");
        fences.missed(K, 1, true, 1, 10);
        set(&mut fences, 9);
        assert_eq!(set(&mut fences, 1), None, "it may have read before the write");
        fences.missed(K, 2, true, 1, 10);
        assert_eq!(set(&mut fences, 3), None, "nobody knows whose set it was");
        fences.missed(K, 2, false, 1, 10);
        assert_eq!(set(&mut fences, 2), None, "not sure");
        fences.missed(K, 2, true, 1, 10);
        fences.invalidated(K, None, 2, 11);
        assert_eq!(set(&mut fences, 2), None, "stale");
    }

    #[test]
    fn rounds_are_counted_while_they_follow_closely() {
        let mut fences = Fences::new(4);
        for round in 1..=3 {
            fences.invalidated(K, None, u64::from(round), 10 + u32::from(round));
            assert_eq!(fences.differed(K), round);
        }
        fences.invalidated(K, None, 9, 100);
        assert_eq!(fences.differed(K), 1);
    }
}
