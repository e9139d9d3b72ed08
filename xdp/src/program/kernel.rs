//! The judgement's environment in the kernel: [`Live`] takes credits, [`Peek`] only looks.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use core::intrinsics::{AtomicOrdering, atomic_cxchg};
use tidegate_common::abi::{self, Class, Leaf, Limit, MEASURES, Rank, SLOTS, SlotLimits, SlotStash, Stash};
use tidegate_common::ceiling::{self, Measure};
use tidegate_common::local;
use tidegate_common::source::{
    BLOCKS_PER_PAGE, GROUPS_PER_PAGE, LEAVES_PER_PAGE, NODES_PER_PAGE, RANKS_PER_PAGE, Tables,
};
use tidegate_common::verdict::Reason;
use tidegate_xdp::buckets::{self, Level};
use tidegate_xdp::judge::{self, Answer, Asked, Environment, Need, Slot, Tick};
use tidegate_xdp::parse::Kind;

use crate::maps::{self, Table};

/// Takes credits.
pub(crate) struct Live;
/// Looks whether there are credits.
pub(crate) struct Peek;

/// The shared level of one bucket.
struct SharedLevel(*mut u64);

impl SharedLevel {
    #[inline(always)]
    fn of(slot: u32, measure: usize) -> Option<Self> {
        let buckets = maps::buckets(slot)?;
        // SAFETY: a field of a map value; the place is at most the last of the array.
        Some(Self(unsafe { (&raw mut (*buckets).tat_ns).cast::<u64>().add(place(measure)) }))
    }
}

impl Level for SharedLevel {
    #[inline(always)]
    fn tat_ns(&self) -> u64 {
        // SAFETY: an aligned word of a map value; other CPUs change it by compare-and-swap only.
        unsafe { core::ptr::read_volatile(self.0) }
    }

    #[inline(always)]
    fn swap(&self, old: u64, new: u64) -> bool {
        // SAFETY: an aligned word of a map value.
        let (found, _) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0, old, new)
        };
        found == old
    }
}

/// Keeps the compiler from a bounds check that it can't see to be idle, and tells the verifier the bound.
#[inline(always)]
fn place(measure: usize) -> usize {
    if measure < MEASURES { measure } else { MEASURES - 1 }
}

/// A slot's limits and this CPU's credits.
#[derive(Clone, Copy)]
pub(crate) struct Held<const LIVE: bool> {
    limits: &'static SlotLimits,
    stash: *mut SlotStash,
    index: u32,
}

impl<const LIVE: bool> Held<LIVE> {
    #[inline(always)]
    fn of(bank: u32, slot: u32) -> Option<Self> {
        let index = bank * SLOTS as u32 + slot;
        Some(Self { limits: maps::limits(index)?, stash: maps::stash(slot)?, index })
    }

    #[inline(always)]
    fn credits(&self, measure: Measure) -> *mut Stash {
        // SAFETY: a field of a value of a per-CPU map that only this CPU uses.
        unsafe { &raw mut (*self.stash).measures[measure.index()] }
    }
}

impl<const LIVE: bool> Slot for Held<LIVE> {
    #[inline(always)]
    fn limits(&self) -> &SlotLimits {
        self.limits
    }

    #[inline(always)]
    fn secure(&self, need: Need) -> bool {
        let limit = &self.limits.limits[need.measure.index()];
        // SAFETY: as in `credits`.
        match unsafe { *self.credits(need.measure) }.holds(limit, need.coarse_ns, need.units) {
            ceiling::Held::Enough => true,
            ceiling::Held::Empty => false,
            ceiling::Held::Short if LIVE => {
                tidegate_lease(self.index, need.measure as u32, need.units, need.coarse_ns) != 0
            }
            ceiling::Held::Short => tidegate_peek(self.index, need.measure as u32, need.units) != 0,
        }
    }

    #[inline(always)]
    fn spend(&self, need: Need) {
        if LIVE {
            // SAFETY: as in `credits`.
            let stash = unsafe { &mut *self.credits(need.measure) };
            stash.credits = stash.credits.saturating_sub(need.units);
        }
    }
}

/// What a lease is made from.
struct Terms {
    limit: Limit,
    stash: *mut Stash,
    level: SharedLevel,
}

impl Terms {
    #[inline(always)]
    fn of(index: u32, measure: u32) -> Option<Self> {
        let measure = place(measure as usize);
        let limits = maps::limits(index)?;
        let stash = maps::stash(index & (SLOTS as u32 - 1))?;
        // SAFETY: fields of map values; the place is at most the last of the arrays.
        unsafe {
            let limit = *(&raw const limits.limits).cast::<Limit>().add(measure);
            let stash = (&raw mut (*stash).measures).cast::<Stash>().add(measure);
            Some(Self { limit, stash, level: SharedLevel::of(index & (SLOTS as u32 - 1), measure)? })
        }
    }

