//! What holds at this instant: the file's values with what operators changed laid over them. Never enforces anything.
//!
//! `app` computes it with [`super::overrides`] once per second and after each change; the proxy's policy and the NIC's limits are
//! compiled from it together with the configuration. Schedules and ramps of the file are *not* yet applied to `ceilings`:
//! they depend on triggers that only the enforcing side sees.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::measure::Measure;
use super::region::{RegionId, Regions};
use crate::config::types::{Concurrency, Config, MisrouteMode};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeilingInForce {
    /// The ceiling's name.
    pub name: String,
    /// Whose traffic; `None` is everyone's.
    pub home: Option<RegionId>,
    /// The limits; absent is no limit.
    pub limits: BTreeMap<Measure, u64>,
    /// Limits that an operator set: schedules leave these alone; ramps still start below them.
    pub by_operator: Vec<Measure>,
    /// `concurrent_requests` is found by itself.
    pub adaptive: bool,
    /// Count, shed nothing.
    pub observe: bool,
}

impl InForce {
    /// The file's values alone.
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
}

impl CeilingInForce {
    /// The file's limits alone.
    #[must_use]
    pub fn of_file(ceiling: &crate::config::types::Ceiling) -> Self {
        let concurrent = match ceiling.concurrent_requests {
            Some(Concurrency::Fixed(limit)) => Some(limit),
            Some(Concurrency::Adaptive) | None => None,
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
            adaptive: ceiling.concurrent_requests == Some(Concurrency::Adaptive),
            observe: ceiling.observe,
        }
    }
}
