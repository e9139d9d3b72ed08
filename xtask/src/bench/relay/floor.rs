//! What any durable spool pays: an append that is made durable.
//! Never looks at a byte.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use anyhow::Result;
use tidegate_tests::scratch::Folder;

/// Bytes of the file that appends go to, written before so that its length never changes.
const LOG: usize = 1 << 20;
/// Bytes of an append: about what 64 clients' captured sets weigh.
pub(super) const APPEND: usize = 2048;
/// Appends per measurement.
const APPENDS: usize = 50;

/// A file beside the spools, to append to.
pub(super) struct Log {
    file: File,
    at: usize,
    _folder: Folder,
}

impl Log {
    pub(super) fn make() -> Result<Self> {
        let folder = Folder::new("floor")?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(folder.file("log"))?;
        file.write_all_at(&vec![1; LOG], 0)?;
        file.sync_all()?;
        Ok(Self { file, at: 0, _folder: folder })
    }

    /// Microseconds of an append that is durable, in the middle of many.
    pub(super) fn append(&mut self) -> Result<f64> {
        let mut took = Vec::with_capacity(APPENDS);
        for _ in 0..APPENDS {
            let start = Instant::now();
            self.file.write_all_at(&[2; APPEND], self.at as u64)?;
            self.file.sync_data()?;
            took.push(start.elapsed().as_secs_f64() * 1e6);
            self.at = (self.at + APPEND) % LOG;
        }
        took.sort_unstable_by(f64::total_cmp);
        Ok(took[APPENDS / 2])
    }
}
