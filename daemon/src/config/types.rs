//! The configuration as typed values, complete and checked: what the rest of the daemon reads.
//! Holds no parsing and no defaults' text; those live beside each table's reader.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;

use crate::decide::adaptive::Bounds;
use crate::decide::region::{RegionId, Regions};

mod operators;

pub use operators::{AccessLog, Admin, Log, LogFormat};

/// Everything the configuration file says, after every fault was ruled out.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[host]`
    pub host: Host,
    /// `[[region]]`, in file order; a [`RegionId`] indexes it.
    pub regions: Regions<Region>,
    /// `[geo]`
    pub geo: Geo,
    /// `[misroute]`
    pub misroute: Misroute,
    /// `[session]`; `None` pins nothing.
    pub session: Option<Session>,
    /// `[[listener]]`
    pub listeners: Vec<Listener>,
    /// `[[upstream]]`
    pub upstreams: Vec<Upstream>,
    /// `[identity]`
    pub identity: Option<Identity>,
    /// `[[ceiling]]`
    pub ceilings: Vec<Ceiling>,
    /// `[[priority]]`
    pub priorities: Vec<Priority>,
    /// `[xdp]`
    pub xdp: Xdp,
    /// `[relay]` and `[[relay.pool]]`
    pub relay: Relay,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// All of it as it was read, defaults filled in, `null` where something is off, without credentials of URLs.
    pub document: serde_json::Value,
}

/// `[host]`
#[derive(Clone, Debug)]
pub struct Host {
    /// The region this host stands in.
    pub region: RegionId,
    /// Names pins, socket and state folder.
    pub instance: String,
    /// Where run-time changes and the spool live.
    pub state_dir: PathBuf,
    /// Proxy threads; 0 = one per core.
    pub workers: usize,
}

/// `[[region]]`
#[derive(Clone, Debug)]
pub struct Region {
    /// Unique name.
    pub name: String,
    /// Where a redirect sends clients whose home is this region.
    pub public_url: Option<Uri>,
    /// Where other regions' edges hand over mis-routed requests; `http` or `https`, no path.
    pub edges: Vec<Uri>,
    /// How this host watches those edges.
    pub health: RegionHealth,
}

/// `[region.health]`
#[derive(Clone, Debug)]
pub struct RegionHealth {
    /// Path asked on the edge.
    pub path: String,
    /// Time between probes.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Failures in a row until down.
    pub fall: u32,
    /// Successes in a row until up.
    pub rise: u32,
}

/// `[geo]`
#[derive(Clone, Debug)]
pub struct Geo {
    /// Home of a client that no record matches.
    pub default_region: RegionId,
    /// MaxMind-format database.
    pub database: Option<PathBuf>,
    /// RFC 8805 files.
    pub geofeeds: Vec<PathBuf>,
    /// `[[geo.record]]`
    pub records: Vec<GeoRecord>,
}

/// `[[geo.record]]`
#[derive(Clone, Debug)]
pub struct GeoRecord {
    /// Home region of whoever matches.
    pub region: RegionId,
    /// Source prefixes.
    pub prefixes: Vec<IpNet>,
    /// ISO 3166-2, upper case.
    pub subdivisions: Vec<String>,
    /// ISO 3166-1 alpha-2, upper case.
    pub countries: Vec<String>,
    /// AF AN AS EU NA OC SA.
    pub continents: Vec<String>,
}

/// What happens to a mis-routed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MisrouteMode {
    /// Proxied to an edge of the home region.
    Isthmus,
    /// Answered with a redirect to the home region.
    Redirect,
    /// Handled here.
    Local,
}

impl MisrouteMode {
    /// The word in the file and the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Isthmus => "isthmus",
            Self::Redirect => "redirect",
            Self::Local => "local",
        }
    }
}

/// `when_unreachable`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// Handled here.
    Local,
    /// Answered with a redirect.
    Redirect,
    /// Refused.
    Shed,
}

/// `[misroute]`
#[derive(Clone, Debug)]
pub struct Misroute {
    /// Used where no rule matches.
    pub mode: MisrouteMode,
    /// 302, 307 or 308.
    pub redirect_status: u16,
    /// When the home region has no edge that is up.
    pub when_unreachable: WhenUnreachable,
    /// Region-to-region hops allowed.
    pub max_hops: u8,
    /// A region with no edge up is treated as in failover.
    pub automatic_failover: bool,
    /// `[[misroute.rule]]`
    pub rules: Vec<MisrouteRule>,
}

