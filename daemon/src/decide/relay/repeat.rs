//! What a region applies once more: after the store's replication lag, or because a key was slowed. Never applies anything, and knows
//! whom to tell once nothing of a batch is left to be done.
//!
//! Memory is bounded by [`Repeats::full`]: its owner takes nothing new then.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::item::{Item, Items};

/// Most bytes that wait, with what each entry costs beside its items.
const MOST: usize = 64 * 1024 * 1024;
/// What an entry costs beside its items.
const ENTRY: usize = 192;
/// Most bytes taken at once.
const TAKE: usize = 256 * 1024;
/// Refills of a key that differed in a row, until it is slowed.
const ROUNDS: u8 = 5;
/// How long a slowed key's copy stays.
pub const SLOWED: Duration = Duration::from_secs(1);

/// Whether a copy that differs from this item stays for a while: `rounds` times in a row it did before.
#[must_use]
pub fn slows(item: &Item<'_>, rounds: u8) -> bool {
    matches!(item, Item::Refill(..)) && rounds >= ROUNDS
}

/// Entries that are due the same while after they came.
#[derive(Debug)]
struct Queue {
    after: Duration,
    waiting: VecDeque<(Instant, u64, Vec<u8>)>,
}

impl Queue {
    fn take(&mut self, now: Instant, taken: &mut Taken) {
        while self.waiting.front().is_some_and(|&(at, ..)| at <= now) && taken.items.len() <= TAKE {
            let Some((_, group, items)) = self.waiting.pop_front() else { return };
            taken.items.extend_from_slice(&items);
            taken.groups.push((group, items.len()));
        }
    }
}

/// What is due, for [`Repeats::done`] once it was applied.
#[derive(Debug, Default)]
pub struct Taken {
    /// The items.
    pub items: Vec<u8>,
    groups: Vec<(u64, usize)>,
}

/// What waits for its repetition; `W` names who is told when nothing of a group is left.
#[derive(Debug)]
pub struct Repeats<W> {
    later: Queue,
    slowed: Queue,
    groups: HashMap<u64, (u8, Vec<W>)>,
    next: u64,
    bytes: usize,
}

impl<W> Repeats<W> {
    /// Everything is due again `after` it was applied; zero repeats only what was slowed.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        let queue = |after| Queue { after, waiting: VecDeque::new() };
        Self { later: queue(after), slowed: queue(SLOWED), groups: HashMap::new(), next: 0, bytes: 0 }
    }

    /// `items` were applied, but for those of `slowed`. Whoever need not wait for a repetition is given back.
    pub fn applied(&mut self, items: &[u8], slowed: Vec<u8>, words: Vec<W>, now: Instant) -> Option<Vec<W>> {
        let kept = if self.later.after.is_zero() { Vec::new() } else { without_checks(items) };
        let group = self.next;
        self.next += 1;
        let mut parts = 0;
        for (queue, items) in [(&mut self.later, kept), (&mut self.slowed, slowed)] {
            if !items.is_empty() {
                self.bytes += items.len() + ENTRY;
                queue.waiting.push_back((now + queue.after, group, items));
                parts += 1;
            }
        }
        if parts == 0 {
            return Some(words);
        }
        self.groups.insert(group, (parts, words));
        None
    }

    /// When the first is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let first = |queue: &Queue| queue.waiting.front().map(|&(at, ..)| at);
        first(&self.later).into_iter().chain(first(&self.slowed)).min()
    }

    /// What is due now, not everything at once.
    pub fn take(&mut self, now: Instant) -> Taken {
        let mut taken = Taken::default();
        self.later.take(now, &mut taken);
        self.slowed.take(now, &mut taken);
        taken
    }

    /// It was applied: who has nothing left to wait for.
    pub fn done(&mut self, taken: Taken) -> Vec<W> {
        let mut words = Vec::new();
        for (group, bytes) in taken.groups {
            self.bytes -= bytes + ENTRY;
            let Some((parts, _)) = self.groups.get_mut(&group) else { continue };
            *parts -= 1;
            if *parts == 0
                && let Some((_, told)) = self.groups.remove(&group)
            {
                words.extend(told);
            }
        }
        words
    }

    /// Whether the bound is reached.
    #[must_use]
    pub fn full(&self) -> bool {
        self.bytes >= MOST
    }
}

/// Read-backs are not repeated.
fn without_checks(items: &[u8]) -> Vec<u8> {
    if !Items::new(items).any(|item| matches!(item, Item::Verify(..))) {
        return items.to_vec();
    }
    let mut kept = Vec::new();
    Items::new(items).filter(|item| !matches!(item, Item::Verify(..))).for_each(|item| item.write(&mut kept));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(items: &[Item<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write(&mut bytes));
        bytes
    }

    #[test]
    fn a_group_is_told_after_its_last_part() {
        let (mut repeats, now) = (Repeats::new(Duration::from_secs(2)), Instant::now());
        let (all, slowed) =
            (bytes(&[Item::Forget(b"a"), Item::Verify(b"v", 1)]), bytes(&[Item::Differs(b"s", 2)]));
        assert_eq!(repeats.applied(&all, slowed.clone(), vec![7], now), None);
        assert_eq!(repeats.due(), Some(now + SLOWED));
        let taken = repeats.take(now + SLOWED);
        assert_eq!(taken.items, slowed);
        assert!(repeats.done(taken).is_empty(), "the repetition is still to come");
        let taken = repeats.take(now + Duration::from_secs(2));
        assert_eq!(taken.items, bytes(&[Item::Forget(b"a")]));
        assert_eq!(repeats.done(taken), [7]);
        assert_eq!((repeats.due(), repeats.bytes), (None, 0));
    }

    #[test]
    fn without_a_repetition_nobody_waits_but_for_what_was_slowed() {
        let (mut repeats, now) = (Repeats::new(Duration::ZERO), Instant::now());
        let all = bytes(&[Item::Refill(b"a", 1)]);
        assert_eq!(repeats.applied(&all, Vec::new(), vec![1], now), Some(vec![1]));
        assert_eq!(repeats.applied(&all, bytes(&[Item::Differs(b"a", 1)]), vec![2], now), None);
        let taken = repeats.take(now + SLOWED);
        assert_eq!(repeats.done(taken), [2]);
    }

    #[test]
    fn many_small_batches_reach_the_bound_as_few_large_ones_do() {
        let (mut repeats, now) = (Repeats::new(Duration::from_secs(2)), Instant::now());
        let small = bytes(&[Item::Forget(b"a")]);
        let mut count = 0;
        while !repeats.full() {
            repeats.applied(&small, Vec::new(), vec![()], now);
            count += 1;
        }
        assert!(count < MOST / ENTRY + 1, "{count}");
    }
}
