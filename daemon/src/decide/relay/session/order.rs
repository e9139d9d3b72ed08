//! Requests in the order in which their answers are due. Never holds a value.

use std::collections::VecDeque;

use crate::decide::relay::effect::Effect;
use crate::decide::relay::io::Io;
#[cfg(doc)]
use crate::decide::relay::io::Storing;
use crate::decide::relay::keys::KeyQueue;

/// Most requests without an answer on one connection.
const MAX_WAITING: usize = 16 * 1024;
/// Most bytes of their keys.
const MAX_KEYS: usize = 1024 * 1024;

/// What was asked, as far as answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Classic retrieval.
    Get,
    Store,
    Delete,
    Arithmetic,
    Flush(u32),
    /// One line, nothing to capture.
    Simple,
    Unknown,
    Listing,
    /// The `set` that authenticates.
    Auth,
    MetaGet,
    MetaStore,
    MetaDelete,
    MetaArithmetic,
    MetaOther,
    MetaNoop,
    /// Binary opcode.
    Binary(u8),
    /// Any number of writes that answer nothing, or only errors; captured already.
    Silent,
}

impl Op {
    pub(super) fn stores(self) -> bool {
        match self {
            Self::Store | Self::MetaStore => true,
            Self::Binary(opcode) => super::request_binary::stores(opcode),
            _ => false,
        }
    }

    /// Its answer may look like that of a quiet `mg` with a value.
    pub(super) fn may_find(self) -> bool {
        matches!(self, Self::MetaGet | Self::MetaArithmetic | Self::Unknown)
    }

    pub(super) fn writes(self) -> bool {
        match self {
            Self::Delete | Self::Arithmetic | Self::Flush(_) | Self::MetaDelete | Self::MetaArithmetic => {
                true
            }
            Self::Binary(opcode) => super::request_binary::writes(opcode),
            _ => self.stores(),
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) op: Op,
    pub(super) lane: usize,
    /// May stay without an answer.
    pub(super) quiet: bool,
    /// Its answer is not for the client.
    pub(super) dropped: bool,
    /// Further parts of the same client request follow.
    pub(super) more: bool,
    /// Its server is gone.
    pub(super) lost: bool,
    /// Not to be captured: a refill, or the pool captures only deletes.
    pub(super) skip: bool,
    /// The value was handed over as a whole.
    pub(super) complete: bool,
    /// It follows a miss.
    pub(super) refill: bool,
    /// It asks for the value.
    pub(super) value: bool,
    /// Keys of it in the queue, and where the last one is.
    pub(super) keys: u32,
    pub(super) key_at: u64,
    pub(super) opaque: u32,
    pub(super) hash: Option<u128>,
    /// The invalidation count at the miss before it.
    pub(super) since: Option<u64>,
    /// See [`Storing::reread`].
    pub(super) reread: Option<u64>,
}

impl Pending {
    pub(super) fn new(op: Op, lane: usize) -> Self {
        Self {
            op,
            lane,
            quiet: false,
            dropped: false,
            more: false,
            lost: false,
            skip: false,
            complete: false,
            refill: false,
            value: false,
            keys: 0,
            key_at: 0,
            opaque: 0,
            hash: None,
            since: None,
            reread: None,
        }
    }

    /// It may stay without an answer.
    fn may_be_silent(&self) -> bool {
        self.quiet || self.op == Op::Silent
    }

    /// What its success means for the other regions.
    pub(super) fn effect(&self) -> Effect {
        effect(self.hash, self.refill)
    }

