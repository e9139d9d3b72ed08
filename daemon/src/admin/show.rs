//! Views turned into the wire's status. Never asks anybody and never formats for a terminal.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::wire::status::{
    Ceiling, ConfigStatus, Endpoint, Geo, Interface, Limit, Misroute, Nic, Override, Pending, Reason, Region,
    Reload, Status, Upstream, Verdicts,
};
use super::wire::{List, ListEntry, time_text};
use crate::config::types::Over;
use crate::decide::inforce::CeilingInForce;
use crate::decide::measure::Measure;
use crate::decide::overrides::{CeilingKey, ListKind, NOT_IN_FILE, Slot};
use crate::decide::region::RegionId;
use crate::decide::report::nic::{AttachState, LeaseState, NicReport, NicState};
use crate::decide::view::View;

/// The whole status.
#[must_use]
pub fn status(view: &View) -> Status {
    let config = &view.config;
    let uptime = Duration::try_from(view.now.duration_since(view.started)).unwrap_or_default();
    Status {
        instance: config.host.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        region: name(view, config.host.region),
        now: time_text(view.now),
        started: time_text(view.started),
        uptime_seconds: uptime.as_secs(),
        config: config_status(view),
        misroute: misroute(view),
        regions: regions(view),
        ceilings: ceilings(view),
        upstreams: upstreams(view),
        connections: view.proxy.as_ref().map_or(0, |proxy| proxy.connections),
        nic: nic(view),
        relay: view.relay.as_ref().map(|relay| super::show_relay::relay(relay, view)),
        overrides: overrides(view),
        pending: pending(view),
        warnings: warnings(view),
    }
}

/// A region's name.
pub(super) fn name(view: &View, region: RegionId) -> String {
    view.config.regions.get(region).map(|region| region.name.clone()).unwrap_or_default()
}

fn config_status(view: &View) -> ConfigStatus {
    let source = &view.source;
    let last_reload = source.last_reload.as_ref().map(|(at, result)| Reload {
        at: time_text(*at),
        success: result.is_ok(),
        error: result.as_ref().err().cloned(),
    });
    let geo = view.geo;
    ConfigStatus {
        files: source.files.iter().map(|path| path.display().to_string()).collect(),
        generation: source.generation,
        loaded: time_text(source.loaded),
        last_reload,
        geo: Geo {
            records: geo.records,
            geofeeds: geo.geofeeds,
            database: geo.database,
            skipped: geo.skipped,
            compile_ms: geo.compile_ms,
        },
    }
}

fn misroute(view: &View) -> Misroute {
    Misroute {
        mode: view.in_force.misroute.name().to_owned(),
        file: view.config.misroute.mode.name().to_owned(),
        until: until(view, &Slot::Misroute),
    }
}

fn until(view: &View, slot: &Slot) -> Option<String> {
    view.overrides.held(slot).and_then(|held| held.until).map(time_text)
}

fn reason(view: &View, slot: &Slot) -> Option<String> {
    view.overrides.held(slot).and_then(|held| held.reason.clone())
}

/// Every region.
#[must_use]
pub fn regions(view: &View) -> Vec<Region> {
    view.config.regions.iter().map(|(id, _)| region(view, id)).collect()
}

fn region(view: &View, id: RegionId) -> Region {
    let name = name(view, id);
    let slot = Slot::Failover(name.clone());
    let proxy = view.proxy.as_ref();
    let flag = |flags: Option<&bool>| flags.copied().unwrap_or(false);
    let causes = [
        ("operator", flag(view.in_force.failover.get(id))),
        ("automatic", flag(proxy.and_then(|proxy| proxy.automatic_failover.get(id)))),
        ("peers", flag(proxy.and_then(|proxy| proxy.peer_failover.get(id)))),
    ];
    let causes: Vec<String> =
        causes.into_iter().filter(|(_, holds)| *holds).map(|(cause, _)| cause.to_owned()).collect();
    let edges = proxy.map(|proxy| proxy.edges.as_slice()).unwrap_or_default();
    let rates = &view.rates;
    Region {
        own: id == view.config.host.region,
        failover: !causes.is_empty(),
        failover_causes: causes,
        until: until(view, &slot),
        reason: reason(view, &slot),
        edges: edges
            .iter()
            .filter(|edge| edge.region == id)
            .map(|edge| Endpoint { url: edge.url.clone(), up: edge.up, in_flight: edge.in_flight })
            .collect(),
        requests: proxy.and_then(|proxy| proxy.requests.get(id)).copied().unwrap_or_default().into(),
        requests_per_second: rates.requests.get(&id).copied().unwrap_or_default().into(),
        misrouted: proxy.and_then(|proxy| proxy.misrouted.get(id)).copied().unwrap_or_default(),
        packets_per_second: rates.packets.get(&Some(id)).copied().unwrap_or_default().into(),
        bits_per_second: rates
            .bytes
            .get(&Some(id))
            .copied()
            .unwrap_or_default()
            .map(|bytes| bytes * 8.0)
            .into(),
        name,
    }
}

