//! Links that other regions open to this host. Never believes that a peer speaks for another region than its certificate's, and never
//! takes more than it can apply.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::door::{Door, Pace, count, sender};
use super::frames::{Reader, Stream, greet, send};
use super::ways::{Room, Ways};
use crate::decide::region::RegionId;
use crate::decide::relay::frame::Frame;
use crate::link::RelayStream;
use crate::relay::apply::{Teller, Word};

/// Links at once.
const MOST_LINKS: usize = 64;
/// Words that are taken, and replies that wait, at once.
const TOGETHER: usize = 256;

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
        let (replies, own) = mpsc::channel(TOGETHER);
        let (to, words) = mpsc::unbounded_channel();
        let room = Room::new(self.door.shared(region).count());
        tokio::select! {
            read = self.read(reader, region, replies, (to, &room)) => read,
            answered = answer(write, own, words, &room) => answered,
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
        (to, room): (mpsc::UnboundedSender<Word>, &Room),
    ) -> io::Result<()> {
        let (sender, mut pace) = (sender(), Pace::new());
        let mut ways = Ways::new(&self.door, region, room);
        loop {
            let reply = match reader.next().await? {
                Frame::Ping => Reply::Pong,
                Frame::Batch { number, pool, items } => {
                    match self.door.pool(pool, region).and_then(|shared| Ok((shared, count(items)?))) {
                        Ok((shared, (keys, flushes))) => {
                            pace.take((keys, 0.0)).await;
                            let teller = Teller { sender, number, to: to.clone() };
                            if !ways.take((pool, &shared.jobs), (items.to_vec(), flushes), teller).await? {
                                return Ok(());
                            }
                            continue;
                        }
                        Err(why) => Reply::Refused(number, why),
                    }
                }
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
    room: &Room,
) -> io::Result<()> {
    let mut out = Vec::new();
    let (mut own, mut applied) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            count = words.recv_many(&mut applied, TOGETHER) => {
                if count == 0 {
                    return Ok(());
                }
            }
            count = replies.recv_many(&mut own, TOGETHER) => {
                if count == 0 {
                    return Ok(());
                }
            }
        }
        applied.iter().for_each(|&word| frame(word).write(&mut out));
        for reply in own.drain(..) {
            match reply {
                Reply::Pong => Frame::Pong.write(&mut out),
                Reply::Refused(number, why) => Frame::Refused { number, why: &why }.write(&mut out),
            }
        }
        send(&mut write, &mut out).await?;
        for word in applied.drain(..) {
            if let Word::Applied { number, .. } = word {
                room.leave(number);
            }
        }
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
