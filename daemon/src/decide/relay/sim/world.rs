//! Regions, daemons, clients and what befalls them in virtual time. Never decides what is captured, sent or deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::cache::{Cache, Store, Version};
use super::clients::{Claims, Client, Task};
use super::front::{Conn, Side};
use super::host::{Host, Job};
use super::{Dials, Totals};
use crate::decide::relay::repeat::Taken;
use crate::decide::sim::chance::Chance;

pub(super) const MS: u64 = 1_000_000;
/// Clients work and things break for so long.
pub(super) const STORMY: u64 = 8_000 * MS;
/// Then nobody writes and nothing breaks, but in some worlds clients go on reading.
const READING: u64 = STORMY + 5_000 * MS;
/// A lost connection's bytes are all there by then.
const COOL: u64 = 500 * MS;
const KEYS: usize = 8;

pub(super) enum Event {
    Client(usize),
    ToFront(usize, Vec<u8>),
    ToServer(usize, Vec<u8>),
    Answer(usize, Vec<u8>),
    ToClient(usize, Vec<u8>),
    Begin(usize, u32),
    Committed(usize, u32),
    Pump(usize, u32, usize),
    Connect(usize, u32, usize),
    Batch(usize, u64, Vec<u8>),
    Ack(usize, u64, bool),
    Repeated(usize, u64),
    Apply(usize, u32),
    Delete(usize, u32, Work),
    Replicate(usize, usize, Version),
    Disturb,
    Restart(usize),
    Mend(usize, usize),
}

/// What an applier is at.
pub(super) enum Work {
    First(Job),
    Again(Taken),
}

/// A connection between two daemons.
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) out: usize,
    pub(super) to: usize,
    pub(super) to_life: u32,
    pub(super) open: bool,
    /// What was on its way when it broke still arrives.
    pub(super) late: bool,
    pub(super) arrive: [u64; 2],
}

pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) dials: Dials,
    pub(super) base: Instant,
    pub(super) now: u64,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    pub(super) number: u64,
    pub(super) caches: Vec<Cache>,
    pub(super) store: Store,
    /// Most that each region's replica is behind.
    lags_ms: Vec<u64>,
    /// Most between a write to the store and the one to the cache: two regions' may come in the inverse order.
    hurry_ms: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) conns: Vec<Conn>,
    pub(super) links: Vec<Link>,
    pub(super) clients: Vec<Client>,
    pub(super) claims: Claims,
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) most_pending: u64,
    pub(super) totals: Totals,
}

fn key(number: usize) -> Vec<u8> {
    format!("k{number}").into_bytes()
}

fn value(byte: u8) -> String {
    format!("value-{byte}")
}

impl World {
    pub(super) fn new(mut chance: Chance, dials: Dials) -> Self {
        let regions = chance.pick(&[2, 2, 3]);
        let each = chance.pick(&[1, 1, 2]);
        let buckets = chance.pick(&[1, 4, 4]);
        let places = (0..regions).flat_map(|region| std::iter::repeat_n(region, each));
        let hosts = places.map(|region| Host::new(region, regions, buckets, dials.repeat_after)).collect();
        let clients = (0..regions * chance.pick(&[2, 4])).map(|number| Client {
            region: number % regions,
            conn: None,
            task: Task::Idle,
            heard: Vec::new(),
        });
        let lags_ms = (0..regions).map(|_| dials.lag_ms / chance.pick(&[1, 1, 2, 10])).collect();
        let hurry_ms = chance.pick(&[50, 50, 500]);
        let mut world = Self {
            lags_ms,
            hurry_ms,
            clients: clients.collect(),
            most_pending: chance.pick(&[4, 1000, 1000]),
            chance,
            dials,
            base: Instant::now(),
            now: 0,
            events: BTreeMap::new(),
            number: 0,
            caches: (0..regions).map(|_| Cache::default()).collect(),
            store: Store::new(regions, KEYS),
            hosts,
            conns: Vec::new(),
            links: Vec::new(),
            claims: Claims::default(),
            cut: BTreeSet::new(),
            totals: Totals::default(),
        };
        for client in 0..world.clients.len() {
            world.after(0, 50 * MS, Event::Client(client));
        }
        for host in 0..world.hosts.len() {
            for out in 0..regions - 1 {
                world.after(0, 50 * MS, Event::Connect(host, 0, out));
            }
        }
        world.after(0, 1000 * MS, Event::Disturb);
        world
    }

