//! Rows and books on disk, in one redb file. Never decides what is kept.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;

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
/// Layout of this file.
const FORMAT: u64 = 1;
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

/// Opens the database; again after a failure.
pub type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send>;

/// An opener of a file of mode 0600.
#[must_use]
pub fn file(path: PathBuf) -> Opener {
    Box::new(move || {
        let file = open_file(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
        let backend = FileBackend::new(file).map_err(StoreError::from_redb)?;
        redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(StoreError::from_redb)
    })
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// What one commit changes.
#[derive(Default)]
pub(super) struct Batch {
    /// Rows below this number of a lane go.
    pub(super) voids: Vec<(u32, u64)>,
    pub(super) puts: Vec<(u32, Arc<Row>)>,
    pub(super) removes: Vec<(u32, u64)>,
    pub(super) rests: Vec<(u32, u64)>,
    /// As `removes`, of rows that rested.
    pub(super) repeated: Vec<(u32, u64)>,
    pub(super) books: Vec<(u32, Books)>,
    pub(super) next: Vec<(u32, u64)>,
    /// The daemon stops, and everything is in.
    pub(super) clean: bool,
}

/// What the file said of the last daemon.
pub(super) struct Past {
    /// It stopped with everything in, or there was none.
    pub(super) clean: bool,
}

/// The open file.
pub(super) struct Store {
    opener: Opener,
    db: Option<Database>,
}

impl Store {
    /// Opens or makes the file.
    pub(super) fn open(opener: Opener) -> Result<(Self, Past), StoreError> {
        let db = opener()?;
        let past = begin(&db)?;
        Ok((Self { opener, db: Some(db) }, past))
    }

    fn db(&mut self) -> Result<&Database, StoreError> {
        if self.db.is_none() {
            self.db = Some((self.opener)()?);
        }
        self.db.as_ref().ok_or(StoreError::InUse)
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

    /// Makes the batch durable, or nothing of it. After an error the same batch may be tried again.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let done = self.db().and_then(|db| write(db, batch).map_err(StoreError::from_redb));
        if done.is_err() {
            // redb refuses everything after a failed write; a fresh handle starts from the last commit.
            self.db = None;
        }
        done
    }
}

fn begin(db: &Database) -> Result<Past, StoreError> {
    let run = || -> Result<Result<bool, u64>, redb::Error> {
        let txn = db.begin_write()?;
        let clean = {
            let mut meta = txn.open_table(META)?;
            let format = meta.get("format")?.map(|format| format.value());
            if let Some(found) = format.filter(|&found| found > FORMAT) {
                return Ok(Err(found));
            }
            let clean = meta.get("clean")?.is_none_or(|clean| clean.value() == 1);
            meta.insert("format", FORMAT)?;
            meta.insert("clean", 0)?;
            clean
        };
        txn.open_table(ROWS)?;
        txn.open_table(RESTING)?;
        txn.open_table(BOOKS)?;
        txn.commit()?;
        Ok(Ok(clean))
    };
    match run().map_err(StoreError::from_redb)? {
        Ok(clean) => Ok(Past { clean }),
        Err(found) => Err(StoreError::Newer { found }),
    }
}

fn write(db: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    {
        let mut rows = txn.open_table(ROWS)?;
        for &(lane, below) in &batch.voids {
            rows.retain_in((lane, 0)..(lane, below), |_, _| false)?;
        }
        let mut value = Vec::new();
        for (lane, row) in &batch.puts {
            encode(row, &mut value);
            rows.insert((*lane, row.first), value.as_slice())?;
        }
        for &name in batch.removes.iter().chain(&batch.repeated) {
            rows.remove(name)?;
        }
        let mut resting = txn.open_table(RESTING)?;
        for &name in &batch.rests {
            resting.insert(name, ())?;
        }
        for &name in &batch.repeated {
            resting.remove(name)?;
        }
        for &(lane, below) in &batch.voids {
            resting.retain_in((lane, 0)..(lane, below), |_, ()| false)?;
        }
    }
    let mut books = txn.open_table(BOOKS)?;
    for (lane, entry) in &batch.books {
        books.insert(lane, entry.to_array())?;
    }
    drop(books);
    let mut next = txn.open_table(NEXT)?;
    for (lane, number) in &batch.next {
        next.insert(lane, number)?;
    }
    drop(next);
    if batch.clean {
        txn.open_table(META)?.insert("clean", 1)?;
    }
    txn.commit()?;
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
