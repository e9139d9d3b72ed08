//! The thread that commits. Never holds a lock while it writes.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::call::{At, Call};
use super::changes::Batch;
use super::store::{Past, Store};
use super::{
    INBOX_BYTES, Inbox, LaneCell, LaneEvent, LaneState, Opener, READY_BYTES, Settled, Shared, Spool,
    SpoolConfig, StoreError, Teller, lock, unix_ms,
};
use crate::decide::relay::item::{Item, Items};
use crate::decide::relay::lane::{Lane, Row};
use crate::decide::report::relay::Verified;

/// With sync = "os": least time between commits.
const OS_PAUSE: Duration = Duration::from_millis(20);
/// With sync = "group": longest wait of a commit for what workers have on its way, and no longer than the last commit took.
const GATHER: Duration = Duration::from_micros(250);
/// What was applied goes with the next commit, if one comes this soon after the last.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);
/// Bytes read from disk at once, towards links and at the start.
const LOAD_BYTES: usize = 2 * 1024 * 1024;
/// Spool bytes per key that may be pending: bounds the index in memory.
const BYTES_PER_KEY: u64 = 256;
/// Shortest and longest wait after a failed commit.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

struct Committer {
    shared: Arc<Shared>,
    store: Store,
    tell: Teller,
    tick: Duration,
    last_tick: Instant,
    /// When the last commit was done, and how long it took.
    last_commit: (Instant, Duration),
}

struct Work {
    pools: Vec<Vec<u8>>,
    ticket: u64,
    settled: Vec<(usize, Arc<Row>, Settled)>,
    loads: Vec<usize>,
    stop: bool,
}

pub(super) fn start(
    opener: Opener,
    config: &SpoolConfig,
    unknown: bool,
    tell: Teller,
) -> Result<(Spool, JoinHandle<()>), StoreError> {
    let (mut store, Past { clean }) = Store::open(opener)?;
    let unknown = unknown || (!clean && !config.group);
    let groups = config.lanes.iter().map(|lane| lane.group + 1).max().unwrap_or(0);
    let groups: Vec<Arc<Notify>> = (0..groups).map(|_| Arc::default()).collect();
    let mut lanes = Vec::new();
    let mut flushes = vec![None; config.pools];
    for lane in &config.lanes {
        let (cell, flush) = restore(&mut store, lane.clone(), Arc::clone(&groups[lane.group]))?;
        flushes[lane.pool] = flush.max(flushes[lane.pool]);
        lanes.push(cell);
    }
    let mut relayed = vec![false; config.pools];
    for lane in &config.lanes {
        relayed[lane.pool] = true;
    }
    let shared = Arc::new(Shared {
        group: config.group,
        limit_bytes: config.limit_bytes,
        inbox: Mutex::new(Inbox {
            pools: vec![Vec::new(); config.pools],
            bytes: 0,
            ticket: 0,
            settled: Vec::new(),
            loads: Vec::new(),
            stop: false,
            call: Call::default(),
        }),
        work: Condvar::new(),
        durable: AtomicU64::new(0),
        wakers: Mutex::new(Vec::new()),
        lanes,
        groups,
        relayed,
        to_come: flushes.into_iter().map(|flush| flush?.1).collect(),
        commits: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failure: Mutex::new(None),
    });
    let (last_tick, last_commit) = (Instant::now(), (Instant::now(), Duration::ZERO));
    let mut committer =
        Committer { shared: Arc::clone(&shared), store, tell, tick: config.tick, last_tick, last_commit };
    let handle = std::thread::Builder::new()
        .name("relay-spool".into())
        .spawn(move || {
            committer.begin(unknown);
            committer.run();
        })
        .map_err(|error| StoreError::Io(error.to_string()))?;
    Ok((Spool { shared }, handle))
}

/// When a flush was captured, and when it takes effect if that is later; in milliseconds since 1970.
type Flush = (u64, Option<u64>);

fn newest_flush(row: &Row) -> Option<Flush> {
    let delays = Items::new(&row.items).filter_map(|item| match item {
        Item::Flush(delay_s) => Some(delay_s),
        _ => None,
    });
    let delay_s = delays.last()?;
    Some((row.at_ms, (delay_s > 0).then(|| row.at_ms.saturating_add(u64::from(delay_s) * 1000))))
}

