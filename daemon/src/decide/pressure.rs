//! How far the NIC's connection rate of a region is lowered while the proxy sheds that region's requests. Never counts and never limits.
//!
//! The share that the proxy lets through is the share of connections that is worth accepting. It falls quickly towards that share and
//! recovers slowly, so that it does not swing; it never falls below a floor, so that there is always something to learn from.

use std::collections::BTreeMap;

use super::inforce::InForce;
use super::measure::Measure;
use super::ramps::scaled;
use super::reason::Reason;
use super::region::RegionId;
use super::report::proxy::ProxyReport;

/// Lowest share.
const FLOOR: f64 = 0.1;
/// Share of the way down that is gone per step.
const DOWN: f64 = 0.5;
/// Growth per step while nothing is shed.
const UP: f64 = 0.05;
/// Fewer refusals per step than this say nothing.
const NOISE: u64 = 5;

/// Counters of one home at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests carried (local or isthmus).
    pub carried: u64,
    /// Requests refused by ceilings.
    pub shed: u64,
}

/// The shares of the regions that are pressed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pressure {
    shares: BTreeMap<RegionId, f64>,
    before: BTreeMap<RegionId, Seen>,
}

/// What the proxy counted so far, by home.
#[must_use]
pub fn seen(proxy: &ProxyReport) -> BTreeMap<RegionId, Seen> {
    let mut seen: BTreeMap<RegionId, Seen> = proxy
        .requests
        .iter()
        .map(|(home, [local, isthmus, ..])| (home, Seen { carried: local + isthmus, shed: 0 }))
        .collect();
    let by_ceiling =
        |reason| matches!(reason, Reason::RequestsPerSecond | Reason::ConcurrentRequests | Reason::Priority);
    for count in proxy.shed.iter().filter(|count| by_ceiling(count.reason)) {
        seen.entry(count.home).or_default().shed += count.count;
    }
    seen
}

impl Pressure {
    /// One step, about once per second.
    pub fn step(&mut self, now: BTreeMap<RegionId, Seen>) {
        for (home, now) in &now {
            let before = self.before.get(home).copied().unwrap_or(*now);
            let (carried, shed) =
                (now.carried.saturating_sub(before.carried), now.shed.saturating_sub(before.shed));
            let share = self.shares.get(home).copied().unwrap_or(1.0);
            let next = next(share, carried, shed);
            if next < 1.0 {
                self.shares.insert(*home, next);
            } else {
                self.shares.remove(home);
            }
        }
        self.before = now;
    }

    /// The share of connections of clients of `home` that is let through, 0.1 to 1.
    #[must_use]
    pub fn share(&self, home: RegionId) -> f64 {
        self.shares.get(&home).copied().unwrap_or(1.0)
    }

    /// Whether no region is pressed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shares.is_empty()
    }

    /// Lowers the connection rates of regions' own ceilings.
    pub fn lay_over(&self, in_force: &mut InForce) {
        for ceiling in &mut in_force.ceilings {
            let share = ceiling.home.map_or(1.0, |home| self.share(home));
            ceiling.pressure = share;
            if let Some(limit) = ceiling.limits.get_mut(&Measure::ConnectionsPerSecond) {
                *limit = scaled(*limit, share);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one second")]
fn next(share: f64, carried: u64, shed: u64) -> f64 {
    if shed < NOISE {
        return (share + UP).min(1.0);
    }
    let let_through = carried as f64 / (carried + shed) as f64;
    if let_through < share { (share + (let_through - share) * DOWN).max(FLOOR) } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[(u64, u64)]) -> Vec<f64> {
        let home = RegionId::default();
        let (mut pressure, mut total) = (Pressure::default(), Seen::default());
        pressure.step([(home, total)].into());
        let step = |&(carried, shed): &(u64, u64)| {
            total = Seen { carried: total.carried + carried, shed: total.shed + shed };
            pressure.step([(home, total)].into());
            (pressure.share(home) * 1000.0).round() / 1000.0
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn it_falls_quickly_towards_what_is_let_through_and_recovers_slowly() {
        assert_eq!(
            after(&[(100, 0), (100, 300), (100, 300), (100, 0), (100, 0)]),
            [1.0, 0.625, 0.438, 0.488, 0.538]
        );
    }

    #[test]
    fn it_never_falls_below_its_floor_and_single_refusals_say_nothing() {
        assert_eq!(after(&[(0, 1000); 12]).last(), Some(&0.1));
        assert_eq!(after(&[(1000, 4), (1000, 4)]), [1.0, 1.0]);
    }

    #[test]
    fn the_first_sight_of_old_counters_is_no_pressure() {
        let mut pressure = Pressure::default();
        pressure.step([(RegionId::default(), Seen { carried: 5, shed: 100_000 })].into());
        assert!(pressure.is_idle());
    }
}
