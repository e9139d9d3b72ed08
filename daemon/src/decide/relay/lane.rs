//! What one region must still forget of one pool: coalescing, books, and rows for the spool. Never touches a disk, never sends.
//!
//! Items are numbered. A row holds neighbours; its name is the number of its first item. A key has at most one *live* item, the one
//! that the index names; others of it are dead and only cost space until their row goes. What was handed out to a link (numbers below
//! `sent`) may be on its way, so a new capture of such a key becomes a new item; before that, it melts into the one that waits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::books::Books;
use super::delay;
use super::item::{Item, Items};

/// Most bytes of items in a row.
pub const ROW_BYTES: usize = 128 * 1024;
/// Most items in a row.
pub const ROW_ITEMS: u32 = 4096;

/// Neighbouring items, as stored and as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the first item.
    pub first: u64,
    /// When they were captured, in milliseconds since 1970.
    pub at_ms: u64,
    /// How many there are.
    pub count: u32,
    /// The items, see [`Item`].
    pub items: Vec<u8>,
}

impl Row {
    /// Number of the item behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Its items as they are said now: delays count from when they were captured.
    #[must_use]
    pub fn said(&self, now_ms: u64) -> Cow<'_, [u8]> {
        delay::left(&self.items, self.at_ms, now_ms)
    }

    /// What it weighs in the spool, with the store's overhead.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.items.len() as u64 + 64
    }
}

/// The index's keys are hashes already.
#[derive(Default)]
pub struct Pass(u64);

impl Hasher for Pass {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
    fn write_u128(&mut self, value: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is a hash")]
        let low = value as u64;
        self.0 = low;
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u64,
    /// 0 forgets in any case, else a part of the hash and, in the last two bits, how much is done for it: more for a write than for a
    /// refill.
    mark: u64,
}

impl Slot {
    /// Whether something with this mark is said by this one already.
    fn covers(self, mark: u64) -> bool {
        self.mark == 0 || (self.same(mark) && self.mark >= mark)
    }

    /// Whether the same copy may stay.
    fn same(self, mark: u64) -> bool {
        self.mark != 0 && mark != 0 && self.mark >> 2 == mark >> 2
    }
}

/// One pool towards one region.
pub struct Lane {
    seed: u64,
    index: HashMap<u128, Slot, BuildHasherDefault<Pass>>,
    /// The flush that waits or is on its way: its number, and whether it stands for keys given up singly.
    flush: Option<(u64, bool)>,
    /// The newest flush that is to take effect later, which waits or is on its way: its number and delay in seconds. It takes the place of
    /// the one before, as with memcached itself.
    later: Option<(u64, u32)>,
    books: Books,
    next: u64,
    sent: u64,
    row: Vec<u8>,
    row_count: u32,
    /// Rows below this number are void: a flush covers them.
    void_below: Option<u64>,
}

impl Lane {
    /// An empty lane with the books and the item number of before; `seed` is any number that clients cannot know.
    #[must_use]
    pub fn new(seed: u64, books: Books, next: u64) -> Self {
        Self {
            seed,
            index: HashMap::default(),
            flush: None,
            later: None,
            books,
            next,
            sent: 0,
            row: Vec::new(),
            row_count: 0,
            void_below: None,
        }
    }

    /// Takes back a row from the spool, oldest first.
    pub fn restore(&mut self, row: &Row) {
        for (number, item) in (row.first..).zip(Items::new(&row.items)) {
            match item {
                Item::Flush(0) => {
                    self.index.clear();
                    (self.flush, self.later) = (Some((number, false)), None);
                }
                Item::Flush(delay_s) => self.later = Some((number, delay_s)),
                _ => {
                    let (name, mark) = self.name(&item);
                    self.index.insert(name, Slot { number, mark });
                }
            }
        }
        self.next = self.next.max(row.end());
    }

    /// Ends [`Self::restore`]: what the books miss against the rows is closed, and said.
    pub fn reconcile(&mut self) -> u64 {
        let there = self.pending();
        let due = self.books.pending().unwrap_or(0);
        if due >= there {
            // Rows that a later item of the same key covers.
            self.books.coalesced += due - there;
            return 0;
        }
        let extra = there - due;
        self.books.captured += extra;
        extra
    }

