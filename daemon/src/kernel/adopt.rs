//! Whether the maps that an earlier daemon left pinned can be taken over. Reads pins; changes none.

use std::path::PathBuf;

use aya::maps::{Array, Map, MapData, MapError};
use tidegate_common::abi::{ABI_VERSION, Control, SLOTS};
use tidegate_common::names::{CONTROL, MapKind, SHARED_MAPS};
use zerocopy::FromBytes;

use super::homes::{HOMES, VALUE_BYTES};
use super::pins::{Pins, PinsError};

/// Versions that this one may replace by itself: their maps go, and with them counters and bucket levels.
const REPLACEABLE: &[u64] = &[];

/// Why pinned maps cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The folder cannot be read.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// A pin cannot be opened.
    #[error("pinned map {}: {why}", path.display())]
    Open {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        why: MapError,
    },
    /// Maps are laid out differently.
    #[error(
        "maps pinned in {} are not this version's: {}; nothing was changed. The old program goes on; \
         `tidegate detach` takes it off and removes the maps (counters restart)", folder.display(), faults.join("; ")
    )]
    Layout {
        /// Where they are.
        folder: PathBuf,
        /// One text per map: its name, what was found, what is wanted.
        faults: Vec<String>,
    },
    /// They are laid out alike, but mean something else.
    #[error(
        "maps pinned in {} have ABI version {found}, this tidegate needs {wanted}; nothing was changed. \
         Run that version again, or `tidegate detach` (counters restart)", folder.display()
    )]
    Abi {
        /// Where they are.
        folder: PathBuf,
        /// Their version.
        found: u64,
        /// Ours.
        wanted: u32,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adoption {
    /// No maps: a first start.
    Fresh,
    /// All that is pinned fits: counters and bucket levels are kept.
    Adopt,
    /// An older version that may be replaced.
    Replace(u64),
}

/// Compares every pinned map with its definition, and the ABI version with ours.
pub(crate) fn examine(pins: &Pins) -> Result<Adoption, AdoptError> {
    let names = pins.map_names()?;
    if names.is_empty() {
        return Ok(Adoption::Fresh);
    }
    let abi = if names.iter().any(|name| name == CONTROL) { abi_version(pins)? } else { None };
    if let Some(old) = abi.filter(|abi| REPLACEABLE.contains(abi)) {
        return Ok(Adoption::Replace(old));
    }
    let mut faults = Vec::new();
    for name in &names {
        faults.extend(fault(pins, name)?);
    }
    if !faults.is_empty() {
        return Err(AdoptError::Layout { folder: pins.maps(), faults });
    }
    match abi {
        // 0: the daemon that made them ended before it filled them.
        None | Some(0) => Ok(Adoption::Adopt),
        Some(abi) if abi == u64::from(ABI_VERSION) => Ok(Adoption::Adopt),
        Some(found) => Err(AdoptError::Abi { folder: pins.maps(), found, wanted: ABI_VERSION }),
    }
}

fn fault(pins: &Pins, name: &str) -> Result<Option<String>, AdoptError> {
    let found = Shape::of(&open(pins, name)?, name, pins)?;
    let Some(wanted) = Shape::wanted(name) else {
        return Ok(Some(format!("{name}: not a map of this version ({found})")));
    };
    Ok((found != wanted).then(|| format!("{name}: found {found}, wanted {wanted}")))
}

fn open(pins: &Pins, name: &str) -> Result<MapData, AdoptError> {
    let path = pins.map(name);
    MapData::from_pin(&path).map_err(|why| AdoptError::Open { path, why })
}

/// The first word of `CONTROL`, in every version; `None` when the map is not even an array of that size.
fn abi_version(pins: &Pins) -> Result<Option<u64>, AdoptError> {
    let Ok(map) = Map::from_map_data(open(pins, CONTROL)?) else { return Ok(None) };
    let Ok(control) = Array::<_, [u8; size_of::<Control>()]>::try_from(map) else { return Ok(None) };
    let bytes = control.get(&0, 0).map_err(|why| AdoptError::Open { path: pins.map(CONTROL), why })?;
    Ok(Control::read_from_bytes(&bytes).ok().map(|control| control.abi))
}

/// What the kernel knows of a map's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
}

impl Shape {
    fn of(map: &MapData, name: &str, pins: &Pins) -> Result<Self, AdoptError> {
        let failed = |why| AdoptError::Open { path: pins.map(name), why };
        let info = map.info().map_err(failed)?;
        Ok(Self {
            kind: info.map_type().map_err(failed)? as u32,
            key_bytes: info.key_size(),
            value_bytes: info.value_size(),
            max_entries: info.max_entries(),
            flags: info.map_flags(),
        })
    }

    /// What this version pins under `name`; `None` if nothing.
    fn wanted(name: &str) -> Option<Self> {
        if name == HOMES {
            let kind = MapKind::Array.number();
            return Some(Self {
                kind,
                key_bytes: 4,
                value_bytes: VALUE_BYTES as u32,
                max_entries: SLOTS as u32,
                flags: 0,
            });
        }
        let definition = SHARED_MAPS.iter().find(|definition| definition.name == name)?;
        Some(Self {
            kind: definition.kind.number(),
            key_bytes: definition.key_bytes,
            value_bytes: definition.value_bytes,
            max_entries: definition.max_entries,
            flags: 0,
        })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, key_bytes, value_bytes, max_entries, flags } = self;
        let kind: &dyn std::fmt::Display = match kind {
            1 => &"hash",
            2 => &"array",
            6 => &"per-CPU array",
            11 => &"prefix trie",
            27 => &"ring",
            other => other,
        };
        write!(f, "{kind} of {max_entries} × (key {key_bytes}, value {value_bytes} bytes), flags {flags:#x}")
    }
}
