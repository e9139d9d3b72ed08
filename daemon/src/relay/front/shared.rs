//! Connections to servers that a worker's clients share: requests of all clients that were found readable together leave in one write,
//! and their answers come in one read. Never carries a request that may have no answer or two, or that changes the connection itself.
//!
//! A client uses a shared line for a request only while it waits for nothing else, and takes its own connection
//! ([`super::lane::Lane`]) for everything else, so that its requests stay in order. A line is used after its server has answered on it:
//! before that, and when it wants authentication, clients use their own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use slab::Slab;

use super::gate::Gate;
use super::pool::Pool;
use crate::decide::relay::single::{Kind, Misfit, Progress};

/// Most requests without an answer on a line; beyond that, clients use their own connections.
const MAX_WAITING: usize = 16 * 1024;
/// Most bytes of requests that the socket has not taken.
const MAX_OUT: usize = 1024 * 1024;
/// Most bytes of answers that clients have not fetched; beyond that, the one with the most is given up.
const MAX_PARKED: usize = 64 * 1024 * 1024;
/// Bytes of an answer that is not whole at which its client is woken.
const PIECE: usize = 64 * 1024;

/// What one worker's clients of a pool share: lines to its servers, by server and protocol, and the wait for the spool.
pub(crate) struct Shared {
    gate: Arc<Gate>,
    lines: Vec<[Arc<Line>; 2]>,
}

impl Shared {
    pub(crate) fn new(pool: &Pool, gate: Arc<Gate>) -> Self {
        let line = |address, binary| Arc::new(Line::new(address, binary, gate.under_way()));
        let lines = pool.servers.iter().map(|s| [line(s.address, false), line(s.address, true)]);
        let lines = lines.collect();
        Self { gate, lines }
    }

    /// The worker's wait for the spool.
    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Every line, and the place of its server; each wants a task that runs it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &Arc<Line>)> {
        self.lines.iter().enumerate().flat_map(|(place, lines)| lines.iter().map(move |line| (place, line)))
    }

    pub(super) fn line(&self, lane: usize, kind: Kind) -> &Arc<Line> {
        &self.lines[lane][usize::from(kind.binary())]
    }
}

/// A connection that clients share.
pub(crate) struct Line {
    pub(super) address: SocketAddr,
    pub(super) binary: bool,
    state: Mutex<State>,
    /// Requests of all of a worker's lines that may be writes and have no answer.
    under_way: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    /// The server answers on it.
    ready: bool,
    /// Somebody would use it.
    wanted: bool,
    out: Vec<u8>,
    /// Whose answers are due, oldest first.
    waiting: VecDeque<(usize, Kind)>,
    progress: Progress,
    clients: Slab<Client>,
    parked: usize,
    task: Option<Waker>,
}

/// A client that has used the line.
#[derive(Default)]
struct Client {
    answer: Vec<u8>,
    due: u32,
    /// It has left, and only its answers are still to come.
    gone: bool,
    lost: Option<Arc<str>>,
    waker: Option<Waker>,
}

impl Client {
    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl State {
    /// Forgets a client that has left, once it is owed nothing.
    fn release(&mut self, place: usize) {
        if self.clients.get(place).is_some_and(|client| client.gone && client.due == 0) {
            self.clients.remove(place);
        }
    }

    /// Gives up the client with the most bytes that it does not fetch.
    fn cut(&mut self, address: SocketAddr) {
        if let Some((_, most)) = self.clients.iter_mut().max_by_key(|(_, client)| client.answer.len()) {
            self.parked -= std::mem::take(&mut most.answer).len();
            most.lost = Some(format!("{address}: the client does not read its answers").into());
            most.wake();
        }
    }

    /// The oldest request's answer went on by these bytes.
    fn answered(&mut self, place: usize, bytes: &[u8], done: bool) {
        let Some(client) = self.clients.get_mut(place) else { return };
        if !client.gone && client.lost.is_none() {
            client.answer.extend_from_slice(bytes);
            self.parked += bytes.len();
        }
        client.due -= u32::from(done);
        if done || client.answer.len() >= PIECE {
            client.wake();
        }
    }
}

impl Line {
    fn new(address: SocketAddr, binary: bool, under_way: Arc<AtomicUsize>) -> Self {
        Self { address, binary, state: Mutex::default(), under_way }
    }

