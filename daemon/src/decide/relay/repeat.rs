//! What a region applies once more: after the store's replication lag, or because a key was slowed. Never applies anything, and knows
//! whom to tell once nothing of a batch is left to be done.
//!
//! Two things are not applied once more, since that would only cost fresh copies. What the same sender followed by a write of the same
//! key: the write's own repetition covers it, and one connection keeps its order. And a refill that found an equal copy: this region's
//! store has the row already.
//!
//! A [reread](Item::Reread) says what the writes before it became: the sender's store had them when it was read, so that if one of them
//! was the last of all, the value that was read is that write's. What is left of them is therefore compared with that value, at their
//! own time. So a region that wrote, and then took over what another wrote since, makes nobody forget that. A key that is to be forgotten
//! in any case is: an operator may have asked for it, who wrote nothing.
//!
//! Memory is bounded by [`Repeats::full`]: its owner takes nothing new then.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::effect::Effect;
use super::item::{Item, Items};
use super::lane::Pass;

/// Most bytes that wait, with what each entry costs beside its items.
const MOST: usize = 64 * 1024 * 1024;
/// What an entry costs beside its items.
const ENTRY: usize = 192;
/// What each item costs beside its bytes: with its place in the table of the newest, half of which may be empty.
const ITEM: usize = 104;
/// Most bytes taken at once.
const TAKE: usize = 256 * 1024;
/// Refills of a key that differed in a row, until it is slowed.
const ROUNDS: u8 = 5;
/// How long a slowed key's copy stays.
pub const SLOWED: Duration = Duration::from_secs(1);

/// Whether a copy that differs from this item stays for a while: `rounds` times in a row it did before.
#[must_use]
pub fn slows(item: &Item<'_>, rounds: u8) -> bool {
    matches!(item, Item::Refill(..) | Item::Reread(..)) && rounds >= ROUNDS
}

/// One batch of a sender, as it was applied.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The connection that it came over.
    pub sender: u64,
    /// Its items.
    pub items: &'a [u8],
}

/// Items of one sender that wait.
#[derive(Debug)]
struct Part {
    due: Instant,
    group: u64,
    sender: u64,
    /// Number of the first item.
    first: u64,
    weight: usize,
    items: Vec<u8>,
}

/// The newest that is known of a sender's key; numbers are those of items, from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its newest item that waits.
    item: u64,
    /// Its newest write; 0 without one.
    write: u64,
    /// What items before this number became; 0 where nobody said.
    reread: u64,
    /// The hash of that, in bytes since their order is of no account here and a number's would cost room.
    hash: [u8; 16],
}

/// By key and sender.
type Newest = HashMap<u64, Known, BuildHasherDefault<Pass>>;

/// A short key's hash is no more than its bytes and the seed laid over each other before they are stirred: with seeds as near to each other
/// as the senders' numbers, one sender's key would often have the name of another's.
fn name(key: &[u8], sender: u64, seed: u64) -> u64 {
    xxh3_64_with_seed(key, xxh3_64_with_seed(&sender.to_le_bytes(), seed))
}

/// What is due, for [`Repeats::done`] once it was applied.
#[derive(Debug, Default)]
pub struct Taken {
    /// The items.
    pub items: Vec<u8>,
    /// Each part's group and weight.
    groups: Vec<(u64, usize)>,
}

/// What waits for its repetition; `W` names who is told when nothing of a group is left.
#[derive(Debug)]
pub struct Repeats<W> {
    after: Duration,
    seed: u64,
    later: VecDeque<Part>,
    slowed: VecDeque<Part>,
    newest: Newest,
    /// Parts to come, and who waits for them.
    groups: HashMap<u64, (usize, Vec<W>)>,
    /// Of the next group.
    group: u64,
    /// Of the next item.
    next: u64,
    bytes: usize,
}