/// A lane as it was, and the newest flush in it.
fn restore(
    store: &mut Store,
    config: super::LaneConfig,
    filled: Arc<Notify>,
) -> Result<(LaneCell, Option<Flush>), StoreError> {
    let (id, books, next) = store.lane(&config.name)?;
    let seed = std::hash::RandomState::new().build_hasher().finish();
    let mut lane = Lane::new(seed, books, next);
    let resting = store.resting(id)?;
    let (mut from, mut bytes, mut oldest, mut first, mut flush) = (0, 0, 0, None, None);
    loop {
        let (rows, all) = store.rows(id, from, LOAD_BYTES)?;
        for row in &rows {
            from = row.end();
            first = first.or(Some(row.first));
            flush = newest_flush(row).or(flush);
            if resting.contains(&row.first) {
                continue;
            }
            lane.restore(row);
            bytes += row.weight();
            if oldest == 0 {
                oldest = row.at_ms;
            }
        }
        if all {
            break;
        }
    }
    let extra = lane.reconcile();
    if extra > 0 {
        tracing::warn!(lane = %config.name.replace('\0', " to "), extra, "the spool held more than its books");
    }
    let state = LaneState {
        lane,
        resting,
        away: BTreeMap::new(),
        ready: VecDeque::new(),
        ready_bytes: 0,
        disk_from: first,
        loading: false,
        bytes,
        floor: 0,
        lag: None,
        verified: Verified::default(),
        refused: None,
    };
    let cell = LaneCell { config, id, state: Mutex::new(state), filled, oldest_ms: AtomicU64::new(oldest) };
    cell.filled.notify_one();
    Ok((cell, flush))
}

impl Committer {
    /// Acts on what the last daemon left unknown.
    fn begin(&mut self, unknown: bool) {
        if !unknown {
            return;
        }
        let mut batch = Batch::default();
        for (place, cell) in self.shared.lanes.iter().enumerate() {
            lock(&cell.state).lane.unknown(cell.config.flush_unknown);
            cut(cell, &mut batch);
            (self.tell)(place, LaneEvent::Unknown);
        }
        self.commit(&batch);
    }

    fn run(&mut self) {
        loop {
            let work = self.wait();
            let mut batch = Batch { clean: work.stop, ..Batch::default() };
            for (pool, items) in work.pools.iter().enumerate() {
                if !items.is_empty() {
                    self.capture(pool, items, &mut batch);
                }
            }
            self.settle(&work.settled, &mut batch);
            self.bound(&mut batch);
            if self.last_tick.elapsed() >= self.tick {
                self.last_tick = Instant::now();
                self.tick(&mut batch);
            }
            if !self.commit(&batch) {
                return;
            }
            self.shared.durable.store(work.ticket, Ordering::Release);
            for waker in std::mem::take(&mut *lock(&self.shared.wakers)) {
                waker.wake();
            }
            for lane in work.loads {
                self.load(lane);
            }
            if work.stop {
                return;
            }
            if !self.shared.group {
                std::thread::sleep(OS_PAUSE);
            }
        }
    }

    /// Waits for anything to do, and then a moment for what workers have on its way.
    fn wait(&self) -> Work {
        let mut inbox = lock(&self.shared.inbox);
        let mut until = None;
        loop {
            let wait = self.may_wait(&inbox);
            let gathered = self.may_gather(&inbox, &mut until);
            match inbox.call.look(wait.is_zero(), !gathered.is_zero()) {
                At::Work => break,
                At::Idle => inbox = self.sleep(inbox, wait),
                At::Gathering => inbox = self.sleep(inbox, gathered),
            }
        }
        inbox.bytes = 0;
        Work {
            pools: inbox.pools.iter_mut().map(std::mem::take).collect(),
            ticket: inbox.ticket,
            settled: std::mem::take(&mut inbox.settled),
            loads: std::mem::take(&mut inbox.loads),
            stop: inbox.stop,
        }
    }

