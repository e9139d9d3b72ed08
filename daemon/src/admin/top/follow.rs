//! Turns one status after the other into pictures: rates from counters, curves from rates. Never asks for a status itself.

use std::collections::HashMap;
use std::time::Duration;

use super::picture::{CeilingRow, HostLine, NicPane, Picture, Rates, RegionRow, RelayRow};
use crate::admin::wire::status::{Ceiling, Lane, Limit, Nic, Region, Relay, Status};

/// Seconds of history behind a curve.
const HISTORY: usize = 300;
/// NIC reasons that are shown.
const REASONS: usize = 6;

/// What must be remembered between two statuses.
#[derive(Debug, Default)]
pub struct Follow {
    before: Option<Status>,
    histories: HashMap<String, Vec<u64>>,
}

impl Follow {
    /// The picture of a status, given those before.
    pub fn see(&mut self, status: &Status) -> Picture {
        let before = self.before.replace(status.clone()).filter(|before| before.pid == status.pid);
        let since = Since { seconds: before.as_ref().and_then(|before| seconds(before, status)), before };
        self.remember(status);
        Picture {
            host: host(status),
            regions: status.regions.iter().map(|region| self.region(region, &since)).collect(),
            ceilings: status.ceilings.iter().flat_map(ceiling_rows).collect(),
            nic: nic(&status.nic, &since),
            relay: status.relay.as_ref().map(relay_rows).unwrap_or_default(),
        }
    }

    fn remember(&mut self, status: &Status) {
        self.histories.retain(|name, _| status.regions.iter().any(|region| region.name == *name));
        for region in &status.regions {
            let history = self.histories.entry(region.name.clone()).or_default();
            if history.len() == HISTORY {
                history.remove(0);
            }
            let total = rates(region, &Since::default()).total().round();
            history.push(if total > 0.0 { total as u64 } else { 0 });
        }
    }

    fn region(&self, region: &Region, since: &Since) -> RegionRow {
        RegionRow {
            name: region.name.clone(),
            own: region.own,
            rates: rates(region, since),
            edges: edges(region),
            failover: region.failover.then(|| region.failover_causes.join(", ")),
            history: self.histories.get(&region.name).cloned().unwrap_or_default(),
        }
    }
}

/// The status before, and how long ago it was.
#[derive(Default)]
struct Since {
    before: Option<Status>,
    seconds: Option<f64>,
}

impl Since {
    /// Per second, of a counter that `find` picks out of the status before.
    fn rate(&self, now: u64, find: impl Fn(&Status) -> Option<u64>) -> f64 {
        let (Some(seconds), Some(then)) = (self.seconds, self.before.as_ref().and_then(find)) else {
            return 0.0;
        };
        now.saturating_sub(then) as f64 / seconds
    }
}

/// `None` where the clock went back or stood still.
fn seconds(before: &Status, now: &Status) -> Option<f64> {
    let at = |status: &Status| status.now.parse::<jiff::Timestamp>().ok();
    let passed = at(now)?.duration_since(at(before)?).as_secs_f64();
    (passed > 0.0).then_some(passed)
}

fn host(status: &Status) -> HostLine {
    let misroute = &status.misroute;
    let differs = if misroute.mode == misroute.file { "" } else { " (not the file's)" };
    HostLine {
        instance: status.instance.clone(),
        region: status.region.clone(),
        version: status.version.clone(),
        up: Duration::from_secs(status.uptime_seconds),
        generation: status.config.generation,
        warning: warning(status),
        misroute: format!("{}{differs}", misroute.mode),
    }
}

/// The first of what an operator should look at; unconfirmed changes before all, since they undo themselves.
fn warning(status: &Status) -> Option<String> {
    if let Some(pending) = status.pending.first() {
        return Some(format!("unconfirmed: {}", pending.what.join(", ")));
    }
    if status.config.last_reload.as_ref().is_some_and(|reload| !reload.success) {
        return Some("the last reload failed".to_owned());
    }
    status.warnings.first().cloned()
}

fn rates(region: &Region, since: &Since) -> Rates {
    let of = &region.requests_per_second;
    let before = |status: &Status| {
        status.regions.iter().find(|then| then.name == region.name).map(|then| then.misrouted)
    };
    Rates {
        local: of.local,
        isthmus: of.isthmus,
        redirect: of.redirect,
        shed: of.shed,
        misrouted: since.rate(region.misrouted, before),
    }
}

fn edges(region: &Region) -> Option<(usize, usize)> {
    let up = region.edges.iter().filter(|edge| edge.up).count();
    (!region.edges.is_empty() && !region.own).then_some((up, region.edges.len()))
}

fn ceiling_rows(ceiling: &Ceiling) -> Vec<CeilingRow> {
    let limited = ceiling.limits.iter().filter_map(|limit| Some((limit, limit.limit?)));
    let row = |(limit, value): (&Limit, u64)| CeilingRow {
        name: ceiling.name.clone(),
        measure: limit.measure.clone(),
        limit: value,
        used: limit.used.unwrap_or(0.0),
        notes: notes(ceiling, limit),
    };
    limited.map(row).collect()
}