    /// Takes an invalidation; it is in the next row, or melts into what waits.
    pub fn capture(&mut self, item: &Item<'_>) {
        self.books.captured += 1;
        if let Item::Flush(delay_s @ 1..) = *item {
            self.books.coalesced += u64::from(self.later.is_some());
            return self.flush_later(delay_s);
        }
        if let Some((number, given_up)) = self.flush
            && number >= self.sent
        {
            if given_up {
                self.books.converted += 1;
            } else {
                self.books.coalesced += 1;
            }
            return;
        }
        if *item == Item::Flush(0) {
            self.flush_all(false);
            return;
        }
        let (name, mark) = self.name(item);
        let number = self.next;
        match self.index.get_mut(&name) {
            Some(slot) => {
                self.books.coalesced += 1;
                let waits = slot.number >= self.sent;
                if waits && slot.covers(mark) {
                    return;
                }
                let forgets = waits && !slot.same(mark);
                *slot = Slot { number, mark: if forgets { 0 } else { mark } };
                match item.key() {
                    Some((key, _)) if forgets => self.append(&Item::Forget(key)),
                    _ => self.append(item),
                }
            }
            None => {
                self.index.insert(name, Slot { number, mark });
                self.append(item);
            }
        }
    }

    /// Gives up all keys for one flush of the pool; returns how many keys that were.
    pub fn convert(&mut self) -> u64 {
        let pending = self.at_once();
        if pending == 0 || self.flush.is_some_and(|(number, _)| number >= self.sent) {
            return 0;
        }
        self.flush_all(true);
        pending
    }

    /// This host cannot say what it had captured; with `flush`, everything is to be forgotten.
    pub fn unknown(&mut self, flush: bool) {
        self.books.unknown += 1;
        if flush {
            self.capture(&Item::Flush(0));
        }
    }

    /// One flush in the place of everything; what it covers leaves the books as coalesced or converted.
    fn flush_all(&mut self, given_up: bool) {
        // A flush asked for by a client is counted as captured by the caller and pending from here on; one that stands for given-up
        // keys takes the place of one of them.
        if given_up {
            self.books.converted += self.at_once() - 1;
        } else {
            self.books.coalesced += self.pending();
        }
        self.index.clear();
        self.row.clear();
        self.row_count = 0;
        let number = self.next;
        self.void_below = Some(number);
        self.flush = Some((number, given_up));
        self.append(&Item::Flush(0));
        // A client's takes the place of one to come; ours does not, and begins anew with its delay.
        if let Some((_, delay_s)) = self.later.take().filter(|_| given_up) {
            self.flush_later(delay_s);
        }
    }

    /// One flush that takes effect later, in the place of the one before.
    fn flush_later(&mut self, delay_s: u32) {
        self.later = Some((self.next, delay_s));
        self.append(&Item::Flush(delay_s));
    }

    fn append(&mut self, item: &Item<'_>) {
        item.write(&mut self.row);
        self.row_count += 1;
        self.next += 1;
    }

    /// Everything below this number is covered by a flush and leaves the spool; once.
    pub fn take_void(&mut self) -> Option<u64> {
        self.void_below.take()
    }

    /// Whether the row in the making should be taken before more is captured.
    #[must_use]
    pub fn row_full(&self) -> bool {
        self.row.len() >= ROW_BYTES || self.row_count >= ROW_ITEMS
    }

    /// The row of what was captured since the last one.
    pub fn take_row(&mut self, at_ms: u64) -> Option<Row> {
        let count = std::mem::take(&mut self.row_count);
        (count > 0).then(|| Row {
            first: self.next - u64::from(count),
            at_ms,
            count,
            items: std::mem::take(&mut self.row),
        })
    }

    /// A row is handed to a link: from now on its keys may be on their way.
    pub fn hand_out(&mut self, row: &Row) {
        self.sent = self.sent.max(row.end());
    }

    /// Whether no link has this row.
    #[must_use]
    pub fn waits(&self, row: &Row) -> bool {
        row.first >= self.sent
    }

    /// The other region said that it applied a row. Returns how many live items that were.
    pub fn applied(&mut self, row: &Row) -> u64 {
        let live = self.settle(row);
        self.books.applied += live;
        live
    }

    /// A row is older than any copy can be.
    pub fn expired(&mut self, row: &Row) -> u64 {
        let live = self.settle(row);
        self.books.expired += live;
        live
    }

    fn settle(&mut self, row: &Row) -> u64 {
        let mut live = 0;
        for (number, item) in (row.first..).zip(Items::new(&row.items)) {
            let was_live = match item {
                Item::Flush(0) => self.flush.take_if(|(flush, _)| *flush == number).is_some(),
                Item::Flush(_) => self.later.take_if(|(flush, _)| *flush == number).is_some(),
                _ => {
                    let name = self.name(&item).0;
                    let slot = self.index.get(&name).filter(|slot| slot.number == number);
                    slot.is_some() && self.index.remove(&name).is_some()
                }
            };
            live += u64::from(was_live);
        }
        if self.index.is_empty() && self.index.capacity() > 64 * 1024 {
            self.index.shrink_to_fit();
        }
        live
    }

    /// Items that wait or are on their way.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.at_once() + u64::from(self.later.is_some())
    }

