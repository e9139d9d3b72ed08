//! Unique names and temporary folders.
//! Never a fixed path.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// What every name made by this harness starts with.
pub const PREFIX: &str = "tg";

/// `tg-PID-N-LABEL`: unique on this machine for as long as the process lives.
#[must_use]
pub fn unique(label: &str) -> String {
    format!("{PREFIX}-{}-{}-{label}", std::process::id(), SEQUENCE.fetch_add(1, Ordering::Relaxed))
}

/// The process that made a name, if it was made by [`unique`].
#[must_use]
pub fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-').next()?.parse().ok()
}

/// Whether a name was made by a process that is gone.
#[must_use]
pub fn is_orphan(name: &str) -> bool {
    owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// A temporary folder, removed with all it holds on drop.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it, readable by its owner and enterable by all (servers that drop privileges need that).
    ///
    /// # Errors
    /// When the temporary folder can't be written to.
    pub fn new(label: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(unique(label));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it and returns the file's path.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let file = self.file(name);
        std::fs::write(&file, contents).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Folder, is_orphan, owner, unique};

    #[test]
    fn names_tell_their_owner() {
        let (one, two) = (unique("a-b"), unique("a-b"));
        assert_ne!(one, two);
        assert_eq!(owner(&one), Some(std::process::id()));
        assert!(!is_orphan(&one));
        assert!(is_orphan("tg-4194999-0-gone"), "no such pid: beyond the kernel's limit");
        assert!(!is_orphan("tg-"), "not ours");
        assert!(!is_orphan("eth0"), "not ours");
    }

    #[test]
    fn a_folder_goes_with_its_contents() {
        let folder = Folder::new("folder").unwrap();
        let file = folder.write("x", "y").unwrap();
        assert!(file.exists());
        drop(folder);
        assert!(!file.exists());
    }
}
