//! What the other regions must still forget, on disk and in order. Never sends anything itself.
//!
//! Fronts [`submit`](Spool::submit) and get a ticket; a thread of its own commits what came together (group commit) and then makes the
//! tickets durable. Links take rows with [`Spool::next`] and give them back with [`Spool::applied`], or with [`Spool::rests`] and later
//! [`Spool::repeated`]. Books and rows change in the same transaction.

mod call;
mod changes;
mod journal;
mod store;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use self::call::Call;
pub use self::store::{Opener, StoreError, file};
use crate::decide::relay::books::Books;
use crate::decide::relay::lane::{Lane, Row};
use crate::decide::report::relay::{SpoolReport, Verified};

/// Most bytes of rows per lane that wait in memory for a link; the rest waits on disk.
const READY_BYTES: u64 = 4 * 1024 * 1024;
/// Most bytes that may wait for their commit before fronts stop reading.
const INBOX_BYTES: usize = 16 * 1024 * 1024;

/// Time between looks at what expired.
pub const TICK: Duration = Duration::from_secs(1);

/// How a spool is kept.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// Most bytes of rows.
    pub limit_bytes: u64,
    /// Tickets are durable after the commit; else at once.
    pub group: bool,
    /// Every pool and region.
    pub lanes: Vec<LaneConfig>,
    /// How many pools there are.
    pub pools: usize,
    /// Time between looks at what expired.
    pub tick: Duration,
}

/// One pool towards one region.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// The pool's place.
    pub pool: usize,
    /// Names it on disk: `pool NUL region`.
    pub name: String,
    /// Lanes of one group are sent by the same link, which [`Spool::filled`] wakes.
    pub group: usize,
    /// Rows older than this are dropped.
    pub expire_after: Duration,
    /// What cannot be accounted for is answered by a flush.
    pub flush_unknown: bool,
}

/// Something that happened to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEvent {
    /// So many keys became one flush.
    Converted(u64),
    /// The captures of a while are unknown.
    Unknown,
}

/// Told of events: lane and what.
pub type Teller = Box<dyn Fn(usize, LaneEvent) + Send>;

struct Inbox {
    pools: Vec<Vec<u8>>,
    bytes: usize,
    /// Of the newest submission.
    ticket: u64,
    settled: Vec<(usize, Arc<Row>, Settled)>,
    loads: Vec<usize>,
    stop: bool,
    call: Call,
}

/// What the other region said of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// Applied, and nothing is left to be done.
    Applied,
    /// Applied, and to be applied once more there.
    Rests,
    /// Applied once more.
    Repeated,
}

struct LaneState {
    lane: Lane,
    /// Rows that were applied and are kept until they were repeated.
    resting: BTreeSet<u64>,
    /// Rows that a link has and the other region has not applied, and when they were captured; no more than links keep open.
    away: BTreeMap<u64, u64>,
    ready: VecDeque<Arc<Row>>,
    ready_bytes: u64,
    /// The first row that is on disk only.
    disk_from: Option<u64>,
    loading: bool,
    bytes: u64,
    /// Rows below are void and weigh nothing.
    floor: u64,
    /// Of the newest that came back.
    lag: Option<Duration>,
    verified: Verified,
    refused: Option<String>,
}

impl LaneState {
    /// When the oldest that is not applied was captured; `on_disk_ms` is that of the oldest on disk.
    fn oldest_ms(&self, on_disk_ms: u64) -> Option<u64> {
        if self.lane.pending() == 0 {
            return None;
        }
        let away = self.away.first_key_value().map(|(_, &at_ms)| at_ms);
        let ready = || self.ready.iter().find(|row| !self.resting.contains(&row.first)).map(|row| row.at_ms);
        away.or_else(ready).or(Some(on_disk_ms).filter(|&at_ms| at_ms > 0))
    }
}

struct LaneCell {
    config: LaneConfig,
    id: u32,
    state: Mutex<LaneState>,
    filled: Arc<Notify>,
    /// Of the oldest on disk at the last look at it; 0 if none was.
    oldest_ms: AtomicU64,
}

