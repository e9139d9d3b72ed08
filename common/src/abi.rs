//! Layouts of what lies in the kernel's maps: `repr(C)`, no padding, no `bool`, enum, `Option` or `usize`.
//! Holds no arithmetic and no lookup; those are in [`crate::ceiling`] and [`crate::source`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::verdict::Reason;

/// Raised whenever a layout or a meaning in this file changes: shared maps of another version are not adopted.
pub const ABI_VERSION: u32 = 1;

/// Ceiling slots: slot 0 is everyone's, slot `n` belongs to home `n` (1 to 254), slot 255 is unused.
pub const SLOTS: usize = 256;
/// The slot of the ceilings for everyone.
pub const EVERYONE: u8 = 0;
/// Sets of limits; one is active while the other is written.
pub const BANKS: usize = 2;
/// How long the bank that was active is left alone after a flip, in nanoseconds: two ticks of the slowest timer.
pub const BANK_REST_NS: u64 = 20_000_000;
/// Ways a slot is limited, in this order: connections, packets, bytes.
pub const MEASURES: usize = 3;
/// Entries of the counters' map: one for each reason and home.
pub const COUNTERS: usize = Reason::COUNT * 256;
/// Bytes of the events' ring.
pub const EVENTS_BYTES: u32 = 256 * 1024;

/// Bytes of a table page. Source tables are written page by page: few system calls, one layout for all.
pub const PAGE_BYTES: usize = 65_536;

/// One page of a source table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Page {
    /// Bytes, laid out as the table says.
    pub bytes: [u8; PAGE_BYTES],
}

impl Page {
    /// A page of zeroes.
    pub const ZERO: Self = Self { bytes: [0; PAGE_BYTES] };
}

/// Value of `CONTROL`: what the daemon tells the running program. Its fields are aligned words, written whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Control {
    /// [`ABI_VERSION`] of who made the shared maps; 0 in maps that nobody has filled yet.
    pub abi: u64,
    /// Active bank of `LIMITS`: 0 or 1. Each CPU looks once in a timer tick: after a flip, the bank that was active
    /// must stay as it is for [`BANK_REST_NS`].
    pub bank: u64,
    /// CLOCK_MONOTONIC nanoseconds after which everything passes; 0 has always passed.
    pub deadline_ns: u64,
    /// Bit `n & 63` of word `n >> 6`: slot `n` of the active bank has any limit ([`SlotLimits::limited`] is not zero).
    pub limited: [u64; 4],
    /// Zero.
    pub reserved: u64,
}

/// One limit of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Limit {
    /// Nanoseconds per unit, shifted left by [`crate::ceiling::COST_SHIFT`]; [`crate::ceiling::CLOSED`] admits nothing.
    pub cost: u64,
    /// How far unused allowance may be saved up, in nanoseconds.
    pub burst_ns: u64,
    /// Most units that one CPU takes at once.
    pub lease: u32,
    /// Differs from the previous limit of this slot and measure, so that credits leased under that one are forgotten.
    pub generation: u32,
}

/// Value of `LIMITS`, at `bank * SLOTS + slot`. The first word keeps the rest on cache lines of its own:
/// values of an array map start 56 bytes into a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotLimits {
    /// Zero.
    pub align: u64,
    /// Bit `m` set: measure `m` is limited.
    pub limited: u32,
    /// Bit `m` set: what exceeds measure `m` is counted but passes.
    pub observed: u32,
    /// Bit `m` set: a SYN that exceeds measure `m` is answered with RST.
    pub reset: u32,
    /// Zero.
    pub reserved: u32,
    /// By measure.
    pub limits: [Limit; MEASURES],
    /// Zero.
    pub tail: [u64; 4],
}

/// Value of `BUCKETS`, by slot: the shared level of each measure (see [`crate::ceiling`]), on one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotBuckets {
    /// Zero.
    pub align: u64,
    /// Theoretical arrival times in CLOCK_MONOTONIC nanoseconds, by measure.
    pub tat_ns: [u64; MEASURES],
    /// Zero.
    pub tail: [u64; 4],
}

/// What one CPU holds of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stash {
    /// Units leased and not yet spent.
    pub credits: u32,
    /// [`Limit::generation`] under which they were leased.
    pub generation: u32,
    /// Coarse time at which the bucket last had nothing left; no further attempt at that same time.
    pub empty_at_ns: u64,
}

