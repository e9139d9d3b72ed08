//! What all connections of one pool share: servers, fences, counters. Never does I/O but the probe of a server's ways.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::types;
use crate::decide::relay::fence::Fences;
use crate::decide::relay::io::Storing;
use crate::decide::relay::ketama::Ketama;
use crate::decide::relay::session::Policy;
use crate::decide::report::relay::{PoolReport, ServerReport};
use crate::relay::spool::Spool;

/// Slices of the fences; each has its own lock.
const SLICES: usize = 64;
/// Buckets of eight misses and eight invalidations per slice.
const BUCKETS: usize = 128;
/// Longest wait for a server's answer to a probe.
pub(super) const PROBE: Duration = Duration::from_secs(1);
/// Longest wait for a connection to a server.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);
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
    /// Told when a client flushed the pool: its cache is cold.
    pub(crate) on_flush: OnFlush,
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
            failure: Mutex::new(None),
        });
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), place);
        Self {
            place,
            servers: servers.collect(),
            ring: (config.servers.len() > 1).then(|| Arc::new(Ketama::new(&config.servers))),
            spool,
            counters: Counters::default(),
            on_flush,
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

    /// Whether any server wants ASCII authentication.
    pub(crate) fn wants_auth(&self) -> bool {
        self.servers.iter().any(|server| server.auth.load(Ordering::Relaxed) == AUTH_ASCII)
    }

    /// Asks the servers whose ways are not known.
    pub(crate) async fn know(&self) {
        for server in &self.servers {
            if server.auth.load(Ordering::Relaxed) == AUTH_UNKNOWN {
                self.probe(server).await;
            }
        }
    }

    /// Asks every server again, for ever.
    pub(crate) async fn watch(&self) {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        loop {
            tick.tick().await;
            for server in &self.servers {
                self.probe(server).await;
            }
        }
    }

    async fn probe(&self, server: &Server) {
        let auth = match tokio::time::timeout(PROBE, ask(server.address)).await {
            Ok(Ok(line)) if line.starts_with(b"CLIENT_ERROR unauth") => AUTH_ASCII,
            Ok(Ok(_)) => AUTH_NONE,
            Ok(Err(_)) | Err(_) => return,
        };
        server.auth.store(auth, Ordering::Relaxed);
    }

    /// Notes whether invalidations can be applied to a server.
    pub(crate) fn server_failure(&self, place: usize, failure: Option<String>) {
        *self.servers[place].failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
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

/// A server's first line to `version`.
async fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"version\r\n").await?;
    let mut line = vec![0; 256];
    let read = stream.read(&mut line).await?;
    line.truncate(read);
    Ok(line)
}
