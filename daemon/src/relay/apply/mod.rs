//! Applying other regions' invalidations to this region's memcached servers. Never captured, and never answered before it is done.
//!
//! One task per pool owns the connections. A batch that was applied is applied once more after `repeat_after`, for what was read from a
//! store that lagged; keys whose refills go back and forth between regions are held for a while before their copy is deleted. Both are
//! told to who sent the batch, and kept in memory only: the sender keeps what was not repeated. A flush that is to take effect later counts
//! as not repeated until it was.

mod exchange;

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};

use self::exchange::{Fate, Link};
use super::front::pool::{CONNECT, Pool};
use super::setup::send;
use crate::decide::event::{Event, RelayWhat};
use crate::decide::relay::delay::Dues;
use crate::decide::relay::item::{Item, Items};
use crate::decide::relay::repeat::{Batch, Repeats, slows};
use crate::decide::report::relay::Verified;

/// Batches that may wait for a pool.
const QUEUE: usize = 64;
/// Batches applied in one exchange.
const TOGETHER: usize = 32;
/// Longest exchange with a server.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Longest pause after a failed one.
const PAUSE: Duration = Duration::from_secs(1);
/// Something for a pool's task.
pub(super) enum Job {
    /// Apply these items, say how read-backs among them went, and say when they were repeated.
    Apply(Vec<u8>, Teller),
    /// The hash of the copy here, if there is one; the place is the asker's.
    Look(usize, Vec<u8>, mpsc::UnboundedSender<Looked>),
}

/// This region's own copy of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) place: usize,
    pub(super) key: Vec<u8>,
    pub(super) hash: Option<u128>,
}

/// What became of a batch, by its number; first `Applied`, then, if it rests, `Repeated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It was applied; whether it will be once more.
    Applied { number: u64, verified: Verified, rests: bool },
    /// Nothing of it is left to be done.
    Repeated(u64),
}

/// Who hears of a batch.
#[derive(Clone)]
pub(super) struct Teller {
    /// Its connection, which keeps the order of its batches.
    pub(super) sender: u64,
    pub(super) number: u64,
    pub(super) to: mpsc::UnboundedSender<Word>,
}

/// Where jobs for a pool go.
pub(super) type Jobs = mpsc::Sender<Job>;

/// How a batch is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    /// Now that its delay is over.
    Due,
    /// Again, and nothing is slowed.
    Again,
}

/// Makes a pool's task.
pub(super) fn task(
    pool: Arc<Pool>,
    events: broadcast::Sender<Arc<Event>>,
) -> (Jobs, impl Future<Output = ()>) {
    let (jobs, inbox) = mpsc::channel(QUEUE);
    let links = pool.servers.iter().map(|_| None).collect();
    let seed = RandomState::new().build_hasher().finish();
    let repeats = Repeats::new(pool.config.repeat_after, seed);
    (jobs, Applier { pool, events, links, repeats, later: Dues::default() }.run(inbox))
}

struct Applier {
    pool: Arc<Pool>,
    events: broadcast::Sender<Arc<Event>>,
    links: Vec<Option<Link>>,
    repeats: Repeats<Arc<Teller>>,
    /// Flushes to come. The servers have them as well; but another flush would take their place there, and none of them bumps a fence or
    /// starts a ramp.
    later: Dues<Arc<Teller>>,
}

