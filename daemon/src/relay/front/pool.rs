//! What all connections of one pool share: servers, fences, counters. Never does I/O but the probe of a server's ways.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::types;
use crate::decide::relay::fence::Fences;
use crate::decide::relay::io::Storing;
use crate::decide::relay::ketama::Ketama;
use crate::decide::relay::session::Policy;
use crate::decide::report::relay::{PoolReport, ServerReport};
use crate::relay::spool::{Spool, unix_ms};

/// Slices of the fences; each has its own lock.
const SLICES: usize = 64;
/// Buckets of eight misses and eight invalidations per slice.
const BUCKETS: usize = 128;
/// Longest wait for a server's answer to a probe.
pub(super) const PROBE: Duration = Duration::from_secs(1);
/// Longest wait for a connection to a server.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);
/// Time between questions to servers whose ways are not known, and how many of these are between two to all.
const WATCH: Duration = Duration::from_millis(500);
const WATCH_ALL: u64 = 4;
/// How long clients do not wait for a server that did not answer, in milliseconds.
const SILENT_MS: u64 = 1000;
/// How long ago a flush that took effect without a daemon still counts, in milliseconds.
const COLD_MS: u64 = 60_000;
/// Client connections per pool.
pub(crate) const MAX_CONNECTIONS: u64 = 65_536;

const AUTH_UNKNOWN: u8 = 0;
const AUTH_NONE: u8 = 1;
const AUTH_ASCII: u8 = 2;

/// Counters of a pool.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) refills: AtomicU64,
    pub(crate) stale_sets: AtomicU64,
    pub(crate) blind: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) deleted: AtomicU64,
    pub(crate) equal: AtomicU64,
    pub(crate) ping_pong: AtomicU64,
    pub(crate) flushed: AtomicU64,
}

/// One memcached server of a pool.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    auth: AtomicU8,
    /// It did not answer: clients do not wait for it again before this time, in milliseconds since the pool was made.
    silent_until_ms: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// What a client's flush sets off.
pub(crate) type OnFlush = Box<dyn Fn() + Send + Sync>;

/// A pool.
pub(crate) struct Pool {
    pub(crate) place: usize,
    pub(crate) config: types::Pool,
    pub(crate) servers: Vec<Server>,
    pub(crate) ring: Option<Arc<Ketama>>,
    pub(crate) spool: Spool,
    pub(crate) counters: Counters,
    /// Told when a client's flush of the pool takes effect: its cache is cold.
    on_flush: OnFlush,
    /// A client's flush that takes effect later.
    to_come: watch::Sender<Option<Instant>>,
    fences: Vec<Mutex<Fences>>,
    /// Invalidations applied here so far.
    invalidations: AtomicU64,
    seed: u64,
    born: Instant,
}

