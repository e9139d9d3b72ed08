//! What was handed to a broker and waits for the other region's word. Never sends, and never takes a broker's word for the region's.
//!
//! A row travels as one letter, or (where the broker coalesces by subject) as one letter per item. A later letter about the same key
//! *covers* the earlier one: the broker may drop that, it is not sent again, and the word about the later one settles both. A row is applied
//! when each of its letters is, and then rests until each was applied once more, if it was to be.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::delay;
use super::item::{Item, Items};
use super::lane::Row;
use super::shares::{Load, Shares};

/// Most rows, and bytes of items, without a word.
const ROWS: Load = (256, 8 * 1024 * 1024);
/// Most letters without a word.
const LETTERS: Load = (16 * 1024, usize::MAX);
/// Most bytes of rows that wait for the word that they were repeated.
const RESTING: Load = (usize::MAX, 16 * 1024 * 1024);

/// How letters are made, and when they are sent again.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// One letter per item.
    pub by_key: bool,
    /// First wait for a word, and the longest, in milliseconds; doubled from one to the other.
    pub patience_ms: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Letter {
    /// Where its items end in the row.
    end: usize,
    applied: bool,
    /// Nothing of it is left to be done: applied, and once more if it was to be.
    done: bool,
    /// A later letter stands for it.
    covered: bool,
    /// The letter that it stands for.
    covers: Option<u64>,
}

struct Flying {
    place: usize,
    row: Arc<Row>,
    letters: Vec<Letter>,
    /// Letters that are not applied, and not done.
    left: (usize, usize),
    rests: bool,
    due_ms: u64,
    patience_ms: u64,
}

/// What words came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A row of this lane was applied; whether it will be once more.
    Applied(usize, Arc<Row>, bool),
    /// One that was to be, was.
    Repeated(usize, Arc<Row>),
}

/// All letters of a link.
pub struct Flights {
    manner: Manner,
    /// How long each lane's repetitions take, in milliseconds.
    repeat_ms: Vec<u64>,
    next: u64,
    /// By the number of their first letter.
    rows: BTreeMap<u64, Flying>,
    /// The newest letter by lane and name of the item.
    newest: HashMap<(usize, Box<[u8]>), u64>,
    /// Rows that are not applied, and bytes of them.
    open: Shares,
    /// Letters that are not applied.
    letters: Shares,
    /// Rows that wait for their repetition, and bytes of them.
    resting: Shares,
}

impl Flights {
    /// None yet. `repeat_ms` has an entry per lane.
    #[must_use]
    pub fn new(manner: Manner, repeat_ms: Vec<u64>) -> Self {
        let [open, letters, resting] =
            [ROWS, LETTERS, RESTING].map(|most| Shares::new(most, repeat_ms.len()));
        let (rows, newest) = (BTreeMap::new(), HashMap::new());
        Self { manner, repeat_ms, next: 1, rows, newest, open, letters, resting }
    }

    /// Whether another row of this lane may go.
    #[must_use]
    pub fn has_room(&self, place: usize) -> bool {
        [&self.open, &self.letters, &self.resting].iter().all(|shares| shares.room(place))
    }