/// Every ceiling.
#[must_use]
pub fn ceilings(view: &View) -> Vec<Ceiling> {
    let pairs = view.in_force.ceilings.iter().zip(&view.config.ceilings);
    pairs
        .map(|(here, file)| Ceiling {
            name: here.name.clone(),
            home: here.home.map(|home| name(view, home)),
            observe: here.observe,
            ramp: here.ramp,
            pressure: here.pressure,
            scheduled: here.scheduled,
            burst_ms: u64::try_from(file.burst.as_millis()).unwrap_or(u64::MAX),
            over: match file.over {
                Over::Reset => "reset",
                Over::Drop => "drop",
            }
            .to_owned(),
            limits: limits(view, here, &CeilingInForce::of_file(file)),
        })
        .collect()
}

fn limits(view: &View, here: &CeilingInForce, file: &CeilingInForce) -> Vec<Limit> {
    let shown = |measure: &Measure| {
        let adaptive = here.adaptive && *measure == Measure::ConcurrentRequests;
        let set = here.limits.contains_key(measure) || file.limits.contains_key(measure);
        set || adaptive || here.by_operator.contains(measure)
    };
    Measure::ALL.into_iter().filter(shown).map(|measure| limit(view, here, file, measure)).collect()
}

fn limit(view: &View, here: &CeilingInForce, file: &CeilingInForce, measure: Measure) -> Limit {
    let slot = Slot::Ceiling { name: here.name.clone(), key: CeilingKey::Limit(measure) };
    let limit = here.limits.get(&measure).copied();
    let by = if here.by_operator.contains(&measure) {
        "operator"
    } else if here.scheduled && limit != file.limits.get(&measure).copied() && here.ramp >= 1.0 {
        "schedule"
    } else {
        "file"
    };
    let (adaptive_limit, used) = used(view, here, measure);
    Limit {
        measure: measure.name().to_owned(),
        layer: if measure.on_nic() { "nic" } else { "proxy" }.to_owned(),
        limit: limit.or(adaptive_limit),
        file: file.limits.get(&measure).copied(),
        adaptive: here.adaptive && measure == Measure::ConcurrentRequests,
        used,
        by: by.to_owned(),
        until: until(view, &slot),
        reason: reason(view, &slot),
    }
}

/// What of a limit is used, in its unit, and a limit that was found by itself.
pub(super) fn used(view: &View, here: &CeilingInForce, measure: Measure) -> (Option<u64>, Option<f64>) {
    if measure.on_nic() {
        return (None, nic_used(view, here.home, measure));
    }
    let reports = view.proxy.as_ref().map(|proxy| proxy.ceilings.as_slice()).unwrap_or_default();
    let found = reports.iter().find(|report| report.ceiling == here.name && report.measure == measure);
    #[expect(clippy::cast_precision_loss, reason = "rates and counts in flight are far below 2^53")]
    let used = found.map(|report| report.used as f64);
    (found.filter(|_| here.adaptive).map(|report| report.limit), used)
}

/// NIC limits are shares of a burst in the report; rates of what they let pass say more, where they are counted.
fn nic_used(view: &View, home: Option<RegionId>, measure: Measure) -> Option<f64> {
    view.nic.as_ref().filter(|nic| nic.state == NicState::Loaded)?;
    let sum = |index: usize| -> f64 {
        let admitted = view.rates.admitted.iter();
        let ours = admitted.filter(|(of, _)| home.is_none() || **of == home);
        ours.fold(0.0, |sum, (_, rate)| sum + rate[index])
    };
    match measure {
        Measure::PacketsPerSecond => Some(sum(0)),
        Measure::BitsPerSecond => Some(sum(1) * 8.0),
        _ => {
            let nic = view.nic.as_ref()?;
            let limit = nic.limits.iter().find(|limit| limit.home == home && limit.measure == measure)?;
            #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
            let used = limit.used * limit.limit_per_second as f64;
            Some(used)
        }
    }
}

fn upstreams(view: &View) -> Vec<Upstream> {
    let upstreams = view.proxy.as_ref().map(|proxy| proxy.upstreams.as_slice()).unwrap_or_default();
    let endpoint = |endpoint: &crate::decide::report::proxy::EndpointReport| Endpoint {
        url: endpoint.url.clone(),
        up: endpoint.up,
        in_flight: endpoint.in_flight,
    };
    let one = |upstream: &crate::decide::report::proxy::UpstreamReport| Upstream {
        name: upstream.name.clone(),
        in_flight: upstream.in_flight,
        endpoints: upstream.endpoints.iter().map(endpoint).collect(),
    };
    upstreams.iter().map(one).collect()
}

