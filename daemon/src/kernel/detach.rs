//! Taking an instance off its interfaces and removing its pins, with or without a daemon. Never touches another instance.

use std::io;
use std::path::{Path, PathBuf};

use tidegate_common::names::PIN_ROOT;

use super::attach::take_off;
use super::pins::{Pins, PinsError};

/// What `detach` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Interfaces that had the program.
    pub interfaces: Vec<String>,
    /// Every pin and folder removed, in order.
    pub removed: Vec<PathBuf>,
}

impl Detached {
    /// There was nothing to remove.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.removed.is_empty()
    }
}

/// Why an instance could not be detached entirely.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The folder cannot be read.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// A pin cannot be removed.
    #[error("removing {}: {why}", path.display())]
    Remove {
        /// The pin.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// Takes `instance` off every interface and removes its pins. The program's pin goes first: a running daemon sees by that that it is
/// to stay off, until it is reloaded or restarted. Then the links, so traffic flows before the rest is cleared away.
/// Nothing there is no error.
///
/// # Errors
/// The first pin that cannot be removed; what was removed until then stays removed.
pub fn detach(instance: &str) -> Result<Detached, DetachError> {
    let pins = Pins::of(instance)?;
    let mut done = Detached::default();
    for path in [pins.program(), pins.next_program()] {
        remove(&path, |path| std::fs::remove_file(path), &mut done)?;
    }
    for (interface, path) in pins.links()? {
        remove(&path, |path| take_off(&interface, path), &mut done)?;
        done.interfaces.push(interface);
    }
    clear_maps(&pins, &mut done)?;
    remove(pins.folder(), |path| std::fs::remove_dir(path), &mut done)?;
    Ok(done)
}

/// The instances that have pins here, as far as this process may see them.
#[must_use]
pub fn pinned() -> Vec<String> {
    let folders = std::fs::read_dir(PIN_ROOT).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders.filter_map(|folder| folder.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// As [`detach`], for a daemon that is to be on no interface: takes away what an earlier configuration left, but never what another
/// daemon holds. What this process may not even see is nothing.
///
/// # Errors
/// Another daemon of this instance, or as [`detach`].
pub fn abandon(instance: &str) -> Result<Detached, DetachError> {
    let pins = Pins::of(instance)?;
    if !pins.folder().exists() {
        return Ok(Detached::default());
    }
    let _claim = pins.claim()?;
    detach(instance)
}

/// Removes the pinned maps of `pins`, and their folder.
pub(crate) fn clear_maps(pins: &Pins, done: &mut Detached) -> Result<(), DetachError> {
    for name in pins.map_names()? {
        remove(&pins.map(&name), |path| std::fs::remove_file(path), done)?;
    }
    remove(&pins.maps(), |path| std::fs::remove_dir(path), done)
}

fn remove(
    path: &Path,
    by: impl FnOnce(&Path) -> io::Result<()>,
    done: &mut Detached,
) -> Result<(), DetachError> {
    match by(path) {
        Ok(()) => done.removed.push(path.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(DetachError::Remove { path: path.to_owned(), why }),
    }
    Ok(())
}
