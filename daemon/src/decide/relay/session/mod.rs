//! One client connection, observed: request bytes and answer bytes go in, and come out untouched with what they mean. Never parses
//! what it need not, never holds a value.
//!
//! With one server the bytes pass as they come. When the dialogue can no longer be followed for certain (an over-long key, which
//! versions of memcached frame differently; an answer that fits no request), the session goes *blind*: bytes still pass, every line
//! that looks like a write is captured, and nothing is learned from answers.

mod answer_binary;
mod answer_text;
mod order;
mod request_binary;
mod request_text;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use self::order::{Op, Order, Pending, capture, effect};
use super::effect::Effect;
use super::io::Io;
use super::ketama::Ketama;

/// Longest partial line that waits for its end, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// What a pool's configuration says about capturing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// `capture = "deletes"`.
    pub deletes_only: bool,
    /// `refills = "skip"`.
    pub skip_refills: bool,
    /// The connection came through `refill_listen`.
    pub refill_port: bool,
}

/// A dialogue that cannot be continued, because keys are spread and nobody knows where a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the dialogue cannot be followed and keys are spread over several servers")]
pub struct Desync;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    New,
    Text,
    Binary,
}

/// A data block on its way to a server.
struct Body {
    /// Value bytes to come.
    value: u64,
    /// Bytes after the value to come: `\r\n` in text, none in binary.
    tail: u8,
    /// Number of the request in [`Order`]; `None` when it wants no answer.
    id: Option<u64>,
    /// Client flags, which seed the hash.
    flags: u32,
    /// The value on the wire is the whole new value.
    whole: bool,
    /// A write of ours to observe; false for authentication and answers nobody captures.
    write: bool,
    /// `id` is none because it is quiet: captured when it was handed over.
    lane: usize,
    hash: HashState,
}

enum HashState {
    Off,
    Fresh,
    Streaming(Box<Xxh3>),
    Done(u128),
}

/// An observed connection.
pub struct Session {
    policy: Policy,
    ring: Option<Arc<Ketama>>,
    protocol: Protocol,
    blind: bool,
    /// Blind, and inside a line that is no command.
    scan_skip: bool,
    /// The client's binary frames can't be told apart: its server hangs up.
    unframed: bool,
    /// The server wants ASCII authentication before anything else.
    wants_auth: bool,
    body: Option<Body>,
    /// Key of the body, or of the binary request that is being taken.
    key: Vec<u8>,
    order: Order,
    /// Answer bytes of the head that pass (or are dropped) without a look.
    skip: u64,
    skip_drop: bool,
    /// A part of the head's answer went out.
    open: bool,
    /// The rest of a split request's answers is dropped: an error took its place.
    mute: bool,
    inject: Vec<(usize, Vec<u8>)>,
    down: Vec<Option<Box<str>>>,
    quitting: bool,
}

impl Session {
    /// A new connection towards `lanes` servers; `ring` spreads keys when there are several.
    #[must_use]
    pub fn new(policy: Policy, lanes: usize, ring: Option<Arc<Ketama>>, wants_auth: bool) -> Self {
        Self {
            policy,
            ring: ring.filter(|_| lanes > 1),
            protocol: Protocol::New,
            blind: false,
            scan_skip: false,
            unframed: false,
            wants_auth,
            body: None,
            key: Vec::new(),
            order: Order::new(),
            skip: 0,
            skip_drop: false,
            open: false,
            mute: false,
            inject: Vec::new(),
            down: vec![None; lanes],
            quitting: false,
        }
    }

    /// Takes request bytes, forwards them, and says how many it took; the rest is a partial line that comes again, with more behind it.
    ///
    /// # Errors
    /// [`Desync`] with several servers, when a request's end cannot be known.
    pub fn request(&mut self, bytes: &[u8], io: &mut impl Io) -> Result<usize, Desync> {
        if self.protocol == Protocol::New {
            match bytes.first() {
                None => return Ok(0),
                Some(0x80) => self.protocol = Protocol::Binary,
                Some(_) => self.protocol = Protocol::Text,
            }
        }
        if self.protocol == Protocol::Binary {
            self.request_binary(bytes, io)
        } else {
            self.request_text(bytes, io)
        }
    }

    /// Takes answer bytes of a server and delivers them; as [`Self::request`]. Takes none while another server's answer is due.
    ///
    /// # Errors
    /// [`Desync`] with several servers, when an answer fits no request.
    pub fn answer(&mut self, lane: usize, bytes: &[u8], io: &mut impl Io) -> Result<usize, Desync> {
        if self.protocol == Protocol::Binary && !self.blind {
            self.answer_binary(lane, bytes, io)
        } else {
            self.answer_text(lane, bytes, io)
        }
    }

