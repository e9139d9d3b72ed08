//! What one link has sent and not yet heard the last word of. Never sends, and forgets nothing when the connection ends.
//!
//! A row is *open* until the other region applied it, and then *rests* until it was applied there once more; what is open or rests when
//! the connection ends is sent again on the next, oldest first. What one lane has open or resting never closes the window for another
//! ([`Shares`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::lane::Row;
use super::shares::{Load, Shares};

/// Most batches, and bytes of them, without an acknowledgement.
pub const OPEN: Load = (256, 8 * 1024 * 1024);
/// Most bytes of rows that wait for the word that they were repeated.
const RESTING: Load = (usize::MAX, 64 * 1024 * 1024);

/// What a number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A row of the lane at this place.
    Row(usize, Arc<Row>),
    /// Read-backs of that lane.
    Checks(usize),
}

/// One link's window.
#[derive(Debug)]
pub struct Window {
    open: VecDeque<(u64, Sent)>,
    opened: Shares,
    resting: BTreeMap<u64, (usize, Arc<Row>)>,
    rested: Shares,
    waiting: Vec<Waiting>,
    number: u64,
}

/// Rows of one lane that go before new ones.
#[derive(Clone, Debug, Default)]
struct Waiting {
    again: VecDeque<Arc<Row>>,
    parked: VecDeque<(Instant, Arc<Row>)>,
}

impl Window {
    /// Nothing was sent. The link has so many lanes.
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        Self {
            open: VecDeque::new(),
            opened: Shares::new(OPEN, lanes),
            resting: BTreeMap::new(),
            rested: Shares::new(RESTING, lanes),
            waiting: vec![Waiting::default(); lanes],
            number: 0,
        }
    }

    /// Whether another row of this lane may go.
    #[must_use]
    pub fn has_room(&self, place: usize) -> bool {
        self.opened.room(place) && self.rested.room(place)
    }

    /// Whether another row of any lane may go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        (0..self.waiting.len()).any(|place| self.has_room(place))
    }

    /// A row of this lane that has to go again before new ones.
    pub fn again(&mut self, place: usize, now: Instant) -> Option<Arc<Row>> {
        let waiting = &mut self.waiting[place];
        while waiting.parked.front().is_some_and(|&(at, _)| at <= now) {
            let Some((_, row)) = waiting.parked.pop_front() else { break };
            waiting.again.push_back(row);
        }
        waiting.again.pop_front()
    }

    /// When the first parked row may go again, of lanes that have room.
    #[must_use]
    pub fn parked_until(&self) -> Option<Instant> {
        let lanes = self.waiting.iter().enumerate().filter(|&(place, _)| self.has_room(place));
        lanes.filter_map(|(_, lane)| lane.parked.front()).map(|&(at, _)| at).min()
    }

    /// Whether rows of this lane are parked.
    #[must_use]
    pub fn is_parked(&self, place: usize) -> bool {
        !self.waiting[place].parked.is_empty()
    }

    /// Something goes out; its number.
    pub fn send(&mut self, sent: Sent) -> u64 {
        self.number += 1;
        let (place, bytes) = size(&sent);
        self.opened.enter(place, (1, bytes));
        self.open.push_back((self.number, sent));
        self.number
    }

    /// The peer answered this number; what it stood for, if it was open. A row that `rests` is kept until [`Self::repeated`].
    pub fn close(&mut self, number: u64, rests: bool) -> Option<Sent> {
        let at = self.open.binary_search_by_key(&number, |&(open, _)| open).ok()?;
        let (_, sent) = self.open.remove(at)?;
        let (place, bytes) = size(&sent);
        self.opened.leave(place, (1, bytes));
        if let (true, Sent::Row(_, row)) = (rests, &sent) {
            self.rested.enter(place, (1, bytes));
            self.resting.insert(number, (place, Arc::clone(row)));
        }
        Some(sent)
    }

    /// The peer applied the row of this number once more.
    pub fn repeated(&mut self, number: u64) -> Option<(usize, Arc<Row>)> {
        let (place, row) = self.resting.remove(&number)?;
        self.rested.leave(place, (1, row.items.len()));
        Some((place, row))
    }

    /// The peer refused this row; it may go again at `until`.
    pub fn park(&mut self, place: usize, row: Arc<Row>, until: Instant) {
        self.waiting[place].parked.push_back((until, row));
    }

    /// The connection is gone: all that is open or rests goes again, before everything else.
    pub fn reopen(&mut self) {
        while let Some((_, sent)) = self.open.pop_back() {
            if let Sent::Row(place, row) = sent {
                self.waiting[place].again.push_front(row);
            }
        }
        while let Some((_, (place, row))) = self.resting.pop_last() {
            self.waiting[place].again.push_front(row);
        }
        self.opened.clear();
        self.rested.clear();
    }
}

/// Whose it is, and how many bytes of items.
fn size(sent: &Sent) -> (usize, usize) {
    match sent {
        Sent::Row(place, row) => (*place, row.items.len()),
        Sent::Checks(place) => (*place, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: u64, bytes: usize) -> Arc<Row> {
        Arc::new(Row { first, at_ms: 0, count: 1, items: vec![0; bytes] })
    }

    #[test]
    fn what_was_not_repeated_goes_again_in_order() {
        let (mut window, now) = (Window::new(2), Instant::now());
        let numbers: Vec<u64> = (1..=4).map(|first| window.send(Sent::Row(0, row(first, 1)))).collect();
        assert!(window.close(numbers[0], true).is_some());
        assert!(window.close(numbers[1], true).is_some());
        assert!(window.close(numbers[1], true).is_none(), "said twice");
        assert_eq!(window.repeated(numbers[0]).map(|(_, row)| row.first), Some(1));
        assert_eq!(window.repeated(numbers[0]), None);
        window.reopen();
        let again: Vec<u64> = std::iter::from_fn(|| window.again(0, now)).map(|row| row.first).collect();
        assert_eq!(again, [2, 3, 4]);
        assert!(window.close(numbers[2], false).is_none(), "a word from the connection before");
    }

    #[test]
    fn rows_that_rest_close_the_window_before_memory_is_gone() {
        let mut window = Window::new(1);
        let mut sent = 0;
        while window.is_open() {
            let number = window.send(Sent::Row(0, row(sent, 1 << 20)));
            window.close(number, true);
            sent += 1;
        }
        assert_eq!(sent, 64);
    }

    #[test]
    fn parked_rows_keep_their_order() {
        let (mut window, now) = (Window::new(2), Instant::now());
        for first in 1..=3 {
            window.park(0, row(first, 1), now);
        }
        assert!(window.is_parked(0) && !window.is_parked(1));
        let again: Vec<u64> = std::iter::from_fn(|| window.again(0, now)).map(|row| row.first).collect();
        assert_eq!(again, [1, 2, 3]);
    }

    #[test]
    fn a_lane_without_words_leaves_the_others_their_share() {
        let (mut window, now) = (Window::new(2), Instant::now());
        let mut stuck = 0;
        while window.has_room(0) {
            window.send(Sent::Row(0, row(stuck, 1)));
            stuck += 1;
        }
        assert_eq!(stuck, 256);
        for first in 0..1000 {
            assert!(window.has_room(1));
            let number = window.send(Sent::Row(1, row(first, 1)));
            assert!(window.close(number, false).is_some());
        }
        window.reopen();
        assert_eq!(window.again(1, now), None);
        assert_eq!(std::iter::from_fn(|| window.again(0, now)).count(), 256);
    }
}