    /// As [`Self::pending`], without the flush that takes effect later.
    fn at_once(&self) -> u64 {
        self.index.len() as u64 + u64::from(self.flush.is_some())
    }

    /// The books as they stand.
    #[must_use]
    pub fn books(&self) -> Books {
        self.books
    }

    fn name(&self, item: &Item<'_>) -> (u128, u64) {
        let (key, hash, kind) = match *item {
            Item::Flush(_) => return (u128::MAX, 0),
            Item::Forget(key) => return (xxh3_128_with_seed(key, self.seed), 0),
            Item::Refill(key, hash) => (key, hash, 1),
            Item::Reread(key, hash) => (key, hash, 2),
            Item::Differs(key, hash) | Item::Verify(key, hash) => (key, hash, 3),
        };
        #[expect(clippy::cast_possible_truncation, reason = "half a hash tells values apart")]
        let mark = (hash as u64) << 2 | kind;
        (xxh3_128_with_seed(key, self.seed), mark)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::decide::relay::effect::Effect;

    fn closed(lane: &Lane) -> bool {
        lane.books().pending() == Some(lane.pending())
    }

    #[test]
    fn a_key_that_waits_melts_and_one_on_its_way_is_sent_again() {
        let mut lane = Lane::new(1, Books::default(), 1);
        lane.capture(&Item::Differs(b"k", 10));
        lane.capture(&Item::Differs(b"k", 10));
        let first = lane.take_row(0).expect("a row");
        assert_eq!((first.count, lane.books().coalesced), (1, 1));
        lane.capture(&Item::Differs(b"k", 20));
        let second = lane.take_row(0).expect("another hash forgets in any case");
        assert_eq!(Items::new(&second.items).next(), Some(Item::Forget(b"k")));
        lane.hand_out(&second);
        lane.capture(&Item::Differs(b"k", 30));
        let third = lane.take_row(0).expect("superseded on its way");
        assert_eq!(Items::new(&third.items).next(), Some(Item::Differs(b"k", 30)));
        assert_eq!((lane.applied(&first), lane.applied(&second), lane.pending()), (0, 0, 1));
        assert_eq!(lane.applied(&third), 1);
        assert!(closed(&lane));
        assert_eq!(lane.pending(), 0);
    }

    #[test]
    fn a_write_does_not_melt_into_a_refill_of_the_same_value() {
        let mut lane = Lane::new(1, Books::default(), 1);
        for item in [Item::Refill(b"k", 1), Item::Reread(b"k", 1), Item::Differs(b"k", 1)] {
            lane.capture(&item);
            lane.capture(&Item::Refill(b"k", 1));
        }
        let row = lane.take_row(0).expect("a row");
        assert_eq!(items(&row), [Item::Refill(b"k", 1), Item::Reread(b"k", 1), Item::Differs(b"k", 1)]);
        assert_eq!((lane.pending(), lane.books().coalesced), (1, 5));
        assert!(closed(&lane));
    }

    #[test]
    fn a_full_spool_becomes_one_flush() {
        let mut lane = Lane::new(1, Books::default(), 1);
        for key in [b"a", b"b", b"c"] {
            lane.capture(&Item::Forget(key));
        }
        assert_eq!(lane.convert(), 3);
        lane.capture(&Item::Forget(b"d"));
        assert_eq!((lane.pending(), lane.books().converted, lane.books().captured), (1, 3, 4));
        assert_eq!(lane.take_void(), Some(4));
        let row = lane.take_row(0).expect("the flush");
        assert_eq!(lane.applied(&row), 1);
        assert!(closed(&lane) && lane.pending() == 0);
    }

    fn items(row: &Row) -> Vec<Item<'_>> {
        Items::new(&row.items).collect()
    }

