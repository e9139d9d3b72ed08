//! One client connection: moves bytes both ways past its [`Session`]. Never interprets them itself.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::gate::Gate;
use super::lane::Lane;
use super::out::Out;
use super::pool::Pool;
use super::seats::Seats;
use super::shared::Shared;
use crate::decide::relay::delay;
use crate::decide::relay::effect::Effect;
use crate::decide::relay::io::{Io, Storing};
use crate::decide::relay::item::{Item, Items, mark_reread};
use crate::decide::relay::session::Session;
use crate::decide::relay::single;
use crate::relay::spool::unix_ms;

/// Bytes read at once.
const READ: usize = 64 * 1024;
/// Most bytes that wait on one side before the other is read no more.
const BACKLOG: usize = 256 * 1024;
/// Most rounds before other connections get their turn.
const ROUNDS: u32 = 16;

thread_local! {
    /// Where bytes land; what is left over moves to the connection.
    pub(super) static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// Numbers connections, for the fences.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A client connection.
pub(super) struct Conn {
    session: Session,
    /// A partial request line; or, `early`, what came while an answer is due on a shared line.
    held: Vec<u8>,
    early: bool,
    client_done: bool,
    server_done: bool,
    ends: Ends,
}

/// Everything that the session's [`Io`] needs.
struct Ends {
    pool: Arc<Pool>,
    client: TcpStream,
    lanes: Vec<Lane>,
    seats: Seats,
    gate: Arc<Gate>,
    out: Out,
    /// Items captured and not yet submitted.
    captures: Vec<u8>,
    /// Refills among them that may be rereads: where, and their numbers.
    rereads: Vec<(usize, u64)>,
    /// Of the newest submission.
    ticket: u64,
    id: u64,
}

/// What waits on each side for more than [`BACKLOG`] bytes: the other one is not read meanwhile.
struct Clogged {
    requests: bool,
    answers: bool,
}

impl Ends {
    fn clogged(&self) -> Clogged {
        let requests: usize = self.lanes.iter().map(Lane::backlog).sum();
        Clogged { requests: requests > BACKLOG, answers: self.out.len() > BACKLOG }
    }

    fn submit(&mut self) {
        if !self.captures.is_empty() {
            let in_turn = self.gate.turn();
            let (pool, rereads) = (&self.pool, &self.rereads);
            let ticket = pool.spool.submit_looking(pool.place, &self.captures, in_turn, |items| {
                for &(at, set) in rereads {
                    judge(pool, &mut items[at..], set);
                }
            });
            self.ticket = self.ticket.max(ticket);
            self.captures.clear();
            self.rereads.clear();
        }
    }
}

/// Marks the refill at the beginning of `items` as a reread, if it is one.
fn judge(pool: &Pool, items: &mut [u8], set: u64) {
    let key = Items::new(items).next().and_then(|item| item.key());
    if key.is_some_and(|(key, _)| pool.is_newest(key, set)) {
        mark_reread(items);
    }
}

impl Io for Ends {
    fn forward(&mut self, lane: usize, bytes: &[u8]) {
        if self.seats.send(lane, bytes) {
            return;
        }
        let direct = self.lanes.len() == 1;
        self.lanes[lane].forward(bytes, direct);
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.submit();
        self.out.push(&self.client, &self.gate, self.ticket, bytes);
    }

    fn captured(&mut self, key: &[u8], effect: Effect) {
        Item::new(key, effect).write(&mut self.captures);
    }

    fn reread(&mut self, key: &[u8], hash: u128, set: u64) {
        let at = self.captures.len();
        Item::Refill(key, hash).write(&mut self.captures);
        if at < self.captures.len() {
            self.rereads.push((at, set));
        }
    }

    fn flushed(&mut self, delay_s: u32) {
        let delay_s = delay::relative(delay_s, unix_ms() / 1000);
        Item::Flush(delay_s).write(&mut self.captures);
        self.pool.flushed_by_client(delay_s);
    }

    fn missed(&mut self, key: &[u8], sure: bool) {
        self.pool.missed(key, self.id, sure);
    }

    fn storing(&mut self, key: &[u8], hash: Option<u128>) -> Storing {
        self.pool.storing(key, self.id, hash)
    }

    fn overtaken(&mut self, key: &[u8], hash: Option<u128>, since: u64) -> bool {
        self.pool.overtaken(key, hash, since)
    }

    fn stale_set(&mut self) {
        self.pool.counters.stale_sets.fetch_add(1, Ordering::Relaxed);
    }

    fn went_blind(&mut self) {
        self.pool.counters.blind.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why a connection ends; nothing that the other connections need to know.
enum End {
    Done,
    Lost,
}

impl Conn {
    pub(super) fn new(pool: Arc<Pool>, shared: Arc<Shared>, client: TcpStream, refill_port: bool) -> Self {
        let lanes: Vec<Lane> = pool.servers.iter().map(|server| Lane::new(server.address)).collect();
        let session =
            Session::new(pool.policy(refill_port), lanes.len(), pool.ring.clone(), pool.wants_auth());
        pool.counters.connections.fetch_add(1, Ordering::Relaxed);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (gate, seats) = (Arc::clone(shared.gate()), Seats::new(shared));
        let out = Out::default();
        let ends = Ends {
            pool,
            client,
            lanes,
            seats,
            gate,
            out,
            captures: Vec::new(),
            rereads: Vec::new(),
            ticket: 0,
            id,
        };
        Self { session, held: Vec::new(), early: false, client_done: false, server_done: false, ends }
    }

    /// Runs until either side ends.
    pub(super) async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            match self.round(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(End::Done | End::Lost) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves what can be moved; whether anything was, or may be now.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let clogged = self.ends.clogged();
        let mut moved = self.requests(cx)? | self.shared_answers(cx)?;
        for lane in 0..self.ends.lanes.len() {
            if let Poll::Ready(Err(error)) = self.ends.lanes[lane].poll_out(cx) {
                self.lose(lane, &error.to_string())?;
                moved = true;
            }
            moved |= self.answers(lane, cx)?;
        }
        self.session.between(&mut self.ends);
        self.ends.submit();
        match self.ends.out.poll(&mut self.ends.client, &self.ends.gate, cx) {
            Poll::Ready(Err(_)) => return Err(End::Lost),
            Poll::Ready(Ok(())) => self.finish(cx)?,
            Poll::Pending => {}
        }
        // Where a backlog kept a side from being read, nothing calls for it once that is gone.
        let now = self.ends.clogged();
        moved |= clogged.requests && !now.requests || clogged.answers && !now.answers;
        Ok(moved)
    }

    /// Ends the connection once a side is done and nothing is owed.
    fn finish(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.server_done {
            return Err(End::Done);
        }
        if self.early || !self.client_done && !self.session.quitting() {
            return Ok(());
        }
        let sent = self.ends.lanes.iter().all(|lane| lane.backlog() == 0);
        // A value whose rest will not come is never answered: its server learns that, answers what was before it, and closes.
        let cut = self.client_done && !self.session.between_requests();
        let over = cut || !self.session.owes();
        if sent && over && self.ends.gate.poll_durable(self.ends.ticket, cx.waker()) {
            let open = (cut || self.session.is_blind()) && self.ends.lanes.iter().any(Lane::is_open);
            if !open {
                return Err(End::Done);
            }
            self.ends.lanes.iter_mut().for_each(|lane| lane.poll_shutdown(cx));
        }
        Ok(())
    }

    /// Reads requests, unless too much waits.
    fn requests(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let ends = &mut self.ends;
        let late = !ends.gate.poll_durable(ends.ticket, cx.waker()) && ends.out.len() == 0;
        let clogged = ends.clogged();
        if self.client_done || clogged.requests || clogged.answers || self.session.full() || late {
            return Ok(false);
        }
        if self.early {
            return self.early_requests();
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut self.ends.client).poll_read(cx, &mut buf) {
                Poll::Pending => None,
                Poll::Ready(Err(error)) => Some(Err(error)),
                Poll::Ready(Ok(())) => Some(self.take(buf.filled()).map(|()| buf.filled().len())),
            }
        });
        match read {
            None => Ok(false),
            Some(Ok(0)) => {
                self.client_done = true;
                Ok(true)
            }
            Some(Ok(_)) => {
                self.session.settle(&mut self.ends);
                Ok(true)
            }
            Some(Err(_)) => Err(End::Lost),
        }
    }

    /// Takes fresh bytes of the client.
    fn take(&mut self, fresh: &[u8]) -> io::Result<()> {
        if fresh.is_empty() {
            return Ok(());
        }
        if self.ends.seats.due() {
            // It does not wait for its answer: what it says now goes on once that has come.
            self.held.extend_from_slice(fresh);
            self.early = true;
            return Ok(());
        }
        self.revive();
        let free = self.held.is_empty() && self.session.idle();
        let free = free && self.ends.lanes.iter().all(|lane| lane.backlog() == 0);
        let kind = if free { single::request(fresh) } else { None };
        self.ends.seats.offer(kind.filter(|kind| self.session.speaks(kind.binary())));
        feed(&mut self.held, fresh, |bytes| self.session.request(bytes, &mut self.ends))
    }

    /// Between two requests, servers that were down may be tried again.
    fn revive(&mut self) {
        for lane in 0..self.ends.lanes.len() {
            if self.session.is_down(lane)
                && self.session.between_requests()
                && self.ends.lanes[lane].may_try()
                && self.ends.pool.knows(lane)
            {
                self.session.lane_up(lane, self.ends.pool.wants_auth());
                self.ends.lanes[lane].revive();
            }
        }
    }

    /// Goes on with what came while an answer was due, unless it still is.
    fn early_requests(&mut self) -> Result<bool, End> {
        if self.ends.seats.due() {
            return Ok(false);
        }
        self.early = false;
        let held = std::mem::take(&mut self.held);
        self.take(&held).map_err(|_| End::Lost)?;
        self.session.settle(&mut self.ends);
        Ok(true)
    }

    /// Takes answers that came over shared lines.
    fn shared_answers(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(lane) = self.ends.seats.lane() else { return Ok(false) };
        if self.ends.out.len() > BACKLOG {
            return Ok(false);
        }
        let mut answer = self.ends.seats.buffer();
        let lost = self.ends.seats.fetch(&mut answer, cx);
        let moved = !answer.is_empty();
        if moved {
            let mut held = std::mem::take(&mut self.ends.lanes[lane].held);
            let fed = feed(&mut held, &answer, |bytes| self.session.answer(lane, bytes, &mut self.ends));
            self.ends.lanes[lane].held = held;
            fed.map_err(|_| End::Lost)?;
        }
        self.ends.seats.give_back(answer);
        match lost {
            None => Ok(moved),
            Some(why) => self.lose_shared(lane, &why).map(|()| true),
        }
    }

    /// Reads one server's answers, unless the client does not take them or it is another server's turn.
    fn answers(&mut self, lane: usize, cx: &mut Context<'_>) -> Result<bool, End> {
        let turn = self.session.due().is_none_or(|due| due == lane);
        let mut moved = false;
        if turn && self.ends.lanes.len() > 1 && !self.ends.lanes[lane].held.is_empty() {
            moved = self.again(lane)?;
        }
        let full = self.ends.lanes[lane].held.len() > BACKLOG;
        if self.ends.out.len() > BACKLOG || full {
            return Ok(moved);
        }
        let read = SCRATCH.with_borrow_mut(|scratch| match self.ends.lanes[lane].poll_read(cx, scratch) {
            Poll::Pending => None,
            Poll::Ready(Err(error)) => Some(Err(error)),
            Poll::Ready(Ok(read)) => {
                let mut held = std::mem::take(&mut self.ends.lanes[lane].held);
                let ends = &mut self.ends;
                let fed = feed(&mut held, &scratch[..read], |bytes| self.session.answer(lane, bytes, ends));
                self.ends.lanes[lane].held = held;
                Some(fed.map(|()| read))
            }
        });
        match read {
            None => Ok(moved),
            Some(Ok(0)) => self.lose(lane, "the server closed the connection").map(|()| true),
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(End::Lost),
            Some(Err(error)) => self.lose(lane, &error.to_string()).map(|()| true),
        }
    }

    /// Offers a server's held bytes again: it may be its turn now.
    fn again(&mut self, lane: usize) -> Result<bool, End> {
        let mut held = std::mem::take(&mut self.ends.lanes[lane].held);
        let before = held.len();
        let fed = feed(&mut held, &[], |bytes| self.session.answer(lane, bytes, &mut self.ends));
        let moved = held.len() != before;
        self.ends.lanes[lane].held = held;
        fed.map(|()| moved).map_err(|_| End::Lost)
    }

    /// A client's own connection to a server is gone.
    fn lose(&mut self, lane: usize, why: &str) -> Result<(), End> {
        if self.ends.seats.lane().is_some() && self.ends.lanes[lane].backlog() == 0 {
            // The last request went over a shared line: nothing is owed here.
            self.ends.lanes[lane].rest();
            return Ok(());
        }
        let was_up = self.ends.lanes[lane].lose();
        let why = format!("{}: {why}", self.ends.pool.servers[lane].address);
        self.down(lane, was_up, &why)
    }

    /// The shared line that the client uses is gone.
    fn lose_shared(&mut self, lane: usize, why: &str) -> Result<(), End> {
        self.ends.lanes[lane].lose();
        self.down(lane, true, why)
    }

    fn down(&mut self, lane: usize, was_up: bool, why: &str) -> Result<(), End> {
        self.ends.pool.forget(lane);
        let alone = self.ends.lanes.len() == 1;
        if alone && was_up {
            // As with memcached itself: when it closes, so does the connection, and what it said before is all.
            self.session.end(&mut self.ends);
            self.server_done = true;
            return Ok(());
        }
        let followed = self.session.lane_down(lane, why, &mut self.ends).is_ok();
        if followed || self.ends.out.len() > 0 {
            self.server_done |= !followed;
            return Ok(());
        }
        Err(End::Lost)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.session.end(&mut self.ends);
        self.ends.submit();
        self.ends.pool.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives `fresh` bytes, behind what was held, to `take`; holds what that leaves.
fn feed<E>(held: &mut Vec<u8>, fresh: &[u8], take: impl FnOnce(&[u8]) -> Result<usize, E>) -> io::Result<()> {
    let lost = |_| io::Error::new(io::ErrorKind::InvalidData, "the dialogue is lost");
    if held.is_empty() {
        let taken = take(fresh).map_err(lost)?;
        held.extend_from_slice(&fresh[taken..]);
        return Ok(());
    }
    held.extend_from_slice(fresh);
    let taken = take(held).map_err(lost)?;
    if taken == held.len() {
        held.clear();
        held.shrink_to(READ);
    } else {
        held.drain(..taken);
    }
    Ok(())
}