    /// How long there is nothing that has to be done.
    fn may_wait(&self, inbox: &Inbox) -> Duration {
        if inbox.bytes > 0 || !inbox.loads.is_empty() || inbox.stop {
            return Duration::ZERO;
        }
        let tick = self.tick.saturating_sub(self.last_tick.elapsed());
        match inbox.settled.is_empty() {
            true => tick,
            false => tick.min(SETTLE_PAUSE.saturating_sub(self.last_commit.0.elapsed())),
        }
    }

    /// How long it is worth while to wait for what workers have on their way; `until` is when the first look at it ends the wait.
    fn may_gather(&self, inbox: &Inbox, until: &mut Option<Instant>) -> Duration {
        if !self.shared.group || inbox.bytes == 0 || inbox.bytes >= INBOX_BYTES || inbox.stop {
            return Duration::ZERO;
        }
        let now = Instant::now();
        until.get_or_insert_with(|| now + self.last_commit.1.min(GATHER)).saturating_duration_since(now)
    }

    fn sleep<'a>(&self, inbox: MutexGuard<'a, Inbox>, wait: Duration) -> MutexGuard<'a, Inbox> {
        match self.shared.work.wait_timeout(inbox, wait) {
            Ok((inbox, _)) => inbox,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    fn capture(&self, pool: usize, items: &[u8], batch: &mut Batch) {
        for cell in self.shared.lanes.iter().filter(|cell| cell.config.pool == pool) {
            let mut state = lock(&cell.state);
            for item in Items::new(items) {
                state.lane.capture(&item);
                if state.lane.row_full() {
                    drop(state);
                    cut(cell, batch);
                    state = lock(&cell.state);
                }
            }
            drop(state);
            cut(cell, batch);
            cell.filled.notify_one();
        }
    }

    fn settle(&self, settled: &[(usize, Arc<Row>, Settled)], batch: &mut Batch) {
        for (lane, row, how) in settled {
            let cell = &self.shared.lanes[*lane];
            let mut state = lock(&cell.state);
            let name = (cell.id, row.first);
            if *how != Settled::Repeated {
                state.lane.applied(row);
            }
            if row.first < state.floor {
                continue;
            }
            match how {
                Settled::Rests => {
                    if state.resting.insert(row.first) {
                        gone(&mut state, row);
                        batch.rests.push(name);
                    }
                }
                Settled::Applied | Settled::Repeated if state.resting.remove(&row.first) => {
                    batch.repeated.push(name);
                }
                Settled::Applied | Settled::Repeated => {
                    gone(&mut state, row);
                    batch.removes.push(name);
                }
            }
        }
        for cell in &self.shared.lanes {
            let state = lock(&cell.state);
            batch.books.push((cell.id, state.lane.books()));
        }
    }

    /// Converts the heaviest lane while the spool is over its bound.
    fn bound(&self, batch: &mut Batch) {
        loop {
            let weights: Vec<(u64, u64)> = self
                .shared
                .lanes
                .iter()
                .map(|cell| {
                    let state = lock(&cell.state);
                    (state.bytes, state.lane.pending())
                })
                .collect();
            let bytes: u64 = weights.iter().map(|(bytes, _)| bytes).sum();
            let keys: u64 = weights.iter().map(|(_, keys)| keys).sum();
            self.shared.bytes.store(bytes, Ordering::Relaxed);
            let limit = self.shared.limit_bytes;
            if bytes <= limit && keys <= (limit / BYTES_PER_KEY).max(1024) {
                return;
            }
            let Some(place) = (0..weights.len()).max_by_key(|&place| weights[place]) else { return };
            let cell = &self.shared.lanes[place];
            let converted = lock(&cell.state).lane.convert();
            if converted == 0 {
                return;
            }
            cut(cell, batch);
            cell.filled.notify_one();
            (self.tell)(place, LaneEvent::Converted(converted));
        }
    }

    /// Drops what is older than any copy can be, and notes the age of the oldest.
    fn tick(&mut self, batch: &mut Batch) {
        for cell in &self.shared.lanes {
            let expire_ms = u64::try_from(cell.config.expire_after.as_millis()).unwrap_or(u64::MAX);
            let before = unix_ms().saturating_sub(expire_ms);
            // What rests is ahead of what is pending.
            let from = lock(&cell.state).resting.last().map_or(0, |last| last + 1);
            let Ok((rows, _)) = self.store.rows(cell.id, from, 64 * 1024) else { continue };
            let mut oldest = 0;
            let mut state = lock(&cell.state);
            for row in rows {
                let removed = batch.removes.contains(&(cell.id, row.first)) || row.first < state.floor;
                if !removed && row.at_ms < before && state.lane.waits(&row) {
                    state.lane.expired(&row);
                    gone(&mut state, &row);
                    if state.ready.front().is_some_and(|ready| ready.first == row.first) {
                        state.ready.pop_front();
                        state.ready_bytes -= row.weight();
                    }
                    batch.removes.push((cell.id, row.first));
                } else if !removed && oldest == 0 {
                    oldest = row.at_ms;
                }
            }
            batch.books.push((cell.id, state.lane.books()));
            cell.oldest_ms.store(oldest, Ordering::Relaxed);
        }
    }

    /// Gets rows from disk for a link that has sent all that was in memory.
    fn load(&mut self, lane: usize) {
        let cell = &self.shared.lanes[lane];
        let from = lock(&cell.state).disk_from;
        let Some(from) = from else { return };
        match self.store.rows(cell.id, from, LOAD_BYTES) {
            Ok((rows, all)) => {
                let mut state = lock(&cell.state);
                state.disk_from = if all { None } else { rows.last().map(Row::end) };
                for row in rows {
                    state.ready_bytes += row.weight();
                    state.ready.push_back(Arc::new(row));
                }
                state.loading = false;
            }
            Err(error) => {
                tracing::error!(%error, "rows of the spool cannot be read");
                lock(&cell.state).loading = false;
            }
        }
        cell.filled.notify_one();
    }

    /// Commits, and tries again until it works: without it no client that wrote is answered. False when the daemon stops meanwhile.
    fn commit(&mut self, batch: &Batch) -> bool {
        let began = Instant::now();
        let settled = batch.removes.is_empty() && batch.rests.is_empty() && batch.repeated.is_empty();
        let idle = batch.puts.is_empty() && settled && batch.voids.is_empty() && !batch.clean;
        if idle {
            return true;
        }
        let mut pause = RETRY.0;
        while let Err(error) = self.store.commit(batch) {
            tracing::error!(%error, "the spool cannot be written; writes wait for their answers");
            *lock(&self.shared.failure) = Some(error.to_string());
            let inbox = lock(&self.shared.inbox);
            let waited = self.shared.work.wait_timeout_while(inbox, pause, |inbox| !inbox.stop);
            if waited.is_ok_and(|(inbox, _)| inbox.stop) {
                return false;
            }
            pause = (pause * 2).min(RETRY.1);
        }
        self.last_commit = (Instant::now(), began.elapsed());
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        if lock(&self.shared.failure).take().is_some() {
            tracing::info!("the spool can be written again");
        }
        true
    }
}