    /// Hands out what is to be sent between two requests: deletes behind stale sets, and the no-ops that end quiet ones.
    pub fn between(&mut self, io: &mut impl Io) {
        if self.inject.is_empty() || self.body.is_some() {
            return;
        }
        for (lane, bytes) in std::mem::take(&mut self.inject) {
            io.forward(lane, &bytes);
        }
    }

    /// A server is gone; what it owes is answered with an error, as is what is asked of it until [`Self::lane_up`].
    pub fn lane_down(&mut self, lane: usize, why: &str, io: &mut impl Io) -> Result<(), Desync> {
        let broken = self.open && self.order.front().is_some_and(|head| head.lane == lane);
        self.down[lane] = Some(why.into());
        self.order.lane_lost(lane);
        if broken || self.skip > 0 || self.blind {
            return Err(Desync);
        }
        self.settle(io);
        Ok(())
    }

    /// The server answers again.
    pub fn lane_up(&mut self, lane: usize, wants_auth: bool) {
        self.down[lane] = None;
        self.wants_auth = wants_auth;
    }

    /// Whether a request to this server is refused at once.
    #[must_use]
    pub fn is_down(&self, lane: usize) -> bool {
        self.down[lane].is_some()
    }

    /// Answers what dead servers owe, as far as it is their turn.
    pub fn settle(&mut self, io: &mut impl Io) {
        while let Some(head) = self.order.front() {
            if !head.lost {
                return;
            }
            let (lane, binary) = (head.lane, self.protocol == Protocol::Binary);
            let quiet = head.quiet || head.op == Op::Silent;
            if !quiet && !head.dropped && !self.mute {
                let why = self.down[lane].as_deref().unwrap_or("server lost");
                let text = refusal(binary, head, why);
                io.deliver(&text);
                self.mute = head.more;
            }
            if !head.more {
                self.mute = false;
            }
            self.unsure(io);
            self.order.pop();
        }
    }

    /// The connection ends: writes without an answer are captured.
    pub fn end(&mut self, io: &mut impl Io) {
        while self.order.front().is_some() {
            self.unsure(io);
            self.order.pop();
        }
    }

    /// The server whose answer is due next; `None` when none is.
    #[must_use]
    pub fn due(&self) -> Option<usize> {
        self.order.front().filter(|head| head.op != Op::Silent).map(|head| head.lane)
    }