    /// It succeeded, at this key.
    pub(super) fn capture(&self, key: &[u8], io: &mut impl Io) {
        capture(key, self.effect(), self.reread, io);
    }
}

/// Captures a write; a refill that may be a reread with its number.
pub(super) fn capture(key: &[u8], effect: Effect, reread: Option<u64>, io: &mut impl Io) {
    match (effect, reread) {
        (Effect::Refill(hash), Some(set)) => io.reread(key, hash, set),
        _ => io.captured(key, effect),
    }
}

/// What a value's hash (`None` where the value is not whole) means for the other regions.
pub(super) fn effect(hash: Option<u128>, refill: bool) -> Effect {
    match hash {
        None => Effect::Forget,
        Some(hash) if refill => Effect::Refill(hash),
        Some(hash) => Effect::Differs(hash),
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Order {
    queue: VecDeque<Pending>,
    keys: KeyQueue,
    /// Where the newest key is.
    key_at: u64,
    /// Number of the head.
    base: u64,
    /// How many of the oldest may stay without an answer, before the first that may not.
    run: usize,
    /// Quiet retrievals with lower numbers may have been answered.
    unsure_below: u64,
    /// The server whose quiet requests nobody has closed.
    unclosed: Option<usize>,
}

impl Order {
    pub(super) fn new() -> Self {
        let (queue, keys) = (VecDeque::new(), KeyQueue::default());
        Self { queue, keys, key_at: 0, base: 0, run: 0, unsure_below: 0, unclosed: None }
    }

    /// Appends a request and numbers it. Its keys were pushed by [`Self::push_key`] before.
    pub(super) fn push(&mut self, mut pending: Pending) -> u64 {
        if pending.op == Op::Silent && self.queue.back().is_some_and(|last| last.op == Op::Silent) {
            return self.base + self.queue.len() as u64 - 1;
        }
        if pending.op != Op::Silent {
            self.unclosed = pending.quiet.then_some(pending.lane);
        }
        if self.run == self.queue.len() && pending.may_be_silent() {
            self.run += 1;
        }
        pending.key_at = self.key_at;
        self.queue.push_back(pending);
        self.base + self.queue.len() as u64 - 1
    }

    pub(super) fn push_key(&mut self, key: &[u8]) {
        self.key_at = self.keys.end();
        self.keys.push(key);
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.queue.front()
    }

    /// The head's first key that was not yet spoken of; empty without one.
    pub(super) fn front_key(&self) -> &[u8] {
        if self.queue.front().is_some_and(|head| head.keys > 0) { self.keys.front() } else { &[] }
    }

    /// The head's first key is done with.
    pub(super) fn pop_key(&mut self) {
        if let Some(head) = self.queue.front_mut().filter(|head| head.keys > 0) {
            head.keys -= 1;
            self.keys.pop();
        }
    }

    pub(super) fn pop(&mut self) {
        while self.queue.front().is_some_and(|head| head.keys > 0) {
            self.pop_key();
        }
        if self.queue.pop_front().is_some() {
            self.base += 1;
            self.run = match self.run.checked_sub(1) {
                Some(run) => run,
                None => self.queue.iter().take_while(|pending| pending.may_be_silent()).count(),
            };
        }
        if self.queue.is_empty() {
            self.keys.clear();
        }
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Pending> {
        let place = usize::try_from(id.checked_sub(self.base)?).ok()?;
        self.queue.get_mut(place)
    }

    /// The first request that must be answered.
    pub(super) fn first_loud(&self) -> Option<&Pending> {
        self.queue.get(self.run)
    }

    /// The requests before [`Self::first_loud`].
    pub(super) fn run(&self) -> impl Iterator<Item = &Pending> {
        self.queue.iter().take(self.run)
    }

    /// Which of [`Self::run`] is the first quiet retrieval of this key.
    pub(super) fn quiet_place(&self, key: &[u8]) -> Option<usize> {
        self.run().position(|pending| pending.quiet && self.keys.key(pending.key_at) == key)
    }

    /// Whether the last key of this request is `key`.
    pub(super) fn is_of(&self, pending: &Pending, key: &[u8]) -> bool {
        pending.keys > 0 && self.keys.key(pending.key_at) == key
    }

    /// The request behind the head.
    pub(super) fn second(&self) -> Option<&Pending> {
        self.queue.get(1)
    }

    /// One of the quiet retrievals was answered, and nobody can tell which: none of them is known to have missed from now on.
    pub(super) fn unsure_quiets(&mut self) {
        self.unsure_below = self.base + self.run as u64;
    }

    /// Whether it is known of the head that it was not answered yet.
    pub(super) fn sure(&self) -> bool {
        self.base >= self.unsure_below
    }

    /// Whether the two oldest may both stay without an answer.
    pub(super) fn two_quiet(&self) -> bool {
        self.run >= 2
    }

    /// The head is from now on only known as something that may answer.
    pub(super) fn silence_front(&mut self) {
        while self.queue.front().is_some_and(|head| head.keys > 0) {
            self.pop_key();
        }
        if let Some(head) = self.queue.front_mut() {
            *head = Pending::new(Op::Silent, head.lane);
        }
    }

    /// The server whose quiet requests nobody has closed yet.
    pub(super) fn unclosed(&self) -> Option<usize> {
        self.unclosed
    }

    pub(super) fn lane_lost(&mut self, lane: usize) {
        for pending in self.queue.iter_mut().filter(|pending| pending.lane == lane) {
            pending.lost = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn full(&self) -> bool {
        self.queue.len() >= MAX_WAITING || self.keys.len_bytes() >= MAX_KEYS
    }
}