/// Ends the row in the making and puts it where links find it.
fn cut(cell: &LaneCell, batch: &mut Batch) {
    let mut state = lock(&cell.state);
    if let Some(below) = state.lane.take_void() {
        batch.puts.retain(|(id, row)| *id != cell.id || row.first >= below);
        batch.voids.push((cell.id, below));
        state.resting = state.resting.split_off(&below);
        state.away = state.away.split_off(&below);
        (state.bytes, state.floor, state.disk_from) = (0, below, None);
        state.ready.clear();
        state.ready_bytes = 0;
    }
    if let Some(row) = state.lane.take_row(unix_ms()) {
        let row = Arc::new(row);
        state.bytes += row.weight();
        batch.next.push((cell.id, row.end()));
        if state.disk_from.is_none() && state.ready_bytes < READY_BYTES {
            state.ready_bytes += row.weight();
            state.ready.push_back(Arc::clone(&row));
        } else if state.disk_from.is_none() {
            state.disk_from = Some(row.first);
        }
        batch.puts.push((cell.id, row));
    }
    batch.books.push((cell.id, state.lane.books()));
}

fn gone(state: &mut LaneState, row: &Row) {
    if row.first >= state.floor {
        state.bytes = state.bytes.saturating_sub(row.weight());
    }
}
