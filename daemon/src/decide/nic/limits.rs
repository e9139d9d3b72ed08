//! Ceilings as the NIC's limits by slot. Never says which ceiling applies when: schedules, ramps and overrides were settled before.

use std::time::Duration;

use tidegate_common::abi::{Limit, SLOTS, SlotLimits};
use tidegate_common::ceiling::Measure;

use crate::config::types::Over;
use crate::decide::region::RegionId;

/// What one ceiling asks of the NIC at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// Whose traffic; `None` is everyone's.
    pub home: Option<RegionId>,
    /// TCP SYNs per second; 0 admits none.
    pub connections_per_second: Option<u64>,
    /// Packets per second; 0 admits none.
    pub packets_per_second: Option<u64>,
    /// Bits per second; 0 admits none, below 64 counts as 64.
    pub bits_per_second: Option<u64>,
    /// How much unused allowance may be saved up.
    pub burst: Duration,
    /// What becomes of a SYN above the ceiling.
    pub over: Over,
    /// Count, shed nothing.
    pub observe: bool,
}

/// Limits of all slots: one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(Vec<SlotLimits>);

impl Limits {
    /// Limits of `rows` on a host with `cpus` CPUs. Where two rows limit the same measure of the same home, the later one holds
    /// (the configuration's reader refuses such a pair). `previous` is the active bank: a limit that hands out smaller leases than
    /// before gets a new generation there, so that credits leased under the old one are forgotten.
    #[must_use]
    pub fn new(rows: &[LimitRow], cpus: u32, previous: Option<&Self>) -> Self {
        let mut slots = vec![SlotLimits::default(); SLOTS];
        for row in rows {
            let home = usize::from(row.home.map_or(tidegate_common::abi::EVERYONE, RegionId::home));
            set_row(&mut slots[home], row, cpus);
        }
        let mut limits = Self(slots);
        if let Some(previous) = previous {
            limits.follow(previous);
        }
        limits
    }

    /// A bank as read from the kernel; `None` if it is not of [`SLOTS`] slots.
    #[must_use]
    pub fn from_slots(slots: Vec<SlotLimits>) -> Option<Self> {
        (slots.len() == SLOTS).then_some(Self(slots))
    }

    /// By slot, [`SLOTS`] of them.
    #[must_use]
    pub fn slots(&self) -> &[SlotLimits] {
        &self.0
    }

    /// The words of [`tidegate_common::abi::Control::limited`] that go with this bank.
    #[must_use]
    pub fn limited(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (index, _) in self.0.iter().enumerate().filter(|(_, slot)| slot.limited != 0) {
            words[index >> 6] |= 1 << (index & 63);
        }
        words
    }

    /// Carries generations on from `previous`.
    fn follow(&mut self, previous: &Self) {
        for (slot, old) in self.0.iter_mut().zip(&previous.0) {
            for (limit, old) in slot.limits.iter_mut().zip(&old.limits) {
                let shrinks = limit.lease < old.lease || limit.is_closed() && !old.is_closed();
                limit.generation = old.generation.wrapping_add(u32::from(shrinks));
            }
        }
    }
}

fn set_row(slot: &mut SlotLimits, row: &LimitRow, cpus: u32) {
    let burst_ns = u64::try_from(row.burst.as_nanos()).unwrap_or(u64::MAX);
    let units = |rate| Limit::of_units(rate, burst_ns, cpus, 0);
    let of_measures = [
        (Measure::Connections, row.connections_per_second.map(units)),
        (Measure::Packets, row.packets_per_second.map(units)),
        (Measure::Bytes, row.bits_per_second.map(|rate| Limit::of_bits(rate, burst_ns, cpus, 0))),
    ];
    for (measure, limit) in of_measures {
        let Some(limit) = limit else { continue };
        slot.limits[measure.index()] = limit;
        slot.limited |= measure.bit();
        set(&mut slot.observed, measure.bit(), row.observe);
        set(&mut slot.reset, measure.bit(), row.over == Over::Reset);
    }
}

fn set(bits: &mut u32, bit: u32, on: bool) {
    *bits = if on { *bits | bit } else { *bits & !bit };
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: LimitRow = LimitRow {
        home: None,
        connections_per_second: Some(1_000_000),
        packets_per_second: None,
        bits_per_second: None,
        burst: Duration::from_millis(100),
        over: Over::Reset,
        observe: false,
    };

    #[test]
    fn each_measure_keeps_its_ceilings_own_flags() {
        let home = RegionId::new(3);
        let packets = LimitRow {
            home,
            connections_per_second: None,
            packets_per_second: Some(5),
            over: Over::Drop,
            observe: true,
            ..ROW
        };
        let limits = Limits::new(&[LimitRow { home, ..ROW }, packets], 2, None);
        let slot = limits.slots()[4];
        assert_eq!((slot.limited, slot.observed, slot.reset), (0b011, 0b010, 0b001));
        assert_eq!(limits.slots()[0], SlotLimits::default());
        assert_eq!(limits.limited(), [0b1_0000, 0, 0, 0]);
    }

    #[test]
    fn only_a_smaller_lease_starts_a_new_generation() {
        let first = Limits::new(&[ROW], 2, None);
        let same = Limits::new(&[LimitRow { connections_per_second: Some(900_000), ..ROW }], 2, Some(&first));
        assert_eq!(same.slots()[0].limits[0].generation, 0);
        let low = Limits::new(&[LimitRow { connections_per_second: Some(10), ..ROW }], 2, Some(&same));
        assert_eq!(low.slots()[0].limits[0].generation, 1);
        let closed = Limits::new(&[LimitRow { connections_per_second: Some(0), ..ROW }], 2, Some(&low));
        assert_eq!(closed.slots()[0].limits[0].generation, 2);
        let open = Limits::new(&[ROW], 2, Some(&closed));
        assert_eq!(open.slots()[0].limits[0].generation, 2);
    }
}
