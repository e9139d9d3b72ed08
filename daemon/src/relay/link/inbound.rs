//! Links that other regions open to this host. Never believes that a peer speaks for another region than its certificate's, and never
//! takes more than it can apply.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::WriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::frames::{Reader, Stream, greet, send};
use crate::decide::region::{RegionId, Regions};
use crate::decide::relay::frame::Frame;
use crate::decide::relay::item::{Item, Items};
use crate::decide::report::relay::Verified;
use crate::link::RelayStream;
use crate::relay::apply::{Job, Jobs};

/// Links at once.
const MOST_LINKS: usize = 64;
/// Batches of one link that are being applied.
const WINDOW: usize = 64;
/// Keys per second and link; what is more waits.
const KEYS_PER_S: f64 = 1_000_000.0;
/// Flushes per second and link, and how many may come at once.
const FLUSHES: (f64, f64) = (0.2, 8.0);

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

/// Something to tell the peer, in the order of its batches.
enum Reply {
    Applying(u64, oneshot::Receiver<Verified>),
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
        let (replies, due) = mpsc::channel(WINDOW);
        tokio::select! {
            read = self.read(reader, region, replies) => read,
            answered = answer(write, due) => answered,
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
    ) -> io::Result<()> {
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
                        let (reply, answer) = oneshot::channel();
                        if shared.jobs.send(Job::Apply(items, reply)).await.is_err() {
                            return Ok(());
                        }
                        Reply::Applying(number, answer)
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
        Ok((keys, flushes))
    }
}

/// Tells the peer, in order, once each batch is applied. Many that are done at once go out together.
async fn answer(mut write: WriteHalf<Stream>, mut due: mpsc::Receiver<Reply>) -> io::Result<()> {
    let mut out = Vec::new();
    let mut replies = Vec::new();
    while due.recv_many(&mut replies, WINDOW).await > 0 {
        for reply in replies.drain(..) {
            match reply {
                Reply::Pong => Frame::Pong.write(&mut out),
                Reply::Refused(number, why) => Frame::Refused { number, why: &why }.write(&mut out),
                Reply::Applying(number, mut answer) => {
                    let verified = match answer.try_recv() {
                        Ok(verified) => verified,
                        Err(oneshot::error::TryRecvError::Closed) => return Ok(()),
                        Err(oneshot::error::TryRecvError::Empty) => {
                            if !out.is_empty() {
                                send(&mut write, &mut out).await?;
                            }
                            let Some(verified) = wait(&mut write, answer).await? else { return Ok(()) };
                            verified
                        }
                    };
                    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
                    let verified = [count(verified.equal), count(verified.absent), count(verified.stale)];
                    Frame::Ack { number, verified }.write(&mut out);
                }
            }
        }
        send(&mut write, &mut out).await?;
    }
    Ok(())
}

/// Waits for a batch to be applied; the peer hears that this end lives meanwhile.
async fn wait(
    write: &mut WriteHalf<Stream>,
    mut answer: oneshot::Receiver<Verified>,
) -> io::Result<Option<Verified>> {
    let mut out = Vec::new();
    loop {
        match timeout(Duration::from_secs(5), &mut answer).await {
            Ok(verified) => return Ok(verified.ok()),
            Err(_) => {
                Frame::Pong.write(&mut out);
                send(write, &mut out).await?;
            }
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
