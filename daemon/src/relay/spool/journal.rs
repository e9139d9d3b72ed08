//! The journal: what was committed since the database was written last, so that a commit is one append that is made durable. Never read
//! but at the start.
//!
//! The file has a fixed length and is written from its beginning again after each *turn*, when the database has taken over everything.
//! A record's checksum is seeded with the epoch, which each turn changes, so that records of an earlier turn are none. Records begin at
//! whole blocks: one that was acknowledged shares none with a later one, and no torn write reaches it.

use std::io;

use redb::StorageBackend;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of the file.
pub(super) const LENGTH: u64 = 2 * 1024 * 1024;
/// What a disk writes as a whole.
const BLOCK: usize = 4096;
/// Checksum, length, number.
const HEAD: usize = 16;

/// The open journal.
pub(super) struct Journal {
    medium: Box<dyn StorageBackend>,
    epoch: u64,
    at: u64,
    number: u32,
    record: Vec<u8>,
}

impl Journal {
    /// Opens it and reads the records of `epoch`, oldest first.
    pub(super) fn open(medium: Box<dyn StorageBackend>, epoch: u64) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let length = medium.len()?;
        if length < LENGTH {
            // Written once, so that later writes change no metadata.
            let missing = usize::try_from(LENGTH - length).unwrap_or(0);
            medium.set_len(LENGTH)?;
            medium.write(length, &vec![0; missing])?;
            medium.sync_data()?;
        }
        let mut journal = Self { medium, epoch, at: 0, number: 0, record: Vec::new() };
        let mut records = Vec::new();
        while let Some(record) = journal.read()? {
            journal.step(HEAD + record.len());
            records.push(record);
        }
        Ok((journal, records))
    }

    /// The record where the next one belongs, if one of this epoch is there.
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; HEAD];
        if self.at + HEAD as u64 > LENGTH {
            return Ok(None);
        }
        self.medium.read(self.at, &mut head)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, number) = (word(8) as usize, word(12));
        if number != self.number || self.at + (HEAD + length) as u64 > LENGTH {
            return Ok(None);
        }
        let mut record = vec![0; HEAD + length];
        self.medium.read(self.at, &mut record)?;
        let sum = xxh3_64_with_seed(&record[8..], self.epoch);
        Ok((record[..8] == sum.to_le_bytes()).then(|| record.split_off(HEAD)))
    }

    fn step(&mut self, length: usize) {
        self.at += length.next_multiple_of(BLOCK) as u64;
        self.number += 1;
    }

    /// Appends what `write` writes, and makes it durable; false when there is no room. After an error the next record takes its place.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<bool> {
        self.record.clear();
        self.record.resize(HEAD, 0);
        write(&mut self.record);
        let length = self.record.len();
        self.record.resize(length.next_multiple_of(BLOCK), 0);
        if self.at + self.record.len() as u64 > LENGTH {
            return Ok(false);
        }
        let Ok(size) = u32::try_from(length - HEAD) else { return Ok(false) };
        self.record[8..12].copy_from_slice(&size.to_le_bytes());
        self.record[12..16].copy_from_slice(&self.number.to_le_bytes());
        let sum = xxh3_64_with_seed(&self.record[8..length], self.epoch);
        self.record[..8].copy_from_slice(&sum.to_le_bytes());
        self.medium.write(self.at, &self.record)?;
        self.medium.sync_data()?;
        self.step(length);
        Ok(true)
    }

    /// The database has everything: the next record is the first of `epoch`.
    pub(super) fn turn(&mut self, epoch: u64) {
        (self.epoch, self.at, self.number) = (epoch, 0, 0);
    }
}
