//! What can be asked of the running daemon, and its answers. Never carries out anything.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::overrides::Order;

/// Something that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// Change something.
    Change(Order),
    /// Keep what waits for a confirmation.
    Confirm,
    /// Read the file again.
    Reload {
        /// Undo unless confirmed within this time.
        confirm: Option<Duration>,
    },
    /// The NIC program's verdict on a packet.
    ExplainPacket(PacketQuestion),
    /// The proxy's route for a request.
    ExplainRequest(RequestQuestion),
    /// Tell the other regions to forget keys.
    Invalidate {
        /// The pool's name.
        pool: String,
        /// Keys as they are on the wire.
        keys: Vec<Vec<u8>>,
    },
    /// Which ceilings would fill if this region failed over here.
    Simulate {
        /// The region's name.
        region: String,
    },
}

impl Verb {
    /// Whether it changes something, so that it needs the right to.
    #[must_use]
    pub fn changes(&self) -> bool {
        match self {
            Self::Change(_) | Self::Confirm | Self::Reload { .. } | Self::Invalidate { .. } => true,
            Self::ExplainPacket(_) | Self::ExplainRequest(_) | Self::Simulate { .. } => false,
        }
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A SYN.
    #[default]
    Tcp,
    /// A datagram.
    Udp,
}

/// A packet to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketQuestion {
    /// Its source.
    pub from: IpAddr,
    /// Its destination port; the first of `[xdp].ports` where left out.
    pub port: Option<u16>,
    /// TCP (a SYN) or UDP.
    pub protocol: Protocol,
    /// Bytes of the whole frame; the shortest where left out.
    pub size: Option<u16>,
}

impl PacketQuestion {
    /// Largest frame that can be asked about: what the kernel's test of a program hands over in one piece, a page of 4 KiB less 256 bytes
    /// of headroom and 320 behind it.
    pub const LARGEST: u16 = 3520;
    /// Least of [`Self::sizes`] for any packet.
    pub const SMALLEST: u16 = 42;

    /// Sizes that a frame of this kind may have.
    #[must_use]
    pub fn sizes(&self) -> RangeInclusive<u16> {
        let shortest = match (self.from.to_canonical().is_ipv4(), self.protocol) {
            (true, Protocol::Tcp) => 54,
            (true, Protocol::Udp) => Self::SMALLEST,
            (false, Protocol::Tcp) => 74,
            (false, Protocol::Udp) => 62,
        };
        shortest..=Self::LARGEST
    }
}

/// A request to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestQuestion {
    /// The client.
    pub from: IpAddr,
    /// Method, `GET` where nothing is said.
    pub method: http::Method,
    /// Path and query, or a whole URL.
    pub url: http::Uri,
    /// Header fields.
    pub headers: http::HeaderMap,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A change was made, is durable and in force.
    Changed(Done),
    /// So many orders were confirmed.
    Confirmed(usize),
    /// The new configuration is in force.
    Reloaded(Reloaded),
    /// The NIC's verdict.
    Packet(PacketAnswer),
    /// The proxy's route.
    Request(RequestAnswer),
    /// So many keys were captured for other regions.
    Invalidated {
        /// Keys taken.
        keys: usize,
        /// Regions that are told.
        regions: Vec<String>,
    },
    /// What would fill.
    Simulated(Simulation),
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What differs now.
    pub changed: Vec<ChangedWords>,
    /// Until when it holds (`--for`).
    pub until: Option<Timestamp>,
    /// When it is undone unless confirmed (`--confirm`).
    pub confirm_by: Option<Timestamp>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// A change in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedWords {
    /// What, e.g. `ceiling from-us requests_per_second`.
    pub what: String,
    /// Before.
    pub old: String,
    /// Now.
    pub new: String,
}

/// A reload that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// The configuration's new generation.
    pub generation: u64,
    /// What is odd about the file.
    pub warnings: Vec<String>,
    /// When it is undone unless confirmed.
    pub confirm_by: Option<Timestamp>,
}

/// The NIC's verdict on a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PacketAnswer {
    /// `pass` or `shed`.
    pub verdict: String,
    /// The reason's label.
    pub reason: String,
    /// Home region of the source, where it was looked up.
    pub home: Option<String>,
    /// A shed SYN would be answered with RST.
    pub reset: bool,
    /// The packet, in words.
    pub packet: String,
}

/// The proxy's route for a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestAnswer {
    /// `local`, `isthmus`, `redirect` or `shed`.
    pub route: String,
    /// The reason's label.
    pub reason: String,
    /// Home region of the client.
    pub home: String,
    /// On the allow or deny list, or `none`.
    pub list: String,
    /// Priority class.
    pub class: String,
    /// Ceilings that are asked for what is carried here, first to last.
    pub ceilings: Vec<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
}

/// What a failover of a region to this host would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// The region that would fail over here.
    pub region: String,
    /// Requests per second of its clients that would be carried here, beside what is now.
    pub added_per_second: f64,
    /// How the ceilings would stand.
    pub ceilings: Vec<SimulatedCeiling>,
    /// What the numbers rest on, and what they leave out.
    pub basis: String,
}

/// One limit in a simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulatedCeiling {
    /// The ceiling.
    pub ceiling: String,
    /// Which limit.
    pub measure: String,
    /// In force.
    pub limit: u64,
    /// Now.
    pub now: f64,
    /// After.
    pub after: f64,
    /// More than the limit.
    pub fills: bool,
}

/// Why nothing came of it. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// In words: what, and what to do.
    pub text: String,
    /// Single faults, where there are several.
    pub faults: Vec<String>,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such thing.
    NotFound,
    /// The value is not allowed.
    Invalid,
    /// It contradicts what is.
    Conflict,
    /// The configuration has faults.
    Faulty,
    /// The part that would do it is not running.
    Unavailable,
    /// It went wrong.
    Failed,
}

impl Refusal {
    /// A refusal without single faults.
    #[must_use]
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), faults: Vec::new() }
    }
}
