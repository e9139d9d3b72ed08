//! Keeps running ramps across restarts, in a small file beside the state. Never fails anything: without it, ramps begin anew.

use std::fs;
use std::path::Path;

use crate::decide::ramps::Ramps;

const NAME: &str = "ramps";
/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// What the last daemon kept; `None` where there is nothing, or nothing that can be read.
pub(super) fn load(folder: &Path) -> Option<Ramps> {
    let path = folder.join(NAME);
    let size = fs::metadata(&path).ok()?.len();
    let text = (size <= MAX_BYTES).then(|| fs::read_to_string(&path).ok()).flatten()?;
    serde_json::from_str(&text)
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "kept ramps can't be read: they begin anew"))
        .ok()
}

/// Replaces the file as a whole.
pub(super) fn save(folder: &Path, ramps: &Ramps) {
    let new = folder.join("ramps.new");
    let written = serde_json::to_vec(ramps)
        .map_err(std::io::Error::from)
        .and_then(|text| fs::write(&new, text))
        .and_then(|()| fs::rename(&new, folder.join(NAME)));
    if let Err(error) = written {
        tracing::warn!(%error, "ramps can't be kept: after a restart they begin anew");
    }
}