    #[inline(always)]
    fn credits(&self) -> u32 {
        // SAFETY: a value of a per-CPU map that only this CPU uses.
        unsafe { *self.stash }.credits_under(&self.limit)
    }
}

/// Asks the shared level for at least `units`; whether this CPU holds them then.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tidegate_lease(index: u32, measure: u32, units: u32, coarse_ns: u64) -> u32 {
    let Some(terms) = Terms::of(index, measure) else {
        return 0;
    };
    let stash = buckets::lease(&terms.level, &terms.limit, units, terms.credits(), now_ns(), coarse_ns);
    // SAFETY: a value of a per-CPU map that only this CPU uses.
    unsafe { *terms.stash = stash };
    u32::from(stash.credits >= units)
}

/// Whether [`tidegate_lease`] would say yes; changes nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tidegate_peek(index: u32, measure: u32, units: u32) -> u32 {
    let Some(terms) = Terms::of(index, measure) else {
        return 0;
    };
    u32::from(buckets::peek(&terms.level, &terms.limit, units, terms.credits(), now_ns()))
}

/// Clock and control, read once for each tick of the timer: jiffies cost nothing (the verifier makes a load of the call), the
/// clock alone would cost as much as the rest of a judgement. An explanation reads them anew.
#[derive(Clone, Copy)]
pub(crate) struct Moment<const LIVE: bool>(*mut abi::Tick);

impl<const LIVE: bool> Moment<LIVE> {
    #[inline(always)]
    fn now() -> Option<Self> {
        let tick = maps::tick()?;
        // SAFETY: a helper without arguments, and a value of a per-CPU map that only this CPU uses.
        unsafe {
            let jiffies = bpf_jiffies64();
            if (*tick).jiffies != jiffies || !LIVE {
                refresh(&mut *tick, jiffies);
            }
        }
        Some(Self(tick))
    }
}

impl<const LIVE: bool> Tick for Moment<LIVE> {
    type Slot = Held<LIVE>;

    #[inline(always)]
    fn coarse_ns(&self) -> u64 {
        // SAFETY: as in `now`.
        unsafe { (*self.0).coarse_ns }
    }

    #[inline(always)]
    fn expired(&self) -> bool {
        // SAFETY: as in `now`.
        unsafe { (*self.0).expired != 0 }
    }

    #[inline(always)]
    fn is_limited(&self, slot: u32) -> bool {
        // SAFETY: as in `now`; the place is at most the last of four.
        let word = unsafe { *(&raw const (*self.0).limited).cast::<u64>().add((slot >> 6 & 3) as usize) };
        word >> (slot & 63) & 1 != 0
    }

    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<Held<LIVE>> {
        // SAFETY: as in `now`.
        let bank = unsafe { (*self.0).bank };
        if self.is_limited(slot) { Held::of(bank, slot) } else { None }
    }
}

/// Asks and pays all ceilings that apply: reason in bits 0 to 7, reset in bit 8. Global functions with numbers for arguments:
/// the verifier proves them once and not anew for each path that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tidegate_ceilings(home: u32, kind: u32, bytes: u32) -> u32 {
    encode::<true>(home, kind, bytes)
}

/// The same, without taking or spending.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tidegate_ceilings_peek(home: u32, kind: u32, bytes: u32) -> u32 {
    encode::<false>(home, kind, bytes)
}

#[inline(always)]
fn encode<const LIVE: bool>(home: u32, kind: u32, bytes: u32) -> u32 {
    let Some(tick) = maps::tick() else {
        return 0;
    };
    let asked = Asked { kind: Kind::from_number(kind), bytes };
    let answer = judge::ceilings(Moment::<LIVE>(tick), home as u8, asked);
    answer.reason as u32 | u32::from(answer.reset) << 8
}

