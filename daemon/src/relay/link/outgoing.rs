//! One region's link from this host: rows go out in batches within a window, and leave the spool when they are applied there. Never
//! holds up a client: what cannot be sent waits in the spool.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::io::WriteHalf;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dial::dial;
use super::frames::{Reader, Stream, greet, send};
use crate::decide::event::{Event, RelayWhat};
use crate::decide::region::RegionId;
use crate::decide::relay::frame::Frame;
use crate::decide::relay::item::{Item, Items};
use crate::decide::relay::lane::Row;
use crate::decide::relay::window::{Sent, Window};
use crate::decide::report::relay::{LinkReport, Verified};
use crate::link::PeerTls;
use crate::relay::apply::{Job, Jobs};
use crate::relay::setup;
use crate::relay::spool::Spool;

/// Bytes that are written at once.
const FLUSH: usize = 256 * 1024;
/// Pauses between attempts to connect: doubled from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Time between pings.
const PING: Duration = Duration::from_secs(5);
/// How long a refused pool waits.
const PARKED: Duration = Duration::from_secs(5);
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

/// What a link needs.
pub(crate) struct Outgoing {
    pub(crate) own: String,
    pub(crate) region: RegionId,
    pub(crate) name: String,
    pub(crate) edges: Vec<Uri>,
    pub(crate) tls: Option<Arc<PeerTls>>,
    pub(crate) spool: Spool,
    /// The place of its wake-up in the spool.
    pub(crate) group: usize,
    pub(crate) lanes: Vec<OutLane>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) status: Arc<Mutex<LinkReport>>,
    pub(crate) stop: CancellationToken,
}

/// What the peer said, out of its reader.
enum Word {
    Ack(u64, [u32; 3], bool),
    Repeated(u64),
    Refused(u64, String),
    Pong,
}

struct Check {
    due: Instant,
    place: usize,
    key: Vec<u8>,
}

/// What survives a connection.
#[derive(Default)]
struct State {
    window: Window,
    checks: VecDeque<Check>,
    applied: u64,
}