/// Value of `STASH` on each CPU, by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotStash {
    /// By measure.
    pub measures: [Stash; MEASURES],
}

/// Value of `COUNTERS` on each CPU, at `reason * 256 + home`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// Frames.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
}

/// Where `reason` and `home` are counted.
#[must_use]
#[inline(always)]
pub const fn counter_index(reason: u8, home: u8) -> u32 {
    ((reason as u32) << 8) | home as u32
}

/// Value of `TICK` on each CPU: clock and control, read once for each timer tick, and when this CPU last gave an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tick {
    /// Jiffies at which the clock was read.
    pub jiffies: u64,
    /// Coarse CLOCK_MONOTONIC nanoseconds then.
    pub coarse_ns: u64,
    /// 1: the lease had ended.
    pub expired: u32,
    /// Active bank.
    pub bank: u32,
    /// [`Control::limited`].
    pub limited: [u64; 4],
    /// The same at the last event.
    pub last_event_ns: u64,
    /// Shed frames since that gave no event.
    pub suppressed: u64,
}

/// A record of the `EVENTS` ring: one shed (or observed) frame out of those of a clock tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sample {
    /// Coarse CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
    /// Source address in network byte order, as two words; IPv4 as `::ffff:a.b.c.d`.
    pub source: [u64; 2],
    /// Shed frames on this CPU before this one that gave no event.
    pub suppressed: u64,
    /// Bytes of the frame.
    pub bytes: u32,
    /// Destination port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Reason`]'s number.
    pub reason: u8,
    /// Home number; 0 is unknown.
    pub home: u8,
    /// 1: answered with RST.
    pub reset: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// What a class of sources means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Class {
    /// Home number; 0 where the list alone decides.
    pub home: u8,
    /// [`LIST_NONE`], [`LIST_ALLOW`] or [`LIST_DENY`].
    pub list: u8,
}

/// On no list.
pub const LIST_NONE: u8 = 0;
/// Never shed.
pub const LIST_ALLOW: u8 = 1;
/// Always shed.
pub const LIST_DENY: u8 = 2;

/// One marker word of the IPv4 table: which of 64 /24s have a group, and the number of the first of these groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rank {
    /// Bit `n`: the `n`th /24 of these 64 has a group of 256 classes.
    pub bits: u64,
    /// Groups before these 64.
    pub base: u64,
}

/// The only longer prefix in some part of the IPv6 table. The first word keeps the rest on one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Leaf {
    /// Zero.
    pub align: u64,
    /// First 64 bits of the prefix.
    pub high: u64,
    /// Last 64 bits of the prefix.
    pub low: u64,
    /// Which of the first 64 bits count.
    pub mask_high: u64,
    /// Which of the last 64 bits count.
    pub mask_low: u64,
    /// Class inside the prefix.
    pub class: u32,
    /// Class outside of it.
    pub miss: u32,
    /// Zero.
    pub tail: [u64; 2],
}

/// What the verifier may take for constant: parts of the program that a plan does not need vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Seed of the local IPv4 table.
    pub local4_seed: u64,
    /// Seed of the local IPv6 table.
    pub local6_seed: u64,
    /// Slots of the local IPv4 table less one (a power of two less one).
    pub local4_mask: u32,
    /// Slots of the local IPv6 table less one.
    pub local6_mask: u32,
    /// 1: some /24 has longer prefixes.
    pub groups: u32,
    /// 1: there are IPv6 prefixes.
    pub v6: u32,
}

/// Slots of the local address tables, and therefore the largest mask plus one.
pub const LOCAL_SLOTS: usize = 65_536;
/// Most local addresses of one family.
pub const MAX_LOCALS: usize = 1_024;

const _: () = {
    assert!(size_of::<Page>() == PAGE_BYTES);
    assert!(size_of::<Control>() == 64);
    assert!(size_of::<Limit>() == 24);
    assert!(size_of::<SlotLimits>() == 128);
    assert!(size_of::<SlotBuckets>() == 64);
    assert!(size_of::<SlotStash>() == 48);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<Sample>() == 48);
    assert!(size_of::<Rank>() == 16);
    assert!(size_of::<Leaf>() == 64);
    assert!(size_of::<Settings>() == 32);
};
