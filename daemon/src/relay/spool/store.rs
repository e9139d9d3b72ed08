//! Rows and books on disk, in one redb file with a journal before it. Never decides what is kept.
//!
//! A commit goes into the journal; what came together there is written to the database when the journal is full, when rows are read, and
//! for a batch that is large anyway. Most rows have been applied by then, and never reach the database.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};
use thiserror::Error;

use super::changes::{Batch, Changes};
use super::journal::Journal;
use crate::decide::relay::books::Books;
use crate::decide::relay::lane::Row;

/// `(lane, first item)` to time, count and items.
const ROWS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("rows");
/// Rows that were applied and are kept until the other region repeated them.
const RESTING: TableDefinition<'_, (u32, u64), ()> = TableDefinition::new("resting");
/// Lane to books.
const BOOKS: TableDefinition<'_, u32, [u64; 6]> = TableDefinition::new("books");
/// Lane to the number of its next item, so that numbers are never used twice.
const NEXT: TableDefinition<'_, u32, u64> = TableDefinition::new("next");
/// `pool NUL region` to lane.
const LANES: TableDefinition<'_, &str, u32> = TableDefinition::new("lanes");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Layout of this file: 2 has a journal beside it.
const FORMAT: u64 = 2;
/// A batch of more bytes goes to the database at once.
const LARGE: usize = 128 * 1024;
/// Bytes of redb's page cache.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Why the spool on disk cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon has it open.
    #[error("the spool is in use by another process")]
    InUse,
    /// A newer tidegate wrote it.
    #[error(
        "the spool has layout {found}, this tidegate knows {FORMAT}; use the newer one, or move the file away"
    )]
    Newer {
        /// Its layout.
        found: u64,
    },
    /// Its contents make no sense.
    #[error("the spool is damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("the spool cannot be read or written: {0}")]
    Io(String),
}