/// Reads clock and control.
#[inline(always)]
fn refresh(tick: &mut abi::Tick, jiffies: u64) {
    let Some(control) = maps::control() else {
        return;
    };
    // SAFETY: a helper without arguments.
    let coarse_ns = unsafe { bpf_ktime_get_coarse_ns() };
    tick.jiffies = jiffies;
    tick.coarse_ns = coarse_ns;
    tick.expired = u32::from(coarse_ns >= control.deadline_ns);
    tick.bank = control.bank as u32 & 1;
    for (to, from) in tick.limited.iter_mut().zip(control.limited) {
        // SAFETY: a word of a map value. Volatile, because the compiler would make the whole a call of memcpy: a function of the
        // program's own, over which Linux 6.1 can't follow back which bounds matter, so that it keeps far too many states apart.
        unsafe { core::ptr::write_volatile(to, from) };
    }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

macro_rules! tables {
    ($name:ident) => {
        impl Tables for $name {
            #[inline(always)]
            fn has_groups(&self) -> bool {
                maps::setting(|settings| {
                    settings
                        .wrapping_byte_add(core::mem::offset_of!(tidegate_common::abi::Settings, groups))
                        .cast::<u32>()
                }) != 0
            }

            #[inline(always)]
            fn has_v6(&self) -> bool {
                maps::setting(|settings| {
                    settings
                        .wrapping_byte_add(core::mem::offset_of!(tidegate_common::abi::Settings, v6))
                        .cast::<u32>()
                }) != 0
            }

            #[inline(always)]
            fn slash16(&self, index: u32) -> u32 {
                maps::root4(index)
            }

            #[inline(always)]
            fn block(&self, block: u32, third: u32) -> u32 {
                let offset = (block % BLOCKS_PER_PAGE) << 8 | third;
                maps::read::<u8>(Table::Blocks, block / BLOCKS_PER_PAGE, offset as usize).map_or(0, u32::from)
            }

            #[inline(always)]
            fn rank(&self, index: u32) -> Rank {
                let offset = (index % RANKS_PER_PAGE) as usize * size_of::<Rank>();
                maps::read(Table::Ranks, index / RANKS_PER_PAGE, offset).unwrap_or(Rank { bits: 0, base: 0 })
            }

            #[inline(always)]
            fn group(&self, group: u32, low: u32) -> u32 {
                let offset = (group % GROUPS_PER_PAGE) << 8 | low;
                maps::read::<u8>(Table::Groups, group / GROUPS_PER_PAGE, offset as usize).map_or(0, u32::from)
            }

            #[inline(always)]
            fn node(&self, node: u32, byte: u32) -> u32 {
                let offset = ((node % NODES_PER_PAGE) << 8 | byte) << 2;
                maps::read::<u32>(Table::Nodes, node / NODES_PER_PAGE, offset as usize).unwrap_or(0)
            }

            #[inline(always)]
            fn leaf(&self, index: u32) -> Leaf {
                let offset = (index % LEAVES_PER_PAGE) as usize * size_of::<Leaf>();
                maps::read(Table::Leaves, index / LEAVES_PER_PAGE, offset).unwrap_or(Leaf {
                    align: 0,
                    high: 0,
                    low: 0,
                    mask_high: 0,
                    mask_low: 0,
                    class: 0,
                    miss: 0,
                    tail: [0; 2],
                })
            }
        }
    };
}

macro_rules! environment {
    ($name:ident, $live:literal, $ceilings:ident) => {
        impl Environment for $name {
            type Tick = Moment<$live>;

            #[inline(always)]
            fn is_local4(&self, address: u32) -> bool {
                // SAFETY: fields of a global.
                let seed = maps::setting(|settings| unsafe { &raw const (*settings).local4_seed });
                // SAFETY: fields of a global.
                let mask = maps::setting(|settings| unsafe { &raw const (*settings).local4_mask });
                maps::local4(local::slot4(address, seed, mask)) == address
            }

            #[inline(always)]
            fn is_local6(&self, high: u64, low: u64) -> bool {
                // SAFETY: fields of a global.
                let seed = maps::setting(|settings| unsafe { &raw const (*settings).local6_seed });
                // SAFETY: fields of a global.
                let mask = maps::setting(|settings| unsafe { &raw const (*settings).local6_mask });
                maps::local6(local::slot6(high, low, seed, mask)) == [high, low]
            }

            #[inline(always)]
            fn is_listed(&self, port: u16) -> bool {
                maps::port_is_listed(port)
            }

            #[inline(always)]
            fn class(&self, class: u32) -> Class {
                maps::class(class)
            }

            #[inline(always)]
            fn tick(&self) -> Option<Moment<$live>> {
                Moment::now()
            }

            #[inline(always)]
            fn ceilings(&self, _tick: Moment<$live>, home: u8, asked: Asked) -> Answer {
                let code = $ceilings(u32::from(home), asked.kind as u32, asked.bytes);
                // A number that is no reason never comes back.
                let reason = Reason::from_number(code as u8).unwrap_or(Reason::Within);
                Answer { reason, reset: code >> 8 != 0 }
            }
        }
    };
}

tables!(Live);
tables!(Peek);
environment!(Live, true, tidegate_ceilings);
environment!(Peek, false, tidegate_ceilings_peek);
