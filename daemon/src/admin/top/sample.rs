//! A picture with everything in it, for tests of the view. Never part of the program.

use std::time::Duration;

use super::picture::{CeilingRow, EventLine, HostLine, NicPane, Picture, Rates, RegionRow, RelayRow};

/// Two regions, one failed over here, ceilings at every fill, a NIC that sheds, a relay that lags.
pub(super) fn picture() -> Picture {
    Picture {
        host: HostLine {
            instance: "main".into(),
            region: "eu-west-1".into(),
            version: "0.1.0".into(),
            up: Duration::from_secs(3 * 86_400),
            generation: 7,
            warning: None,
            misroute: "isthmus".into(),
        },
        regions: regions(),
        ceilings: ceilings(),
        nic: Some(NicPane {
            state: "loaded".into(),
            interfaces: vec!["eth0 native".into()],
            lease: "held, 28 s".into(),
            passed: 1_240_000.0,
            shed: 34_200.0,
            reasons: vec![("region_connections".into(), 34_100.0), ("denied".into(), 100.0)],
        }),
        relay: vec![RelayRow {
            pool: "sessions".into(),
            region: "us-east-1".into(),
            pending: 42,
            oldest: Some(Duration::from_millis(180)),
            lag: Some(Duration::from_millis(95)),
            trouble: None,
        }],
    }
}

fn regions() -> Vec<RegionRow> {
    let own = Rates { local: 12_300.0, ..Rates::default() };
    let foreign = Rates { local: 4_812.0, isthmus: 0.0, redirect: 3.0, shed: 212.0, misrouted: 5_027.0 };
    vec![
        RegionRow {
            name: "eu-west-1".into(),
            own: true,
            rates: own,
            edges: None,
            failover: None,
            history: (0..120).map(|second| 11_000 + 25 * (second % 60)).collect(),
        },
        RegionRow {
            name: "us-east-1".into(),
            own: false,
            rates: foreign,
            edges: Some((0, 2)),
            failover: Some("automatic".into()),
            history: (0..120).map(|second| if second < 60 { 40 } else { 5_000 }).collect(),
        },
    ]
}

fn ceilings() -> Vec<CeilingRow> {
    let row = |name: &str, measure: &str, limit, used, notes: &[&str]| CeilingRow {
        name: name.into(),
        measure: measure.into(),
        limit,
        used,
        notes: notes.iter().map(|note| (*note).to_owned()).collect(),
    };
    vec![
        row("everyone", "requests_per_second", 20_000, 17_100.0, &[]),
        row("everyone", "concurrent_requests", 2_000, 410.0, &["observes"]),
        row("from-us", "requests_per_second", 5_000, 4_990.0, &["ramp to 8000", "file: 5000"]),
        row("from-us", "connections_per_second", 2_000, 2_000.0, &[]),
        row("from-us", "bits_per_second", 2_000_000_000, 310_000_000.0, &[]),
    ]
}

/// A few events, newest last.
pub(super) fn events() -> Vec<EventLine> {
    let event =
        |at: &str, kind: &str, text: &str| EventLine { at: at.into(), kind: kind.into(), text: text.into() };
    vec![
        event("21:04:11", "failover", "us-east-1 into failover: no edge is up"),
        event("21:04:12", "ceiling", "from-us requests_per_second 1000 → 1040 (ramp)"),
        event(
            "21:04:15",
            "shed",
            "proxy requests_per_second us-east-1 198.51.100.7 GET /web/\u{1b}[31mred (+212)",
        ),
        event("21:04:16", "admin", "uid 0 ceiling from-us requests_per_second 5000 → 8000"),
    ]
}