fn notes(ceiling: &Ceiling, limit: &Limit) -> Vec<String> {
    let mut notes = Vec::new();
    if ceiling.observe {
        notes.push("observes".to_owned());
    }
    if ceiling.ramp < 1.0 {
        notes.push(format!("ramp at {:.0}%", ceiling.ramp * 100.0));
    }
    match (limit.by.as_str(), limit.file) {
        ("file", _) => {}
        (by, Some(file)) => notes.push(format!("{by}; file {file}")),
        (by, None) => notes.push(by.to_owned()),
    }
    if limit.adaptive {
        notes.push("adaptive".to_owned());
    }
    notes
}

fn nic(nic: &Nic, since: &Since) -> Option<NicPane> {
    if matches!(nic.state.as_str(), "off" | "unknown") {
        return None;
    }
    let state = match &nic.error {
        Some(error) => format!("{}: {error}", nic.state),
        None => nic.state.clone(),
    };
    let interface = |one: &crate::admin::wire::status::Interface| {
        format!("{} {}", one.name, one.mode.as_deref().unwrap_or(&one.state))
    };
    Some(NicPane {
        state,
        interfaces: nic.interfaces.iter().map(interface).collect(),
        lease: match nic.lease_remaining_ms {
            Some(ms) => format!("{} s", ms / 1000),
            None => nic.lease.clone(),
        },
        passed: nic.packets_per_second.pass,
        shed: nic.packets_per_second.shed,
        reasons: reasons(nic, since),
    })
}

fn reasons(nic: &Nic, since: &Since) -> Vec<(String, f64)> {
    let rate = |reason: &crate::admin::wire::status::Reason| {
        let same = |then: &&crate::admin::wire::status::Reason| {
            then.reason == reason.reason && then.verdict == reason.verdict
        };
        let before =
            |status: &Status| Some(status.nic.reasons.iter().find(same).map_or(0, |then| then.packets));
        (reason.reason.clone(), since.rate(reason.packets, before))
    };
    let others = nic.reasons.iter().filter(|reason| reason.reason != "within");
    let mut found: Vec<_> = others.map(rate).filter(|(_, rate)| *rate > 0.0).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found.truncate(REASONS);
    found
}

fn relay_rows(relay: &Relay) -> Vec<RelayRow> {
    let trouble = |lane: &Lane| {
        let link = relay.links.iter().find(|link| link.region == lane.region);
        lane.refused.clone().or_else(|| relay.spool_failure.clone()).or_else(|| link?.failure.clone())
    };
    let row = |lane: &Lane| RelayRow {
        pool: lane.pool.clone(),
        region: lane.region.clone(),
        pending: lane.pending,
        oldest: lane.oldest_ms.map(Duration::from_millis),
        lag: lane.lag_ms.map(Duration::from_millis),
        trouble: trouble(lane),
    };
    relay.lanes.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(second: u32, change: impl Fn(&mut Value)) -> Status {
        let mut value: Value = serde_json::from_str(include_str!("testdata/status.json")).expect("JSON");
        value["now"] = json!(format!("2026-11-24T20:00:{second:02}Z"));
        change(&mut value);
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn counters_become_rates_by_the_daemons_own_clock() {
        let mut follow = Follow::default();
        follow.see(&status(0, |_| {}));
        let picture = follow.see(&status(2, |value| {
            value["regions"][1]["misrouted"] = json!(1_100);
            value["nic"]["reasons"][1]["packets"] = json!(5_000);
        }));
        assert!((picture.regions[1].rates.misrouted - 50.0).abs() < 1e-9, "{:?}", picture.regions[1]);
        let nic = picture.nic.expect("loaded");
        assert_eq!(nic.reasons, [("denied".to_owned(), 2_000.0)]);
    }

    #[test]
    fn a_restart_or_a_clock_that_goes_back_gives_no_rate() {
        let mut follow = Follow::default();
        follow.see(&status(10, |_| {}));
        let back = follow.see(&status(5, |value| value["regions"][1]["misrouted"] = json!(9_000)));
        assert_eq!(back.regions[1].rates.misrouted, 0.0);
        let restarted = follow.see(&status(6, |value| {
            value["pid"] = json!(2);
            value["regions"][1]["misrouted"] = json!(3);
        }));
        assert_eq!(restarted.regions[1].rates.misrouted, 0.0);
    }

    #[test]
    fn what_differs_from_the_file_is_noted() {
        let picture = Follow::default().see(&status(0, |_| {}));
        let from_us: Vec<_> = picture.ceilings.iter().filter(|row| row.name == "from-us").collect();
        assert_eq!(from_us[0].notes, ["ramp at 40%", "operator; file 5000"]);
        assert_eq!(picture.ceilings[0].notes, ["observes"]);
    }

    #[test]
    fn curves_are_bounded() {
        let mut follow = Follow::default();
        let shown = (0..2 * HISTORY).map(|_| follow.see(&status(0, |_| {}))).last().expect("some");
        assert_eq!(shown.regions[0].history.len(), HISTORY);
    }

    #[test]
    fn a_change_that_waits_for_its_confirmation_comes_first() {
        let pending = json!([{"deadline": "2026-11-24T20:01:00Z", "by_uid": 0, "what": ["misroute"]}]);
        let picture = Follow::default().see(&status(0, |value| {
            value["pending"] = pending.clone();
            value["warnings"] = json!(["something else"]);
        }));
        assert_eq!(picture.host.warning.as_deref(), Some("unconfirmed: misroute"));
    }
}
