//! Names of programs, maps and pins, written once, with the definitions that a loader checks. Never a path of one machine.

use crate::abi;

/// Folder on bpffs that holds one folder per instance.
pub const PIN_ROOT: &str = "/sys/fs/bpf/tidegate";
/// The XDP program that is attached to interfaces.
pub const PROGRAM: &str = "tidegate";
/// The same judgement without side effects: returns the encoded verdict, takes no credit, counts nothing.
pub const EXPLAIN: &str = "tidegate_explain";
/// A bare pass: the floor of measurements, and what the other end of a veth pair needs to receive answers.
pub const BARE: &str = "tidegate_bare";

/// Limits in two banks: [`abi::SlotLimits`].
pub const LIMITS: &str = "LIMITS";
/// Shared bucket levels: [`abi::SlotBuckets`].
pub const BUCKETS: &str = "BUCKETS";
/// What each CPU holds of the buckets: [`abi::SlotStash`].
pub const STASH: &str = "STASH";
/// Frames and bytes by reason and home: [`abi::Counter`].
pub const COUNTERS: &str = "COUNTERS";
/// What the daemon tells the program: [`abi::Control`].
pub const CONTROL: &str = "CONTROL";
/// Ring of [`abi::Sample`]s.
pub const EVENTS: &str = "EVENTS";

/// Blocks of the IPv4 table: a class for each /24 of a /16.
pub const BLOCKS: &str = "BLOCKS";
/// [`abi::Rank`]s.
pub const RANKS: &str = "RANKS";
/// Groups of 256 classes.
pub const GROUPS: &str = "GROUPS";
/// IPv6 nodes of 256 entries.
pub const NODES: &str = "NODES";
/// [`abi::Leaf`]s.
pub const LEAVES: &str = "LEAVES";
/// This CPU's clock and when it last gave an event: [`abi::Tick`].
pub const TICK: &str = "TICK";

/// Global: [`abi::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// Global: 256 [`abi::Class`]es.
pub const CLASSES: &str = "CLASSES";
/// Global: the IPv4 table's root, a word for each /16.
pub const ROOT4: &str = "ROOT4";
/// Global: one bit for each listed port.
pub const PORTS: &str = "PORTS";
/// Global: local IPv4 addresses.
pub const LOCAL4: &str = "LOCAL4";
/// Global: slots of the local IPv6 addresses.
pub const LOCAL6_SLOTS: &str = "LOCAL6_SLOTS";
/// Global: local IPv6 addresses.
pub const LOCAL6: &str = "LOCAL6";

/// Kind of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_ARRAY`
    Array,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    PerCpuArray,
    /// `BPF_MAP_TYPE_RINGBUF`
    RingBuf,
}

impl MapKind {
    /// Number of this kind in `enum bpf_map_type`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Array => 2,
            Self::PerCpuArray => 6,
            Self::RingBuf => 27,
        }
    }
}

/// What a shared map must look like to be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapDefinition {
    /// Name in the program and of the pin.
    pub name: &'static str,
    /// Type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value (on one CPU).
    pub value_bytes: u32,
    /// Entries; for the ring its bytes.
    pub max_entries: u32,
}

const fn array(name: &'static str, kind: MapKind, value: usize, max_entries: usize) -> MapDefinition {
    MapDefinition { name, kind, key_bytes: 4, value_bytes: value as u32, max_entries: max_entries as u32 }
}

/// Maps that are pinned and outlive a swap of the program. All others belong to one loaded program.
pub const SHARED_MAPS: [MapDefinition; 6] = [
    array(CONTROL, MapKind::Array, size_of::<abi::Control>(), 1),
    array(LIMITS, MapKind::Array, size_of::<abi::SlotLimits>(), abi::BANKS * abi::SLOTS),
    array(BUCKETS, MapKind::Array, size_of::<abi::SlotBuckets>(), abi::SLOTS),
    array(STASH, MapKind::PerCpuArray, size_of::<abi::SlotStash>(), abi::SLOTS),
    array(COUNTERS, MapKind::PerCpuArray, size_of::<abi::Counter>(), abi::COUNTERS),
    MapDefinition {
        name: EVENTS,
        kind: MapKind::RingBuf,
        key_bytes: 0,
        value_bytes: 0,
        max_entries: abi::EVENTS_BYTES,
    },
];
