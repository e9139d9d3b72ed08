//! A load on memcached's text or binary protocol from one thread: every connection always has a batch under way. Never takes an answer
//! unread, or one that is not what was asked for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::epoll;

/// Most distinct keys, and most bytes of their values, so that nothing is evicted.
const KEYS: (usize, usize) = (10_000, 16 << 20);
/// Longest wait for an answer.
const BOUND: Duration = Duration::from_secs(20);
/// Bytes of a header of the binary protocol.
const HEADER: usize = 24;

/// What is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// `set`; else `get`.
    pub(super) set: bool,
    /// The binary protocol; else text.
    pub(super) binary: bool,
    /// Bytes of a value.
    pub(super) size: usize,
    pub(super) connections: usize,
    /// Requests per batch.
    pub(super) depth: usize,
}

/// What a run showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Operations.
    pub(super) count: f64,
    pub(super) per_second: f64,
    /// Of batches, in microseconds.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// A connection and the batch under way on it.
struct Line {
    stream: TcpStream,
    /// Bytes of answer to come.
    due: usize,
    sent: Instant,
}

/// Open connections.
pub(super) struct Load {
    shape: Shape,
    lines: Vec<Line>,
    poll: std::os::fd::OwnedFd,
    keys: usize,
    next: usize,
    scratch: Vec<u8>,
    value: Vec<u8>,
    batch: Vec<u8>,
}

impl Load {
    /// Connects, and sets every key once where keys are to be read.
    pub(super) fn connect(to: SocketAddr, shape: Shape) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lines = Vec::new();
        for at in 0..shape.connections {
            let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(BOUND))?;
            epoll::add(&poll, &stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
            lines.push(Line { stream, due: 0, sent: Instant::now() });
        }
        let keys = KEYS.0.min(KEYS.1 / shape.size.max(1));
        let (value, scratch) = (vec![b'v'; shape.size], vec![0; 256 * 1024]);
        let mut load = Self { shape, lines, poll, keys, next: 0, scratch, value, batch: Vec::new() };
        if !shape.set {
            load.shape.set = true;
            for _ in 0..keys.div_ceil(shape.depth) {
                load.send(0)?;
                while !load.receive(0)? {}
            }
            load.shape.set = false;
        }
        Ok(load)
    }

    /// Keeps all connections busy for about `time`.
    pub(super) fn run(&mut self, time: Duration) -> Result<Seen> {
        let start = Instant::now();
        let (mut took, mut busy) = (Vec::new(), self.lines.len());
        (0..self.lines.len()).try_for_each(|at| self.send(at))?;
        let mut ready = Vec::with_capacity(self.lines.len());
        while busy > 0 {
            ready.clear();
            let patience = rustix::event::Timespec { tv_sec: BOUND.as_secs().cast_signed(), tv_nsec: 0 };
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut ready), Some(&patience))?;
            ensure!(!ready.is_empty(), "no answer within {BOUND:?}");
            for event in &ready {
                let at = usize::try_from(event.data.u64())?;
                if !self.receive(at)? {
                    continue;
                }
                took.push(u32::try_from(self.lines[at].sent.elapsed().as_micros())?);
                if start.elapsed() < time {
                    self.send(at)?;
                } else {
                    busy -= 1;
                }
            }
        }
        let count = (took.len() * self.shape.depth) as f64;
        let per_second = count / start.elapsed().as_secs_f64();
        took.sort_unstable();
        let at = |share: usize| f64::from(took[(took.len() - 1) * share / 100]);
        Ok(Seen { count, per_second, p50_us: at(50), p99_us: at(99) })
    }

    fn send(&mut self, at: usize) -> Result<()> {
        self.batch.clear();
        for _ in 0..self.shape.depth {
            self.next = (self.next + 1) % self.keys;
            let key = format!("{:06}:{:06}", self.shape.size, self.next);
            match (self.shape.binary, self.shape.set) {
                (true, set) => self.binary(set, key.as_bytes()),
                (false, false) => write!(self.batch, "get {key}\r\n")?,
                (false, true) => {
                    write!(self.batch, "set {key} 0 0 {}\r\n", self.shape.size)?;
                    self.batch.extend_from_slice(&self.value);
                    self.batch.extend_from_slice(b"\r\n");
                }
            }
        }
        let due = self.answer_bytes() * self.shape.depth;
        let line = &mut self.lines[at];
        (line.due, line.sent) = (due, Instant::now());
        Ok(line.stream.write_all(&self.batch)?)
    }

    /// A request of the binary protocol: header, extras (flags and expiry of a set), key, value.
    fn binary(&mut self, set: bool, key: &[u8]) {
        let (opcode, extras, value) = if set { (1, 8, self.value.as_slice()) } else { (0, 0, &[][..]) };
        let mut header = [0; HEADER];
        (header[0], header[1], header[3], header[4]) = (0x80, opcode, key.len() as u8, extras);
        let body = usize::from(extras) + key.len() + value.len();
        header[8..12].copy_from_slice(&(body as u32).to_be_bytes());
        self.batch.extend_from_slice(&header);
        self.batch.extend_from_slice(&[0; 8][..usize::from(extras)]);
        self.batch.extend_from_slice(key);
        self.batch.extend_from_slice(value);
    }

    /// Reads once; whether the batch is answered. Answers are of known length, and begin as they should.
    fn receive(&mut self, at: usize) -> Result<bool> {
        let whole = self.answer_bytes() * self.shape.depth;
        let line = &mut self.lines[at];
        let most = line.due.min(self.scratch.len());
        let read = line.stream.read(&mut self.scratch[..most]).context("the answers stopped")?;
        ensure!(read > 0, "the connection was closed");
        if line.due == whole {
            let word: &[u8] = match (self.shape.binary, self.shape.set) {
                (true, true) => &[0x81, 1],
                (true, false) => &[0x81, 0],
                (false, true) => b"STORED",
                (false, false) => b"VALUE ",
            };
            let start = &self.scratch[..read.min(word.len())];
            let refused = self.shape.binary && read >= 8 && self.scratch[6..8] != [0, 0];
            let said = String::from_utf8_lossy(&self.scratch[..read.min(60)]);
            ensure!(word.starts_with(start) && !refused, "answered {said:?}");
        }
        line.due -= read;
        Ok(line.due == 0)
    }

    /// Of one request.
    fn answer_bytes(&self) -> usize {
        match (self.shape.binary, self.shape.set) {
            (true, true) => HEADER,
            (true, false) => HEADER + 4 + self.shape.size,
            (false, true) => "STORED\r\n".len(),
            (false, false) => {
                let digits = self.shape.size.checked_ilog10().unwrap_or(0) as usize + 1;
                "VALUE 000000:000000 0 \r\n".len() + digits + self.shape.size + "\r\nEND\r\n".len()
            }
        }
    }
}
