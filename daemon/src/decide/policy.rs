//! What the proxy decides by, compiled once per change and shared as one immutable snapshot. Never holds a socket or a counter.

use std::sync::Arc;

use http::{HeaderValue, Method};

use super::admission::{Applying, Book};
use super::home::Homes;
use super::inforce::InForce;
use super::region::{RegionId, Regions};
use crate::config::Config;
use crate::config::types::{MisrouteMode, MisrouteRule, Priority, WhenUnreachable};

/// One snapshot of everything that a request's way depends on.
#[derive(Debug)]
pub struct Policy {
    /// The configuration's generation, for reports.
    pub generation: u64,
    /// The region this host stands in.
    pub own: RegionId,
    /// What a route needs of each region.
    pub regions: Regions<PolicyRegion>,
    /// The mode where no rule matches.
    pub mode: MisrouteMode,
    /// First match decides.
    pub rules: Vec<MisrouteRule>,
    /// 302, 307 or 308.
    pub redirect_status: u16,
    /// When no edge of the home region is up.
    pub when_unreachable: WhenUnreachable,
    /// Hops between regions that are allowed.
    pub max_hops: u8,
    /// A region with no edge up is treated as in failover.
    pub automatic_failover: bool,
    /// Regions that operators put into failover.
    pub failover: Regions<bool>,
    /// Home and list by address.
    pub homes: Arc<dyn Homes>,
    /// The ceilings for clients of each home: the region's own first, then everyone's.
    pub ceilings: Regions<Applying>,
    /// First match decides.
    pub priorities: Vec<Priority>,
}

/// What a route needs of a region.
#[derive(Clone, Debug)]
pub struct PolicyRegion {
    /// Its name, as it travels in `Tidegate-Home`.
    pub name: HeaderValue,
    /// `public_url` without a trailing slash.
    pub public_url: Option<String>,
    /// How many edges are configured.
    pub edges: u32,
}

/// A region's name can't travel in a header.
#[derive(Debug, thiserror::Error)]
#[error("region name {name:?} can't be a header's value: use letters, digits, '-', '_' and '.'")]
pub struct BadRegionName {
    /// The name.
    pub name: String,
}

impl Policy {
    /// Compiles a snapshot. Limits in force are written into `book`, whose levels live on across snapshots.
    ///
    /// # Errors
    /// When a region's name can't travel in a header.
    pub fn compile(
        config: &Config,
        in_force: &InForce,
        homes: Arc<dyn Homes>,
        book: &mut Book,
        generation: u64,
    ) -> Result<Self, BadRegionName> {
        let regions = config.regions.iter().map(|(_, region)| policy_region(region));
        let regions = regions.collect::<Result<Vec<_>, _>>()?;
        let too_many = || BadRegionName { name: String::new() };
        Ok(Self {
            generation,
            own: config.host.region,
            regions: Regions::new(regions).ok_or_else(too_many)?,
            mode: in_force.misroute,
            rules: config.misroute.rules.clone(),
            redirect_status: config.misroute.redirect_status,
            when_unreachable: config.misroute.when_unreachable,
            max_hops: config.misroute.max_hops,
            automatic_failover: config.misroute.automatic_failover,
            failover: in_force.failover.clone(),
            homes,
            ceilings: book.enforce(config, in_force),
            priorities: config.priorities.clone(),
        })
    }

    /// What happens to a mis-routed request: the first rule that matches, else the mode in force.
    #[must_use]
    pub fn mode_for(&self, method: &Method, path: &str) -> MisrouteMode {
        let matches = |rule: &&MisrouteRule| {
            rule.path_prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix))
                && (rule.methods.is_empty() || rule.methods.contains(method))
        };
        self.rules.iter().find(matches).map_or(self.mode, |rule| rule.mode)
    }

    /// The region with this name.
    #[must_use]
    pub fn region_named(&self, name: &[u8]) -> Option<RegionId> {
        self.regions.iter().find(|(_, region)| region.name.as_bytes() == name).map(|(id, _)| id)
    }
}

fn policy_region(region: &crate::config::types::Region) -> Result<PolicyRegion, BadRegionName> {
    Ok(PolicyRegion {
        name: HeaderValue::from_str(&region.name).map_err(|_| BadRegionName { name: region.name.clone() })?,
        public_url: region.public_url.as_ref().map(|url| url.to_string().trim_end_matches('/').to_owned()),
        edges: u32::try_from(region.edges.len()).unwrap_or(u32::MAX),
    })
}