impl Outgoing {
    /// Keeps the link until it is stopped.
    pub(crate) async fn run(self) {
        let mut state = State::default();
        let (mut pause, mut at) = (PAUSE.0, 0);
        while !self.stop.is_cancelled() {
            let Some(edge) = self.edges.get(at % self.edges.len().max(1)) else {
                self.down("the region has no edges");
                return;
            };
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = self.connection(edge, &mut state, &mut pause) => ended,
            };
            state.window.reopen();
            if let Err(error) = ended {
                self.down(&format!("{edge}: {error}"));
            }
            at += 1;
            let stopped = timeout(pause, self.stop.cancelled()).await;
            if stopped.is_ok() {
                return;
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn down(&self, why: &str) {
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

    async fn connection(&self, edge: &Uri, state: &mut State, pause: &mut Duration) -> io::Result<()> {
        let stream = dial(edge, self.region, self.tls.as_ref()).await?;
        let (reader, write, region) = greet(stream, &self.own).await?;
        if region != self.name {
            return Err(io::Error::other(format!(
                "the edge speaks for region {region:?}, not {:?}",
                self.name
            )));
        }
        {
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.edge = Some(edge.to_string());
            status.failure = None;
        }
        tracing::info!(region = %self.name, %edge, "relay link up");
        self.tell(&RelayWhat::LinkUp);
        *pause = PAUSE.0;
        let (words, heard) = mpsc::channel(1024);
        let listening = listen(reader, words);
        tokio::select! {
            heard = listening => heard,
            sent = self.speak(write, heard, state) => sent,
        }
    }

    async fn speak(
        &self,
        mut write: WriteHalf<Stream>,
        mut heard: mpsc::Receiver<Word>,
        state: &mut State,
    ) -> io::Result<()> {
        let mut out = Vec::with_capacity(FLUSH);
        let mut ping = tokio::time::interval(PING);
        let mut words = Vec::new();
        loop {
            self.checks(state, &mut out).await;
            let more = self.fill(state, &mut out);
            if !out.is_empty() {
                send(&mut write, &mut out).await?;
            }
            if more {
                // The window is open and there is more: words are taken in passing only.
                while let Ok(word) = heard.try_recv() {
                    self.hear(word, state);
                }
                tokio::task::yield_now().await;
                continue;
            }
            let next_check = state.checks.front().map(|check| check.due);
            let next = state.window.parked_until().into_iter().chain(next_check).min();
            let wait = next.map_or(PING, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                count = heard.recv_many(&mut words, 256) => {
                    if count == 0 {
                        return Ok(());
                    }
                    words.drain(..).for_each(|word| self.hear(word, state));
                }
                () = self.spool.filled(self.group), if state.window.is_open() => {}
                _ = ping.tick() => Frame::Ping.write(&mut out),
                () = sleep(wait) => {}
            }
        }
    }

    /// Puts rows into `out` while the window allows; whether there may be more.
    fn fill(&self, state: &mut State, out: &mut Vec<u8>) -> bool {
        let now = Instant::now();
        while out.len() < FLUSH && state.window.is_open() {
            let Some((place, row)) = state.window.again(now).or_else(|| self.next(state)) else {
                return false;
            };
            let number = state.window.send(Sent::Row(place, Arc::clone(&row)));
            Frame::Batch { number, pool: &self.lanes[place].pool, items: &row.items }.write(out);
        }
        state.window.is_open()
    }

    fn next(&self, state: &State) -> Option<(usize, Arc<Row>)> {
        let places = 0..self.lanes.len();
        places
            .filter(|&place| !state.window.is_parked(place))
            .find_map(|place| Some((place, self.spool.next(self.lanes[place].lane)?)))
    }

    fn hear(&self, word: Word, state: &mut State) {
        match word {
            Word::Pong => {}
            Word::Repeated(number) => {
                if let Some((place, row)) = state.window.repeated(number) {
                    self.spool.repeated(self.lanes[place].lane, row);
                }
            }
            Word::Ack(number, verified, rests) => {
                let Some(sent) = state.window.close(number, rests) else { return };
                match sent {
                    Sent::Row(place, row) => self.applied(place, row, rests, state),
                    Sent::Checks(place) => {
                        let [equal, absent, stale] = verified.map(u64::from);
                        self.verified(place, Verified { equal, absent, stale });
                    }
                }
            }
            Word::Refused(number, why) => {
                if let Some(Sent::Row(place, row)) = state.window.close(number, false) {
                    tracing::warn!(region = %self.name, pool = %self.lanes[place].pool, %why, "the other region refuses");
                    self.spool.refused(self.lanes[place].lane, Some(why));
                    state.window.park(place, row, Instant::now() + PARKED);
                }
            }
        }
    }

    fn applied(&self, place: usize, row: Arc<Row>, rests: bool, state: &mut State) {
        let lane = &self.lanes[place];
        if lane.verify > 0 {
            for item in Items::new(&row.items) {
                state.applied += 1;
                if state.applied.is_multiple_of(lane.verify)
                    && state.checks.len() < MOST_CHECKS
                    && let Some((key, _)) = item.key()
                {
                    let due = Instant::now() + lane.repeat_after + CHECK_AFTER;
                    state.checks.push_back(Check { due, place, key: key.to_vec() });
                }
            }
        }
        if rests {
            self.spool.rests(lane.lane, row);
        } else {
            self.spool.applied(lane.lane, row);
        }
    }

    fn verified(&self, place: usize, results: Verified) {
        let lane = &self.lanes[place];
        self.spool.verified(lane.lane, results);
        if results.stale > 0 {
            setup::send(&self.events, &lane.pool, Some(self.region), RelayWhat::Stale(results.stale));
        }
    }

    /// Looks at this region's own copies of keys whose read-back is due, and asks the other region to compare.
    async fn checks(&self, state: &mut State, out: &mut Vec<u8>) {
        while let Some(check) = state.checks.front().filter(|check| check.due <= Instant::now()) {
            let (place, key) = (check.place, check.key.clone());
            state.checks.pop_front();
            let lane = &self.lanes[place];
            let (reply, answer) = oneshot::channel();
            if lane.jobs.send(Job::Look(key.clone(), reply)).await.is_err() {
                return;
            }
            match answer.await {
                Ok(Some(hash)) => {
                    let mut items = Vec::new();
                    Item::Verify(&key, hash).write(&mut items);
                    let number = state.window.send(Sent::Checks(place));
                    Frame::Batch { number, pool: &lane.pool, items: &items }.write(out);
                }
                _ => self.verified(place, Verified { absent: 1, ..Verified::default() }),
            }
        }
    }
}

/// Turns frames into words until the link ends.
async fn listen(mut reader: Reader, words: mpsc::Sender<Word>) -> io::Result<()> {
    loop {
        let word = match reader.next().await? {
            Frame::Ack { number, verified, rests } => Word::Ack(number, verified, rests),
            Frame::Repeated { number } => Word::Repeated(number),
            Frame::Refused { number, why } => Word::Refused(number, why.chars().take(200).collect()),
            Frame::Pong => Word::Pong,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer")),
        };
        if words.send(word).await.is_err() {
            return Ok(());
        }
    }
}
