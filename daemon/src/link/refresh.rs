//! Files that are read again when they change. Never drops what was read well before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::TlsFault;
use super::files::Stamp;

/// Something that was read from files.
pub trait Fresh: Send + Sync {
    /// What it is, for a log line.
    fn subject(&self) -> String;

    /// Looks at the files, and reads them when they have changed and stood still since the last look. Blocks for a few file reads.
    fn refresh(&self) -> Refreshed;
}

/// What came of a look at the files.
#[derive(Debug)]
pub enum Refreshed {
    /// Nothing new.
    Unchanged,
    /// New files are in use.
    Renewed,
    /// New files are faulty; what was read before stays in use. Told once for each state of the files.
    Kept(TlsFault),
}

/// Looks at all of `parts` every so often, and tells what was renewed or is faulty. Ends never: drop it.
pub async fn keep_fresh(parts: Vec<Arc<dyn Fresh>>, every: Duration, mut tell: impl FnMut(&str, &Refreshed)) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for part in &parts {
            let part = Arc::clone(part);
            let looked = tokio::task::spawn_blocking(move || (part.subject(), part.refresh())).await;
            match looked {
                Ok((_, Refreshed::Unchanged)) | Err(_) => {}
                Ok((subject, refreshed)) => tell(&subject, &refreshed),
            }
        }
    }
}

/// The state in which some files were read last. Writers replace a chain and its key one after the other: files are read again only
/// when two looks in a row found the same new state.
#[derive(Debug)]
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    read: Stamp,
    seen: Stamp,
}

impl Watched {
    /// Remembers the files' state; taken before they are read, so that no change is missed.
    pub(super) fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let paths: Vec<_> = paths.into_iter().cloned().collect();
        let stamp = Stamp::of(&paths);
        Self { paths, read: stamp.clone(), seen: stamp }
    }

    /// Calls `load` when the files have changed and stood still.
    pub(super) fn when_changed(&mut self, load: impl FnOnce() -> Result<(), TlsFault>) -> Refreshed {
        let now = Stamp::of(&self.paths);
        let settled = now == self.seen;
        self.seen = now.clone();
        if !settled || now == self.read {
            return Refreshed::Unchanged;
        }
        self.read = now;
        load().map_or_else(Refreshed::Kept, |()| Refreshed::Renewed)
    }
}