struct Shared {
    group: bool,
    limit_bytes: u64,
    inbox: Mutex<Inbox>,
    work: Condvar,
    durable: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
    lanes: Vec<LaneCell>,
    groups: Vec<Arc<Notify>>,
    /// Whether a pool has any lane.
    relayed: Vec<bool>,
    /// When the flush of a pool that the last daemon left takes effect, in milliseconds since 1970.
    to_come: Vec<Option<u64>>,
    commits: AtomicU64,
    bytes: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// A handle; clones share the spool.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means that a thread panicked between two plain assignments; the data is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970, as rows have them.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Spool {
    /// Opens the spool and starts its thread. A damaged file is an error; the caller sets it aside and says `unknown` the next time.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        opener: Opener,
        config: &SpoolConfig,
        unknown: bool,
        tell: Teller,
    ) -> Result<(Self, std::thread::JoinHandle<()>), StoreError> {
        thread::start(opener, config, unknown, tell)
    }

    /// Hands over items of a pool; the ticket is durable once they are.
    #[must_use]
    pub fn submit(&self, pool: usize, items: &[u8]) -> u64 {
        self.submit_looking(pool, items, false, |_| {})
    }

    /// As [`Self::submit`], for workers: within a turn of the worker's own ([`Self::open_turn`]) the thread is called at its end. `look`
    /// may change tags among the items once nothing can come between what was submitted before and them.
    #[must_use]
    pub fn submit_looking(
        &self,
        pool: usize,
        items: &[u8],
        in_turn: bool,
        look: impl FnOnce(&mut [u8]),
    ) -> u64 {
        if items.is_empty() || !self.shared.relayed[pool] {
            return 0;
        }
        let mut inbox = lock(&self.shared.inbox);
        let from = inbox.pools[pool].len();
        inbox.pools[pool].extend_from_slice(items);
        look(&mut inbox.pools[pool][from..]);
        inbox.bytes += items.len();
        inbox.ticket += 1;
        let ticket = inbox.ticket;
        if inbox.call.submitted(in_turn, inbox.bytes > INBOX_BYTES) {
            self.shared.work.notify_one();
        }
        // With sync = "os" the client is answered at once, unless the spool cannot keep up.
        if self.shared.group || inbox.bytes > INBOX_BYTES { ticket } else { 0 }
    }

    /// Whether clients wait for commits, so that it is worth while to gather.
    #[must_use]
    pub fn gathers(&self) -> bool {
        self.shared.group
    }

    /// A worker is about to hand over something, and more behind it: until [`Self::hand_over`] says that it was all, a commit waits a moment.
    pub fn open_turn(&self) {
        lock(&self.shared.inbox).call.open_turn();
    }

    /// A worker has handed over what it had; whether nothing more is on its way.
    pub fn hand_over(&self, all: bool) {
        if lock(&self.shared.inbox).call.hand_over(all) {
            self.shared.work.notify_one();
        }
    }

    /// Whether this ticket is durable.
    #[must_use]
    pub fn is_durable(&self, ticket: u64) -> bool {
        self.shared.durable.load(Ordering::Acquire) >= ticket
    }

    /// As [`Self::is_durable`]; if not, the waker is called when that may have changed.
    #[must_use]
    pub fn poll_durable(&self, ticket: u64, waker: &Waker) -> bool {
        if self.is_durable(ticket) {
            return true;
        }
        let mut wakers = lock(&self.shared.wakers);
        // A connection asks several times in a row; beyond that a second wake-up costs less than a search.
        if !wakers.last().is_some_and(|last| last.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        drop(wakers);
        self.is_durable(ticket)
    }

    /// The flush of a pool that is to take effect later, as it was when the spool was opened; in milliseconds since 1970. What the other
    /// regions are done with is no longer known.
    #[must_use]
    pub fn to_come_ms(&self, pool: usize) -> Option<u64> {
        self.shared.to_come[pool]
    }

    /// Every lane's configuration, in order.
    pub fn lanes(&self) -> impl Iterator<Item = &LaneConfig> {
        self.shared.lanes.iter().map(|lane| &lane.config)
    }

    /// The next row of a lane, which counts as on its way from now on.
    #[must_use]
    pub fn next(&self, lane: usize) -> Option<Arc<Row>> {
        let mut state = lock(&self.shared.lanes[lane].state);
        let row = state.ready.pop_front();
        if let Some(row) = &row {
            state.ready_bytes -= row.weight();
            state.lane.hand_out(row);
            if !state.resting.contains(&row.first) {
                state.away.insert(row.first, row.at_ms);
            }
        }
        let load = state.ready.is_empty() && state.disk_from.is_some() && !state.loading;
        state.loading |= load;
        drop(state);
        if load {
            let mut inbox = lock(&self.shared.inbox);
            inbox.loads.push(lane);
            self.shared.work.notify_one();
        }
        row
    }

    /// Waits until [`Self::next`] may have something for a lane of this group.
    pub async fn filled(&self, group: usize) {
        self.shared.groups[group].notified().await;
    }

    /// The other region applied this row, and nothing is left to be done.
    pub fn applied(&self, lane: usize, row: Arc<Row>) {
        self.settled(lane, row, Settled::Applied);
    }

    /// The other region applied this row and will once more: the books are done with it, the disk is not, so that it is sent again
    /// should the other region die before.
    pub fn rests(&self, lane: usize, row: Arc<Row>) {
        self.settled(lane, row, Settled::Rests);
    }

    /// The other region applied a row that rested once more.
    pub fn repeated(&self, lane: usize, row: Arc<Row>) {
        self.settled(lane, row, Settled::Repeated);
    }

    fn settled(&self, lane: usize, row: Arc<Row>, how: Settled) {
        let mut state = lock(&self.shared.lanes[lane].state);
        state.away.remove(&row.first);
        if how != Settled::Repeated && !state.resting.contains(&row.first) {
            state.lag = Some(Duration::from_millis(unix_ms().saturating_sub(row.at_ms)));
        }
        drop(state);
        let mut inbox = lock(&self.shared.inbox);
        inbox.settled.push((lane, row, how));
        // The first makes the thread look at how long it may wait.
        if inbox.call.sleeps() && inbox.settled.len() == 1 {
            self.shared.work.notify_one();
        }
    }

    /// The other region's word against this lane; `None` when it has none.
    pub fn refused(&self, lane: usize, why: Option<String>) {
        lock(&self.shared.lanes[lane].state).refused = why;
    }

    /// Adds results of read-backs.
    pub fn verified(&self, lane: usize, results: Verified) {
        let mut state = lock(&self.shared.lanes[lane].state);
        state.verified.equal += results.equal;
        state.verified.absent += results.absent;
        state.verified.stale += results.stale;
    }

    /// Stops the thread after a last commit.
    pub fn stop(&self) {
        lock(&self.shared.inbox).stop = true;
        self.shared.work.notify_one();
    }

    /// The spool as a whole.
    #[must_use]
    pub fn report(&self) -> SpoolReport {
        SpoolReport {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            limit_bytes: self.shared.limit_bytes,
            commits: self.shared.commits.load(Ordering::Relaxed),
            failure: lock(&self.shared.failure).clone(),
        }
    }

    /// One lane's state.
    #[must_use]
    pub fn lane_state(&self, lane: usize) -> LaneView {
        let cell = &self.shared.lanes[lane];
        let state = lock(&cell.state);
        let oldest_ms = state.oldest_ms(cell.oldest_ms.load(Ordering::Relaxed));
        let oldest = oldest_ms.map(|at_ms| Duration::from_millis(unix_ms().saturating_sub(at_ms)));
        LaneView {
            books: state.lane.books(),
            pending: state.lane.pending(),
            oldest,
            lag: state.lag.max(oldest),
            verified: state.verified,
            refused: state.refused.clone(),
        }
    }
}

/// What [`Spool::lane_state`] tells.
#[derive(Clone, Debug)]
pub struct LaneView {
    /// The books.
    pub books: Books,
    /// What waits or is on its way.
    pub pending: u64,
    /// Age of the oldest.
    pub oldest: Option<Duration>,
    /// From capture to the other region's word, of the newest; while it says nothing, the age of the oldest.
    pub lag: Option<Duration>,
    /// Read-backs.
    pub verified: Verified,
    /// The other region's word against it.
    pub refused: Option<String>,
}
