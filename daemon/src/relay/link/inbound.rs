//! Links that other regions open to this host. Never believes that a peer speaks for another region than its certificate's, and never
//! takes more than it can apply.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::WriteHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::door::{Door, Pace, count, sender};
use super::frames::{Reader, Stream, greet, send};
use crate::decide::region::RegionId;
use crate::decide::relay::frame::Frame;
use crate::link::RelayStream;
use crate::relay::apply::{Job, Teller, Word};

/// Links at once.
const MOST_LINKS: usize = 64;
/// Batches of one link that are being applied, or whose word waits to go out.
const WINDOW: usize = 256;
/// What all inbound links share.
pub(crate) struct Inbound {
    pub(crate) door: Door,
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
        let (reader, write, says) = greet(stream.io, &self.door.names[self.door.own]).await?;
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
        let said = self.door.region(says);
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        match (certified, said) {
            (_, None) => {
                refused(format!("a peer says that it speaks for region {says:?}, which is not configured"))
            }
            (Some(certified), Some(said)) if certified != said => refused(format!(
                "a peer of region {:?} says that it speaks for {says:?}",
                self.door.names[certified]
            )),
            (_, Some(said)) if said == self.door.own => {
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
        let (sender, mut pace) = (sender(), Pace::new());
        loop {
            let reply = match reader.next().await? {
                Frame::Ping => Reply::Pong,
                Frame::Batch { number, pool, items } => match self.door.pool(pool, region) {
                    Ok(shared) => {
                        let counted = count(items).ok_or_else(|| {
                            io::Error::new(io::ErrorKind::InvalidData, "a batch that is no list of items")
                        })?;
                        let items = items.to_vec();
                        pace.take(counted).await;
                        let Ok(permit) = window.acquire().await else { return Ok(()) };
                        permit.forget();
                        let teller = Teller { sender, number, to: to.clone() };
                        if shared.jobs.send(Job::Apply(items, teller)).await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(why) => Reply::Refused(number, why),
                },
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a batch")),
            };
            if replies.send(reply).await.is_err() {
                return Ok(());
            }
        }
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

pub(crate) fn frame(word: Word) -> Frame<'static> {
    match word {
        Word::Repeated(number) => Frame::Repeated { number },
        Word::Applied { number, verified, rests } => {
            let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let verified = [count(verified.equal), count(verified.absent), count(verified.stale)];
            Frame::Ack { number, verified, rests }
        }
    }
}
