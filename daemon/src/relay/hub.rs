//! The running relay as the rest of the daemon sees it. Never blocks, but to stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::front::pool::Pool;
use super::spool::Spool;
use crate::decide::region::RegionId;
use crate::decide::relay::effect::MAX_KEY;
use crate::decide::relay::item::Item;
use crate::decide::report::relay::{LaneReport, LinkReport, RelayReport};

/// Most keys in one call of [`Relay::invalidate`].
pub const MAX_BATCH: usize = 10_000;

/// Why a batch of invalidations is refused; none of it was taken then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidateError {
    /// There is no such pool.
    #[error("there is no relay pool {name:?}; there are: {}", known.join(", "))]
    NoPool {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A key that memcached cannot hold.
    #[error("key {place} has {len} bytes; a key has 1 to {MAX_KEY}")]
    Key {
        /// Its place in the batch, from 0.
        place: usize,
        /// Its length.
        len: usize,
    },
    /// Too many at once.
    #[error("{count} keys at once; at most {MAX_BATCH} are taken")]
    TooMany {
        /// How many there were.
        count: usize,
    },
}

/// The running relay.
pub struct Relay {
    pub(super) spool: Spool,
    pub(super) pools: Vec<Arc<Pool>>,
    lanes: Vec<(usize, RegionId)>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    links: Vec<Arc<Mutex<LinkReport>>>,
}

impl Relay {
    pub(super) fn new(
        spool: Spool,
        pools: Vec<Arc<Pool>>,
        lanes: Vec<(usize, RegionId)>,
        stop: CancellationToken,
        threads: Vec<JoinHandle<()>>,
        links: Vec<Arc<Mutex<LinkReport>>>,
    ) -> Self {
        Self { spool, pools, lanes, stop, threads, links }
    }

    /// Tells the other regions to forget these keys of `pool`; done once that is durable. Returns how many were taken.
    ///
    /// # Errors
    /// See [`InvalidateError`]: all or nothing.
    pub async fn invalidate(&self, pool: &str, keys: &[Vec<u8>]) -> Result<usize, InvalidateError> {
        let found = self.pools.iter().find(|other| other.config.name == pool);
        let Some(found) = found else {
            let known = self.pools.iter().map(|pool| pool.config.name.clone()).collect();
            return Err(InvalidateError::NoPool { name: pool.into(), known });
        };
        if keys.len() > MAX_BATCH {
            return Err(InvalidateError::TooMany { count: keys.len() });
        }
        let mut items = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            if key.is_empty() || key.len() > MAX_KEY {
                return Err(InvalidateError::Key { place, len: key.len() });
            }
            Item::Forget(key).write(&mut items);
        }
        let ticket = self.spool.submit(found.place, &items);
        std::future::poll_fn(|cx| {
            if self.spool.poll_durable(ticket, cx.waker()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        Ok(keys.len())
    }

    /// The regions that are told of writes to `pool`.
    #[must_use]
    pub fn regions(&self, pool: &str) -> Vec<RegionId> {
        let lanes = self.lanes.iter().filter(|&&(place, _)| self.pools[place].config.name == pool);
        lanes.map(|&(_, region)| region).collect()
    }

    /// What the relay looks like now.
    #[must_use]
    pub fn report(&self) -> RelayReport {
        let lanes = self.lanes.iter().enumerate().map(|(place, &(pool, region))| {
            let view = self.spool.lane_state(place);
            LaneReport {
                pool: self.pools[pool].config.name.clone(),
                region,
                books: view.books,
                pending: view.pending,
                oldest: view.oldest,
                lag: view.lag,
                verified: view.verified,
                refused: view.refused,
            }
        });
        RelayReport {
            pools: self.pools.iter().map(|pool| pool.report()).collect(),
            lanes: lanes.collect(),
            links: self
                .links
                .iter()
                .map(|link| link.lock().unwrap_or_else(PoisonError::into_inner).clone())
                .collect(),
            spool: self.spool.report(),
        }
    }

    /// As dropping it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Relay {
    /// Ends everything: clients are disconnected, what is captured is durable, the spool says that it was closed.
    fn drop(&mut self) {
        self.stop.cancel();
        let mut threads = std::mem::take(&mut self.threads);
        // The fronts first, since their last captures go into the spool; its thread is the last of the list.
        let spool_thread = threads.pop();
        for thread in threads {
            let _ended = thread.join();
        }
        self.spool.stop();
        if let Some(thread) = spool_thread {
            let _ended = thread.join();
        }
    }
}