    #[test]
    fn a_flush_to_come_takes_the_place_of_the_one_before_and_no_other_takes_its() {
        let mut lane = Lane::new(1, Books::default(), 1);
        lane.capture(&Item::Flush(0));
        lane.capture(&Item::Flush(10));
        lane.capture(&Item::Forget(b"k"));
        lane.capture(&Item::Flush(5));
        assert_eq!((lane.pending(), lane.books().coalesced), (2, 2));
        let row = lane.take_row(0).expect("both flushes");
        assert_eq!(items(&row), [Item::Flush(0), Item::Flush(10), Item::Flush(5)]);
        lane.hand_out(&row);
        lane.capture(&Item::Forget(b"k"));
        assert_eq!(lane.convert(), 2, "the key, and the flush that is on its way");
        let row = lane.take_row(0).expect("the keys' flush, and the one to come");
        assert_eq!(items(&row), [Item::Flush(0), Item::Flush(5)]);
        let mut again = Lane::new(2, lane.books(), 1);
        again.restore(&row);
        assert_eq!((again.reconcile(), again.pending()), (0, 2));
        assert!(closed(&lane) && closed(&again));
        lane.capture(&Item::Flush(0));
        assert_eq!(lane.convert(), 0);
        assert_eq!((lane.applied(&row), lane.pending()), (2, 0));
        lane.capture(&Item::Flush(7));
        lane.capture(&Item::Flush(0));
        let row = lane.take_row(0).expect("the flush at once, which a client asked for last");
        assert_eq!(items(&row), [Item::Flush(0)]);
        assert_eq!(lane.applied(&row), 1);
        assert!(closed(&lane) && lane.pending() == 0);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Capture(u8, Option<u8>),
        Flush(u32),
        Cut,
        HandOut,
        Apply,
        Convert,
        Expire,
        Crash,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            8 => (0u8..6, proptest::option::of(0u8..3)).prop_map(|(key, hash)| Act::Capture(key, hash)),
            1 => (0u32..2).prop_map(Act::Flush),
            4 => Just(Act::Cut),
            3 => Just(Act::HandOut),
            3 => Just(Act::Apply),
            1 => Just(Act::Convert),
            1 => Just(Act::Expire),
            1 => Just(Act::Crash),
        ]
    }

    /// A lane, its rows on disk, and what the other region must still be told.
    struct World {
        lane: Lane,
        rows: Vec<Row>,
        out: usize,
        owed: BTreeSet<u8>,
    }

    fn keys(row: &Row) -> impl Iterator<Item = Option<u8>> + '_ {
        let now = Items::new(&row.items).filter(|item| !matches!(item, Item::Flush(1..)));
        now.map(|item| item.key().map(|(key, _)| key[0]))
    }

    impl World {
        fn cut(&mut self) {
            if let Some(void) = self.lane.take_void() {
                self.rows.retain(|row| row.first >= void);
                self.out = 0;
            }
            self.rows.extend(self.lane.take_row(0));
        }

        /// The oldest row that was handed out is applied, or given up.
        fn settle(&mut self, applied: bool) {
            if self.out == 0 {
                return;
            }
            let row = self.rows.remove(0);
            self.out -= 1;
            if applied {
                self.lane.applied(&row)
            } else {
                self.lane.expired(&row)
            };
            self.tell(&row);
            // What was captured after the row was cut is owed again.
            self.owed.extend(self.rows.iter().flat_map(keys).flatten());
        }

        fn tell(&mut self, row: &Row) {
            for key in keys(row) {
                match key {
                    None => self.owed.clear(),
                    Some(key) => drop(self.owed.remove(&key)),
                }
            }
        }

        fn crash(&mut self) -> u64 {
            self.cut();
            let mut again = Lane::new(8, self.lane.books(), self.lane.next);
            self.rows.iter().for_each(|row| again.restore(row));
            let extra = again.reconcile();
            self.lane = again;
            self.out = 0;
            extra
        }

        fn act(&mut self, act: &Act) {
            match *act {
                Act::Capture(key, hash) => {
                    let effect = hash.map_or(Effect::Forget, |hash| Effect::Differs(u128::from(hash)));
                    self.lane.capture(&Item::new(&[key], effect));
                    self.owed.insert(key);
                }
                Act::Flush(delay_s) => self.lane.capture(&Item::Flush(delay_s)),
                Act::Cut => self.cut(),
                Act::HandOut => {
                    if let Some(row) = self.rows.get(self.out) {
                        self.lane.hand_out(row);
                        self.out += 1;
                    }
                }
                Act::Apply => self.settle(true),
                Act::Expire => self.settle(false),
                Act::Convert => drop(self.lane.convert()),
                Act::Crash => assert_eq!(self.crash(), 0),
            }
        }
    }

    proptest! {
        /// The books close after every act, and every captured key is covered by a row that is still there or was applied later.
        #[test]
        fn books_close_and_nothing_is_lost(acts in proptest::collection::vec(act(), 1..200)) {
            let lane = Lane::new(7, Books::default(), 1);
            let mut world = World { lane, rows: Vec::new(), out: 0, owed: BTreeSet::new() };
            for act in &acts {
                world.act(act);
                prop_assert!(closed(&world.lane), "{:?} pending {}", world.lane.books(), world.lane.pending());
            }
            world.cut();
            let rows = world.rows.clone();
            let flushes = rows.iter().flat_map(keys).any(|key| key.is_none());
            rows.iter().for_each(|row| world.tell(row));
            prop_assert!(flushes || world.owed.is_empty(), "lost {:?}", world.owed);
            rows.iter().for_each(|row| { world.lane.applied(row); });
            prop_assert_eq!(world.lane.pending(), 0);
        }
    }
}
