//! What holds at this instant: the file's values with what operators changed, ramps and schedules laid over. Never enforces anything.
//!
//! `app` computes it several times per second while something moves, and after each change; the proxy's policy and the NIC's limits
//! are compiled from it together with the configuration.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::Timestamp;

use super::measure::Measure;
use super::overrides::{CeilingKey, ListKind, Overrides, Setting, Slot};
use super::ramps::{Ramps, scaled, scheduled};
use super::region::{RegionId, Regions};
use crate::config::types::{Ceiling, Concurrency, Config, MisrouteMode, ScheduleLimits};

/// The values in force, for regions and ceilings of one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Regions that operators put into failover (automatic failover comes on top).
    pub failover: Regions<bool>,
    /// The mode where no rule matches.
    pub misroute: MisrouteMode,
    /// Never shed: the file's `[xdp].allow` and the operators'.
    pub allow: Vec<IpNet>,
    /// Always shed: the file's `[xdp].deny` and the operators'.
    pub deny: Vec<IpNet>,
    /// Limits in force by ceiling, in file order; see [`CeilingInForce`].
    pub ceilings: Vec<CeilingInForce>,
}

/// A ceiling's limits in force.
#[derive(Clone, Debug, PartialEq)]
pub struct CeilingInForce {
    /// The ceiling's name.
    pub name: String,
    /// Whose traffic; `None` is everyone's.
    pub home: Option<RegionId>,
    /// The limits, after schedule, operators and ramp; absent is no limit.
    pub limits: BTreeMap<Measure, u64>,
    /// Limits that an operator set: schedules leave these alone; ramps still start below them.
    pub by_operator: Vec<Measure>,
    /// Share of the ceiling by its ramp, 0 to 1; already in `limits`.
    pub ramp: f64,
    /// Share of connections that the proxy's pressure leaves, 0 to 1; already in `limits` once laid over.
    pub pressure: f64,
    /// A schedule's entry holds; already in `limits`.
    pub scheduled: bool,
    /// `concurrent_requests` is found by itself.
    pub adaptive: bool,
    /// Count, shed nothing.
    pub observe: bool,
}

impl InForce {
    /// The file's values alone, without ramps and schedules.
    #[must_use]
    pub fn of_file(config: &Config) -> Self {
        Self {
            failover: config.regions.map(|_| false),
            misroute: config.misroute.mode,
            allow: config.xdp.allow.clone(),
            deny: config.xdp.deny.clone(),
            ceilings: config.ceilings.iter().map(CeilingInForce::of_file).collect(),
        }
    }

    /// Everything laid over each other at `now`. Overrides of things that the file no longer has are left out.
    #[must_use]
    pub fn at(config: &Config, overrides: &Overrides, ramps: &Ramps, now: Timestamp) -> Self {
        let failover = config.regions.map(|(_, region)| {
            overrides.setting(&Slot::Failover(region.name.clone())) == Some(&Setting::Failover(true))
        });
        let misroute = match overrides.setting(&Slot::Misroute) {
            Some(Setting::Misroute(mode)) => *mode,
            _ => config.misroute.mode,
        };
        let ceilings = config.ceilings.iter().map(|c| CeilingInForce::at(c, overrides, ramps, now));
        Self {
            failover,
            misroute,
            allow: list(ListKind::Allow, &config.xdp.allow, overrides),
            deny: list(ListKind::Deny, &config.xdp.deny, overrides),
            ceilings: ceilings.collect(),
        }
    }

    /// The ceiling with this name.
    #[must_use]
    pub fn ceiling(&self, name: &str) -> Option<&CeilingInForce> {
        self.ceilings.iter().find(|ceiling| ceiling.name == name)
    }
}

/// The file's list, less what was taken off, with what was added.
fn list(kind: ListKind, file: &[IpNet], overrides: &Overrides) -> Vec<IpNet> {
    let listed = |prefix: &IpNet| match overrides.setting(&Slot::List { list: kind, prefix: *prefix }) {
        Some(Setting::Listed(on)) => Some(*on),
        _ => None,
    };
    let mut all: Vec<IpNet> = file.iter().copied().filter(|prefix| listed(prefix) != Some(false)).collect();
    for (slot, held) in overrides.iter() {
        if let (Slot::List { list, prefix }, Some(Setting::Listed(true))) = (slot, &held.setting)
            && *list == kind
            && !file.contains(prefix)
        {
            all.push(*prefix);
        }
    }
    all
}

impl CeilingInForce {
    /// The file's limits alone.
    #[must_use]
    pub fn of_file(ceiling: &Ceiling) -> Self {
        let concurrent = match ceiling.concurrent_requests {
            Some(Concurrency::Fixed(limit)) => Some(limit),
            Some(Concurrency::Adaptive(_)) | None => None,
        };
        let limits = [
            (Measure::RequestsPerSecond, ceiling.requests_per_second),
            (Measure::ConcurrentRequests, concurrent),
            (Measure::ConnectionsPerSecond, ceiling.connections_per_second),
            (Measure::PacketsPerSecond, ceiling.packets_per_second),
            (Measure::BitsPerSecond, ceiling.bits_per_second),
        ];
        Self {
            name: ceiling.name.clone(),
            home: ceiling.home,
            limits: limits.into_iter().filter_map(|(m, v)| v.map(|v| (m, v))).collect(),
            by_operator: Vec::new(),
            ramp: 1.0,
            pressure: 1.0,
            scheduled: false,
            adaptive: matches!(ceiling.concurrent_requests, Some(Concurrency::Adaptive(_))),
            observe: ceiling.observe,
        }
    }

