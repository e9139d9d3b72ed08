//! What commits change: one batch, as a record of the journal, and many folded into one transaction of the database. Never does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decide::relay::books::Books;
use crate::decide::relay::lane::Row;

/// A row: its lane and its first item.
pub(super) type Name = (u32, u64);

/// What one commit changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Rows below this number of a lane go.
    pub(super) voids: Vec<(u32, u64)>,
    pub(super) puts: Vec<(u32, Arc<Row>)>,
    pub(super) removes: Vec<Name>,
    pub(super) rests: Vec<Name>,
    /// As `removes`, of rows that rested.
    pub(super) repeated: Vec<Name>,
    pub(super) books: Vec<(u32, Books)>,
    pub(super) next: Vec<(u32, u64)>,
    /// The daemon stops, and everything is in.
    pub(super) clean: bool,
}

impl Batch {
    /// About how many bytes it is in the journal.
    pub(super) fn weight(&self) -> usize {
        let rows: usize = self.puts.iter().map(|(_, row)| row.items.len() + 32).sum();
        rows + 12 * (self.removes.len() + self.rests.len() + self.repeated.len()) + 64 * self.books.len()
    }

    /// Appends it; `clean` is no part of it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        names(&self.voids, out);
        count(self.puts.len(), out);
        for (lane, row) in &self.puts {
            name((*lane, row.first), out);
            out.extend_from_slice(&row.at_ms.to_le_bytes());
            out.extend_from_slice(&row.count.to_le_bytes());
            count(row.items.len(), out);
            out.extend_from_slice(&row.items);
        }
        names(&self.removes, out);
        names(&self.rests, out);
        names(&self.repeated, out);
        count(self.books.len(), out);
        for (lane, books) in &self.books {
            out.extend_from_slice(&lane.to_le_bytes());
            books.to_array().iter().for_each(|entry| out.extend_from_slice(&entry.to_le_bytes()));
        }
        names(&self.next, out);
    }

    /// The batch that [`Self::encode`] wrote; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let voids = from.names()?;
        let puts = from.many(|from| {
            let (lane, first) = from.name()?;
            let (at_ms, count, length) = (from.word()?, from.half()?, from.half()?);
            let items = from.take(length as usize)?.to_vec();
            Some((lane, Arc::new(Row { first, at_ms, count, items })))
        })?;
        let (removes, rests, repeated) = (from.names()?, from.names()?, from.names()?);
        let books = from.many(|from| {
            let lane = from.half()?;
            let mut entries = [0; 6];
            for entry in &mut entries {
                *entry = from.word()?;
            }
            Some((lane, Books::from_array(entries)))
        })?;
        let next = from.names()?;
        let batch = Self { voids, puts, removes, rests, repeated, books, next, clean: false };
        from.0.is_empty().then_some(batch)
    }
}

fn count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn name((lane, number): Name, out: &mut Vec<u8>) {
    out.extend_from_slice(&lane.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
}

fn names(all: &[Name], out: &mut Vec<u8>) {
    count(all.len(), out);
    all.iter().for_each(|&one| name(one, out));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn half(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn word(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        Some((self.half()?, self.word()?))
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.half()?;
        (0..count).map(|_| one(self)).collect()
    }

    fn names(&mut self) -> Option<Vec<Name>> {
        self.many(Self::name)
    }
}

/// Batches as one: what was put and removed again is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) voids: BTreeMap<u32, u64>,
    pub(super) puts: BTreeMap<Name, Arc<Row>>,
    pub(super) removes: BTreeSet<Name>,
    pub(super) rests: BTreeSet<Name>,
    /// They rest no more.
    pub(super) rested: BTreeSet<Name>,
    pub(super) books: BTreeMap<u32, Books>,
    pub(super) next: BTreeMap<u32, u64>,
    pub(super) clean: bool,
    /// A transaction with a part of it failed, and nobody knows whether the database has that: nothing cancels out.
    pub(super) doubtful: bool,
}

impl Changes {
    /// Whether there is nothing to be written.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a batch behind what is there; the same batch twice is as once.
    pub(super) fn fold(&mut self, batch: &Batch) {
        for (lane, row) in &batch.puts {
            self.puts.insert((*lane, row.first), Arc::clone(row));
        }
        for &name in &batch.rests {
            self.rests.insert(name);
        }
        for name in batch.removes.iter().chain(&batch.repeated) {
            if self.puts.remove(name).is_none() || self.doubtful {
                self.removes.insert(*name);
            }
        }
        for name in &batch.repeated {
            if !self.rests.remove(name) || self.doubtful {
                self.rested.insert(*name);
            }
        }
        for &(lane, below) in &batch.voids {
            let kept = |name: &Name| name.0 != lane || name.1 >= below;
            self.puts.retain(|name, _| kept(name));
            self.rests.retain(kept);
            let before = self.voids.entry(lane).or_default();
            *before = below.max(*before);
        }
        self.books.extend(batch.books.iter().copied());
        self.next.extend(batch.next.iter().copied());
        self.clean |= batch.clean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: u64) -> Arc<Row> {
        Arc::new(Row { first, at_ms: 7, count: 2, items: vec![first as u8; 9] })
    }

    #[test]
    fn a_record_is_the_batch_and_nothing_less() {
        let batch = Batch {
            voids: vec![(1, 5)],
            puts: vec![(1, row(6)), (2, row(8))],
            removes: vec![(1, 2)],
            rests: vec![(2, 3), (2, 4)],
            repeated: vec![(1, 1)],
            books: vec![(1, Books::from_array([1, 2, 3, 4, 5, 6]))],
            next: vec![(1, 10)],
            clean: false,
        };
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        assert!(batch.weight() * 2 > bytes.len());
        assert_eq!(Batch::decode(&bytes), Some(batch));
        for end in 0..bytes.len() {
            assert_eq!(Batch::decode(&bytes[..end]), None);
        }
    }

    #[test]
    fn what_came_and_went_is_not_written() {
        let mut changes = Changes::default();
        changes.fold(&Batch { puts: vec![(1, row(1)), (1, row(3)), (1, row(5))], ..Batch::default() });
        changes.fold(&Batch { rests: vec![(1, 3)], removes: vec![(1, 1), (2, 9)], ..Batch::default() });
        assert_eq!(changes.puts.keys().copied().collect::<Vec<_>>(), [(1, 3), (1, 5)]);
        assert_eq!(changes.removes, BTreeSet::from([(2, 9)]), "only what the database may hold");
        let last = Batch { repeated: vec![(1, 3), (1, 0)], ..Batch::default() };
        changes.fold(&last);
        assert!(changes.rests.is_empty());
        assert_eq!(
            (changes.removes.clone(), changes.rested.clone()),
            ([(1, 0), (2, 9)].into(), [(1, 0)].into())
        );
        changes.fold(&Batch { voids: vec![(1, 5)], ..Batch::default() });
        assert_eq!(changes.puts.keys().copied().collect::<Vec<_>>(), [(1, 5)]);
        changes.fold(&Batch { voids: vec![(1, 6)], ..Batch::default() });
        assert!(changes.puts.is_empty() && changes.voids[&1] == 6);
    }
}
