//! What one link has sent and not yet heard the last word of. Never sends, and forgets nothing when the connection ends.
//!
//! A row is *open* until the other region applied it, and then *rests* until it was applied there once more; what is open or rests when
//! the connection ends is sent again on the next, oldest first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::lane::Row;

/// Most batches, and bytes of them, without an acknowledgement.
const OPEN: (usize, usize) = (256, 8 * 1024 * 1024);
/// Most bytes of rows that wait for the word that they were repeated.
const RESTING_BYTES: usize = 64 * 1024 * 1024;

/// What a number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A row of the lane at this place.
    Row(usize, Arc<Row>),
    /// Read-backs of that lane.
    Checks(usize),
}

/// One link's window.
#[derive(Debug, Default)]
pub struct Window {
    open: VecDeque<(u64, Sent)>,
    open_bytes: usize,
    resting: BTreeMap<u64, (usize, Arc<Row>)>,
    resting_bytes: usize,
    again: VecDeque<(usize, Arc<Row>)>,
    parked: VecDeque<(Instant, usize, Arc<Row>)>,
    number: u64,
}

impl Window {
    /// Whether another row may go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.len() < OPEN.0 && self.open_bytes < OPEN.1 && self.resting_bytes < RESTING_BYTES
    }

    /// A row that has to go again before new ones.
    pub fn again(&mut self, now: Instant) -> Option<(usize, Arc<Row>)> {
        while self.parked.front().is_some_and(|&(at, ..)| at <= now) {
            let Some((_, place, row)) = self.parked.pop_front() else { break };
            self.again.push_back((place, row));
        }
        self.again.pop_front()
    }

    /// When the first parked row may go again.
    #[must_use]
    pub fn parked_until(&self) -> Option<Instant> {
        self.parked.front().map(|&(at, ..)| at)
    }

    /// Whether rows of this lane are parked.
    #[must_use]
    pub fn is_parked(&self, place: usize) -> bool {
        self.parked.iter().any(|&(_, parked, _)| parked == place)
    }

    /// Something goes out; its number.
    pub fn send(&mut self, sent: Sent) -> u64 {
        self.number += 1;
        self.open_bytes += size(&sent);
        self.open.push_back((self.number, sent));
        self.number
    }

    /// The peer answered this number; what it stood for, if it was open. A row that `rests` is kept until [`Self::repeated`].
    pub fn close(&mut self, number: u64, rests: bool) -> Option<Sent> {
        let at = self.open.iter().position(|&(open, _)| open == number)?;
        let (_, sent) = self.open.remove(at)?;
        self.open_bytes -= size(&sent);
        if let (true, Sent::Row(place, row)) = (rests, &sent) {
            self.resting_bytes += row.items.len();
            self.resting.insert(number, (*place, Arc::clone(row)));
        }
        Some(sent)
    }

    /// The peer applied the row of this number once more.
    pub fn repeated(&mut self, number: u64) -> Option<(usize, Arc<Row>)> {
        let (place, row) = self.resting.remove(&number)?;
        self.resting_bytes -= row.items.len();
        Some((place, row))
    }

    /// The peer refused this row; it may go again at `until`.
    pub fn park(&mut self, place: usize, row: Arc<Row>, until: Instant) {
        self.parked.push_back((until, place, row));
    }

    /// The connection is gone: all that is open or rests goes again, before everything else.
    pub fn reopen(&mut self) {
        while let Some((_, sent)) = self.open.pop_back() {
            if let Sent::Row(place, row) = sent {
                self.again.push_front((place, row));
            }
        }
        while let Some((_, (place, row))) = self.resting.pop_last() {
            self.again.push_front((place, row));
        }
        (self.open_bytes, self.resting_bytes) = (0, 0);
    }
}

fn size(sent: &Sent) -> usize {
    match sent {
        Sent::Row(_, row) => row.items.len(),
        Sent::Checks(_) => 0,
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
        let (mut window, now) = (Window::default(), Instant::now());
        let numbers: Vec<u64> = (1..=4).map(|first| window.send(Sent::Row(0, row(first, 1)))).collect();
        assert!(window.close(numbers[0], true).is_some());
        assert!(window.close(numbers[1], true).is_some());
        assert!(window.close(numbers[1], true).is_none(), "said twice");
        assert_eq!(window.repeated(numbers[0]).map(|(_, row)| row.first), Some(1));
        assert_eq!(window.repeated(numbers[0]), None);
        window.reopen();
        let again: Vec<u64> = std::iter::from_fn(|| window.again(now)).map(|(_, row)| row.first).collect();
        assert_eq!(again, [2, 3, 4]);
        assert!(window.close(numbers[2], false).is_none(), "a word from the connection before");
    }

    #[test]
    fn rows_that_rest_close_the_window_before_memory_is_gone() {
        let mut window = Window::default();
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
        let (mut window, now) = (Window::default(), Instant::now());
        for first in 1..=3 {
            window.park(0, row(first, 1), now);
        }
        assert!(window.is_parked(0) && !window.is_parked(1));
        let again: Vec<u64> = std::iter::from_fn(|| window.again(now)).map(|(_, row)| row.first).collect();
        assert_eq!(again, [1, 2, 3]);
    }
}