fn when(at: SystemTime) -> Option<String> {
    Timestamp::try_from(at).ok().map(time_text)
}

fn nic(view: &View) -> Nic {
    let total = |rates: &BTreeMap<Option<RegionId>, [f64; 2]>, scale: f64| -> Verdicts<f64> {
        let sum = |index: usize| rates.values().fold(0.0, |sum, rate| sum + rate[index]) * scale;
        [sum(0), sum(1)].into()
    };
    let empty = Nic {
        state: "unknown".to_owned(),
        error: None,
        program_id: None,
        adopted: false,
        lease: "none".to_owned(),
        lease_remaining_ms: None,
        interfaces: Vec::new(),
        packets: Verdicts::default(),
        packets_per_second: total(&view.rates.packets, 1.0),
        bits_per_second: total(&view.rates.bytes, 8.0),
        reasons: Vec::new(),
        events_lost: 0,
        load_ms: None,
        swap_ms: None,
    };
    match &view.nic {
        Some(report) => nic_report(report, &empty),
        None => empty,
    }
}

fn nic_report(report: &NicReport, rates: &Nic) -> Nic {
    let (state, error) = match &report.state {
        NicState::Off => ("off", None),
        NicState::Loaded => ("loaded", None),
        NicState::Detached => ("detached", None),
        NicState::Failed(why) => ("failed", Some(why.clone())),
    };
    let (lease, remaining) = match report.lease {
        LeaseState::None => ("none", None),
        LeaseState::Held { remaining } => ("held", u64::try_from(remaining.as_millis()).ok()),
        LeaseState::Expired => ("expired", None),
    };
    let mut reasons: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for count in &report.counts {
        *reasons.entry((count.verdict, count.reason)).or_default() += count.packets;
    }
    let of = |verdict| reasons.iter().filter(|((of, _), _)| *of == verdict).map(|(_, packets)| packets).sum();
    #[expect(clippy::cast_precision_loss, reason = "times of a load are far below 2^53 ns")]
    let ms = |ns: u64| ns as f64 / 1e6;
    Nic {
        state: state.to_owned(),
        error,
        program_id: report.program_id,
        adopted: report.adopted,
        lease: lease.to_owned(),
        lease_remaining_ms: remaining,
        interfaces: report.interfaces.iter().map(interface).collect(),
        packets: [of("pass"), of("shed")].into(),
        events_lost: report.events_lost,
        load_ms: report.last_apply.map(|times| ms(times.load_ns)),
        swap_ms: report.last_apply.map(|times| ms(times.swap_ns)),
        reasons: reasons
            .iter()
            .map(|((verdict, reason), packets)| Reason {
                verdict: (*verdict).to_owned(),
                reason: (*reason).to_owned(),
                packets: *packets,
            })
            .collect(),
        packets_per_second: rates.packets_per_second,
        bits_per_second: rates.bits_per_second,
    }
}

fn interface(report: &crate::decide::report::nic::InterfaceReport) -> Interface {
    let mut interface = Interface {
        name: report.name.clone(),
        state: "missing".to_owned(),
        mode: None,
        since: None,
        adopted: false,
        error: None,
    };
    match &report.state {
        AttachState::Attached { mode, since, adopted } => {
            interface.state = "attached".to_owned();
            interface.mode = Some(mode.label().to_owned());
            interface.since = since.and_then(when);
            interface.adopted = *adopted;
        }
        AttachState::Missing => {}
        AttachState::Detached => interface.state = "detached".to_owned(),
        AttachState::Failed(why) => {
            interface.state = "failed".to_owned();
            interface.error = Some(why.clone());
        }
    }
    interface
}

fn overrides(view: &View) -> Vec<Override> {
    let one = |(slot, held): (&Slot, &crate::decide::overrides::Held)| Override {
        what: slot.to_string(),
        value: held.setting.as_ref().map_or_else(|| "file".to_owned(), ToString::to_string),
        file: slot.in_file(&view.config),
        since: time_text(held.since),
        until: held.until.map(time_text),
        reason: held.reason.clone(),
        by_uid: held.by.uid,
    };
    view.overrides.iter().map(one).collect()
}

fn pending(view: &View) -> Vec<Pending> {
    let one = |pending: &crate::decide::overrides::Pending| Pending {
        deadline: time_text(pending.deadline),
        by_uid: pending.caller.uid,
        what: pending.touched().map(ToString::to_string).collect(),
    };
    view.overrides.pending().iter().map(one).collect()
}

