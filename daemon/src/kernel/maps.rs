//! The shared maps as typed values: control word, limits, bucket levels, counters. Never interprets what it reads.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};
use tidegate_common::abi::{
    ABI_VERSION, BANK_REST_NS, BANKS, Control, Counter, SLOTS, SlotBuckets, SlotLimits, counter_index,
};
use tidegate_common::names::{BUCKETS, CONTROL, COUNTERS, EVENTS, LIMITS};
use tidegate_common::verdict::Reason;
use zerocopy::{FromBytes, IntoBytes};

use super::pins::Pins;
use crate::decide::nic::Limits;

/// A shared map cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[error("map {name}: {why}")]
pub struct SharedMapError {
    /// Which.
    name: &'static str,
    /// What the kernel said.
    why: MapError,
}

/// Wraps an error with the map's name.
pub(crate) fn named(name: &'static str) -> impl Fn(MapError) -> SharedMapError {
    move |why| SharedMapError { name, why }
}

pub(crate) fn open(pins: &Pins, name: &'static str) -> Result<Map, SharedMapError> {
    MapData::from_pin(pins.map(name)).and_then(Map::from_map_data).map_err(named(name))
}

/// The ring of samples; whoever opens it anew reads on where the last reader stopped.
pub(crate) fn open_ring(pins: &Pins) -> Result<RingBuf<MapData>, SharedMapError> {
    RingBuf::try_from(open(pins, EVENTS)?).map_err(named(EVENTS))
}

type ArrayOf<const N: usize> = Array<MapData, [u8; N]>;

/// What the daemon tells the running program. Two threads write it (lease and limits), one at a time, the whole value.
#[derive(Debug)]
pub(crate) struct ControlMap {
    map: Mutex<ArrayHolder<{ size_of::<Control>() }>>,
}

/// [`Array`] with a `Debug` of its own.
pub(crate) struct ArrayHolder<const N: usize>(ArrayOf<N>);

impl<const N: usize> std::fmt::Debug for ArrayHolder<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Array of {N} bytes")
    }
}

impl<const N: usize> ArrayHolder<N> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, SharedMapError> {
        Array::try_from(open(pins, name)?).map(Self).map_err(named(name))
    }
}

impl ControlMap {
    pub(crate) fn open(pins: &Pins) -> Result<Self, SharedMapError> {
        Ok(Self { map: Mutex::new(ArrayHolder::open(pins, CONTROL)?) })
    }

    pub(crate) fn read(&self) -> Result<Control, SharedMapError> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        read_control(&map.0)
    }

    /// Reads, changes and writes the value; other threads wait.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Control)) -> Result<(), SharedMapError> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let mut control = read_control(&map.0)?;
        change(&mut control);
        control.abi = u64::from(ABI_VERSION);
        map.0.set(0, bytes_of::<_, { size_of::<Control>() }>(&control), 0).map_err(named(CONTROL))
    }
}

fn read_control(map: &ArrayOf<{ size_of::<Control>() }>) -> Result<Control, SharedMapError> {
    map.get(&0, 0).map(value_of).map_err(named(CONTROL))
}

fn value_of<T: FromBytes + Default, const N: usize>(bytes: [u8; N]) -> T {
    T::read_from_bytes(&bytes).unwrap_or_default()
}

fn bytes_of<T: IntoBytes + zerocopy::Immutable, const N: usize>(value: &T) -> [u8; N] {
    let mut bytes = [0; N];
    // The sizes are equal by construction: N is size_of::<T>().
    bytes.copy_from_slice(value.as_bytes());
    bytes
}

const BANK_REST: Duration = Duration::from_nanos(BANK_REST_NS);

fn limits_index(bank: u64, slot: usize) -> u32 {
    u32::try_from(bank as usize * SLOTS + slot).unwrap_or(u32::MAX)
}

/// Limits, bucket levels and counters.
pub(crate) struct SharedMaps {
    /// Not before the last flip; a daemon before may have flipped just before we came.
    flipped: Instant,
    limits: ArrayOf<{ size_of::<SlotLimits>() }>,
    buckets: ArrayOf<{ size_of::<SlotBuckets>() }>,
    counters: PerCpuArray<MapData, [u64; 2]>,
}

impl SharedMaps {
    pub(crate) fn open(pins: &Pins) -> Result<Self, SharedMapError> {
        Ok(Self {
            flipped: Instant::now(),
            limits: Array::try_from(open(pins, LIMITS)?).map_err(named(LIMITS))?,
            buckets: Array::try_from(open(pins, BUCKETS)?).map_err(named(BUCKETS))?,
            counters: PerCpuArray::try_from(open(pins, COUNTERS)?).map_err(named(COUNTERS))?,
        })
    }

    /// Writes all slots of the bank that is not active, then makes it active: a packet sees the old limits or the new ones.
    /// Sleeps for what is left of the other bank's rest: some CPU may still read it.
    pub(crate) fn set_limits(&mut self, control: &ControlMap, limits: &Limits) -> Result<(), SharedMapError> {
        std::thread::sleep(BANK_REST.saturating_sub(self.flipped.elapsed()));
        let next = (control.read()?.bank + 1) % BANKS as u64;
        for (slot, value) in limits.slots().iter().enumerate() {
            let index = limits_index(next, slot);
            let bytes = bytes_of::<_, { size_of::<SlotLimits>() }>(value);
            self.limits.set(index, bytes, 0).map_err(named(LIMITS))?;
        }
        self.flipped = Instant::now();
        control.update(|control| (control.bank, control.limited) = (next, limits.limited()))
    }

    /// The active bank; `None` where the daemon before wrote none.
    pub(crate) fn bank(&self, control: &ControlMap) -> Result<Option<Limits>, SharedMapError> {
        let bank = control.read()?.bank % BANKS as u64;
        let mut slots = Vec::with_capacity(SLOTS);
        for slot in 0..SLOTS {
            slots.push(self.limits.get(&limits_index(bank, slot), 0).map(value_of).map_err(named(LIMITS))?);
        }
        Ok(Limits::from_slots(slots))
    }

    pub(crate) fn bucket(&self, slot: u8) -> Result<SlotBuckets, SharedMapError> {
        self.buckets.get(&u32::from(slot), 0).map(value_of).map_err(named(BUCKETS))
    }

    /// Counts of `home` start again, for every reason. Packets counted meanwhile may be lost.
    pub(crate) fn forget_home(&mut self, home: u8) -> Result<(), SharedMapError> {
        for &reason in Reason::ALL {
            let index = counter_index(reason as u8, home);
            let cpus = self.counters.get(&index, 0).map_err(named(COUNTERS))?.len();
            let zeroes =
                PerCpuValues::try_from(vec![[0; 2]; cpus]).map_err(|why| named(COUNTERS)(why.into()))?;
            self.counters.set(index, zeroes, 0).map_err(named(COUNTERS))?;
        }
        Ok(())
    }

    /// Packets and bytes of one reason and home, over all CPUs.
    pub(crate) fn counter(&self, reason: Reason, home: u8) -> Result<Counter, SharedMapError> {
        let index = counter_index(reason as u8, home);
        let per_cpu = self.counters.get(&index, 0).map_err(named(COUNTERS))?;
        Ok(per_cpu.iter().fold(Counter::default(), |sum, [packets, bytes]| Counter {
            packets: sum.packets.wrapping_add(*packets),
            bytes: sum.bytes.wrapping_add(*bytes),
        }))
    }
}
