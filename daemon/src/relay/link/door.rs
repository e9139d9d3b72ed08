//! What other regions may ask of this one, whatever carried it here. Never applies anything itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant, sleep};

use crate::decide::region::{RegionId, Regions};
use crate::decide::relay::item::{Item, Items};
use crate::relay::apply::Jobs;

/// Keys per second and peer; what is more waits.
const KEYS_PER_S: f64 = 1_000_000.0;
/// Flushes per second and peer (over a link: and pool), and how many may come at once.
const FLUSHES: (f64, f64) = (0.2, 8.0);

/// Numbers senders, so that the order of one is told from that between two.
static NEXT_SENDER: AtomicU64 = AtomicU64::new(1);

/// A new sender: whatever has one number comes in the order in which it was written.
pub(crate) fn sender() -> u64 {
    NEXT_SENDER.fetch_add(1, Ordering::Relaxed)
}

/// A pool as peers see it.
#[derive(Clone)]
pub(crate) struct InPool {
    pub(crate) jobs: Jobs,
    /// The regions that share it.
    pub(crate) regions: Vec<RegionId>,
}

/// This region's pools, and who may speak of them.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) own: RegionId,
    pub(crate) names: Regions<String>,
    pub(crate) pools: HashMap<String, InPool>,
}

impl Door {
    /// The region of that name.
    pub(crate) fn region(&self, name: &str) -> Option<RegionId> {
        self.names.iter().find(|(_, known)| *known == name).map(|(region, _)| region)
    }

    /// The pools that are shared with the region.
    pub(crate) fn shared(&self, region: RegionId) -> impl Iterator<Item = &str> {
        let shared = self.pools.iter().filter(move |(_, pool)| pool.regions.contains(&region));
        shared.map(|(name, _)| name.as_str())
    }

    /// The pool, if it is shared with the region; else the refusal for its operator.
    pub(crate) fn pool(&self, pool: &str, region: RegionId) -> Result<&InPool, String> {
        match self.pools.get(pool) {
            Some(shared) if shared.regions.contains(&region) => Ok(shared),
            Some(_) => Err(format!(
                "pool {pool:?} is not shared with region {:?} here: its `regions` must name it",
                self.names[region]
            )),
            None => Err(format!("there is no pool {pool:?} here")),
        }
    }
}

/// How much a peer may ask for at once.
pub(crate) struct Pace {
    keys: Bucket,
    flushes: Bucket,
}

impl Pace {
    /// With its allowance untouched.
    pub(crate) fn new() -> Self {
        Self { keys: Bucket::new(KEYS_PER_S, KEYS_PER_S), flushes: Bucket::new(FLUSHES.0, FLUSHES.1) }
    }

    /// Waits until so many keys and flushes may be applied.
    pub(crate) async fn take(&mut self, (keys, flushes): (f64, f64)) {
        self.keys.take(keys).await;
        self.flushes.take(flushes).await;
    }
}

/// How many keys and flushes there are; else the refusal for the sender's operator, when not all of the bytes are items that are known here.
pub(crate) fn count(items: &[u8]) -> Result<(f64, f64), String> {
    let (mut keys, mut flushes) = (0.0, 0.0);
    let mut all = Items::new(items);
    for item in all.by_ref() {
        if matches!(item, Item::Flush(_)) { flushes += 1.0 } else { keys += 1.0 }
    }
    if all.broken() {
        return Err("an item is not understood here: is this tidegate older?".to_owned());
    }
    // A batch of nothing is not for nothing.
    Ok((f64::max(keys, 1.0), flushes))
}

/// A token bucket that makes its user wait.
struct Bucket {
    per_s: f64,
    most: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_s: f64, most: f64) -> Self {
        Self { per_s, most, level: most, at: Instant::now() }
    }

    async fn take(&mut self, count: f64) {
        let now = Instant::now();
        self.level = (self.level + (now - self.at).as_secs_f64() * self.per_s).min(self.most) - count;
        self.at = now;
        if self.level < 0.0 {
            sleep(Duration::from_secs_f64(-self.level / self.per_s)).await;
        }
    }
}
