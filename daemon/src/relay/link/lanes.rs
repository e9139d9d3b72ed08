//! The lanes towards one region, whatever carries them: rows from the spool, what is done when they were applied, read-backs, and the
//! link's state for people. Never sends anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc};

use crate::decide::event::{Event, RelayWhat};
use crate::decide::region::RegionId;
use crate::decide::relay::item::{Item, Items};
use crate::decide::relay::lane::Row;
use crate::decide::report::relay::{LinkReport, Verified};
use crate::relay::apply::{Job, Jobs, Looked};
use crate::relay::setup;
use crate::relay::spool::Spool;

/// Keys that wait for their read-back.
const MOST_CHECKS: usize = 1024;
/// A read-back waits for the other region's repetition, and this much longer.
const CHECK_AFTER: Duration = Duration::from_millis(500);

/// One of the region's lanes.
pub(crate) struct OutLane {
    /// Its place in the spool.
    pub(crate) lane: usize,
    pub(crate) pool: String,
    /// Where this region's own copy is looked at.
    pub(crate) jobs: Jobs,
    pub(crate) verify: u64,
    pub(crate) repeat_after: Duration,
}

/// All lanes towards a region.
pub(crate) struct Lanes {
    pub(crate) region: RegionId,
    pub(crate) name: String,
    pub(crate) spool: Spool,
    /// The place of their wake-up in the spool.
    pub(crate) group: usize,
    pub(crate) lanes: Vec<OutLane>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) status: Arc<Mutex<LinkReport>>,
}

/// Keys whose copies are compared later.
pub(crate) struct Checks {
    waiting: VecDeque<Check>,
    applied: u64,
    /// Where this region's own copies are said, and those that were.
    to: mpsc::UnboundedSender<Looked>,
    from: mpsc::UnboundedReceiver<Looked>,
    /// How many are to be said.
    asked: usize,
    looked: Option<Looked>,
}

impl Default for Checks {
    fn default() -> Self {
        let (to, from) = mpsc::unbounded_channel();
        Self { waiting: VecDeque::new(), applied: 0, to, from, asked: 0, looked: None }
    }
}

struct Check {
    due: Instant,
    place: usize,
    key: Vec<u8>,
}

impl Checks {
    /// When the first is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|check| check.due)
    }

    /// Waits for what [`Lanes::ask`] asked for. Cancelling loses nothing.
    pub(crate) async fn looked(&mut self) {
        if self.looked.is_none() {
            self.looked = self.from.recv().await;
        }
    }

    fn take(&mut self) -> Option<Looked> {
        let looked = self.looked.take().or_else(|| self.from.try_recv().ok())?;
        self.asked -= 1;
        Some(looked)
    }
}

impl Lanes {
    /// The pool of a lane.
    pub(crate) fn pool(&self, place: usize) -> &str {
        &self.lanes[place].pool
    }

    /// The link to the region works.
    pub(crate) fn up(&self, edge: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.edge = Some(edge.to_owned());
        status.failure = None;
        drop(status);
        tracing::info!(region = %self.name, %edge, "relay link up");
        self.tell(&RelayWhat::LinkUp);
    }

    /// It does not.
    pub(crate) fn down(&self, why: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let was_up = status.edge.take().is_some();
        let news = status.failure.as_deref() != Some(why);
        status.failure = Some(why.to_owned());
        drop(status);
        if was_up || news {
            tracing::warn!(region = %self.name, why, "relay link down");
        }
        if was_up {
            self.tell(&RelayWhat::LinkDown(why.to_owned()));
        }
    }

    fn tell(&self, what: &RelayWhat) {
        for lane in &self.lanes {
            setup::send(&self.events, &lane.pool, Some(self.region), what.clone());
        }
    }

    /// The next row that `of` has for a lane, and its place; lanes take turns.
    pub(crate) fn turn(
        &self,
        turn: &mut usize,
        mut of: impl FnMut(usize) -> Option<Arc<Row>>,
    ) -> Option<(usize, Arc<Row>)> {
        let count = self.lanes.len();
        let (place, row) = (0..count).map(|n| (*turn + n) % count).find_map(|at| Some((at, of(at)?)))?;
        *turn = place + 1;
        Some((place, row))
    }

    /// The next new row of a lane.
    pub(crate) fn next(&self, place: usize) -> Option<Arc<Row>> {
        self.spool.next(self.lanes[place].lane)
    }

    /// The other region will not take a row as things stand.
    pub(crate) fn refused(&self, place: usize, why: String) {
        tracing::warn!(region = %self.name, pool = %self.pool(place), %why, "the other region refuses");
        self.spool.refused(self.lanes[place].lane, Some(why));
    }

    /// The other region applied a row, and if it `rests` will do so once more.
    pub(crate) fn applied(&self, place: usize, row: Arc<Row>, rests: bool, checks: &mut Checks) {
        let lane = &self.lanes[place];
        if lane.verify > 0 {
            for item in Items::new(&row.items) {
                checks.applied += 1;
                if checks.applied.is_multiple_of(lane.verify)
                    && checks.waiting.len() < MOST_CHECKS
                    && let Some((key, _)) = item.key()
                {
                    let due = Instant::now() + lane.repeat_after + CHECK_AFTER;
                    checks.waiting.push_back(Check { due, place, key: key.to_vec() });
                }
            }
        }
        if rests {
            self.spool.rests(lane.lane, row);
        } else {
            self.spool.applied(lane.lane, row);
        }
    }

    /// It applied a row that rested once more.
    pub(crate) fn repeated(&self, place: usize, row: Arc<Row>) {
        self.spool.repeated(self.lanes[place].lane, row);
    }

    /// Counts what read-backs found.
    pub(crate) fn verified(&self, place: usize, results: Verified) {
        let lane = &self.lanes[place];
        self.spool.verified(lane.lane, results);
        if results.stale > 0 {
            setup::send(&self.events, &lane.pool, Some(self.region), RelayWhat::Stale(results.stale));
        }
    }

    /// Asks for this region's own copies of the keys whose read-back is due. Of a pool whose servers keep it waiting no more are asked for
    /// than its queue takes; the others are not read back.
    pub(crate) fn ask(&self, checks: &mut Checks) {
        let now = Instant::now();
        while checks.waiting.front().is_some_and(|check| check.due <= now) {
            let Some(Check { place, key, .. }) = checks.waiting.pop_front() else { return };
            if checks.asked < MOST_CHECKS
                && self.lanes[place].jobs.try_send(Job::Look(place, key, checks.to.clone())).is_ok()
            {
                checks.asked += 1;
            }
        }
    }

    /// The next key that the other region is to compare: its lane, and the item that asks for it. `None` when there is none (more) now.
    pub(crate) fn check(&self, checks: &mut Checks) -> Option<(usize, Vec<u8>)> {
        loop {
            let Looked { place, key, hash } = checks.take()?;
            if let Some(hash) = hash {
                let mut items = Vec::new();
                Item::Verify(&key, hash).write(&mut items);
                return Some((place, items));
            }
            self.verified(place, Verified { absent: 1, ..Verified::default() });
        }
    }
}