    /// Whether a request waits for an answer, or a part of one is on its way.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.skip > 0 || self.order.first_loud().is_some()
    }

    /// Whether so much waits that no more requests should be read.
    #[must_use]
    pub fn full(&self) -> bool {
        self.order.full()
    }

    /// The client said `quit`.
    #[must_use]
    pub fn quitting(&self) -> bool {
        self.quitting
    }

    /// Whether the dialogue is followed.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether nothing is under way, so that the next request may take another connection to its server without overtaking anything.
    #[must_use]
    pub fn idle(&self) -> bool {
        let settled = self.skip == 0 && self.order.len() == 0 && self.inject.is_empty();
        settled && self.between_requests() && !self.blind && !self.quitting && !self.wants_auth
    }

    /// Whether the next byte of the client begins a request; a server that is tried again there gets whole ones.
    #[must_use]
    pub fn between_requests(&self) -> bool {
        self.body.is_none()
    }

    /// Whether this is the protocol of the dialogue, as far as that is known.
    #[must_use]
    pub fn speaks(&self, binary: bool) -> bool {
        match self.protocol {
            Protocol::New => true,
            Protocol::Text => !binary,
            Protocol::Binary => binary,
        }
    }

    /// Captures the head if it is a write whose outcome nobody knows.
    fn unsure(&mut self, io: &mut impl Io) {
        let Some(head) = self.order.front() else { return };
        let unfinished = head.op.stores() && !head.complete;
        if head.op.writes() && !head.skip && !head.quiet && !unfinished {
            match head.op {
                Op::Flush(delay_s) => io.flushed(delay_s),
                _ => io.captured(self.order.front_key(), head.effect()),
            }
        }
    }

    /// Stops following: captures what is open, from now on by appearance.
    fn go_blind(&mut self, io: &mut impl Io) -> Result<(), Desync> {
        io.went_blind();
        self.end(io);
        self.blind = true;
        self.give_up_body(io);
        self.skip = 0;
        self.inject.clear();
        if self.ring.is_some() { Err(Desync) } else { Ok(()) }
    }

    /// The value that is on its way is not followed any more, and may yet arrive: its key is captured. A binary frame's end stays known.
    fn give_up_body(&mut self, io: &mut impl Io) {
        let Some(mut body) = self.body.take() else { return };
        if std::mem::take(&mut body.write) && !self.policy.refill_port && !self.policy.deletes_only {
            io.captured(&self.key, Effect::Forget);
        }
        (body.id, body.hash) = (None, HashState::Off);
        self.body = Some(body).filter(|_| self.protocol == Protocol::Binary);
    }

    /// Where this key lives.
    fn lane_of(&self, key: &[u8]) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.server(key))
    }

    /// Puts a request into the order; its key, if any, was pushed before.
    fn enqueue(&mut self, mut pending: Pending, io: &mut impl Io) -> u64 {
        pending.lost = self.down[pending.lane].is_some();
        if self.ring.is_some() && pending.op != Op::Silent {
            self.close_quiets(pending.lane, io);
        }
        self.order.push(pending)
    }

    /// Ends the quiet requests on another server with a no-op whose answer is dropped.
    fn close_quiets(&mut self, but: usize, io: &mut impl Io) {
        let Some(lane) = self.order.unclosed().filter(|&lane| lane != but && self.down[lane].is_none())
        else {
            return;
        };
        let binary = self.protocol == Protocol::Binary;
        io.forward(lane, if binary { &request_binary::NOOP } else { b"mn\r\n" });
        let op = if binary { Op::Binary(request_binary::OP_NOOP) } else { Op::MetaNoop };
        let opaque = request_binary::OWN_OPAQUE;
        self.order.push(Pending { dropped: true, opaque, ..Pending::new(op, lane) });
    }

    /// A whole value was handed over: asks the fences, captures quiet ones, queues the delete behind a stale one.
    fn stored(&mut self, body: &Body, io: &mut impl Io) {
        let hash = match (&body.hash, body.whole) {
            (HashState::Done(hash), true) => Some(*hash),
            _ => None,
        };
        let storing = if body.whole { io.storing(&self.key, hash) } else { Default::default() };
        let refill = self.policy.refill_port || (self.policy.skip_refills && storing.refill);
        let skip = refill || self.policy.deletes_only;
        if storing.stale {
            io.stale_set();
            self.inject_delete(body.lane, io);
        }
        match body.id.and_then(|id| self.order.get_mut(id)) {
            Some(pending) => {
                (pending.hash, pending.complete, pending.skip) = (hash, true, skip);
                pending.refill = storing.refill;
                pending.since = storing.since.filter(|_| !storing.stale);
                pending.reread = storing.reread;
            }
            None if body.id.is_none() && !skip => {
                capture(&self.key, effect(hash, storing.refill), storing.reread, io);
            }
            None => {}
        }
    }

    /// Queues a delete of `self.key` right behind the request that was just handed over.
    fn inject_delete(&mut self, lane: usize, io: &mut impl Io) {
        let bytes = match self.protocol {
            Protocol::Binary => request_binary::delete(&self.key),
            _ => request_text::delete(&self.key),
        };
        self.inject.push((lane, bytes));
        if self.protocol == Protocol::Binary {
            let op = Op::Binary(request_binary::OP_DELETE);
            let pending =
                Pending { dropped: true, opaque: request_binary::OWN_OPAQUE, ..Pending::new(op, lane) };
            self.enqueue(Pending { skip: true, ..pending }, io);
        }
    }

    /// A store was answered with success: the key may have been invalidated while it was on its way.
    fn recheck(&mut self, io: &mut impl Io) {
        let Some(head) = self.order.front() else { return };
        let (Some(since), lane, hash) = (head.since, head.lane, head.hash) else { return };
        if io.overtaken(self.order.front_key(), hash, since) {
            io.stale_set();
            let key = std::mem::take(&mut self.key);
            self.key.extend_from_slice(self.order.front_key());
            self.inject_delete(lane, io);
            self.key = key;
        }
    }
}

/// The error that stands for a dead server's answer.
fn refusal(binary: bool, head: &Pending, why: &str) -> Vec<u8> {
    match head.op {
        Op::Binary(opcode) if binary => request_binary::refusal(opcode, head.opaque, why),
        _ => format!("SERVER_ERROR tidegate: {why}\r\n").into_bytes(),
    }
}
