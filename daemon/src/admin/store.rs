//! The file that keeps what operators changed: written whole, durable before it is acknowledged, never guessed at. Decides nothing.
//!
//! `STATE_DIR/INSTANCE/state`: one header line (format, checksum, length), then JSON. A save writes a new file beside it, syncs it,
//! renames it over the old one and syncs the folder, so that a crash at any instant leaves the old state or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::decide::overrides::Overrides;

/// Format that this version writes.
const FORMAT: u32 = 1;
const MAGIC: &str = "tidegate-state";
/// Largest state that is read.
const MAX_BYTES: u64 = 64 << 20;

/// The state folder of one instance; one daemon at a time.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon has it.
    #[error("{}: another tidegate runs as this instance (lock is held)", .0.display())]
    Taken(PathBuf),
    /// A system call failed.
    #[error("{}: cannot {action}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// The state to go on with.
    pub overrides: Overrides,
    /// A file that could not be used was set aside; says where and why.
    pub set_aside: Option<String>,
}

impl Store {
    /// Opens the folder of `instance` in `state_dir`, making it where it is missing, and locks it.
    ///
    /// # Errors
    /// The folder can't be made or locked.
    pub fn open(state_dir: &Path, instance: &str) -> Result<Self, StoreError> {
        let folder = state_dir.join(instance);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&folder)
            .map_err(|error| failed("make the folder", &folder, error))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed("open", &path, error))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Taken(path)),
            Err(error) => Err(failed("lock", &path, error.into())),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the state. What can't be used is renamed beside it and told, never guessed at.
    ///
    /// # Errors
    /// The file is there and can't be read or set aside.
    pub fn load(&self) -> Result<Found, StoreError> {
        let path = self.folder.join("state");
        let mut text = String::new();
        match File::open(&path).map(|file| file.take(MAX_BYTES)) {
            Ok(mut file) => match file.read_to_string(&mut text) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.set_aside(&path, "damaged", "it is not text");
                }
                Err(error) => return Err(failed("read", &path, error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
            Err(error) => return Err(failed("open", &path, error)),
        }
        match parse(&text) {
            Ok(overrides) => Ok(Found { overrides, set_aside: None }),
            Err(Unusable::Newer(format)) => {
                let why = format!("it has format {format}, this version of tidegate knows {FORMAT}");
                self.set_aside(&path, "newer", &why)
            }
            Err(Unusable::Damaged(why)) => self.set_aside(&path, "damaged", &why),
        }
    }

    fn set_aside(&self, path: &Path, what: &str, why: &str) -> Result<Found, StoreError> {
        let free = (1..).map(|n| self.folder.join(format!("state.{what}-{n}"))).find(|path| !path.exists());
        let aside = free.unwrap_or_else(|| self.folder.join(format!("state.{what}")));
        fs::rename(path, &aside).map_err(|error| failed("set aside", path, error))?;
        let told = format!(
            "what operators changed could not be read back ({why}): the file is kept as {}, and the configuration alone holds",
            aside.display()
        );
        Ok(Found { overrides: Overrides::default(), set_aside: Some(told) })
    }

    /// Writes another file of the folder whole and durably.
    ///
    /// # Errors
    /// A system call failed; the old file, if there was one, is in place.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, next) = (self.folder.join(name), self.folder.join(format!("{name}.next")));
        Disk.write(&next, bytes).map_err(|error| failed("write", &next, error))?;
        Disk.rename(&next, &path).map_err(|error| failed("rename", &next, error))?;
        Disk.sync_folder(&self.folder).map_err(|error| failed("sync", &self.folder, error))
    }

    /// Removes it durably; it may be gone already.
    ///
    /// # Errors
    /// A system call failed.
    pub fn forget(&self, name: &str) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Disk.sync_folder(&self.folder).map_err(|error| failed("sync", &self.folder, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", &path, error)),
        }
    }

    /// Writes the state so that it survives a power cut from the moment this returns.
    ///
    /// # Errors
    /// A system call failed; the old state is in place.
    pub fn save(&self, overrides: &Overrides) -> Result<(), StoreError> {
        save_with(&Disk, &self.folder, &render(overrides))
    }
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), error }
}

fn render(overrides: &Overrides) -> Vec<u8> {
    // Serialising plain values into memory has no way to fail.
    let json = serde_json::to_vec(overrides).unwrap_or_default();
    let header = format!("{MAGIC} {FORMAT} {:08x} {}\n", crc32fast::hash(&json), json.len());
    [header.into_bytes(), json].concat()
}

/// Why a text is no state.
#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    Newer(u32),
    Damaged(String),
}

fn parse(text: &str) -> Result<Overrides, Unusable> {
    let damaged = |why: &str| Unusable::Damaged(why.to_owned());
    let (header, json) = text.split_once('\n').ok_or_else(|| damaged("it has no header"))?;
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(damaged("it has no header"));
    }
    let format: u32 =
        words.next().and_then(|word| word.parse().ok()).ok_or_else(|| damaged("its header is damaged"))?;
    if format > FORMAT {
        return Err(Unusable::Newer(format));
    }
    let sum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    let length: Option<usize> = words.next().and_then(|word| word.parse().ok());
    if length != Some(json.len()) || sum != Some(crc32fast::hash(json.as_bytes())) {
        return Err(damaged("its checksum does not match"));
    }
    serde_json::from_str(json).map_err(|error| Unusable::Damaged(error.to_string()))
}

/// The system calls of a save, so that tests can make each of them fail.
trait Calls {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The real ones.
struct Disk;

impl Calls for Disk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

fn save_with(calls: &impl Calls, folder: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let (path, next) = (folder.join("state"), folder.join("state.next"));
    let old = fs::read(&path);
    calls.write(&next, bytes).map_err(|error| failed("write", &next, error))?;
    calls.rename(&next, &path).map_err(|error| failed("rename", &next, error))?;
    calls.sync_folder(folder).map_err(|error| {
        put_back(&path, &next, old);
        failed("sync", folder, error)
    })
}

/// Undoes a rename that may not last, so that what is refused is not there after a restart either. Where this fails as well, the disk
/// is past help, and the operator was told of the first failure.
fn put_back(path: &Path, next: &Path, old: io::Result<Vec<u8>>) {
    let undone = match old {
        Ok(old) => Disk.write(next, &old).and_then(|()| fs::rename(next, path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(path),
        Err(error) => Err(error),
    };
    if let Err(error) = undone {
        tracing::error!(%error, path = %path.display(), "a change that was refused may be there after a restart");
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
