//! Named frames, each with the set-up it is judged under and the outcome that is expected: the bypass matrix (every wrapping
//! against every kind of source) and single cases by hand.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tidegate::config::types::Over;
use tidegate::decide::nic::{LimitRow, Limits, NicPlan};
use tidegate::decide::region::RegionId;
use tidegate::decide::sources::{SourceRules, SourceTables};
use tidegate_common::verdict::{Outcome, Reason};

use super::build::{ACK, Extension, FIN, Frame, QINQ, RST, SYN, VLAN, tcp, udp};

/// A local address of each family.
pub const LOCAL: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// Limits that refuse for certain (a rate of zero), so that no clock matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// No limits.
    Open,
    /// Region 2 admits no connections; a SYN is dropped.
    RegionConnections,
    /// Region 2 admits no connections; a SYN is answered.
    RegionReset,
    /// Region 2 admits no packets.
    RegionPackets,
    /// Region 2 admits no bits.
    RegionBits,
    /// Nobody may connect; a SYN is answered.
    EveryoneReset,
    /// No packets from anyone.
    EveryonePackets,
    /// No bits from anyone.
    EveryoneBits,
    /// Region 2 would admit no connections, but only observes.
    Observed,
    /// Everyone's ceiling of packets only observes, region 2 admits no connections.
    ObservedEveryone,
}

impl Setup {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::Open,
        Self::RegionConnections,
        Self::RegionReset,
        Self::RegionPackets,
        Self::RegionBits,
        Self::EveryoneReset,
        Self::EveryonePackets,
        Self::EveryoneBits,
        Self::Observed,
        Self::ObservedEveryone,
    ];

    /// The limits.
    #[must_use]
    pub fn limits(self) -> Limits {
        let none = LimitRow {
            home: None,
            connections_per_second: None,
            packets_per_second: None,
            bits_per_second: None,
            burst: Duration::from_millis(100),
            over: Over::Drop,
            observe: false,
        };
        let us = LimitRow { home: RegionId::new(1), ..none };
        let connections = LimitRow { connections_per_second: Some(0), ..us };
        let rows = match self {
            Self::Open => vec![],
            Self::RegionConnections => vec![connections],
            Self::RegionReset => vec![LimitRow { over: Over::Reset, ..connections }],
            Self::RegionPackets => vec![LimitRow { packets_per_second: Some(0), over: Over::Reset, ..us }],
            Self::RegionBits => vec![LimitRow { bits_per_second: Some(0), ..us }],
            Self::EveryoneReset => {
                vec![LimitRow { connections_per_second: Some(0), over: Over::Reset, ..none }]
            }
            Self::EveryonePackets => vec![LimitRow { packets_per_second: Some(0), ..none }],
            Self::EveryoneBits => vec![LimitRow { bits_per_second: Some(0), ..none }],
            Self::Observed => vec![LimitRow { observe: true, ..connections }],
            Self::ObservedEveryone => {
                vec![connections, LimitRow { packets_per_second: Some(0), observe: true, ..none }]
            }
        };
        Limits::new(&rows, 2, None)
    }
}

/// A named case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique.
    pub name: String,
    /// The frame.
    pub frame: Vec<u8>,
    /// What it is judged under.
    pub setup: Setup,
    /// What is expected.
    pub outcome: Outcome,
}

/// Regions, lists, addresses and ports of all cases: region 1 is the default.
///
/// # Errors
/// Never, unless the rules here are wrong.
pub fn plan() -> Result<NicPlan> {
    let region = |index| RegionId::new(index).expect("a few regions");
    let record = |prefix: &str, index| (prefix.parse().expect("prefix"), region(index));
    let records = [
        record("198.51.100.0/24", 1),
        record("198.51.100.128/25", 2),
        record("198.51.100.200/32", 0),
        record("203.0.113.0/24", 1),
        record("10.0.0.0/8", 1),
        record("2001:db8:100::/40", 1),
        record("2001:db8:100:8000::/49", 2),
        record("2001:db8:100:8000::7/128", 0),
    ];
    let list =
        |prefixes: &[&str]| prefixes.iter().map(|prefix| prefix.parse().expect("prefix")).collect::<Vec<_>>();
    let rules = SourceRules {
        default_region: region(0),
        records: &records,
        allow: &list(&["10.0.0.0/8", "2001:db8:a110::/48", "203.0.113.77/32"]),
        deny: &list(&["203.0.113.0/24", "10.66.0.0/16", "2001:db8:dead::/48", "198.51.100.66/32"]),
    };
    let local = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
    let addresses = local.iter().map(|address| address.parse::<IpAddr>().expect("address"));
    Ok(NicPlan::new(Arc::new(SourceTables::compile(&rules)?), addresses, &[443, 8_443, 65_535])?)
}