    /// The answer of a request of this kind has come, or will not.
    fn is_over(&self, kind: Kind) {
        if kind != Kind::Get {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a thread panicked between two plain assignments; the line is closed by its task.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is to be sent, if anything is; `spent` is reused for what comes next.
    pub(super) fn take_out(&self, spent: &mut Vec<u8>) {
        std::mem::swap(&mut self.lock().out, spent);
    }

    /// Whether a connection is wanted; the task is called when that, or something else, has changed.
    pub(super) fn watch(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        state.wanted
    }

    /// It could not be opened: nobody waits for it.
    pub(super) fn unwanted(&self) {
        self.lock().wanted = false;
    }

    /// The server has answered: from now on clients may use it.
    pub(super) fn opened(&self) {
        self.lock().ready = true;
    }

    /// Hands answers to whom they are due; returns how many bytes were taken. The rest is the beginning of a line.
    pub(super) fn answers(&self, bytes: &[u8]) -> Result<usize, Misfit> {
        let mut state = self.lock();
        let mut at = 0;
        while at < bytes.len() {
            let &(place, kind) = state.waiting.front().ok_or(Misfit)?;
            let (used, done) = state.progress.take(kind, &bytes[at..])?;
            state.answered(place, &bytes[at..at + used], done);
            at += used;
            if !done {
                break;
            }
            state.waiting.pop_front();
            self.is_over(kind);
            state.release(place);
        }
        while state.parked > MAX_PARKED {
            state.cut(self.address);
        }
        Ok(at)
    }

    /// The connection is gone: everyone who has used it is told.
    pub(super) fn lost(&self, why: &str) {
        let mut state = self.lock();
        let why: Arc<str> = format!("{}: {why}", self.address).into();
        (state.ready, state.wanted, state.progress) = (false, false, Progress::default());
        state.waiting.drain(..).for_each(|(_, kind)| self.is_over(kind));
        state.out.clear();
        state.clients.retain(|_, client| !client.gone);
        for (_, client) in &mut state.clients {
            client.due = 0;
            client.lost.get_or_insert_with(|| Arc::clone(&why));
            client.wake();
        }
    }
}

/// A client's place on a line; its answers go nowhere once it is dropped.
pub(super) struct Seat {
    line: Arc<Line>,
    place: usize,
}

impl Seat {
    /// A place on the line; `None` while the line cannot be used. It is opened for the next time.
    pub(super) fn take(line: &Arc<Line>) -> Option<Self> {
        let mut state = line.lock();
        if !state.ready {
            if !state.wanted {
                state.wanted = true;
                if let Some(task) = &state.task {
                    task.wake_by_ref();
                }
            }
            return None;
        }
        let place = state.clients.insert(Client::default());
        drop(state);
        Some(Self { line: Arc::clone(line), place })
    }

    /// Whether a request may be sent over it.
    pub(super) fn free(&self) -> bool {
        let state = self.line.lock();
        let client = &state.clients[self.place];
        let idle = client.due == 0 && client.answer.is_empty() && client.lost.is_none();
        state.ready && idle && state.waiting.len() < MAX_WAITING && state.out.len() < MAX_OUT
    }

    /// Sends a request; with a kind, its answer comes to [`Self::fetch`].
    pub(super) fn send(&self, bytes: &[u8], kind: Option<Kind>) {
        let mut state = self.line.lock();
        if !state.ready {
            return;
        }
        state.out.extend_from_slice(bytes);
        if let Some(kind) = kind {
            state.waiting.push_back((self.place, kind));
            if kind != Kind::Get {
                self.line.under_way.fetch_add(1, Ordering::Relaxed);
            }
            state.clients[self.place].due += 1;
        }
        if let Some(task) = &state.task {
            task.wake_by_ref();
        }
    }

    /// Whether an answer is due.
    pub(super) fn due(&self) -> bool {
        let state = self.line.lock();
        let client = &state.clients[self.place];
        client.due > 0 || !client.answer.is_empty()
    }

    /// Takes what has come in exchange for an empty buffer, and why the line is gone if it is; the waker is called when there is more.
    pub(super) fn fetch(&self, into: &mut Vec<u8>, cx: &Context<'_>) -> Option<Arc<str>> {
        let mut state = self.line.lock();
        let client = &mut state.clients[self.place];
        std::mem::swap(&mut client.answer, into);
        let lost = client.lost.take();
        if !client.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            client.waker = Some(cx.waker().clone());
        }
        state.parked -= into.len();
        lost
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        let client = &mut state.clients[self.place];
        client.gone = true;
        let parked = std::mem::take(&mut client.answer).len();
        client.waker = None;
        state.parked -= parked;
        state.release(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Arc<Line> {
        let line = Arc::new(Line::new("127.0.0.1:11211".parse().expect("an address"), false, Arc::default()));
        assert!(Seat::take(&line).is_none(), "not before its server answers");
        assert!(line.lock().wanted);
        line.opened();
        line
    }

    fn fetch(seat: &Seat) -> (Vec<u8>, bool) {
        let mut answer = Vec::new();
        let lost = seat.fetch(&mut answer, &Context::from_waker(Waker::noop()));
        (answer, lost.is_some())
    }

    #[test]
    fn answers_go_to_whom_they_are_due_and_nowhere_when_he_has_left() {
        let line = open();
        let seats: Vec<Seat> = (0..3).filter_map(|_| Seat::take(&line)).collect();
        for seat in &seats {
            seat.send(b"get k\r\n", Some(Kind::Get));
            assert!(seat.due() && !seat.free());
        }
        let [first, second, third] = <[Seat; 3]>::try_from(seats).ok().expect("three seats");
        drop(second);
        let stream = b"VALUE k 0 1\r\na\r\nEND\r\nVALUE k 0 1\r\nb\r\nEND\r\nEND\r\nEN";
        assert_eq!(line.answers(&stream[..stream.len() - 2]), Ok(stream.len() - 2));
        assert_eq!(fetch(&first), (b"VALUE k 0 1\r\na\r\nEND\r\n".to_vec(), false));
        assert_eq!(fetch(&third), (b"END\r\n".to_vec(), false));
        assert!(first.free() && !first.due());
        assert_eq!(line.answers(b"EN"), Err(Misfit), "nobody asked");
        assert_eq!(line.lock().clients.len(), 2);
    }

    #[test]
    fn who_shares_a_line_that_is_lost_is_told() {
        let line = open();
        let (Some(first), Some(second)) = (Seat::take(&line), Seat::take(&line)) else { panic!("no seats") };
        first.send(b"get k\r\n", Some(Kind::Get));
        line.lost("closed");
        assert!(!first.due() && fetch(&first).1 && fetch(&second).1);
        assert!(!second.free() && Seat::take(&line).is_none());
        line.opened();
        assert!(second.free());
        second.send(b"delete k\r\n", Some(Kind::Line));
        assert_eq!(line.answers(b"DELETED\r\n"), Ok(9));
        assert_eq!(fetch(&second), (b"DELETED\r\n".to_vec(), false));
    }

    #[test]
    fn what_clients_do_not_fetch_is_bounded() {
        let line = open();
        let (Some(greedy), Some(other)) = (Seat::take(&line), Seat::take(&line)) else { panic!("no seats") };
        greedy.send(b"get big\r\n", Some(Kind::Get));
        let size = 2 * MAX_PARKED;
        line.answers(format!("VALUE big 0 {size}\r\n").as_bytes()).expect("fits");
        let part = vec![b'x'; 1024 * 1024];
        for _ in 0..=MAX_PARKED / part.len() {
            line.answers(&part).expect("fits");
            assert!(line.lock().parked <= MAX_PARKED);
        }
        assert!(fetch(&greedy).1, "given up");
        assert!(other.free());
        drop(greedy);
        assert_eq!(line.lock().parked, 0);
    }
}
