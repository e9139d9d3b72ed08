//! A way for each pool of an inbound link, from its reader to the pool's task: a pool whose servers are down fills its own and no other.
//! Never holds more than a link's window, and applies nothing itself.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::door::{Door, Pace};
use crate::decide::region::RegionId;
use crate::decide::relay::shares::{Load, Shares};
use crate::decide::relay::window::OPEN;
use crate::relay::apply::{Job, Jobs, Teller};

/// What a link may have here: a peer that keeps to [`OPEN`], and counts its lanes as its operator does, never waits for room.
const MOST: Load = (2 * OPEN.0, 2 * OPEN.1);

/// What of a link was taken and whose word is not written.
pub(super) struct Room {
    state: Mutex<Taken>,
    freed: Notify,
}

struct Taken {
    shares: Shares,
    /// Place and size by the number of the batch.
    batches: HashMap<u64, (usize, usize)>,
}

impl Room {
    /// Of a link that shares so many pools.
    pub(super) fn new(pools: usize) -> Self {
        let taken = Taken { shares: Shares::new(MOST, pools), batches: HashMap::new() };
        Self { state: Mutex::new(taken), freed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the batch may be taken.
    ///
    /// # Errors
    /// When one of that number is there already.
    async fn enter(&self, number: u64, place: usize, bytes: usize) -> io::Result<()> {
        while !self.try_enter(number, place, bytes)? {
            self.freed.notified().await;
        }
        Ok(())
    }

    fn try_enter(&self, number: u64, place: usize, bytes: usize) -> io::Result<bool> {
        let mut taken = self.lock();
        if taken.batches.contains_key(&number) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "two batches of one number"));
        }
        if !taken.shares.room(place) {
            return Ok(false);
        }
        taken.shares.enter(place, (1, bytes));
        taken.batches.insert(number, (place, bytes));
        Ok(true)
    }

    /// The word about a batch went out.
    pub(super) fn leave(&self, number: u64) {
        let mut taken = self.lock();
        if let Some((place, bytes)) = taken.batches.remove(&number) {
            taken.shares.leave(place, (1, bytes));
            self.freed.notify_one();
        }
    }
}

/// A batch on its way to its pool.
struct Batch {
    items: Vec<u8>,
    flushes: f64,
    teller: Teller,
}

/// The ways of one link; they end with it.
pub(super) struct Ways<'a> {
    room: &'a Room,
    /// Names of the pools that are shared with the peer, and the way to each once it was used.
    ways: Vec<(String, Option<mpsc::UnboundedSender<Batch>>)>,
    tasks: JoinSet<()>,
}

impl<'a> Ways<'a> {
    /// Of a link from this region; none is used yet.
    pub(super) fn new(door: &Door, region: RegionId, room: &'a Room) -> Self {
        let ways = door.shared(region).map(|pool| (pool.to_owned(), None)).collect();
        Self { room, ways, tasks: JoinSet::new() }
    }

    /// Takes a batch of a pool that is shared with the peer; waits only while that pool, and the link, have too many. False when this
    /// host stops.
    ///
    /// # Errors
    /// See [`Room::enter`].
    pub(super) async fn take(
        &mut self,
        (pool, jobs): (&str, &Jobs),
        (items, flushes): (Vec<u8>, f64),
        teller: Teller,
    ) -> io::Result<bool> {
        let Some(place) = self.ways.iter().position(|(name, _)| name == pool) else { return Ok(false) };
        self.room.enter(teller.number, place, items.len()).await?;
        let way = self.ways[place].1.get_or_insert_with(|| {
            let (to, batches) = mpsc::unbounded_channel();
            self.tasks.spawn(bring(batches, jobs.clone()));
            to
        });
        Ok(way.send(Batch { items, flushes, teller }).is_ok())
    }
}

/// Brings a pool's batches to it, in their order. A pool's flushes wait for their turn here.
async fn bring(mut batches: mpsc::UnboundedReceiver<Batch>, jobs: Jobs) {
    let mut pace = Pace::new();
    while let Some(Batch { items, flushes, teller }) = batches.recv().await {
        pace.take((0.0, flushes)).await;
        if jobs.send(Job::Apply(items, teller)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a peer that keeps to no window says stays bounded here; its other pool has its share.
    #[test]
    fn a_peer_that_ignores_the_window_waits() {
        let room = Room::new(2);
        let fill = |place: usize, from: u64| {
            (from..).take_while(|&number| room.try_enter(number, place, 100_000).expect("new")).count()
        };
        let (all, share) = (fill(0, 0), fill(1, 1_000_000));
        assert_eq!((all, share), (MOST.1.div_ceil(100_000), (MOST.1 / 2).div_ceil(100_000)));
        assert!(room.try_enter(0, 0, 1).is_err(), "a number is there once");
        (0..1_000).for_each(|number| room.leave(number));
        assert!(room.try_enter(0, 0, 1).expect("gone"));
    }
}