    /// The file's limits, then the schedule's, then the operators', all scaled by the ramp.
    #[must_use]
    pub fn at(ceiling: &Ceiling, overrides: &Overrides, ramps: &Ramps, now: Timestamp) -> Self {
        let mut here = Self::of_file(ceiling);
        if let Some(entry) = scheduled(ceiling, now) {
            here.scheduled = true;
            here.limits.extend(of_schedule(entry.limits));
            here.adaptive &= entry.limits.concurrent_requests.is_none();
        }
        for measure in Measure::ALL {
            here.lay_over(measure, overrides, now);
        }
        let slot = Slot::Ceiling { name: ceiling.name.clone(), key: CeilingKey::Observe };
        if let Some(Setting::Observe(observe)) = overrides.setting(&slot) {
            here.observe = *observe;
        }
        here.ramp = ramps.share(ceiling, now);
        for limit in here.limits.values_mut() {
            *limit = scaled(*limit, here.ramp);
        }
        here
    }

    fn lay_over(&mut self, measure: Measure, overrides: &Overrides, now: Timestamp) {
        let slot = Slot::Ceiling { name: self.name.clone(), key: CeilingKey::Limit(measure) };
        let Some(limit) = overrides.setting(&slot).and_then(|setting| setting.limit_at(now)) else { return };
        self.by_operator.push(measure);
        self.adaptive &= measure != Measure::ConcurrentRequests;
        match limit {
            Some(limit) => self.limits.insert(measure, limit),
            None => self.limits.remove(&measure),
        };
    }
}

fn of_schedule(limits: ScheduleLimits) -> impl Iterator<Item = (Measure, u64)> {
    [
        (Measure::RequestsPerSecond, limits.requests_per_second),
        (Measure::ConcurrentRequests, limits.concurrent_requests),
        (Measure::ConnectionsPerSecond, limits.connections_per_second),
        (Measure::PacketsPerSecond, limits.packets_per_second),
        (Measure::BitsPerSecond, limits.bits_per_second),
    ]
    .into_iter()
    .filter_map(|(measure, limit)| limit.map(|limit| (measure, limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::decide::overrides::{Caller, Order};

    const FILE: &str = "[host]\nregion = \"a\"\n[[region]]\nname = \"a\"\n[[region]]\nname = \"b\"\n\
        [xdp]\ndeny = [\"203.0.113.0/24\", \"198.51.100.0/24\"]\n\
        [[ceiling]]\nname = \"c\"\nrequests_per_second = 100\nconcurrent_requests = \"adaptive\"\n\
        schedule = [{ from = \"00:00\", to = \"12:00\", requests_per_second = 50 }]\n";

    fn in_force(changes: Vec<(Slot, Option<Setting>)>, now: &str) -> InForce {
        let config = config::from_text(std::path::Path::new("test"), FILE).expect("no fault").config;
        let now: Timestamp = now.parse().expect("a timestamp");
        let order =
            Order { changes, valid_for: None, confirm: None, reason: None, caller: Caller::default() };
        let (overrides, _) = Overrides::default().apply(&order, now).expect("applied");
        InForce::at(&config, &overrides, &Ramps::default(), now)
    }

    fn limit(measure: Measure) -> Slot {
        Slot::Ceiling { name: "c".into(), key: CeilingKey::Limit(measure) }
    }

    #[test]
    fn operators_stand_above_the_schedule_and_the_schedule_above_the_file() {
        let rate = Measure::RequestsPerSecond;
        let (morning, evening) = ("2026-01-01T06:00:00Z", "2026-01-01T18:00:00Z");
        assert_eq!(in_force(vec![], evening).ceilings[0].limits.get(&rate), Some(&100));
        assert_eq!(in_force(vec![], morning).ceilings[0].limits.get(&rate), Some(&50));
        let set = || vec![(limit(rate), Some(Setting::limit(Some(7))))];
        assert_eq!(in_force(set(), morning).ceilings[0].limits.get(&rate), Some(&7));
        let off = vec![(limit(rate), Some(Setting::limit(None)))];
        assert_eq!(in_force(off, morning).ceilings[0].limits.get(&rate), None);
        let fixed = vec![(limit(Measure::ConcurrentRequests), Some(Setting::limit(Some(9))))];
        assert!(!in_force(fixed, morning).ceilings[0].adaptive);
    }

    #[test]
    fn lists_are_the_files_less_what_was_taken_off_with_what_was_added() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let deny = |prefix| Slot::List { list: ListKind::Deny, prefix: net(prefix) };
        let changes = vec![
            (deny("203.0.113.0/24"), Some(Setting::Listed(false))),
            (deny("192.0.2.1/32"), Some(Setting::Listed(true))),
            (Slot::Failover("b".into()), Some(Setting::Failover(true))),
            (Slot::Failover("gone".into()), Some(Setting::Failover(true))),
        ];
        let in_force = in_force(changes, "2026-01-01T00:00:00Z");
        assert_eq!(in_force.deny, [net("198.51.100.0/24"), net("192.0.2.1/32")]);
        assert!(in_force.allow.is_empty());
        assert_eq!(in_force.failover.iter().map(|(_, on)| *on).collect::<Vec<_>>(), [false, true]);
    }
}
