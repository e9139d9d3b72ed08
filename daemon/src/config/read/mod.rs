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
use super::cursor::Cursor;
use super::fault::Wrong;
use super::units::show_origin;
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
    pub(super) fn region(&self) -> impl Fn(&super::node::Node) -> Result<RegionId, Wrong> {
        let find = super::scalar::reference("region", &self.regions);
        move |node| {
            find(node).and_then(|index| {
                RegionId::new(index).ok_or_else(|| Wrong::only("is beyond the 254th region"))
            })
        }
    }
}

/// A URL that stands twice in one list would have two series of each metric, which no Prometheus takes.
fn each_once(cursor: &Cursor<'_>, key: &str, urls: Option<&[http::Uri]>) {
    let urls = urls.unwrap_or_default();
    for (at, url) in urls.iter().enumerate() {
        if urls[..at].contains(url) {
            let problem = format!("{} is given twice", show_origin(url));
            cursor.error(key, Wrong::new(problem, "each may be given once"));
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