impl Pool {
    pub(crate) fn new(place: usize, config: types::Pool, spool: Spool, on_flush: OnFlush) -> Self {
        let servers = config.servers.iter().map(|&address| Server {
            address,
            auth: AtomicU8::new(AUTH_UNKNOWN),
            silent_until_ms: AtomicU64::new(0),
            failure: Mutex::new(None),
        });
        let to_come = spool.to_come_ms(place).and_then(|at_ms| flush_at(at_ms, unix_ms()));
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), place);
        Self {
            place,
            servers: servers.collect(),
            ring: (config.servers.len() > 1).then(|| Arc::new(Ketama::new(&config.servers))),
            spool,
            counters: Counters::default(),
            on_flush,
            to_come: watch::Sender::new(to_come),
            fences: (0..SLICES).map(|_| Mutex::new(Fences::new(BUCKETS))).collect(),
            invalidations: AtomicU64::new(0),
            seed,
            born: Instant::now(),
            config,
        }
    }

    pub(crate) fn policy(&self, refill_port: bool) -> Policy {
        Policy {
            deletes_only: self.config.capture == types::Capture::Deletes,
            skip_refills: self.config.refills == types::Refills::Skip,
            refill_port,
        }
    }

    fn now_s(&self) -> u32 {
        u32::try_from(self.born.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    fn fence<T>(&self, key: &[u8], with: impl FnOnce(&mut Fences, u64) -> T) -> T {
        let name = xxh3_64_with_seed(key, self.seed);
        let slice = &self.fences[usize::try_from(name % SLICES as u64).unwrap_or(0)];
        with(&mut slice.lock().unwrap_or_else(PoisonError::into_inner), name)
    }

    pub(crate) fn missed(&self, key: &[u8], connection: u64, sure: bool) {
        let (count, now_s) = (self.invalidations.load(Ordering::Acquire), self.now_s());
        self.fence(key, |fences, name| fences.missed(name, connection, sure, count, now_s));
    }

    pub(crate) fn storing(&self, key: &[u8], connection: u64, hash: Option<u128>) -> Storing {
        let now_s = self.now_s();
        let storing = self.fence(key, |fences, name| fences.storing(name, connection, hash, now_s));
        if storing.refill {
            self.counters.refills.fetch_add(1, Ordering::Relaxed);
        }
        storing
    }

    pub(crate) fn overtaken(&self, key: &[u8], hash: Option<u128>, since: u64) -> bool {
        self.fence(key, |fences, name| fences.overtaken(name, hash, since))
    }

    /// Whether no set of the key came after the one of that number.
    pub(crate) fn is_newest(&self, key: &[u8], set: u64) -> bool {
        self.fence(key, |fences, name| fences.is_newest(name, set))
    }

    /// Another region's invalidation is about to be applied: sets whose misses are older are stale from now on.
    pub(crate) fn invalidated(&self, key: &[u8], hash: Option<u128>) {
        let count = self.invalidations.fetch_add(1, Ordering::AcqRel) + 1;
        let now_s = self.now_s();
        self.fence(key, |fences, name| fences.invalidated(name, hash, count, now_s));
    }

    /// A copy had to go because it differed; how often in a row that was.
    pub(crate) fn differed(&self, key: &[u8]) -> u8 {
        self.fence(key, Fences::differed)
    }

    /// How often in a row a copy of the key differed.
    pub(crate) fn rounds(&self, key: &[u8]) -> u8 {
        self.fence(key, |fences, name| fences.rounds(name))
    }

    /// The pool is flushed: every miss so far is older.
    pub(crate) fn flushed(&self) {
        let count = self.invalidations.fetch_add(1, Ordering::AcqRel) + 1;
        for slice in &self.fences {
            slice.lock().unwrap_or_else(PoisonError::into_inner).flushed(count);
        }
        self.counters.flushed.fetch_add(1, Ordering::Relaxed);
    }

    /// A client flushed the pool, at once or to take effect later; the newest word counts, as with memcached itself.
    pub(crate) fn flushed_by_client(&self, delay_s: u32) {
        let at = (delay_s > 0).then(|| Instant::now() + Duration::from_secs(delay_s.into()));
        if at.is_none() {
            (self.on_flush)();
        }
        self.to_come.send_replace(at);
    }

    /// Tells of flushes when they take effect, for ever.
    pub(crate) async fn ripen(&self) {
        let mut to_come = self.to_come.subscribe();
        loop {
            let at = *to_come.borrow_and_update();
            let wait = at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            // The next word ends the wait for this one.
            if tokio::time::timeout(wait, to_come.changed()).await.is_err() && at.is_some() {
                let mine = self.to_come.send_if_modified(|now| now.take_if(|now| Some(*now) == at).is_some());
                if mine {
                    (self.on_flush)();
                }
            }
        }
    }

    /// Whether any server wants ASCII authentication.
    pub(crate) fn wants_auth(&self) -> bool {
        self.servers.iter().any(|server| server.auth.load(Ordering::Relaxed) == AUTH_ASCII)
    }

    /// A connection to a server ended: it may come back with other ways.
    pub(crate) fn forget(&self, place: usize) {
        self.servers[place].auth.store(AUTH_UNKNOWN, Ordering::Relaxed);
    }

    /// Whether a server's ways are known.
    pub(crate) fn knows(&self, place: usize) -> bool {
        self.servers[place].auth.load(Ordering::Relaxed) != AUTH_UNKNOWN
    }

    /// Asks the servers whose ways are not known, but for those that were silent a moment ago.
    pub(crate) async fn know(&self) {
        for (place, server) in self.servers.iter().enumerate() {
            if !self.knows(place) && self.now_ms() >= server.silent_until_ms.load(Ordering::Relaxed) {
                self.probe(server).await;
            }
        }
    }

    /// Asks every server again, for ever; those whose ways are not known more often.
    pub(crate) async fn watch(&self) {
        let mut tick = tokio::time::interval(WATCH);
        for turn in 0u64.. {
            tick.tick().await;
            let all = turn.is_multiple_of(WATCH_ALL);
            let asked = self.servers.iter().enumerate().filter(|&(place, _)| all || !self.knows(place));
            join_all(asked.map(|(_, server)| self.probe(server))).await;
        }
    }

    async fn probe(&self, server: &Server) {
        let auth = match tokio::time::timeout(PROBE, ask(server.address)).await {
            Ok(Ok(line)) if line.starts_with(b"CLIENT_ERROR unauth") => AUTH_ASCII,
            Ok(Ok(line)) if !line.is_empty() => AUTH_NONE,
            Ok(_) => return,
            Err(_) => {
                server.silent_until_ms.store(self.now_ms() + SILENT_MS, Ordering::Relaxed);
                return;
            }
        };
        server.auth.store(auth, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes whether invalidations can be applied to a server, and says so when that is news.
    pub(crate) fn server_failure(&self, place: usize, failure: Option<String>) {
        let Server { address, failure: known, .. } = &self.servers[place];
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == failure {
            return;
        }
        let pool = &self.config.name;
        match &failure {
            Some(why) => {
                tracing::warn!(%pool, server = %address, why, "invalidations cannot be applied; they wait");
            }
            None => tracing::info!(%pool, server = %address, "invalidations are applied again"),
        }
        *known = failure;
    }

    pub(crate) fn report(&self) -> PoolReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let servers = self.servers.iter().map(|server| ServerReport {
            address: server.address.to_string(),
            failure: server.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        });
        PoolReport {
            pool: self.config.name.clone(),
            connections: get(&self.counters.connections),
            refills: get(&self.counters.refills),
            stale_sets: get(&self.counters.stale_sets),
            blind: get(&self.counters.blind),
            applied_here: get(&self.counters.applied),
            deleted_here: get(&self.counters.deleted),
            equal_here: get(&self.counters.equal),
            ping_pong: get(&self.counters.ping_pong),
            flushed_here: get(&self.counters.flushed),
            servers: servers.collect(),
        }
    }
}

/// When a flush of that time takes effect by this process's clock, unless that is long past.
fn flush_at(at_ms: u64, now_ms: u64) -> Option<Instant> {
    let left = Duration::from_millis(at_ms.saturating_sub(now_ms));
    (at_ms + COLD_MS > now_ms).then(|| Instant::now() + left)
}

/// A server's first line to `version`.
async fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"version\r\n").await?;
    let mut line = vec![0; 256];
    let read = stream.read(&mut line).await?;
    line.truncate(read);
    Ok(line)
}