    /// Whether another row of any lane may go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        (0..self.repeat_ms.len()).any(|place| self.has_room(place))
    }

    /// A number for a letter that is no row's; its word concerns the caller alone.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Takes a row of lane `place`; [`Self::letters`] of the returned number are to be sent now.
    pub fn add(&mut self, place: usize, row: Arc<Row>, now_ms: u64) -> u64 {
        let first = self.next;
        let plain = |end| Letter { end, applied: false, done: false, covered: false, covers: None };
        let mut letters = Vec::new();
        if self.manner.by_key {
            let mut end = 0;
            for item in Items::new(&row.items) {
                end += size(&item);
                let number = first + letters.len() as u64;
                let before = self.newest.insert((place, name(&item)), number);
                let covers =
                    before.filter(|&before| Self::cover(&mut self.rows, &mut letters, first, before));
                letters.push(Letter { covers, ..plain(end) });
            }
        } else {
            letters.push(plain(row.items.len()));
        }
        let count = letters.len();
        self.next += count as u64;
        self.open.enter(place, (1, row.items.len()));
        self.letters.enter(place, (count, 0));
        let patience_ms = self.manner.patience_ms.0;
        let (left, due_ms) = ((count, count), now_ms + patience_ms);
        self.rows.insert(first, Flying { place, row, letters, left, rests: false, due_ms, patience_ms });
        first
    }

    /// Marks a letter of which something is left to be done as covered; false when nothing is.
    fn cover(rows: &mut BTreeMap<u64, Flying>, own: &mut [Letter], first: u64, number: u64) -> bool {
        let letter = if number >= first {
            own.get_mut(index(number - first))
        } else {
            let row = rows.range_mut(..=number).next_back();
            row.and_then(|(first, row)| row.letters.get_mut(index(number - first)))
        };
        letter.filter(|letter| !letter.done).map(|letter| letter.covered = true).is_some()
    }

    /// The letters of a row that are to be sent: lane, number and items of each, as they are said now.
    pub fn letters(&self, first: u64, now_ms: u64) -> impl Iterator<Item = (usize, u64, Cow<'_, [u8]>)> {
        self.rows.get(&first).into_iter().flat_map(move |row| {
            let mut start = 0;
            row.letters.iter().zip(first..).filter_map(move |(letter, number)| {
                let items = row.row.items.get(start..letter.end)?;
                start = letter.end;
                let said = || delay::left(items, row.row.at_ms, now_ms);
                (!letter.done && !letter.covered).then(|| (row.place, number, said()))
            })
        })
    }

    /// The other region applied a letter, and if it `rests` will do so once more. A word about a letter that is unknown (a duplicate, or
    /// from another life of this daemon) changes nothing.
    pub fn applied(&mut self, number: u64, rests: bool, now_ms: u64, told: &mut Vec<Told>) {
        self.word(number, !rests, now_ms, told);
    }

    /// It applied a letter that rested once more.
    pub fn repeated(&mut self, number: u64, now_ms: u64, told: &mut Vec<Told>) {
        self.word(number, true, now_ms, told);
    }

    /// A word about a letter is one about all that it stands for.
    fn word(&mut self, number: u64, done: bool, now_ms: u64, told: &mut Vec<Told>) {
        let mut next = Some(number);
        while let Some(number) = next.take() {
            let Some((&first, row)) = self.rows.range_mut(..=number).next_back() else { return };
            let Some(letter) = row.letters.get_mut(index(number - first)) else { return };
            if letter.done || (letter.applied && !done) {
                return;
            }
            next = letter.covers;
            if !letter.applied {
                letter.applied = true;
                row.left.0 -= 1;
                self.letters.leave(row.place, (1, 0));
                row.rests |= !done;
                if row.left.0 == 0 {
                    self.open.leave(row.place, (1, row.row.items.len()));
                    self.resting.enter(row.place, (1, row.row.items.len()));
                    let repeat_ms = self.repeat_ms.get(row.place).copied().unwrap_or_default();
                    row.due_ms = now_ms + repeat_ms + row.patience_ms;
                    told.push(Told::Applied(row.place, Arc::clone(&row.row), row.rests));
                }
            }
            if done {
                letter.done = true;
                row.left.1 -= 1;
                if row.left.1 == 0
                    && let Some(row) = self.rows.remove(&first)
                {
                    self.settle(first, row, told);
                }
            }
        }
    }

    fn settle(&mut self, first: u64, row: Flying, told: &mut Vec<Told>) {
        self.resting.leave(row.place, (1, row.row.items.len()));
        if self.manner.by_key {
            for (item, number) in Items::new(&row.row.items).zip(first..) {
                let name = (row.place, name(&item));
                if self.newest.get(&name) == Some(&number) {
                    self.newest.remove(&name);
                }
            }
        }
        if row.rests {
            told.push(Told::Repeated(row.place, row.row));
        }
    }

    /// The lane of a letter, whose rows all wait until `until_ms` before they are sent again.
    pub fn refused(&mut self, number: u64, until_ms: u64) -> Option<usize> {
        let (&first, row) = self.rows.range(..=number).next_back()?;
        row.letters.get(index(number - first))?;
        let place = row.place;
        for row in self.rows.values_mut().filter(|row| row.place == place) {
            row.due_ms = until_ms;
        }
        Some(place)
    }

    /// Rows whose word is overdue, oldest first; each is given more patience than before.
    pub fn due(&mut self, now_ms: u64) -> Vec<u64> {
        let longest = self.manner.patience_ms.1;
        let late = self.rows.iter_mut().filter(|(_, row)| row.due_ms <= now_ms);
        late.map(|(&first, row)| {
            row.patience_ms = (row.patience_ms * 2).min(longest);
            row.due_ms = now_ms + row.patience_ms;
            if row.left.0 == 0 {
                row.due_ms += self.repeat_ms.get(row.place).copied().unwrap_or_default();
            }
            first
        })
        .collect()
    }

    /// When the next row is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.rows.values().map(|row| row.due_ms).min()
    }

    /// Words may have been missed: everything is due now.
    pub fn again(&mut self, now_ms: u64) {
        for row in self.rows.values_mut() {
            row.due_ms = now_ms;
            row.patience_ms = self.manner.patience_ms.0 / 2;
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn size(item: &Item<'_>) -> usize {
    let mut bytes = Vec::new();
    item.write(&mut bytes);
    bytes.len()
}

/// What tells items apart where later ones cover earlier ones.
fn name(item: &Item<'_>) -> Box<[u8]> {
    match item {
        Item::Flush(delay_s) => delay_s.to_le_bytes().to_vec(),
        Item::Forget(key)
        | Item::Differs(key, _)
        | Item::Refill(key, _)
        | Item::Reread(key, _)
        | Item::Verify(key, _) => [b"k", *key].concat(),
    }
    .into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const BY_KEY: Manner = Manner { by_key: true, patience_ms: (5, 40) };
    const BY_ROW: Manner = Manner { by_key: false, patience_ms: (5, 40) };

    fn row(first: u64, items: &[Item<'_>]) -> Arc<Row> {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write(&mut bytes));
        Arc::new(Row { first, at_ms: 0, count: u32::try_from(items.len()).expect("few"), items: bytes })
    }

    fn numbers(flights: &Flights, first: u64) -> Vec<u64> {
        flights.letters(first, 0).map(|(_, number, _)| number).collect()
    }

    fn empty(flights: &Flights) -> bool {
        let closed = [&flights.open, &flights.letters, &flights.resting].iter().all(|some| some.is_clear());
        closed && flights.rows.is_empty() && flights.newest.is_empty()
    }

    fn rows(told: &[Told]) -> Vec<(char, u64)> {
        told.iter()
            .map(|told| match told {
                Told::Applied(_, row, false) => ('a', row.first),
                Told::Applied(_, row, true) => ('r', row.first),
                Told::Repeated(_, row) => ('d', row.first),
            })
            .collect()
    }

    #[test]
    fn a_row_is_applied_when_each_of_its_letters_is() {
        let mut flights = Flights::new(BY_KEY, vec![0; 4]);
        let first = flights.add(3, row(1, &[Item::Forget(b"a"), Item::Flush(0), Item::Forget(b"b")]), 0);
        assert_eq!(numbers(&flights, first), [1, 2, 3]);
        let mut told = Vec::new();
        for number in [3, 3, 1, 99] {
            flights.applied(number, false, 0, &mut told);
        }
        assert!(told.is_empty());
        flights.applied(2, false, 0, &mut told);
        assert_eq!(rows(&told), [('a', 1)]);
        assert!(empty(&flights));
    }

    #[test]
    fn a_row_rests_until_each_letter_was_repeated() {
        let mut flights = Flights::new(BY_KEY, vec![2000]);
        let first = flights.add(0, row(1, &[Item::Forget(b"a"), Item::Forget(b"b")]), 0);
        let mut told = Vec::new();
        flights.applied(1, true, 10, &mut told);
        flights.applied(2, true, 10, &mut told);
        assert_eq!(
            (rows(&told), flights.open.is_clear(), flights.next_due_ms()),
            (vec![('r', 1)], true, Some(2015))
        );
        flights.repeated(2, 10, &mut told);
        assert_eq!(flights.due(2015), [first]);
        assert_eq!((numbers(&flights, first), flights.next_due_ms()), (vec![1], Some(4025)));
        // The word that it was applied again comes first, and says nothing new.
        flights.applied(1, true, 2020, &mut told);
        flights.repeated(1, 4020, &mut told);
        assert_eq!(rows(&told), [('r', 1), ('d', 1)]);
        assert!(empty(&flights));
    }

    #[test]
    fn a_covered_letter_is_not_sent_again_and_settles_with_the_one_above() {
        let mut flights = Flights::new(BY_KEY, vec![0; 2]);
        let one = flights.add(0, row(1, &[Item::Differs(b"k", 1), Item::Forget(b"x")]), 0);
        let two = flights.add(0, row(3, &[Item::Differs(b"k", 2)]), 0);
        // The same key of another lane is another subject.
        let other = flights.add(1, row(1, &[Item::Differs(b"k", 9)]), 0);
        assert_eq!(numbers(&flights, one), [2]);
        assert_eq!((numbers(&flights, two), numbers(&flights, other)), (vec![3], vec![4]));
        let mut told = Vec::new();
        flights.applied(2, false, 0, &mut told);
        flights.applied(3, true, 0, &mut told);
        assert_eq!(rows(&told), [('r', 3), ('r', 1)]);
        flights.repeated(3, 0, &mut told);
        assert_eq!(rows(&told)[2..], [('d', 3), ('d', 1)]);
    }

    #[test]
    fn patience_doubles_and_ends_when_words_were_missed() {
        let mut flights = Flights::new(BY_ROW, vec![0]);
        let first = flights.add(0, row(1, &[Item::Forget(b"a")]), 100);
        assert_eq!((flights.due(104), flights.next_due_ms()), (vec![], Some(105)));
        assert_eq!((flights.due(105), flights.next_due_ms()), (vec![first], Some(115)));
        assert_eq!((flights.due(115), flights.next_due_ms()), (vec![first], Some(135)));
        flights.again(120);
        assert_eq!((flights.due(120), flights.next_due_ms()), (vec![first], Some(124)));
        assert_eq!(flights.refused(first, 500), Some(0));
        assert_eq!((flights.due(499), flights.refused(9, 0)), (vec![], None));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Add(Vec<(u8, u8)>),
        /// Delivers the subject that comes first, whole or with its word lost.
        Deliver(bool),
        /// The other region repeats what came first, and is heard or not.
        Repeat(bool),
        /// The other region dies with what it was to repeat.
        Die,
        Resend,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => proptest::collection::vec((0u8..5, 0u8..3), 1..4).prop_map(Act::Add),
            4 => any::<bool>().prop_map(Act::Deliver),
            3 => any::<bool>().prop_map(Act::Repeat),
            1 => Just(Act::Die),
            1 => Just(Act::Resend),
        ]
    }

    /// A broker that keeps the last letter of each subject, and what the region it feeds was told last of each key.
    #[derive(Default)]
    struct World {
        broker: BTreeMap<u8, (u64, u8)>,
        repeats: std::collections::VecDeque<(u64, u8, u8)>,
        applied: HashMap<u8, u8>,
        repeated: HashMap<u8, u8>,
        told: Vec<Told>,
    }

    impl World {
        fn send(&mut self, flights: &Flights, first: u64) {
            for (_, number, items) in flights.letters(first, 0) {
                if let Some(Item::Differs(key, hash)) = Items::new(&items).next() {
                    self.broker.insert(key[0], (number, u8::try_from(hash).expect("small")));
                }
            }
        }

        fn deliver(&mut self, flights: &mut Flights, heard: bool) {
            if let Some((key, (number, hash))) = self.broker.pop_first() {
                self.applied.insert(key, hash);
                self.repeats.push_back((number, key, hash));
                if heard {
                    flights.applied(number, true, 0, &mut self.told);
                }
            }
        }

        fn repeat(&mut self, flights: &mut Flights, heard: bool) {
            if let Some((number, key, hash)) = self.repeats.pop_front() {
                self.repeated.insert(key, hash);
                if heard {
                    flights.repeated(number, 0, &mut self.told);
                }
            }
        }

        fn resend(&mut self, flights: &mut Flights) {
            flights.again(0);
            for first in flights.due(0) {
                self.send(flights, first);
            }
        }

        fn rows(&self, kind: char) -> Vec<u64> {
            let rows = rows(&self.told);
            rows.into_iter().filter(|(found, _)| *found == kind).map(|(_, row)| row).collect()
        }
    }

    proptest! {
        /// Whatever is lost and whoever dies: in the end each row was applied once and repeated once, and each key was told, and
        /// told once more, what the last row says of it.
        #[test]
        fn the_last_word_on_each_key_arrives(acts in proptest::collection::vec(act(), 1..80)) {
            let mut flights = Flights::new(BY_KEY, vec![0]);
            let mut world = World::default();
            let (mut last, mut item, mut added) = (HashMap::new(), 1, Vec::new());
            for act in &acts {
                match act {
                    Act::Add(keys) => {
                        let keys: BTreeMap<u8, u8> = keys.iter().copied().collect();
                        let named: Vec<_> = keys.iter().map(|(key, hash)| ([*key], u128::from(*hash))).collect();
                        let items: Vec<_> = named.iter().map(|(key, hash)| Item::Differs(key, *hash)).collect();
                        let first = flights.add(0, row(item, &items), 0);
                        added.push(item);
                        item += items.len() as u64;
                        last.extend(keys);
                        world.send(&flights, first);
                    }
                    Act::Deliver(heard) => world.deliver(&mut flights, *heard),
                    Act::Repeat(heard) => world.repeat(&mut flights, *heard),
                    Act::Die => world.repeats.clear(),
                    Act::Resend => world.resend(&mut flights),
                }
            }
            for _ in 0..2 {
                while !world.broker.is_empty() {
                    world.deliver(&mut flights, true);
                }
                while !world.repeats.is_empty() {
                    world.repeat(&mut flights, true);
                }
                world.resend(&mut flights);
            }
            prop_assert!(empty(&flights));
            // A row whose first words were lost is applied and repeated at once.
            let mut applied = [world.rows('a'), world.rows('r')].concat();
            applied.sort_unstable();
            prop_assert_eq!(&applied, &added);
            let sorted = |mut rows: Vec<u64>| { rows.sort_unstable(); rows };
            prop_assert_eq!(sorted(world.rows('r')), sorted(world.rows('d')));
            prop_assert_eq!(&world.applied, &last);
            prop_assert_eq!(&world.repeated, &last);
        }
    }
}