impl Applier {
    async fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut jobs = Vec::new();
        loop {
            let due = self.repeats.due().into_iter().chain(self.later.due()).min();
            let wait =
                due.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            let room = !self.repeats.full();
            tokio::select! {
                biased;
                () = sleep(wait) => {
                    self.flush().await;
                    let again = self.repeats.take(Instant::now());
                    self.until_applied(&again.items, Turn::Again).await;
                    release(self.repeats.done(again));
                }
                count = inbox.recv_many(&mut jobs, TOGETHER), if room => {
                    if count == 0 {
                        return;
                    }
                    self.jobs(&mut jobs).await;
                }
            }
        }
    }

    /// Flushes the pool if that is due, and once more after a while.
    async fn flush(&mut self) {
        let Some(words) = self.later.take(Instant::now()) else { return };
        let mut items = Vec::new();
        Item::Flush(0).write(&mut items);
        self.until_applied(&items, Turn::Due).await;
        let batch = [Batch { sender: 0, items: &items }];
        let done = self.repeats.applied(&batch, |_| false, Vec::new(), words, Instant::now());
        release(done.unwrap_or_default());
    }

    async fn jobs(&mut self, jobs: &mut Vec<Job>) {
        let mut items = Vec::new();
        let (mut lengths, mut tellers) = (Vec::new(), Vec::new());
        for job in jobs.drain(..) {
            match job {
                Job::Look(place, key, to) => {
                    let hash = self.look(&key).await;
                    let _gone = to.send(Looked { place, key, hash });
                }
                Job::Apply(batch, teller) => {
                    items.extend_from_slice(&batch);
                    lengths.push(batch.len());
                    tellers.push(Arc::new(teller));
                }
            }
        }
        if tellers.is_empty() {
            return;
        }
        let (fates, slowed) = self.until_applied(&items, Turn::First).await;
        let mut bytes = items.as_slice();
        let mut batches = Vec::with_capacity(lengths.len());
        for (length, teller) in lengths.into_iter().zip(&tellers) {
            let (batch, rest) = bytes.split_at(length);
            bytes = rest;
            batches.push(Batch { sender: teller.sender, items: batch });
        }
        self.expect(&batches, &tellers);
        let equal = |place: usize| fates[place] == Fate::Equal;
        drop(self.repeats.applied(&batches, equal, slowed, tellers.clone(), Instant::now()));
        let mut fates = fates.as_slice();
        for (batch, teller) in batches.iter().zip(tellers) {
            let (own, others) = fates.split_at(Items::new(batch.items).count());
            fates = others;
            let rests = Arc::strong_count(&teller) > 1;
            teller.applied(verified(Items::new(batch.items), own), rests);
        }
    }

    /// Notes flushes that are to come, and who is told once they came and were repeated.
    fn expect(&mut self, batches: &[Batch<'_>], tellers: &[Arc<Teller>]) {
        let now = Instant::now();
        for (batch, teller) in batches.iter().zip(tellers) {
            for item in Items::new(batch.items) {
                if let Item::Flush(delay_s) = item {
                    release(self.later.said(batch.sender, delay_s, Arc::clone(teller), now));
                }
            }
        }
    }

    /// Applies the items on every server; tries until it works, since the other region waits for the word. What became of each, and
    /// the items whose copies stay for a while.
    async fn until_applied(&mut self, bytes: &[u8], turn: Turn) -> (Vec<Fate>, Vec<u8>) {
        let items: Vec<Item<'_>> = Items::new(bytes).collect();
        let mut total = vec![Fate::Absent; items.len()];
        if items.is_empty() {
            return (total, Vec::new());
        }
        self.fence(&items, turn);
        for server in 0..self.links.len() {
            let mut pause = Duration::from_millis(50);
            loop {
                match timeout(EXCHANGE, self.apply(server, &items, turn)).await {
                    Ok(Ok(fates)) => {
                        total.iter_mut().zip(fates).for_each(|(total, fate)| *total = worse(*total, fate));
                        self.pool.server_failure(server, None);
                        break;
                    }
                    Ok(Err(error)) => self.failed(server, &error.to_string()),
                    Err(_) => self.failed(server, "no answer in time"),
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE);
            }
        }
        let slowed = self.count(&items, &total, turn);
        (total, slowed)
    }

    fn failed(&mut self, server: usize, why: &str) {
        self.links[server] = None;
        self.pool.server_failure(server, Some(why.to_owned()));
    }

    /// Before anything is deleted: sets whose misses are older are stale from now on.
    fn fence(&self, items: &[Item<'_>], turn: Turn) {
        for item in items.iter().filter(|item| !matches!(item, Item::Flush(1..))) {
            match item.key() {
                Some((key, effect)) => self.pool.invalidated(key, effect.hash()),
                None => {
                    self.pool.flushed();
                    if turn != Turn::Again {
                        send(&self.events, &self.pool.config.name, None, RelayWhat::Flushed);
                    }
                }
            }
        }
    }

    async fn apply(&mut self, server: usize, items: &[Item<'_>], turn: Turn) -> io::Result<Vec<Fate>> {
        let address = self.pool.servers[server].address;
        // One that was kept may have been closed meanwhile, as servers do with idle ones: no news.
        if let Some(kept) = self.links[server].take()
            && let Ok(fates) = self.over(kept, server, items, turn).await
        {
            return Ok(fates);
        }
        let fresh = Link::new(connect(address).await?);
        self.over(fresh, server, items, turn).await
    }

    /// The same over this connection, which is kept if it works.
    async fn over(
        &mut self,
        mut link: Link,
        server: usize,
        items: &[Item<'_>],
        turn: Turn,
    ) -> io::Result<Vec<Fate>> {
        let pool = Arc::clone(&self.pool);
        let spare = |place: usize| match &items[place] {
            item @ (Item::Refill(key, _) | Item::Reread(key, _)) if turn == Turn::First => {
                slows(item, pool.rounds(key))
            }
            _ => false,
        };
        let fates = link.apply(items, &spare).await?;
        self.links[server] = Some(link);
        Ok(fates)
    }

    /// Counts what was found; the items of slowed keys, for later.
    fn count(&mut self, items: &[Item<'_>], fates: &[Fate], turn: Turn) -> Vec<u8> {
        let counters = &self.pool.counters;
        let mut slowed = Vec::new();
        for (item, fate) in items.iter().zip(fates) {
            match fate {
                Fate::Absent => {}
                Fate::Equal => {
                    counters.equal.fetch_add(1, Ordering::Relaxed);
                }
                Fate::Differed => {
                    counters.deleted.fetch_add(1, Ordering::Relaxed);
                    if let (Item::Refill(key, hash) | Item::Reread(key, hash), Turn::First) = (item, turn)
                        && slows(item, self.pool.differed(key).saturating_sub(1))
                    {
                        Item::Differs(key, *hash).write(&mut slowed);
                    }
                }
            }
        }
        if turn == Turn::First {
            counters.applied.fetch_add(items.len() as u64, Ordering::Relaxed);
        }
        if !slowed.is_empty() {
            let keys = Items::new(&slowed).count() as u64;
            counters.ping_pong.fetch_add(keys, Ordering::Relaxed);
            send(&self.events, &self.pool.config.name, None, RelayWhat::PingPong(keys));
        }
        slowed
    }

    /// The hash of the copy here.
    async fn look(&mut self, key: &[u8]) -> Option<u128> {
        let server = self.pool.ring.as_ref().map_or(0, |ring| ring.server(key));
        if self.links[server].is_none() {
            self.links[server] = connect(self.pool.servers[server].address).await.ok().map(Link::new);
        }
        let mut link = self.links[server].take()?;
        let found = timeout(EXCHANGE, link.look(key)).await.ok()?.ok()?;
        self.links[server] = Some(link);
        found
    }
}

impl Teller {
    fn applied(&self, verified: Verified, rests: bool) {
        let _gone = self.to.send(Word::Applied { number: self.number, verified, rests });
    }

    fn repeated(&self) {
        let _gone = self.to.send(Word::Repeated(self.number));
    }
}

/// These wait for one thing less; whoever waits for nothing else is told.
fn release(tellers: Vec<Arc<Teller>>) {
    tellers.into_iter().filter_map(Arc::into_inner).for_each(|teller| teller.repeated());
}

/// What is told of an item that several servers had: the worst.
fn worse(one: Fate, other: Fate) -> Fate {
    match (one, other) {
        (Fate::Differed, _) | (_, Fate::Differed) => Fate::Differed,
        (Fate::Equal, _) | (_, Fate::Equal) => Fate::Equal,
        _ => Fate::Absent,
    }
}

fn verified<'a>(items: impl Iterator<Item = Item<'a>>, fates: &[Fate]) -> Verified {
    let mut verified = Verified::default();
    for (_, fate) in items.zip(fates).filter(|(item, _)| matches!(item, Item::Verify(..))) {
        match fate {
            Fate::Absent => verified.absent += 1,
            Fate::Equal => verified.equal += 1,
            Fate::Differed => verified.stale += 1,
        }
    }
    verified
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream =
        timeout(CONNECT, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