/// `[[misroute.rule]]`; first match decides.
#[derive(Clone, Debug)]
pub struct MisrouteRule {
    /// Matches the start of the path; `None` matches all.
    pub path_prefix: Option<String>,
    /// Matches any of these; empty matches all.
    pub methods: Vec<http::Method>,
    /// What a match does.
    pub mode: MisrouteMode,
}

/// `[session]`
#[derive(Clone, Debug)]
pub struct Session {
    /// Cookie name.
    pub cookie: String,
    /// How long a pin lasts.
    pub ttl: Duration,
    /// File with the key and, on a second line, the previous one.
    pub key_file: PathBuf,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// `peer` listeners believe what peers say of the client.
    pub kind: ListenerKind,
    /// Certificate and key; `None` is cleartext.
    pub tls: Option<Tls>,
    /// PROXY protocol required on each connection.
    pub proxy_protocol: bool,
    /// Whose forwarding headers are believed for the client's address.
    pub trusted_proxies: Vec<IpNet>,
    /// On a peer listener: whose cleartext is believed.
    pub trusted_peers: Vec<IpNet>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// `limits`
    pub limits: Limits,
}

/// `kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Clients.
    Public,
    /// Edges of other regions.
    Peer,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// `limits`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's head.
    pub header_bytes: usize,
    /// Most header fields.
    pub headers: usize,
    /// Longest wait for a complete head.
    pub header_timeout: Duration,
    /// Longest wait between requests.
    pub idle_timeout: Duration,
    /// Longest pause in a body.
    pub body_idle_timeout: Duration,
    /// Most connections at once.
    pub max_connections: usize,
}

/// `[[upstream]]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Unique name.
    pub name: String,
    /// `http` or `https`, no path.
    pub endpoints: Vec<Uri>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for a response's head.
    pub response_timeout: Duration,
    /// `retries`
    pub retries: Retries,
    /// `health`; `None` counts every endpoint as up.
    pub health: Option<UpstreamHealth>,
}

/// `balance`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Power of two choices by requests in flight.
    LeastOfTwo,
}

/// `retries`
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Further attempts per request.
    pub attempts: u32,
    /// Retries as a share of requests.
    pub budget: f64,
}

/// `health` of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamHealth {
    /// Path asked.
    pub path: String,
    /// Time between probes.
    pub interval: Duration,
    /// Longest wait.
    pub timeout: Duration,
    /// Failures in a row until down.
    pub fall: u32,
    /// Successes in a row until up.
    pub rise: u32,
}

/// `[identity]`
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM chain; its SAN carries `URI:tidegate://region/NAME`.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// PEM of who signs peers' certificates.
    pub authority: PathBuf,
}

/// `[[ceiling]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Ceiling {
    /// Unique name.
    pub name: String,
    /// Whose traffic; `None` is everyone's together.
    pub home: Option<RegionId>,
    /// Proxy: requests per second.
    pub requests_per_second: Option<u64>,
    /// Proxy: requests in flight.
    pub concurrent_requests: Option<Concurrency>,
    /// NIC: TCP SYNs per second.
    pub connections_per_second: Option<u64>,
    /// NIC: packets per second.
    pub packets_per_second: Option<u64>,
    /// NIC: bits per second.
    pub bits_per_second: Option<u64>,
    /// How much unused allowance may be saved up.
    pub burst: Duration,
    /// What the NIC does with a SYN above the ceiling.
    pub over: Over,
    /// Count, shed nothing.
    pub observe: bool,
    /// `schedule`
    pub schedule: Vec<ScheduleEntry>,
    /// `ramp`
    pub ramp: Option<Ramp>,
}

/// `concurrent_requests`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// A fixed number.
    Fixed(u64),
    /// Found from queueing delay, between `adaptive_min` and `adaptive_max`.
    Adaptive(Bounds),
}

/// `over`
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// Answer a SYN with RST; drop what is no SYN.
    Reset,
    /// Drop.
    Drop,
}

/// One entry of `schedule`: other limits for a part of the day.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleEntry {
    /// Start, local to `timezone`.
    pub from: jiff::civil::Time,
    /// End (exclusive); before `from` means the next day.
    pub to: jiff::civil::Time,
    /// IANA name.
    pub timezone: jiff::tz::TimeZone,
    /// The limits that differ.
    pub limits: ScheduleLimits,
}