fn warnings(view: &View) -> Vec<String> {
    let mut warnings = view.warnings.clone();
    if let Some((_, Err(error))) = &view.source.last_reload {
        let first = error.lines().next().unwrap_or_default();
        warnings.push(format!("the last reload failed and changed nothing: {first}"));
    }
    let gone = |slot: &&Slot| slot.in_file(&view.config) == NOT_IN_FILE;
    for slot in view.overrides.iter().map(|(slot, _)| slot).filter(gone) {
        warnings.push(format!(
            "{slot} was changed by an operator and is no longer in the file: it has no effect"
        ));
    }
    warnings
}

/// One of the lists.
#[must_use]
pub fn list(view: &View, kind: ListKind) -> List {
    let (file, here) = match kind {
        ListKind::Allow => (&view.config.xdp.allow, &view.in_force.allow),
        ListKind::Deny => (&view.config.xdp.deny, &view.in_force.deny),
    };
    let entry = |prefix: &ipnet::IpNet| {
        let slot = Slot::List { list: kind, prefix: *prefix };
        let in_file = file.contains(prefix);
        ListEntry {
            prefix: prefix.to_string(),
            by: if in_file { "file" } else { "operator" }.to_owned(),
            until: until(view, &slot),
            reason: reason(view, &slot),
        }
    };
    List { list: kind.name().to_owned(), prefixes: here.iter().map(entry).collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decide::inforce::InForce;
    use crate::decide::overrides::{Caller, Order, Overrides, Setting};
    use crate::decide::ramps::Ramps;
    use crate::decide::rates::Rates;
    use crate::decide::view::{ConfigSource, GeoSummary};

    const FILE: &str = "[host]\nregion = \"a\"\n[[region]]\nname = \"a\"\n[[region]]\nname = \"b\"\n\
        [[ceiling]]\nname = \"from-b\"\nhome = \"b\"\npackets_per_second = 400_000\nrequests_per_second = 10\n";

    /// A view of a daemon whose region b was put into failover, without proxy, NIC and relay.
    pub(in crate::admin) fn view() -> View {
        let config =
            Arc::new(crate::config::from_text(std::path::Path::new("t"), FILE).expect("no fault").config);
        let now = Timestamp::UNIX_EPOCH;
        let limit =
            Slot::Ceiling { name: "from-b".into(), key: CeilingKey::Limit(Measure::RequestsPerSecond) };
        let order = Order {
            changes: vec![
                (Slot::Failover("b".into()), Some(Setting::Failover(true))),
                (limit, Some(Setting::limit(Some(20)))),
            ],
            valid_for: Some(Duration::from_secs(60)),
            confirm: Some(Duration::from_secs(30)),
            reason: Some("because".into()),
            caller: Caller { uid: 7, pid: 8 },
        };
        let (overrides, _) = Overrides::default().apply(&order, now).expect("applied");
        let in_force = Arc::new(InForce::at(&config, &overrides, &Ramps::default(), now));
        let source = ConfigSource { files: vec!["t".into()], generation: 1, loaded: now, last_reload: None };
        View {
            now,
            started: now,
            config,
            source,
            overrides: Arc::new(overrides),
            in_force,
            warnings: Vec::new(),
            rates: Arc::new(Rates::default()),
            nic: None,
            proxy: None,
            relay: None,
            geo: GeoSummary::default(),
        }
    }

    #[test]
    fn file_running_and_overridden_values_are_told_apart() {
        let status = status(&view());
        let limit = &status.ceilings[0].limits[0];
        assert_eq!((limit.limit, limit.file, limit.by.as_str()), (Some(20), Some(10), "operator"));
        assert_eq!(limit.until.as_deref(), Some("1970-01-01T00:01:00Z"));
        let packets = &status.ceilings[0].limits[1];
        assert_eq!(
            (packets.limit, packets.by.as_str(), packets.layer.as_str()),
            (Some(400_000), "file", "nic")
        );
        let region = &status.regions[1];
        assert!(region.failover && region.failover_causes == ["operator"] && region.reason.is_some());
        let told: Vec<_> =
            status.overrides.iter().map(|o| (o.what.as_str(), o.value.as_str(), o.file.as_str())).collect();
        assert_eq!(told, [("failover b", "on", "off"), ("ceiling from-b requests_per_second", "20", "10")]);
        assert_eq!(status.pending[0].what.len(), 2);
    }

    #[test]
    fn status_survives_the_wire() {
        let status = status(&view());
        let text = serde_json::to_string(&status).expect("serialises");
        assert_eq!(serde_json::from_str::<Status>(&text).expect("reads back"), status);
    }
}
