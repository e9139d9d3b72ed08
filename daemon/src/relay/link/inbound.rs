//! Links that other regions open to this host. Never believes that a peer speaks for another region than its certificate's, and never
//! takes more than it can apply.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::WriteHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::frames::{Reader, Stream, greet, send};
use crate::decide::region::{RegionId, Regions};
use crate::decide::relay::frame::Frame;
use crate::decide::relay::item::{Item, Items};
use crate::link::RelayStream;
use crate::relay::apply::{Job, Jobs, Teller, Word};

/// Links at once.
const MOST_LINKS: usize = 64;
/// Batches of one link that are being applied, or whose word waits to go out.
const WINDOW: usize = 256;
/// Keys per second and link; what is more waits.
const KEYS_PER_S: f64 = 1_000_000.0;
/// Flushes per second and link, and how many may come at once.
const FLUSHES: (f64, f64) = (0.2, 8.0);

/// Numbers links, so that the order on one is told from that between two.
static NEXT_SENDER: AtomicU64 = AtomicU64::new(1);

/// A pool as peers see it.
pub(crate) struct InPool {
    pub(crate) jobs: Jobs,
    /// The regions that share it.
    pub(crate) regions: Vec<RegionId>,
}

/// What all inbound links share.
pub(crate) struct Inbound {
    pub(crate) own: RegionId,
    pub(crate) names: Regions<String>,
    pub(crate) pools: HashMap<String, InPool>,
    pub(crate) open: AtomicUsize,
    pub(crate) stop: CancellationToken,
}

/// What the reading side has to say itself.
enum Reply {
    Refused(u64, String),
    Pong,
}

/// Takes streams until there are no more.
pub(crate) async fn accept(inbound: Arc<Inbound>, mut streams: mpsc::Receiver<RelayStream>) {
    while let Some(stream) = streams.recv().await {
        if inbound.open.load(Ordering::Relaxed) >= MOST_LINKS {
            tracing::warn!("a peer's relay link is one too many");
            continue;
        }
        inbound.open.fetch_add(1, Ordering::Relaxed);
        let inbound = Arc::clone(&inbound);
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = inbound.stop.cancelled() => Ok(()),
                ended = inbound.serve(stream) => ended,
            };
            if let Err(error) = ended {
                tracing::info!(%error, "a peer's relay link ended");
            }
            inbound.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Inbound {
    pub(super) async fn serve(&self, stream: RelayStream) -> io::Result<()> {
        let (reader, write, says) = greet(stream.io, &self.names[self.own]).await?;
        let region = self.region(stream.region, &says)?;
        let (replies, own) = mpsc::channel(WINDOW);
        let (to, words) = mpsc::unbounded_channel();
        let window = Semaphore::new(WINDOW);
        tokio::select! {
            read = self.read(reader, region, replies, (to, &window)) => read,
            answered = answer(write, own, words, &window) => answered,
        }
    }

    /// Who the peer is: its certificate's region, which must be what it says; on a trusted private link, what it says.
    fn region(&self, certified: Option<RegionId>, says: &str) -> io::Result<RegionId> {
        let said = self.names.iter().find(|(_, name)| *name == says).map(|(region, _)| region);
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        match (certified, said) {
            (_, None) => {
                refused(format!("a peer says that it speaks for region {says:?}, which is not configured"))
            }
            (Some(certified), Some(said)) if certified != said => refused(format!(
                "a peer of region {:?} says that it speaks for {says:?}",
                self.names[certified]
            )),
            (_, Some(said)) if said == self.own => {
                refused(format!("a peer says that it speaks for {says:?}, this region"))
            }
            (_, Some(said)) => Ok(said),
        }
    }

    async fn read(
        &self,
        mut reader: Reader,
        region: RegionId,
        replies: mpsc::Sender<Reply>,
        (to, window): (mpsc::UnboundedSender<Word>, &Semaphore),
    ) -> io::Result<()> {
        let sender = NEXT_SENDER.fetch_add(1, Ordering::Relaxed);
        let mut keys = Bucket::new(KEYS_PER_S, KEYS_PER_S);
        let mut flushes = Bucket::new(FLUSHES.0, FLUSHES.1);
        loop {
            let reply = match reader.next().await? {
                Frame::Ping => Reply::Pong,
                Frame::Batch { number, pool, items } => match self.pools.get(pool) {
                    Some(shared) if shared.regions.contains(&region) => {
                        let (count, flush) = judge(items)?;
                        let items = items.to_vec();
                        keys.take(count).await;
                        flushes.take(flush).await;
                        let Ok(permit) = window.acquire().await else { return Ok(()) };
                        permit.forget();
                        let teller = Teller { sender, number, to: to.clone() };
                        if shared.jobs.send(Job::Apply(items, teller)).await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    Some(_) => {
                        let name = &self.names[region];
                        Reply::Refused(
                            number,
                            format!(
                                "pool {pool:?} is not shared with region {name:?} here: its `regions` must name it"
                            ),
                        )
                    }
                    None => Reply::Refused(number, format!("there is no pool {pool:?} here")),
                },
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a batch")),
            };
            if replies.send(reply).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// How many keys and flushes there are; an error when the bytes are no items.
fn judge(items: &[u8]) -> io::Result<(f64, f64)> {
    let (mut keys, mut flushes) = (0.0, 0.0);
    let mut all = Items::new(items);
    for item in all.by_ref() {
        if matches!(item, Item::Flush(_)) { flushes += 1.0 } else { keys += 1.0 }
    }
    if all.broken() {
        Err(io::Error::new(io::ErrorKind::InvalidData, "a batch that is no list of items"))
    } else {
        // A batch of nothing is not for nothing.
        Ok((f64::max(keys, 1.0), flushes))
    }
}

/// Tells the peer what became of its batches, as it happens. What is there at once goes out together.
async fn answer(
    mut write: WriteHalf<Stream>,
    mut replies: mpsc::Receiver<Reply>,
    mut words: mpsc::UnboundedReceiver<Word>,
    window: &Semaphore,
) -> io::Result<()> {
    let mut out = Vec::new();
    let (mut own, mut applied) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            count = words.recv_many(&mut applied, WINDOW) => {
                if count == 0 {
                    return Ok(());
                }
            }
            count = replies.recv_many(&mut own, WINDOW) => {
                if count == 0 {
                    return Ok(());
                }
            }
        }
        let done = applied.iter().filter(|word| matches!(word, Word::Applied { .. })).count();
        applied.drain(..).for_each(|word| frame(word).write(&mut out));
        for reply in own.drain(..) {
            match reply {
                Reply::Pong => Frame::Pong.write(&mut out),
                Reply::Refused(number, why) => Frame::Refused { number, why: &why }.write(&mut out),
            }
        }
        send(&mut write, &mut out).await?;
        window.add_permits(done);
    }
}

fn frame(word: Word) -> Frame<'static> {
    match word {
        Word::Repeated(number) => Frame::Repeated { number },
        Word::Applied { number, verified, rests } => {
            let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let verified = [count(verified.equal), count(verified.absent), count(verified.stale)];
            Frame::Ack { number, verified, rests }
        }
    }
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