impl StoreError {
    fn from_redb(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            error @ (redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::LockPoisoned(_)) => {
                Self::Io(error.to_string())
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// How the spool's files are opened.
pub struct Opener {
    /// Opens the database; again after a failure.
    pub database: Box<dyn Fn() -> Result<Database, StoreError> + Send>,
    /// Opens the journal.
    pub journal: Box<dyn Fn() -> Result<Box<dyn StorageBackend>, StoreError> + Send>,
}

/// An opener of files of mode 0600; the journal is beside the database.
#[must_use]
pub fn file(path: PathBuf) -> Opener {
    let beside = path.with_extension("journal");
    Opener {
        database: Box::new(move || {
            redb::Builder::new()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(backend(&path)?)
                .map_err(StoreError::from_redb)
        }),
        journal: Box::new(move || Ok(Box::new(backend(&beside)?))),
    }
}

fn backend(path: &Path) -> Result<FileBackend, StoreError> {
    let file = open_file(path).map_err(|source| StoreError::File { path: path.into(), source })?;
    FileBackend::new(file).map_err(StoreError::from_redb)
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// What the file said of the last daemon.
pub(super) struct Past {
    /// It stopped with everything in, or there was none.
    pub(super) clean: bool,
}

/// The open files.
pub(super) struct Store {
    opener: Opener,
    db: Option<Database>,
    journal: Journal,
    /// Of the journal's records.
    epoch: u64,
    /// What is in the journal alone.
    changes: Changes,
}

impl Store {
    /// Opens or makes the files; what the journal holds goes to the database.
    pub(super) fn open(opener: Opener) -> Result<(Self, Past), StoreError> {
        let db = (opener.database)()?;
        let (past, epoch) = begin(&db)?;
        let io = |error: io::Error| StoreError::Io(error.to_string());
        let (journal, records) = Journal::open((opener.journal)()?, epoch).map_err(io)?;
        let mut changes = Changes::default();
        for record in records {
            let batch = Batch::decode(&record);
            changes.fold(&batch.ok_or_else(|| StoreError::Damaged("a record of the journal".into()))?);
        }
        let mut store = Self { opener, db: Some(db), journal, epoch, changes };
        store.turn()?;
        Ok((store, past))
    }

    fn db(&mut self) -> Result<&Database, StoreError> {
        if self.db.is_none() {
            self.db = Some((self.opener.database)()?);
        }
        self.db.as_ref().ok_or(StoreError::InUse)
    }

    /// Writes what is in the journal alone to the database, and begins the journal anew.
    fn turn(&mut self) -> Result<(), StoreError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let epoch = self.epoch.wrapping_add(1);
        let changes = std::mem::take(&mut self.changes);
        let done = self.db().and_then(|db| write(db, &changes, epoch).map_err(StoreError::from_redb));
        if done.is_err() {
            // redb refuses everything after a failed write; a fresh handle starts from the last transaction, which may be this one.
            self.db = None;
            self.changes = Changes { doubtful: true, ..changes };
            return done;
        }
        self.epoch = epoch;
        self.journal.turn(epoch);
        Ok(())
    }

    /// The lane of this name, made if need be, and its books, next number and rows.
    pub(super) fn lane(&mut self, name: &str) -> Result<(u32, Books, u64), StoreError> {
        let db = self.db()?;
        let run = || -> Result<_, redb::Error> {
            let txn = db.begin_write()?;
            let found = txn.open_table(LANES)?.get(name)?.map(|id| id.value());
            let id = match found {
                Some(id) => id,
                None => {
                    let mut lanes = txn.open_table(LANES)?;
                    let mut top = 0;
                    for entry in lanes.iter()? {
                        top = top.max(entry?.1.value());
                    }
                    lanes.insert(name, top + 1)?;
                    top + 1
                }
            };
            let books = txn.open_table(BOOKS)?.get(id)?.map(|books| books.value());
            let next = txn.open_table(NEXT)?.get(id)?.map(|next| next.value());
            txn.commit()?;
            Ok((id, books.map(Books::from_array).unwrap_or_default(), next.unwrap_or(1)))
        };
        run().map_err(StoreError::from_redb)
    }

    /// Rows of `lane` from number `from` on, at most about `bytes`; and whether that was all.
    pub(super) fn rows(
        &mut self,
        lane: u32,
        from: u64,
        bytes: usize,
    ) -> Result<(Vec<Row>, bool), StoreError> {
        self.turn()?;
        let db = self.db()?;
        let read = || -> Result<(Vec<Row>, bool), redb::Error> {
            let txn = db.begin_read()?;
            let table = txn.open_table(ROWS)?;
            let (mut rows, mut size) = (Vec::new(), 0);
            for entry in table.range((lane, from)..=(lane, u64::MAX))? {
                let (name, value) = entry?;
                if size >= bytes {
                    return Ok((rows, false));
                }
                size += value.value().len();
                rows.extend(decode(name.value().1, value.value()));
            }
            Ok((rows, true))
        };
        read().map_err(StoreError::from_redb)
    }

    /// The rows of `lane` that rest.
    pub(super) fn resting(&mut self, lane: u32) -> Result<BTreeSet<u64>, StoreError> {
        let db = self.db()?;
        let read = || -> Result<BTreeSet<u64>, redb::Error> {
            let table = db.begin_read()?.open_table(RESTING)?;
            let names = table.range((lane, 0)..=(lane, u64::MAX))?;
            names.map(|entry| Ok(entry?.0.value().1)).collect()
        };
        read().map_err(StoreError::from_redb)
    }

    /// Makes the batch durable. After an error the same batch must be tried again.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let at_once = batch.clean || self.changes.doubtful || batch.weight() > LARGE;
        let journalled = !at_once
            && self
                .journal
                .append(|record| batch.encode(record))
                .map_err(|error| StoreError::Io(error.to_string()))?;
        self.changes.fold(batch);
        if journalled { Ok(()) } else { self.turn() }
    }
}

/// Notes that a daemon runs; the epoch of the journal.
fn begin(db: &Database) -> Result<(Past, u64), StoreError> {
    let run = || -> Result<Result<(bool, u64), u64>, redb::Error> {
        let txn = db.begin_write()?;
        let begun = {
            let mut meta = txn.open_table(META)?;
            let format = meta.get("format")?.map(|format| format.value());
            if let Some(found) = format.filter(|&found| found > FORMAT) {
                return Ok(Err(found));
            }
            let clean = meta.get("clean")?.is_none_or(|clean| clean.value() == 1);
            let epoch = meta.get("epoch")?.map(|epoch| epoch.value());
            // Any number that no journal of another database has.
            let epoch = epoch.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
            meta.insert("format", FORMAT)?;
            meta.insert("clean", 0)?;
            meta.insert("epoch", epoch)?;
            (clean, epoch)
        };
        txn.open_table(ROWS)?;
        txn.open_table(RESTING)?;
        txn.open_table(BOOKS)?;
        txn.commit()?;
        Ok(Ok(begun))
    };
    match run().map_err(StoreError::from_redb)? {
        Ok((clean, epoch)) => Ok((Past { clean }, epoch)),
        Err(found) => Err(StoreError::Newer { found }),
    }
}

/// One transaction: the changes, and that the journal goes on with `epoch`.
fn write(db: &Database, changes: &Changes, epoch: u64) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    write_rows(&txn, changes)?;
    let mut books = txn.open_table(BOOKS)?;
    for (lane, entry) in &changes.books {
        books.insert(lane, entry.to_array())?;
    }
    drop(books);
    let mut next = txn.open_table(NEXT)?;
    for (lane, number) in &changes.next {
        next.insert(lane, number)?;
    }
    drop(next);
    let mut meta = txn.open_table(META)?;
    meta.insert("epoch", epoch)?;
    if changes.clean {
        meta.insert("clean", 1)?;
    }
    drop(meta);
    txn.commit()?;
    Ok(())
}

fn write_rows(txn: &WriteTransaction, changes: &Changes) -> Result<(), redb::Error> {
    let (mut rows, mut resting) = (txn.open_table(ROWS)?, txn.open_table(RESTING)?);
    for (&lane, &below) in &changes.voids {
        rows.retain_in((lane, 0)..(lane, below), |_, _| false)?;
        resting.retain_in((lane, 0)..(lane, below), |_, ()| false)?;
    }
    let mut value = Vec::new();
    for (&name, row) in &changes.puts {
        encode(row, &mut value);
        rows.insert(name, value.as_slice())?;
    }
    for &name in &changes.removes {
        rows.remove(name)?;
    }
    for &name in &changes.rests {
        resting.insert(name, ())?;
    }
    for &name in &changes.rested {
        resting.remove(name)?;
    }
    Ok(())
}

fn encode(row: &Row, value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&row.at_ms.to_le_bytes());
    value.extend_from_slice(&row.count.to_le_bytes());
    value.extend_from_slice(&row.items);
}

fn decode(first: u64, value: &[u8]) -> Option<Row> {
    let (at_ms, rest) = value.split_first_chunk::<8>()?;
    let (count, items) = rest.split_first_chunk::<4>()?;
    Some(Row {
        first,
        at_ms: u64::from_le_bytes(*at_ms),
        count: u32::from_le_bytes(*count),
        items: items.to_vec(),
    })
}
