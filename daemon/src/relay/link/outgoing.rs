//! One region's link from this host: rows go out in batches within a window, and leave the spool when they are applied there. Never
//! holds up a client: what cannot be sent waits in the spool.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Uri;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dial::dial;
use super::frames::{Reader, Stream, greet, send};
use super::lanes::{Checks, Lanes};
use crate::config::units::show_origin;
use crate::decide::relay::frame::Frame;
use crate::decide::relay::lane::Row;
use crate::decide::relay::window::{Sent, Window};
use crate::decide::report::relay::Verified;
use crate::link::PeerTls;
use crate::relay::spool::unix_ms;

/// Bytes that are written at once.
const FLUSH: usize = 256 * 1024;
/// Pauses between attempts to connect: doubled from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Time between pings.
const PING: Duration = Duration::from_secs(5);
/// How long a refused pool waits.
const PARKED: Duration = Duration::from_secs(5);
/// What a link needs.
pub(crate) struct Outgoing {
    pub(crate) own: String,
    pub(crate) edges: Vec<Uri>,
    pub(crate) tls: Option<Arc<PeerTls>>,
    pub(crate) lanes: Lanes,
    pub(crate) stop: CancellationToken,
}

/// What the peer said, out of its reader.
enum Word {
    Ack(u64, [u32; 3], bool),
    Repeated(u64),
    Refused(u64, String),
    Pong,
}

/// What survives a connection.
struct State {
    window: Window,
    checks: Checks,
    /// The lane whose turn it is.
    turn: usize,
}

impl Outgoing {
    /// Keeps the link until it is stopped.
    pub(crate) async fn run(self) {
        let window = Window::new(self.lanes.lanes.len());
        let mut state = State { window, checks: Checks::default(), turn: 0 };
        let (mut pause, mut at) = (PAUSE.0, 0);
        while !self.stop.is_cancelled() {
            let Some(edge) = self.edges.get(at % self.edges.len().max(1)) else {
                self.lanes.down("the region has no edges");
                return;
            };
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = self.connection(edge, &mut state, &mut pause) => ended,
            };
            state.window.reopen();
            if let Err(error) = ended {
                self.lanes.down(&format!("{}: {error}", show_origin(edge)));
            }
            at += 1;
            let stopped = timeout(pause, self.stop.cancelled()).await;
            if stopped.is_ok() {
                return;
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn connection(&self, edge: &Uri, state: &mut State, pause: &mut Duration) -> io::Result<()> {
        let stream = dial(edge, self.lanes.region, self.tls.as_ref()).await?;
        let (reader, write, region) = greet(stream, &self.own).await?;
        let name = &self.lanes.name;
        if region != *name {
            return Err(io::Error::other(format!("the edge speaks for region {region:?}, not {name:?}")));
        }
        self.lanes.up(&show_origin(edge));
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
            self.checks(state, &mut out);
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
            let next_check = state.checks.due();
            let next = state.window.parked_until().into_iter().chain(next_check).min();
            let wait = next.map_or(PING, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                count = heard.recv_many(&mut words, 256) => {
                    if count == 0 {
                        return Ok(());
                    }
                    words.drain(..).for_each(|word| self.hear(word, state));
                }
                () = self.lanes.spool.filled(self.lanes.group), if state.window.is_open() => {}
                () = state.checks.looked() => {}
                _ = ping.tick() => Frame::Ping.write(&mut out),
                () = sleep(wait) => {}
            }
        }
    }

    /// Puts rows into `out` while the window allows; whether there may be more.
    fn fill(&self, state: &mut State, out: &mut Vec<u8>) -> bool {
        let (now, unix_ms) = (Instant::now(), unix_ms());
        while out.len() < FLUSH {
            let State { window, turn, .. } = state;
            let row = self.lanes.turn(turn, |place| self.next(window, place, now));
            let Some((place, row)) = row else { return false };
            let number = window.send(Sent::Row(place, Arc::clone(&row)));
            Frame::Batch { number, pool: self.lanes.pool(place), items: &row.said(unix_ms) }.write(out);
        }
        true
    }

    fn next(&self, window: &mut Window, place: usize, now: Instant) -> Option<Arc<Row>> {
        if !window.has_room(place) {
            return None;
        }
        let again = window.again(place, now);
        again.or_else(|| if window.is_parked(place) { None } else { self.lanes.next(place) })
    }

    fn hear(&self, word: Word, state: &mut State) {
        match word {
            Word::Pong => {}
            Word::Repeated(number) => {
                if let Some((place, row)) = state.window.repeated(number) {
                    self.lanes.repeated(place, row);
                }
            }
            Word::Ack(number, verified, rests) => {
                let Some(sent) = state.window.close(number, rests) else { return };
                match sent {
                    Sent::Row(place, row) => self.lanes.applied(place, row, rests, &mut state.checks),
                    Sent::Checks(place) => {
                        let [equal, absent, stale] = verified.map(u64::from);
                        self.lanes.verified(place, Verified { equal, absent, stale });
                    }
                }
            }
            Word::Refused(number, why) => {
                if let Some(Sent::Row(place, row)) = state.window.close(number, false) {
                    self.lanes.refused(place, why);
                    state.window.park(place, row, Instant::now() + PARKED);
                }
            }
        }
    }

    /// Asks the other region to compare the keys whose read-back is due.
    fn checks(&self, state: &mut State, out: &mut Vec<u8>) {
        self.lanes.ask(&mut state.checks);
        while let Some((place, items)) = self.lanes.check(&mut state.checks) {
            let number = state.window.send(Sent::Checks(place));
            Frame::Batch { number, pool: self.lanes.pool(place), items: &items }.write(out);
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