impl<W> Repeats<W> {
    /// Everything is due again `after` it was applied; zero repeats only what was slowed. `seed` is any number that clients cannot know.
    #[must_use]
    pub fn new(after: Duration, seed: u64) -> Self {
        Self {
            after,
            seed,
            later: VecDeque::new(),
            slowed: VecDeque::new(),
            newest: Newest::default(),
            groups: HashMap::new(),
            group: 0,
            next: 1,
            bytes: 0,
        }
    }

    /// `batches` were applied, but for the items of `slowed`; `equal` says whether the item at a place, over all batches, found an
    /// equal copy. Whoever need not wait for a repetition is given back.
    pub fn applied(
        &mut self,
        batches: &[Batch<'_>],
        equal: impl Fn(usize) -> bool,
        slowed: Vec<u8>,
        words: Vec<W>,
        now: Instant,
    ) -> Option<Vec<W>> {
        let (group, mut parts, mut place) = (self.group, 0, 0);
        self.group += 1;
        if !self.after.is_zero() {
            for batch in batches {
                let from = place;
                place += Items::new(batch.items).count();
                parts += usize::from(self.keep(batch, |at| equal(from + at), group, now));
            }
        }
        if !slowed.is_empty() {
            let part =
                Part { due: now + SLOWED, group, sender: 0, first: u64::MAX, weight: 0, items: slowed };
            parts += 1;
            Self::push(&mut self.slowed, &mut self.bytes, part);
        }
        if parts == 0 {
            return Some(words);
        }
        self.groups.insert(group, (parts, words));
        None
    }

    /// Keeps what of a batch is to be applied once more; whether there is any.
    fn keep(&mut self, batch: &Batch<'_>, equal: impl Fn(usize) -> bool, group: u64, now: Instant) -> bool {
        let (mut kept, first) = (Vec::with_capacity(batch.items.len()), self.next);
        for (at, item) in Items::new(batch.items).enumerate() {
            if let Item::Reread(key, hash) = item
                && let Some(known) = self.newest.get_mut(&name(key, batch.sender, self.seed))
            {
                (known.reread, known.hash) = (self.next, hash.to_le_bytes());
            }
            let needless = match item {
                // A flush to come is repeated after it came.
                Item::Verify(..) | Item::Flush(1..) => true,
                Item::Refill(..) | Item::Reread(..) => equal(at),
                _ => false,
            };
            if needless {
                continue;
            }
            item.write(&mut kept);
            if let Some((key, effect)) = item.key() {
                let known = self.newest.entry(name(key, batch.sender, self.seed)).or_default();
                known.item = self.next;
                // A refill may be read before what it seems to follow: it takes nothing's place.
                if !matches!(effect, Effect::Refill(_)) {
                    known.write = self.next;
                }
            }
            self.next += 1;
        }
        if kept.is_empty() {
            return false;
        }
        let due = now + self.after;
        let part = Part { due, group, sender: batch.sender, first, weight: 0, items: kept };
        Self::push(&mut self.later, &mut self.bytes, part);
        true
    }

    fn push(queue: &mut VecDeque<Part>, bytes: &mut usize, mut part: Part) {
        part.weight = part.items.len() + Items::new(&part.items).count() * ITEM + ENTRY;
        *bytes += part.weight;
        queue.push_back(part);
    }

    /// When the first is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let first = |queue: &VecDeque<Part>| queue.front().map(|part| part.due);
        first(&self.later).into_iter().chain(first(&self.slowed)).min()
    }

    /// What is due now, not everything at once.
    pub fn take(&mut self, now: Instant) -> Taken {
        let mut taken = Taken::default();
        let Self { later, slowed, newest, seed, .. } = self;
        let due = |queue: &VecDeque<Part>| queue.front().is_some_and(|part| part.due <= now);
        while due(later) && taken.items.len() <= TAKE {
            let Some(part) = later.pop_front() else { break };
            for (number, item) in (part.first..).zip(Items::new(&part.items)) {
                let name = |key: &[u8]| name(key, part.sender, *seed);
                if let Some(item) = again(newest, item, name, number) {
                    item.write(&mut taken.items);
                }
            }
            taken.groups.push((part.group, part.weight));
        }
        while due(slowed) && taken.items.len() <= TAKE {
            let Some(part) = slowed.pop_front() else { break };
            taken.items.extend_from_slice(&part.items);
            taken.groups.push((part.group, part.weight));
        }
        if later.is_empty() && newest.capacity() > 64 * 1024 {
            newest.shrink_to_fit();
        }
        taken
    }