    /// Runs until nothing is left to happen; how many copies are stale then.
    pub(super) fn run(&mut self) -> u64 {
        let mut quiet = false;
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            if !quiet && at >= STORMY {
                quiet = true;
                self.cut.clear();
            }
            self.happen(event);
        }
        for host in &self.hosts {
            host.outs.iter().for_each(super::host::Out::assert_done);
            for out in &host.outs {
                let books = out.lane.books();
                self.totals.captured += books.captured;
                self.totals.coalesced += books.coalesced;
                self.totals.converted += books.converted;
            }
        }
        let mut stale = 0;
        for (region, cache) in self.caches.iter().enumerate() {
            for (number, &(_, truth)) in self.store.truth.iter().enumerate() {
                let Some(copy) = cache.copies.get(&key(number)) else { continue };
                self.totals.copies += 1;
                if *copy != value(truth).into_bytes() {
                    stale += 1;
                    if self.dials.told {
                        println!("region {region}: {:?} is {copy:?}, the store says {truth}", key(number));
                    }
                }
            }
        }
        stale
    }

    pub(super) fn after(&mut self, least: u64, most: u64, event: Event) {
        let at = self.now + self.chance.between(least, most);
        self.at(at, event);
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    pub(super) fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].alive && self.hosts[host].life == life
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client(client) => self.client(client),
            Event::ToFront(conn, bytes) => self.front(conn, Side::Client, &bytes),
            Event::ToServer(conn, bytes) => self.server(conn, &bytes),
            Event::Answer(conn, bytes) => self.front(conn, Side::Server, &bytes),
            Event::ToClient(conn, bytes) => self.heard(conn, &bytes),
            Event::Begin(host, life) if self.lives(host, life) => self.begin(host),
            Event::Committed(host, life) if self.lives(host, life) => self.committed(host),
            Event::Pump(host, life, out) if self.lives(host, life) => self.pump(host, out),
            Event::Connect(host, life, out) if self.lives(host, life) => self.connect(host, out),
            Event::Batch(link, number, items) => self.batch(link, number, items),
            Event::Ack(link, number, rests) => self.ack(link, number, Some(rests)),
            Event::Repeated(link, number) => self.ack(link, number, None),
            Event::Apply(host, life) if self.lives(host, life) => self.apply(host),
            Event::Delete(host, life, work) if self.lives(host, life) => self.delete(host, work),
            Event::Replicate(region, key, version) => self.store.replicate(region, key, version),
            Event::Disturb => self.disturb(),
            Event::Restart(host) => self.restart(host),
            Event::Mend(a, b) => drop(self.cut.remove(&(a, b))),
            _ => {}
        }
    }

    fn client(&mut self, client: usize) {
        let region = self.clients[client].region;
        match std::mem::replace(&mut self.clients[client].task, Task::Idle) {
            Task::Idle => self.idle(client),
            Task::Think { key, writes, command } => self.store_copy(client, key, writes, &command),
            Task::Cool { key, writes, again: true } => {
                let command = format!("delete k{key}\r\n");
                self.store_copy(client, key, writes, command.as_bytes());
            }
            Task::Cool { key, writes, again: false } => {
                self.claims.release(region, key, writes);
                self.after(0, 50 * MS, Event::Client(client));
            }
            task @ (Task::Get { .. } | Task::Stored { .. }) => self.clients[client].task = task,
        }
    }

    fn idle(&mut self, client: usize) {
        if self.now >= if self.dials.reads_on { READING } else { STORMY } {
            return;
        }
        let region = self.clients[client].region;
        let (number, what) = (self.chance.below(KEYS), self.chance.below(100));
        let what = if self.now < STORMY { what } else { 0 };
        let writes = what >= 70;
        if what == 99 && self.dials.storms {
            // A flush needs no claim: it only forgets.
            if self.say(client, b"flush_all\r\n") {
                self.clients[client].task = Task::Stored { key: usize::MAX, writes: false };
                return;
            }
        } else if self.claims.claim(region, number, writes) {
            if what < 80 {
                if self.say(client, format!("get k{number}\r\n").as_bytes()) {
                    self.clients[client].task = Task::Get { key: number, writes };
                    return;
                }
                self.claims.release(region, number, writes);
            } else {
                return self.write(client, number);
            }
        }
        self.after(5 * MS, 100 * MS, Event::Client(client));
    }

    /// Writes the store, and will say so to the cache.
    fn write(&mut self, client: usize, number: usize) {
        let region = self.clients[client].region;
        let byte = u8::try_from(self.chance.below(self.dials.values)).expect("few");
        let version = self.store.write(region, number, byte);
        self.totals.writes += 1;
        for other in (0..self.caches.len()).filter(|other| *other != region) {
            self.after(0, self.lags_ms[other] * MS, Event::Replicate(other, number, version));
        }
        let text = value(byte);
        let command = match self.chance.below(3) {
            0 => format!("delete k{number}\r\n"),
            _ => format!("set k{number} 0 0 {}\r\n{text}\r\n", text.len()),
        };
        self.clients[client].task = Task::Think { key: number, writes: true, command: command.into() };
        self.after(0, self.hurry_ms * MS, Event::Client(client));
    }

    fn store_copy(&mut self, client: usize, key: usize, writes: bool, command: &[u8]) {
        if self.say(client, command) {
            self.clients[client].task = Task::Stored { key, writes };
        } else {
            // Nobody there: a refill is given up, a write is made good by a delete.
            self.clients[client].task = Task::Cool { key, writes, again: writes };
            self.after(COOL, COOL, Event::Client(client));
        }
    }

    /// Sends over the client's connection, or a new one; false when no front of its region is there.
    fn say(&mut self, client: usize, bytes: &[u8]) -> bool {
        let region = self.clients[client].region;
        if self.clients[client].conn.is_some() && self.chance.percent(10) {
            self.hang_up(client);
        }
        if self.clients[client].conn.is_none() {
            let there: Vec<usize> = (0..self.hosts.len())
                .filter(|&host| self.hosts[host].region == region && self.hosts[host].alive)
                .collect();
            if there.is_empty() {
                return false;
            }
            let host = self.chance.pick(&there);
            self.clients[client].conn = Some(self.conns.len());
            self.conns.push(Conn::new(host, client));
        }
        self.clients[client].heard.clear();
        let conn = self.clients[client].conn.expect("just made");
        self.travel(conn, 0, Event::ToFront(conn, bytes.to_vec()));
        true
    }

    /// The client closes its connection in good order.
    fn hang_up(&mut self, client: usize) {
        if let Some(conn) = self.clients[client].conn.take() {
            self.front(conn, Side::End, &[]);
            self.conns[conn].open = false;
        }
    }

    /// Bytes on one of a connection's ways: they arrive in order.
    fn travel(&mut self, conn: usize, way: usize, event: Event) {
        let slow = self.chance.percent(3);
        let delay = self.chance.between(MS / 10, if slow { 80 * MS } else { 2 * MS });
        let at = (self.now + delay).max(self.conns[conn].arrive[way] + 1);
        self.conns[conn].arrive[way] = at;
        self.at(at, event);
    }

    /// A connection is gone without a word.
    pub(super) fn broken(&mut self, conn: usize) {
        if !std::mem::take(&mut self.conns[conn].open) {
            return;
        }
        let client = self.conns[conn].client;
        if self.clients[client].conn != Some(conn) {
            return;
        }
        self.clients[client].conn = None;
        let (key, writes, again) = match self.clients[client].task {
            Task::Get { key, writes } => (key, writes, false),
            Task::Stored { key, writes } if key < KEYS => (key, writes, writes),
            Task::Stored { .. } => {
                self.clients[client].task = Task::Idle;
                return self.after(0, 50 * MS, Event::Client(client));
            }
            _ => return,
        };
        self.clients[client].task = Task::Cool { key, writes, again };
        self.after(COOL, COOL, Event::Client(client));
    }

    fn heard(&mut self, conn: usize, bytes: &[u8]) {
        let client = self.conns[conn].client;
        if !self.conns[conn].open || self.clients[client].conn != Some(conn) {
            return;
        }
        self.clients[client].heard.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.clients[client].heard).into_owned();
        let region = self.clients[client].region;
        match self.clients[client].task {
            Task::Get { key, writes: true } if text.ends_with("END\r\n") => self.write(client, key),
            Task::Get { key, writes: false } if text.ends_with("END\r\n") => {
                self.totals.reads += 1;
                if text.starts_with("VALUE") {
                    return self.finish(client, key, false);
                }
                let text = value(self.store.read(region, key));
                let verb = if self.chance.percent(20) { "add" } else { "set" };
                let command = format!("{verb} k{key} 0 0 {}\r\n{text}\r\n", text.len()).into_bytes();
                self.clients[client].task = Task::Think { key, writes: false, command };
                self.totals.refills += 1;
                self.after(0, self.dials.think_ms * MS, Event::Client(client));
            }
            Task::Stored { key, writes } if text.ends_with("\r\n") => self.finish(client, key, writes),
            _ => {}
        }
    }

    fn finish(&mut self, client: usize, key: usize, writes: bool) {
        let region = self.clients[client].region;
        if key < KEYS {
            self.claims.release(region, key, writes);
        }
        self.clients[client].task = Task::Idle;
        self.after(5 * MS, 150 * MS, Event::Client(client));
    }

    pub(super) fn front(&mut self, conn: usize, side: Side, bytes: &[u8]) {
        let at = &mut self.conns[conn];
        let host = at.host;
        if !at.open || !self.hosts[host].alive {
            return;
        }
        let now_s = u32::try_from(self.now / (1000 * MS)).expect("short");
        let done = at.hear(side, bytes, &mut self.hosts[host], (conn, now_s, self.dials.fenced));
        self.totals.stale_sets += done.stale_sets;
        self.totals.rereads += done.rereads;
        if !done.forwarded.is_empty() {
            self.travel(conn, 1, Event::ToServer(conn, done.forwarded));
        }
        if done.captured {
            self.at(self.now, Event::Begin(host, self.hosts[host].life));
        }
        self.let_out(conn);
    }

    /// Hands the client what is durable.
    fn let_out(&mut self, conn: usize) {
        let durable = self.hosts[self.conns[conn].host].durable;
        while self.conns[conn].out.front().is_some_and(|&(ticket, _)| ticket <= durable) {
            let Some((_, bytes)) = self.conns[conn].out.pop_front() else { return };
            self.travel(conn, 2, Event::ToClient(conn, bytes));
        }
    }

    fn server(&mut self, conn: usize, bytes: &[u8]) {
        let region = self.hosts[self.conns[conn].host].region;
        if !self.conns[conn].served {
            return;
        }
        let mut held = std::mem::take(&mut self.conns[conn].at_server);
        held.extend_from_slice(bytes);
        let answer = self.caches[region].commands(&mut held);
        self.conns[conn].at_server = held;
        if !answer.is_empty() {
            self.travel(conn, 2, Event::Answer(conn, answer));
        }
    }

    fn begin(&mut self, host: usize) {
        if !self.hosts[host].begin(self.most_pending) {
            return;
        }
        let life = self.hosts[host].life;
        // Now and then the disk is full for a while.
        let full = self.dials.storms && self.chance.percent(1);
        self.after(MS / 10, if full { 800 * MS } else { 3 * MS }, Event::Committed(host, life));
        for out in 0..self.hosts[host].outs.len() {
            self.after(0, MS, Event::Pump(host, life, out));
        }
    }

    fn committed(&mut self, host: usize) {
        self.hosts[host].committed();
        for conn in 0..self.conns.len() {
            if self.conns[conn].host == host && self.conns[conn].open {
                self.let_out(conn);
            }
        }
        self.begin(host);
    }
}