/// The limits an entry of `schedule` may set; `None` keeps the ceiling's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleLimits {
    /// Proxy: requests per second.
    pub requests_per_second: Option<u64>,
    /// Proxy: requests in flight.
    pub concurrent_requests: Option<u64>,
    /// NIC: TCP SYNs per second.
    pub connections_per_second: Option<u64>,
    /// NIC: packets per second.
    pub packets_per_second: Option<u64>,
    /// NIC: bits per second.
    pub bits_per_second: Option<u64>,
}

/// `ramp`
#[derive(Clone, Debug, PartialEq)]
pub struct Ramp {
    /// What starts it.
    pub on: Vec<RampTrigger>,
    /// Share of the ceiling at the start, 0 < from <= 1.
    pub from: f64,
    /// Time until the whole ceiling.
    pub over: Duration,
}

/// What starts a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RampTrigger {
    /// The daemon starts anew.
    Start,
    /// The ceiling's home (or any region, for everyone's) goes into failover.
    Failover,
    /// A pool was flushed.
    CacheFlush,
}

/// Priority classes, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Shed only when nothing else is left.
    Critical,
    /// The default.
    Degraded,
    /// Shed before degraded.
    BestEffort,
    /// Shed first.
    Bulk,
}

/// `[[priority]]`; first match decides.
#[derive(Clone, Debug)]
pub struct Priority {
    /// What a match is.
    pub class: Class,
    /// Matches the start of the path.
    pub path_prefix: Option<String>,
    /// Matches any of these; empty matches all.
    pub methods: Vec<http::Method>,
    /// Matches a header's exact value.
    pub header: Option<(http::HeaderName, String)>,
}

/// `[xdp]`
#[derive(Clone, Debug)]
pub struct Xdp {
    /// Interfaces to attach to; empty: the proxy alone enforces.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub mode: XdpMode,
    /// Only traffic to these local ports is ever shed.
    pub ports: Vec<u16>,
    /// Never shed.
    pub allow: Vec<IpNet>,
    /// Always shed.
    pub deny: Vec<IpNet>,
    /// No daemon for this long: everything passes.
    pub lease: Duration,
    /// Lower the NIC's connection rate while the proxy sheds.
    pub pressure: bool,
}

/// `mode` of `[xdp]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver has it, else generic.
    Auto,
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

/// `[relay]`
#[derive(Clone, Debug)]
pub struct Relay {
    /// `transport` with its own table.
    pub transport: Transport,
    /// Most bytes on disk.
    pub spool_bytes: u64,
    /// When a write is acknowledged.
    pub spool_sync: SpoolSync,
    /// `[[relay.pool]]`
    pub pools: Vec<Pool>,
}

/// `transport`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Edge to edge over mutual TLS.
    Direct,
    /// JetStream.
    Nats {
        /// `nats://` addresses.
        servers: Vec<String>,
    },
    /// One queue per region.
    Sqs {
        /// `None` is AWS itself.
        endpoint: Option<String>,
        /// Queue name by region.
        queues: Vec<(RegionId, String)>,
    },
}

/// `sync`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolSync {
    /// fsync before the write is acknowledged, many at once.
    Group,
    /// Acknowledged at once.
    Os,
}

/// `[[relay.pool]]`
#[derive(Clone, Debug)]
pub struct Pool {
    /// Unique name.
    pub name: String,
    /// The front.
    pub listen: SocketAddr,
    /// Local memcached servers.
    pub servers: Vec<SocketAddr>,
    /// Who must forget a key that is written here.
    pub regions: Vec<RegionId>,
    /// What is captured.
    pub capture: Capture,
    /// How refills are told apart.
    pub refills: Refills,
    /// What is set through this port is never captured.
    pub refill_listen: Option<SocketAddr>,
    /// Apply once more after this; zero = once.
    pub repeat_after: Duration,
    /// No longer worth sending.
    pub expire_after: Duration,
    /// After a crash with `sync = "os"`, or a damaged spool.
    pub when_unknown: WhenUnknown,
    /// Read back one in N; 0 = off.
    pub verify: u64,
}

/// `capture`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// All that may have changed a key.
    Writes,
    /// Only deletes and flushes.
    Deletes,
}

/// `refills`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refills {
    /// Forget only what differs.
    Compare,
    /// The first set after a miss is not captured.
    Skip,
}

/// `when_unknown`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnknown {
    /// Flush the pool in the other regions.
    Flush,
    /// Count only.
    Count,
}
