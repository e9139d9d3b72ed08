//! Readers, one file per table of the configuration: keys, defaults and rules of that table. Nothing here opens a file.

pub(super) mod admin;
pub(super) mod ceiling;
pub(super) mod geo;
pub(super) mod host;
pub(super) mod identity;
pub(super) mod listener;
pub(super) mod log;
pub(super) mod misroute;
pub(super) mod priority;
pub(super) mod region;
pub(super) mod relay;
pub(super) mod session;
pub(super) mod upstream;
pub(super) mod xdp;

use std::time::Duration;

use super::claims::Claims;
use crate::decide::region::RegionId;

/// What every reader may ask.
pub(super) struct Context<'a> {
    /// Who took which name or address.
    pub(super) claims: Claims<'a>,
    /// Names of `[[region]]`, in file order.
    pub(super) regions: Vec<String>,
    /// Names of `[[upstream]]`, in file order.
    pub(super) upstreams: Vec<String>,
}

impl Context<'_> {
    /// Reads the name of a region.
    pub(super) fn region(&self) -> impl Fn(&super::node::Node) -> Result<RegionId, super::fault::Wrong> {
        let find = super::scalar::reference("region", &self.regions);
        move |node| {
            find(node).and_then(|index| {
                RegionId::new(index).ok_or_else(|| super::fault::Wrong::only("is beyond the 254th region"))
            })
        }
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