fn outcome(reason: Reason, home: u8) -> Outcome {
    Outcome { reason, home, reset: false }
}

/// All cases.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = matrix();
    cases.extend(sources());
    cases.extend(ceilings());
    cases.extend(super::cases_by_hand::all());
    cases
}

/// A named change of a frame.
type Change = (&'static str, fn(Frame) -> Frame);

/// Wrappings that must make no difference.
fn wrappings(family: usize) -> Vec<Change> {
    let mut wrappings: Vec<Change> = vec![
        ("plain", |frame| frame),
        ("vlan", |frame| frame.tags(&[VLAN])),
        ("qinq", |frame| frame.tags(&[QINQ, VLAN])),
        ("two 802.1q tags", |frame| frame.tags(&[VLAN, VLAN])),
    ];
    if family == 0 {
        wrappings.extend([
            ("4 bytes of options", (|frame| frame.options(4)) as fn(Frame) -> Frame),
            ("40 bytes of options", |frame| frame.options(40)),
            ("vlan and options", |frame| frame.tags(&[VLAN]).options(12)),
            ("don't fragment", |frame| frame.fragment(0x4000, false)),
        ]);
    } else {
        use Extension::{Authentication, Destination, Fragment, HopByHop, Routing};
        wrappings.extend([
            ("hop-by-hop", (|frame| frame.extensions(&[HopByHop(8)])) as fn(Frame) -> Frame),
            ("destination options", |frame| frame.extensions(&[Destination(24)])),
            ("routing", |frame| frame.extensions(&[Routing(24)])),
            ("authentication", |frame| frame.extensions(&[Authentication(24)])),
            ("atomic fragment", |frame| frame.extensions(&[Fragment(0, false)])),
            ("all headers", |frame| {
                frame.tags(&[VLAN]).extensions(&[
                    HopByHop(8),
                    Destination(8),
                    Routing(24),
                    Fragment(0, false),
                    Authentication(12),
                    Destination(2_048),
                ])
            }),
        ]);
    }
    wrappings
}

/// The bypass matrix: wrapping × transport × source.
fn matrix() -> Vec<Case> {
    let transports: [Change; 3] =
        [("syn", |frame| frame.tcp(SYN)), ("tcp", |frame| frame.tcp(ACK)), ("udp", Frame::udp)];
    let sources = [
        ("denied", ["203.0.113.9", "2001:db8:dead::9"], Setup::Open, Reason::Denied, [2, 1]),
        ("allowed", ["10.66.0.9", "2001:db8:a110::9"], Setup::EveryonePackets, Reason::Allowed, [2, 1]),
        ("limited", ["198.51.100.9", "2001:db8:100::9"], Setup::RegionPackets, Reason::RegionPackets, [2, 2]),
        ("free", ["198.51.100.9", "2001:db8:100::9"], Setup::Open, Reason::Within, [2, 2]),
    ];
    let mut cases = Vec::new();
    for family in 0..2 {
        for (wrapping, wrap) in wrappings(family) {
            for (transport, carry) in transports {
                for (source, addresses, setup, reason, homes) in sources {
                    let frame = wrap(carry(Frame::new(addresses[family], LOCAL[family])));
                    let reset = reason == Reason::RegionPackets && transport == "syn";
                    cases.push(Case {
                        name: format!("IPv{}/{wrapping}/{transport}/{source}", 4 + family * 2),
                        frame: frame.bytes(),
                        setup,
                        outcome: Outcome { reset, ..outcome(reason, homes[family]) },
                    });
                }
            }
        }
    }
    cases
}

/// Home by longest prefix, and lists before homes.
fn sources() -> Vec<Case> {
    let within = Reason::Within;
    [
        ("198.51.100.0", within, 2),
        ("198.51.100.127", within, 2),
        ("198.51.100.128", within, 3),
        ("198.51.100.199", within, 3),
        ("198.51.100.200", within, 1),
        ("198.51.100.255", within, 3),
        ("198.51.99.255", within, 1),
        ("198.51.101.0", within, 1),
        ("0.0.0.0", within, 1),
        ("255.255.255.255", within, 1),
        ("198.51.100.66", Reason::Denied, 2),
        ("203.0.113.77", Reason::Allowed, 2),
        ("203.0.113.78", Reason::Denied, 2),
        ("9.255.255.255", within, 1),
        ("10.0.0.0", Reason::Allowed, 2),
        ("10.66.1.1", Reason::Allowed, 2),
        ("11.0.0.0", within, 1),
        ("2001:db8:100::", within, 2),
        ("2001:db8:1ff:ffff:ffff:ffff:ffff:ffff", within, 2),
        ("2001:db8:200::", within, 1),
        ("2001:db8:ff:ffff::", within, 1),
        ("2001:db8:100:7fff:ffff::", within, 2),
        ("2001:db8:100:8000::", within, 3),
        ("2001:db8:100:8000::7", within, 1),
        ("2001:db8:100:8000::8", within, 3),
        ("2001:db8:dead::", Reason::Denied, 1),
        ("2001:db8:deae::", within, 1),
        ("2001:db8:a110:ffff::", Reason::Allowed, 1),
        ("::", within, 1),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", within, 1),
    ]
    .into_iter()
    .map(|(source, reason, home)| {
        let local = LOCAL[usize::from(source.contains(':'))];
        Case {
            name: format!("source {source}"),
            frame: Frame::new(source, local).bytes(),
            setup: Setup::Open,
            outcome: outcome(reason, home),
        }
    })
    .collect()
}

/// Which ceiling speaks, and what is never charged.
fn ceilings() -> Vec<Case> {
    use Reason::{
        EveryoneBits, EveryoneConnections, EveryonePackets, ObservedEveryonePackets,
        ObservedRegionConnections, RegionBits, RegionConnections, RegionPackets, Within,
    };
    let transports: [(&str, Vec<u8>); 6] = [
        ("syn", tcp(443, SYN, 0, 0)),
        ("syn with payload", tcp(443, SYN, 8, 100)),
        ("syn+rst", tcp(443, SYN | RST, 0, 0)),
        ("syn+ack", tcp(443, SYN | ACK, 0, 0)),
        ("fin+ack", tcp(443, FIN | ACK, 0, 200)),
        ("udp", udp(443, 300)),
    ];
    // By set-up: the reason for a connection attempt, and for all else.
    let expected = [
        (Setup::RegionConnections, RegionConnections, Within, false),
        (Setup::RegionReset, RegionConnections, Within, true),
        (Setup::RegionPackets, RegionPackets, RegionPackets, true),
        (Setup::RegionBits, RegionBits, RegionBits, false),
        (Setup::EveryoneReset, EveryoneConnections, Within, true),
        (Setup::EveryonePackets, EveryonePackets, EveryonePackets, false),
        (Setup::EveryoneBits, EveryoneBits, EveryoneBits, false),
        (Setup::Observed, ObservedRegionConnections, Within, false),
        (Setup::ObservedEveryone, RegionConnections, ObservedEveryonePackets, false),
    ];
    let mut cases = Vec::new();
    for (setup, attempt, other, resets) in expected {
        for (index, (name, transport)) in transports.iter().enumerate() {
            let protocol = if *name == "udp" { 17 } else { 6 };
            for (source, local) in [("198.51.100.9", LOCAL[0]), ("2001:db8:100::9", LOCAL[1])] {
                let reason = if index < 3 { attempt } else { other };
                cases.push(Case {
                    name: format!("{setup:?}: {name} from {source}"),
                    frame: Frame::new(source, local).carrying(protocol, transport.clone()).bytes(),
                    setup,
                    outcome: Outcome { reset: resets && index < 2, ..outcome(reason, 2) },
                });
            }
        }
    }
    cases
}
