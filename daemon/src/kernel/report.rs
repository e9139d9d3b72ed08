//! Reads the maps into a report. Changes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_common::abi::{ABI_VERSION, EVERYONE};
use tidegate_common::ceiling::Measure as Unit;
use tidegate_common::verdict::Reason;

use super::ReportError;
use super::lease::monotonic_ns;
use super::maps::SharedMapError;
use super::worker::{Shared, Worker};
use crate::decide::measure::Measure;
use crate::decide::nic::LimitRow;
use crate::decide::region::{MAX_REGIONS, RegionId};
use crate::decide::report::nic::{
    AttachState, InterfaceReport, LeaseState, LimitUse, NicCount, NicReport, NicState,
};

impl Worker {
    pub(crate) fn report(&self) -> Result<NicReport, ReportError> {
        let shared = self.shared.as_ref();
        // What was detached is still held by this daemon, and judges nothing: its counts stay, its lease is nobody's.
        let attached = !self.is_detached();
        let program = self.loaded.as_ref().filter(|_| attached).and_then(|loaded| loaded.info().ok());
        Ok(NicReport {
            state: self.state(),
            program_id: program.as_ref().map(aya::programs::ProgramInfo::id),
            loaded_at: program.as_ref().and_then(aya::programs::ProgramInfo::loaded_at),
            abi: ABI_VERSION,
            interfaces: self.interfaces(),
            lease: shared.filter(|_| attached).map_or(Ok(LeaseState::None), lease)?,
            adopted: self.adopted,
            counts: shared.map_or(Ok(Vec::new()), |shared| self.counts(shared))?,
            limits: shared.map_or(Ok(Vec::new()), |shared| self.limits(shared))?,
            events_lost: self.left_out.load(Ordering::Relaxed),
            last_apply: self.last_apply,
        })
    }

    fn state(&self) -> NicState {
        match (&self.loaded, &self.wish) {
            _ if self.is_detached() => NicState::Detached,
            (Some(_), _) => NicState::Loaded,
            (None, _) => NicState::Off,
        }
    }

    /// In configuration order.
    fn interfaces(&self) -> Vec<InterfaceReport> {
        let wished = self.wish.iter().flat_map(|wish| &wish.interfaces);
        let detached = self.is_detached();
        let state = |name: &String| match self.states.get(name) {
            _ if detached => AttachState::Detached,
            known => known.cloned().unwrap_or(AttachState::Missing),
        };
        wished.map(|name| InterfaceReport { name: name.clone(), state: state(name) }).collect()
    }

    fn counts(&self, shared: &Shared) -> Result<Vec<NicCount>, SharedMapError> {
        let mut counts = Vec::new();
        for &reason in Reason::ALL {
            for home in 0..=self.last_home() {
                let counter = shared.maps.counter(reason, home)?;
                if counter.packets > 0 {
                    counts.push(NicCount {
                        verdict: reason.verdict().label(),
                        reason: reason.label(),
                        admitted: reason.is_admitted(),
                        home: RegionId::from_home(home),
                        packets: counter.packets,
                        bytes: counter.bytes,
                    });
                }
            }
        }
        Ok(counts)
    }

    /// Before the first plan nobody knows how many regions there are.
    fn last_home(&self) -> u8 {
        let most = u8::try_from(MAX_REGIONS).unwrap_or(u8::MAX);
        let classes = self.wish.as_ref().map(|wish| wish.plan.sources().classes());
        classes.and_then(|classes| classes.iter().map(|class| class.home).max()).unwrap_or(most)
    }

    fn limits(&self, shared: &Shared) -> Result<Vec<LimitUse>, SharedMapError> {
        let (now_ns, mut uses) = (monotonic_ns(), Vec::new());
        let Some(bank) = shared.maps.bank(&shared.control)? else { return Ok(uses) };
        for row in self.wish.iter().flat_map(|wish| &wish.limits) {
            let slot = row.home.map_or(EVERYONE, RegionId::home);
            let buckets = shared.maps.bucket(slot)?;
            let limits = bank.slots().get(usize::from(slot)).map(|slot| slot.limits).unwrap_or_default();
            for (unit, rate) in rates(row) {
                let (limit, tat_ns) = (limits[unit.index()], buckets.tat_ns[unit.index()]);
                uses.extend(rate.map(|rate| LimitUse {
                    home: row.home,
                    measure: measure(unit),
                    limit_per_second: rate,
                    used: used(now_ns, tat_ns, limit.burst_ns),
                    observe: row.observe,
                }));
            }
        }
        Ok(uses)
    }
}

fn rates(row: &LimitRow) -> [(Unit, Option<u64>); 3] {
    [
        (Unit::Connections, row.connections_per_second),
        (Unit::Packets, row.packets_per_second),
        (Unit::Bytes, row.bits_per_second),
    ]
}

fn lease(shared: &Shared) -> Result<LeaseState, SharedMapError> {
    let remaining_ns = shared.control.read()?.deadline_ns.saturating_sub(monotonic_ns());
    Ok(match remaining_ns {
        0 => LeaseState::Expired,
        ns => LeaseState::Held { remaining: Duration::from_nanos(ns) },
    })
}

fn measure(unit: Unit) -> Measure {
    match unit {
        Unit::Connections => Measure::ConnectionsPerSecond,
        Unit::Packets => Measure::PacketsPerSecond,
        Unit::Bytes => Measure::BitsPerSecond,
    }
}

/// Share of the burst that is used up: what is saved up at `now_ns` is the time since `tat_ns`, at most the burst.
fn used(now_ns: u64, tat_ns: u64, burst_ns: u64) -> f64 {
    if burst_ns == 0 {
        return if tat_ns > now_ns { 1.0 } else { 0.0 };
    }
    let saved_ns = now_ns.saturating_sub(tat_ns).min(burst_ns);
    1.0 - saved_ns as f64 / burst_ns as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_full_of_allowance_when_nobody_came_for_a_burst() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(used(1_000, 0, 100), 0.0));
        assert!(near(used(1_000, 975, 100), 0.75));
        assert!(near(used(1_000, 1_000, 100), 1.0));
        assert!(near(used(1_000, 5_000, 100), 1.0));
        assert!(near(used(1_000, 5_000, 0), 1.0));
    }
}
