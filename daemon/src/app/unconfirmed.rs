//! The configuration to go back to from a reload that nobody has confirmed, kept in a file so that it comes back in time also after a restart
//! or a crash. Never reads or writes the configuration's own files.
//!
//! `STATE_DIR/INSTANCE/unconfirmed` holds the texts of the confirmed configuration, until when a confirmation may come, and a checksum of the
//! texts that wait for it. After that time it still says which configuration holds, for as long as the files are those that were
//! not confirmed; files that somebody has changed since are taken at their word.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::admin::{Store, StoreError};
use crate::config::{self, LoadError, Loaded};

const NAME: &str = "unconfirmed";
/// Largest file that is read: the largest configuration, as JSON.
const MOST_BYTES: u64 = 64 << 20;

/// What was confirmed last, while something else is tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unconfirmed {
    /// When it comes back.
    pub(super) deadline: Timestamp,
    /// Its files.
    before: Vec<(PathBuf, String)>,
    /// Checksum of what is tried.
    tried: u32,
}

/// Which configuration a start goes by.
pub(super) enum Start {
    /// The files'.
    Files,
    /// The files', until this deadline.
    Trying(Box<(Timestamp, Loaded)>),
    /// The one before: nobody confirmed what the files say.
    Before(Box<Loaded>),
}

impl Unconfirmed {
    /// `tried` takes the place of `before` until `deadline`.
    pub(super) fn new(
        deadline: Timestamp,
        before: &[(PathBuf, String)],
        tried: &[(PathBuf, String)],
    ) -> Self {
        Self { deadline, before: before.to_vec(), tried: checksum(tried) }
    }

    /// The same way back, from something else that is tried.
    pub(super) fn again(self, deadline: Timestamp, tried: &[(PathBuf, String)]) -> Self {
        Self { deadline, tried: checksum(tried), ..self }
    }

    /// Writes it durably. Blocks.
    pub(super) fn keep(&self, store: &Store) -> Result<(), StoreError> {
        // Plain values have no way to fail.
        store.keep(NAME, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// What is kept, if anything. Blocks.
    fn kept(folder: &Path) -> Option<Self> {
        let path = folder.join(NAME);
        let small = std::fs::metadata(&path).ok()?.len() <= MOST_BYTES;
        let bytes = small.then(|| std::fs::read(&path).ok()).flatten()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| {
                tracing::error!(%error, path = %path.display(), "the way back from an unconfirmed reload can't be read: the files hold");
            })
            .ok()
    }
}

/// The way back that is kept, if anything. Blocks.
pub(super) fn kept(store: &Store) -> Option<Unconfirmed> {
    Unconfirmed::kept(store.folder())
}

/// There is nothing to go back to any more. Blocks.
pub(super) fn forget(store: &Store) -> Result<(), StoreError> {
    store.forget(NAME)
}

/// Says what a start at `now` goes by, where the files say `loaded`. Blocks.
///
/// # Errors
/// When the configuration before can't be read any more.
pub(super) fn at_start(loaded: &Loaded, now: Timestamp) -> Result<Start, LoadError> {
    let host = &loaded.config.host;
    let Some(kept) = Unconfirmed::kept(&host.state_dir.join(&host.instance)) else { return Ok(Start::Files) };
    if kept.tried != checksum(&loaded.sources) {
        tracing::info!(
            "the configuration's files were changed after a reload that was not confirmed: they hold"
        );
        return Ok(Start::Files);
    }
    if kept.deadline <= now && kept.before == loaded.sources {
        return Ok(Start::Files);
    }
    let before = config::from_sources(kept.before)?;
    Ok(if kept.deadline > now {
        Start::Trying(Box::new((kept.deadline, before)))
    } else {
        Start::Before(Box::new(before))
    })
}

fn checksum(sources: &[(PathBuf, String)]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (path, text) in sources {
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(&[0]);
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize()
}
