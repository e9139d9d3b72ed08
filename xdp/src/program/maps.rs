//! Maps and globals, and their accesses. Shared maps are pinned by the loader; tables and globals belong to one loaded program.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use tidegate_common::abi::{
    self, Class, Control, Counter, LOCAL_SLOTS, MAX_LOCALS, PAGE_BYTES, Page, Settings, SlotBuckets,
    SlotLimits, SlotStash, Tick,
};
use tidegate_common::verdict::Outcome;
use tidegate_xdp::frame::Frame;

use crate::opaque::opaque;
use crate::packet::Packet;

#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, 0);
#[map]
static LIMITS: Array<SlotLimits> = Array::with_max_entries((abi::BANKS * abi::SLOTS) as u32, 0);
#[map]
static BUCKETS: Array<SlotBuckets> = Array::with_max_entries(abi::SLOTS as u32, 0);
#[map]
static STASH: PerCpuArray<SlotStash> = PerCpuArray::with_max_entries(abi::SLOTS as u32, 0);
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(abi::COUNTERS as u32, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(abi::EVENTS_BYTES, 0);

#[map]
static BLOCKS: Array<Page> = Array::with_max_entries(1, 0);
#[map]
static RANKS: Array<Page> = Array::with_max_entries(1, 0);
#[map]
static GROUPS: Array<Page> = Array::with_max_entries(1, 0);
#[map]
static NODES: Array<Page> = Array::with_max_entries(1, 0);
#[map]
static LEAVES: Array<Page> = Array::with_max_entries(1, 0);
#[map]
static TICK: PerCpuArray<Tick> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
static SETTINGS: Settings =
    Settings { local4_seed: 0, local6_seed: 0, local4_mask: 0, local6_mask: 0, groups: 0, v6: 0 };
#[unsafe(no_mangle)]
static CLASSES: [Class; 256] = [Class { home: 0, list: 0 }; 256];
#[unsafe(no_mangle)]
static PORTS: [u64; 1024] = [0; 1024];
#[unsafe(no_mangle)]
static mut ROOT4: [u32; 65_536] = [0; 65_536];
#[unsafe(no_mangle)]
static mut LOCAL4: [u32; LOCAL_SLOTS] = [0; LOCAL_SLOTS];
#[unsafe(no_mangle)]
static mut LOCAL6_SLOTS: [u16; LOCAL_SLOTS] = [0; LOCAL_SLOTS];
#[unsafe(no_mangle)]
static mut LOCAL6: [[u64; 2]; MAX_LOCALS] = [[0; 2]; MAX_LOCALS];

/// A table of pages.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    Blocks,
    Ranks,
    Groups,
    Nodes,
    Leaves,
}

/// The value of type `T` at byte `offset` of page `page`; `None` past the table's end.
///
/// `offset` must be masked so that the value lies within the page; the verifier refuses anything else.
#[inline(always)]
pub(crate) fn read<T: Copy>(table: Table, page: u32, offset: usize) -> Option<T> {
    let pages = match table {
        Table::Blocks => &BLOCKS,
        Table::Ranks => &RANKS,
        Table::Groups => &GROUPS,
        Table::Nodes => &NODES,
        Table::Leaves => &LEAVES,
    };
    let start = pages.get_ptr(page)?.cast::<u8>();
    // Linux 6.1 loses the bounds of a 32-bit `or`; the compiler, which knows them, must not drop this mask.
    let offset = opaque(offset) & (PAGE_BYTES - size_of::<T>());
    // SAFETY: `start` is a map value of PAGE_BYTES, and the mask keeps the value within it (its size is a power of two).
    Some(unsafe { *start.add(offset).cast::<T>() })
}

#[inline(always)]
fn volatile<T: Copy>(value: *const T) -> T {
    // SAFETY: `value` points into a global of this program. Volatile, because the loader writes it before the program runs.
    unsafe { core::ptr::read_volatile(value) }
}

/// A field of the settings.
#[inline(always)]
pub(crate) fn setting<T: Copy>(field: impl FnOnce(*const Settings) -> *const T) -> T {
    volatile(field(&raw const SETTINGS))
}

#[inline(always)]
pub(crate) fn class(class: u32) -> Class {
    // The compiler knows that a class has eight bits and would drop the mask; Linux 6.1 does not, and needs it.
    let class = opaque(class as usize) & 255;
    let word: u16 = volatile((&raw const CLASSES).cast::<u16>().wrapping_add(class));
    let [home, list] = word.to_le_bytes();
    Class { home, list }
}

#[inline(always)]
pub(crate) fn port_is_listed(port: u16) -> bool {
    // The compiler knows that a port has 16 bits and would drop the mask; the verifiers of Linux 6.1 and 6.12 do not, and need it.
    let word = (opaque(usize::from(port)) >> 6) & 1023;
    let word = volatile((&raw const PORTS).cast::<u64>().wrapping_add(word));
    word >> (port & 63) & 1 != 0
}

#[inline(always)]
pub(crate) fn root4(slash16: u32) -> u32 {
    volatile((&raw const ROOT4).cast::<u32>().wrapping_add(slash16 as usize & 0xffff))
}

#[inline(always)]
pub(crate) fn local4(slot: u32) -> u32 {
    volatile((&raw const LOCAL4).cast::<u32>().wrapping_add(slot as usize & (LOCAL_SLOTS - 1)))
}

#[inline(always)]
pub(crate) fn local6(slot: u32) -> [u64; 2] {
    let index =
        volatile((&raw const LOCAL6_SLOTS).cast::<u16>().wrapping_add(slot as usize & (LOCAL_SLOTS - 1)));
    let address = (&raw const LOCAL6).cast::<u64>().wrapping_add((usize::from(index) & (MAX_LOCALS - 1)) * 2);
    [volatile(address), volatile(address.wrapping_add(1))]
}

#[inline(always)]
pub(crate) fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

#[inline(always)]
pub(crate) fn limits(index: u32) -> Option<&'static SlotLimits> {
    LIMITS.get(index)
}

#[inline(always)]
pub(crate) fn buckets(slot: u32) -> Option<*mut SlotBuckets> {
    BUCKETS.get_ptr_mut(slot)
}

#[inline(always)]
pub(crate) fn stash(slot: u32) -> Option<*mut SlotStash> {
    STASH.get_ptr_mut(slot)
}

#[inline(always)]
pub(crate) fn tick() -> Option<*mut Tick> {
    TICK.get_ptr_mut(0)
}

#[inline(always)]
pub(crate) fn events() -> &'static RingBuf {
    &EVENTS
}

/// Counts a judged packet.
#[inline(always)]
pub(crate) fn count(outcome: Outcome, packet: &Packet) {
    if let Some(counter) = COUNTERS.get_ptr_mut(abi::counter_index(outcome.reason as u8, outcome.home)) {
        // SAFETY: a value of a per-CPU map, and nothing else runs on this CPU between the load and the store.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += packet.bytes() as u64;
        }
    }
}
