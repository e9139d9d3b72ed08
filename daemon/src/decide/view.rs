//! Everything that `status`, the metrics and the live view show, gathered at one instant. Never gathers it.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::inforce::InForce;
use super::overrides::Overrides;
use super::rates::Rates;
use super::report::nic::NicReport;
use super::report::proxy::ProxyReport;
use super::report::relay::RelayReport;
use crate::config::Config;

/// The daemon at one instant.
#[derive(Clone, Debug)]
pub struct View {
    /// When this was gathered.
    pub now: Timestamp,
    /// When the daemon started.
    pub started: Timestamp,
    /// The running configuration.
    pub config: Arc<Config>,
    /// Where it was read from.
    pub source: ConfigSource,
    /// What operators changed.
    pub overrides: Arc<Overrides>,
    /// What holds.
    pub in_force: Arc<InForce>,
    /// What is odd: state that was set aside, parts that did not start.
    pub warnings: Vec<String>,
    /// Rates over the last seconds.
    pub rates: Arc<Rates>,
    /// The NIC; `None` where it could not answer.
    pub nic: Option<NicReport>,
    /// The proxy.
    pub proxy: Option<ProxyReport>,
    /// The relay; `None` without pools.
    pub relay: Option<RelayReport>,
    /// Geo records by kind of source.
    pub geo: GeoSummary,
}

/// Where the running configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    /// Its files, in the order of reading.
    pub files: Vec<PathBuf>,
    /// Counts up with each configuration put in force; 1 at the start.
    pub generation: u64,
    /// When it was read.
    pub loaded: Timestamp,
    /// The last reload, where there was one: when, and why it failed.
    pub last_reload: Option<(Timestamp, Result<(), String>)>,
}

/// How many prefixes came from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeoSummary {
    /// `prefixes` of `[[geo.record]]`.
    pub records: usize,
    /// Geofeeds.
    pub geofeeds: usize,
    /// The database.
    pub database: usize,
    /// Lines of geofeeds that could not be read.
    pub skipped: usize,
    /// Time to compile the tables, in milliseconds.
    pub compile_ms: u64,
}