    /// It was applied: who has nothing left to wait for.
    pub fn done(&mut self, taken: Taken) -> Vec<W> {
        let mut words = Vec::new();
        for (group, bytes) in taken.groups {
            self.bytes -= bytes;
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

/// What an item asks for by now, unless a later write of the same sender covers it. Of a key whose newest item this is, all is forgotten.
fn again<'a>(
    newest: &mut Newest,
    item: Item<'a>,
    name: impl Fn(&[u8]) -> u64,
    number: u64,
) -> Option<Item<'a>> {
    let Some((key, effect)) = item.key() else { return Some(item) };
    let name = name(key);
    let Some(&known) = newest.get(&name) else { return Some(item) };
    if known.item == number {
        newest.remove(&name);
    }
    if known.write > number {
        return None;
    }
    let became = known.reread > number && effect != Effect::Forget;
    Some(if became { Item::Differs(key, u128::from_le_bytes(known.hash)) } else { item })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(items: &[Item<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write(&mut bytes));
        bytes
    }

    const AFTER: Duration = Duration::from_secs(2);
    const SEED: u64 = 1;

    fn batch(items: &[u8]) -> [Batch<'_>; 1] {
        [Batch { sender: 1, items }]
    }

    #[test]
    fn a_group_is_told_after_its_last_part() {
        let (mut repeats, now) = (Repeats::new(AFTER, SEED), Instant::now());
        let all = bytes(&[Item::Forget(b"a"), Item::Verify(b"v", 1)]);
        let slowed = bytes(&[Item::Differs(b"s", 2)]);
        assert_eq!(repeats.applied(&batch(&all), |_| false, slowed.clone(), vec![7], now), None);
        assert_eq!(repeats.due(), Some(now + SLOWED));
        let taken = repeats.take(now + SLOWED);
        assert_eq!(taken.items, slowed);
        assert!(repeats.done(taken).is_empty(), "the repetition is still to come");
        let taken = repeats.take(now + AFTER);
        assert_eq!(taken.items, bytes(&[Item::Forget(b"a")]));
        assert_eq!(repeats.done(taken), [7]);
        assert_eq!((repeats.due(), repeats.bytes, repeats.newest.len()), (None, 0, 0));
    }

    #[test]
    fn without_a_repetition_nobody_waits_but_for_what_was_slowed() {
        let (mut repeats, now) = (Repeats::new(Duration::ZERO, SEED), Instant::now());
        let all = bytes(&[Item::Refill(b"a", 1)]);
        assert_eq!(repeats.applied(&batch(&all), |_| false, Vec::new(), vec![1], now), Some(vec![1]));
        let slowed = bytes(&[Item::Differs(b"a", 1)]);
        assert_eq!(repeats.applied(&batch(&all), |_| false, slowed, vec![2], now), None);
        let taken = repeats.take(now + SLOWED);
        assert_eq!(repeats.done(taken), [2]);
    }

    #[test]
    fn a_later_write_of_the_same_sender_covers_an_earlier_one_and_nothing_else_does() {
        let (mut repeats, now) = (Repeats::new(AFTER, SEED), Instant::now());
        let one = bytes(&[Item::Differs(b"a", 1), Item::Differs(b"b", 1), Item::Refill(b"c", 1)]);
        let two = bytes(&[Item::Differs(b"a", 2), Item::Refill(b"b", 2), Item::Forget(b"c")]);
        let other = bytes(&[Item::Differs(b"a", 3)]);
        let batches = [(1, &one), (1, &two), (2, &other)].map(|(sender, items)| Batch { sender, items });
        assert_eq!(repeats.applied(&batches, |_| false, Vec::new(), vec![()], now), None);
        let left = [
            Item::Differs(b"b", 1),
            Item::Differs(b"a", 2),
            Item::Refill(b"b", 2),
            Item::Forget(b"c"),
            Item::Differs(b"a", 3),
        ];
        let taken = repeats.take(now + AFTER);
        assert_eq!(taken.items, bytes(&left));
        assert_eq!(repeats.done(taken), [()]);
        assert_eq!((repeats.bytes, repeats.newest.len()), (0, 0));
    }

    #[test]
    fn a_refill_that_found_its_equal_is_not_repeated_but_a_write_is() {
        let (mut repeats, now) = (Repeats::new(AFTER, SEED), Instant::now());
        let items = bytes(&[Item::Refill(b"a", 1), Item::Differs(b"b", 1), Item::Refill(b"c", 1)]);
        assert_eq!(repeats.applied(&batch(&items), |at| at < 2, Vec::new(), vec![()], now), None);
        assert_eq!(repeats.take(now + AFTER).items, bytes(&[Item::Differs(b"b", 1), Item::Refill(b"c", 1)]));
        let alone = bytes(&[Item::Refill(b"a", 1)]);
        assert_eq!(repeats.applied(&batch(&alone), |_| true, Vec::new(), vec![()], now), Some(vec![()]));
    }

    #[test]
    fn a_reread_says_what_the_writes_before_it_became_and_no_others() {
        let (mut repeats, now) = (Repeats::new(AFTER, SEED), Instant::now());
        let mut apply = |sender, item: Item<'_>, equal: bool, later_ms| {
            let (items, at) = (bytes(&[item]), now + Duration::from_millis(later_ms));
            repeats.applied(&[Batch { sender, items: &items }], |_| equal, Vec::new(), vec![()], at);
        };
        apply(1, Item::Differs(b"a", 1), false, 0);
        apply(1, Item::Forget(b"c"), false, 0);
        apply(1, Item::Forget(b"b"), false, 0);
        apply(2, Item::Differs(b"a", 2), false, 0);
        apply(1, Item::Reread(b"a", 2), true, 1);
        apply(1, Item::Reread(b"b", 5), false, 1);
        apply(1, Item::Reread(b"b", 6), true, 2);
        apply(1, Item::Reread(b"c", 2), true, 1);
        apply(1, Item::Refill(b"a", 7), false, 3);
        apply(1, Item::Differs(b"b", 8), false, 4);
        let first = repeats.take(now + AFTER);
        let left = [Item::Differs(b"a", 2), Item::Forget(b"c"), Item::Differs(b"a", 2)];
        assert_eq!(first.items, bytes(&left), "b was written anew");
        let rest = repeats.take(now + 2 * AFTER);
        assert_eq!(rest.items, bytes(&[Item::Refill(b"a", 7), Item::Differs(b"b", 8)]));
        assert_eq!(repeats.done(first).len() + repeats.done(rest).len(), 7);
        assert_eq!((repeats.bytes, repeats.newest.len()), (0, 0));
    }

    #[test]
    fn no_key_of_one_sender_has_the_name_of_another_senders_key() {
        let mut names = HashMap::new();
        for sender in 1..=16 {
            for key in ["k", "key:", "user:profile:", "a/rather/longer/name/of/a/key/"] {
                for number in 0..1_000 {
                    let key = format!("{key}{number}");
                    let before = names.insert(name(key.as_bytes(), sender, SEED), (key.clone(), sender));
                    assert_eq!(before, None, "{key} of {sender} as well");
                }
            }
        }
    }

    #[test]
    fn many_small_batches_reach_the_bound_as_few_large_ones_do() {
        let (mut repeats, now) = (Repeats::new(AFTER, SEED), Instant::now());
        let small = bytes(&[Item::Forget(b"a")]);
        let mut count = 0;
        while !repeats.full() {
            repeats.applied(&batch(&small), |_| false, Vec::new(), vec![()], now);
            count += 1;
        }
        assert!(count < MOST / ENTRY + 1, "{count}");
    }
}
