//! What the NIC tells of itself: where the program is, what it counted, how full its limits are. Never reads a map.

use std::time::{Duration, SystemTime};

use crate::decide::measure::Measure;
use crate::decide::region::RegionId;

/// The NIC's state at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct NicReport {
    /// Whether there is a program at all.
    pub state: NicState,
    /// The kernel's id of the loaded program.
    pub program_id: Option<u32>,
    /// When that program was loaded.
    pub loaded_at: Option<SystemTime>,
    /// Version of the maps' layout.
    pub abi: u32,
    /// One entry per configured interface, in configuration order.
    pub interfaces: Vec<InterfaceReport>,
    /// Whether the program still enforces.
    pub lease: LeaseState,
    /// Whether counters were taken over from an earlier daemon.
    pub adopted: bool,
    /// Packets and bytes since the maps were made; entries without packets are left out.
    pub counts: Vec<NicCount>,
    /// Every limit in force, and what of it is used.
    pub limits: Vec<LimitUse>,
    /// Samples that found the event ring full, or the reader too slow.
    pub events_lost: u64,
    /// How long the last change took; `None` before the first.
    pub last_apply: Option<ApplyTimes>,
}

/// Whether there is a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NicState {
    /// `[xdp] interfaces` is empty: the proxy alone enforces.
    Off,
    /// Loaded.
    Loaded,
    /// Taken off by `detach`; a reload or a restart attaches it again.
    Detached,
    /// Could not be loaded or attached; the text says why.
    Failed(String),
}

/// How long a change of the plan took, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyTimes {
    /// Loading the program and filling its tables.
    pub load_ns: u64,
    /// From the first interface swapped to the last.
    pub swap_ns: u64,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Whether the program is on it.
    pub state: AttachState,
}

/// Whether the program is on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachState {
    /// Attached.
    Attached {
        /// In the driver or in the stack.
        mode: AttachMode,
        /// Since when this daemon or an earlier one has it attached.
        since: Option<SystemTime>,
        /// Taken over from an earlier daemon.
        adopted: bool,
    },
    /// There is no such interface now; it is attached to when it appears.
    Missing,
    /// Taken off by `detach`.
    Detached,
    /// Not attached; the text says why.
    Failed(String),
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachMode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the stack, with a socket buffer: slower, works everywhere.
    Generic,
    /// On the network card. Never chosen by tidegate, seen on foreign programs.
    Offloaded,
}

impl AttachMode {
    /// The word in `status` and the configuration.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        }
    }
}

/// The lease: without a daemon for so long, everything passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// No program, no lease.
    None,
    /// Enforcing for at least this much longer.
    Held {
        /// Until everything would pass if the daemon stopped now.
        remaining: Duration,
    },
    /// Everything passes.
    Expired,
}

/// Packets and bytes of one verdict, reason and home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicCount {
    /// `pass` or `shed`.
    pub verdict: &'static str,
    /// The reason's label.
    pub reason: &'static str,
    /// Ceilings were asked, and it passed.
    pub admitted: bool,
    /// Home region of the sources; `None` where none was looked up.
    pub home: Option<RegionId>,
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames as the program sees them.
    pub bytes: u64,
}

/// One limit and its use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitUse {
    /// Whose traffic; `None` is everyone's together.
    pub home: Option<RegionId>,
    /// What is limited.
    pub measure: Measure,
    /// Per second.
    pub limit_per_second: u64,
    /// Share of the burst that is used up now, 0 to 1; 1 means the limit is reached.
    pub used: f64,
    /// Counted only, nothing shed.
    pub observe: bool,
}
