//! A client's connection through a front: the real session between two byte streams. Never reorders either.

use std::collections::VecDeque;

use super::host::Host;
use crate::decide::relay::effect::Effect;
use crate::decide::relay::io::{Io, Storing};
use crate::decide::relay::item::Item;
use crate::decide::relay::session::{Policy, Session};

/// A connection; its place in the world is its number for the fences.
pub(super) struct Conn {
    pub(super) host: usize,
    pub(super) client: usize,
    pub(super) session: Session,
    /// The front and the client still have it.
    pub(super) open: bool,
    /// The server does; bytes on their way to it arrive even when the front has died.
    pub(super) served: bool,
    held: [Vec<u8>; 2],
    pub(super) at_server: Vec<u8>,
    /// Answers, each with the ticket that it waits for.
    pub(super) out: VecDeque<(u64, Vec<u8>)>,
    ticket: u64,
    /// When the last bytes on either way arrive.
    pub(super) arrive: [u64; 3],
}

/// Which side speaks to the front.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
    /// Nobody: the connection ends.
    End,
}

/// What the front does besides.
#[derive(Default)]
pub(super) struct Done {
    pub(super) forwarded: Vec<u8>,
    pub(super) captured: bool,
    pub(super) stale_sets: u64,
    pub(super) rereads: u64,
}

struct Ends<'a> {
    host: &'a mut Host,
    id: u64,
    now_s: u32,
    fenced: bool,
    captures: Vec<u8>,
    delivered: Vec<u8>,
    done: Done,
}

impl Io for Ends<'_> {
    fn forward(&mut self, _lane: usize, bytes: &[u8]) {
        self.done.forwarded.extend_from_slice(bytes);
    }
    fn deliver(&mut self, bytes: &[u8]) {
        self.delivered.extend_from_slice(bytes);
    }
    fn captured(&mut self, key: &[u8], effect: Effect) {
        Item::new(key, effect).write(&mut self.captures);
    }
    fn reread(&mut self, key: &[u8], hash: u128, set: u64) {
        if self.host.fences.is_newest(name(key), set) {
            self.done.rereads += 1;
            Item::Reread(key, hash).write(&mut self.captures);
        } else {
            Item::Refill(key, hash).write(&mut self.captures);
        }
    }
    fn flushed(&mut self, delay_s: u32) {
        Item::Flush(delay_s).write(&mut self.captures);
    }
    fn missed(&mut self, key: &[u8], sure: bool) {
        self.host.fences.missed(name(key), self.id, sure, self.host.invalidations, self.now_s);
    }
    fn storing(&mut self, key: &[u8], hash: Option<u128>) -> Storing {
        let storing = self.host.fences.storing(name(key), self.id, hash, self.now_s);
        if self.fenced { storing } else { Storing { stale: false, since: None, ..storing } }
    }
    fn overtaken(&mut self, key: &[u8], hash: Option<u128>, since: u64) -> bool {
        self.fenced && self.host.fences.overtaken(name(key), hash, since)
    }
    fn stale_set(&mut self) {
        self.done.stale_sets += 1;
    }
    fn went_blind(&mut self) {
        panic!("the session lost a dialogue that is plain");
    }
}

/// A key's name in the fences, spread over their buckets.
pub(super) fn name(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(key, 3)
}

impl Conn {
    pub(super) fn new(host: usize, client: usize) -> Self {
        Self {
            host,
            client,
            session: Session::new(Policy::default(), 1, None, false),
            open: true,
            served: true,
            held: [Vec::new(), Vec::new()],
            at_server: Vec::new(),
            out: VecDeque::new(),
            ticket: 0,
            arrive: [0; 3],
        }
    }

    /// Gives the session bytes of one side, as the daemon does.
    pub(super) fn hear(
        &mut self,
        side: Side,
        bytes: &[u8],
        host: &mut Host,
        (id, now_s, fenced): (usize, u32, bool),
    ) -> Done {
        let mut ends = Ends {
            host,
            id: id as u64,
            now_s,
            fenced,
            captures: Vec::new(),
            delivered: Vec::new(),
            done: Done::default(),
        };
        if side == Side::End {
            self.session.end(&mut ends);
        } else {
            let held = &mut self.held[usize::from(side == Side::Server)];
            held.extend_from_slice(bytes);
            let taken = match side {
                Side::Client => self.session.request(held, &mut ends),
                _ => self.session.answer(0, held, &mut ends),
            };
            held.drain(..taken.expect("one server"));
            self.session.between(&mut ends);
        }
        let Ends { host, captures, delivered, mut done, .. } = ends;
        if !captures.is_empty() {
            self.ticket = host.submit(&captures);
            done.captured = true;
        }
        if !delivered.is_empty() {
            self.out.push_back((self.ticket, delivered));
        }
        done
    }
}
