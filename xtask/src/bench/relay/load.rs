//! A load on memcached's text protocol from one thread: every connection always has a batch under way. Never takes an answer unread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Most distinct keys, and most bytes of their values, so that nothing is evicted.
const KEYS: (usize, usize) = (10_000, 16 << 20);
/// Longest wait for an answer.
const BOUND: Duration = Duration::from_secs(20);

/// What is asked, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// `set`; else `get`.
    pub(super) set: bool,
    /// Bytes of a value.
    pub(super) size: usize,
    pub(super) connections: usize,
    /// Requests per batch.
    pub(super) depth: usize,
}

/// Open connections.
pub(super) struct Load {
    shape: Shape,
    streams: Vec<TcpStream>,
    keys: usize,
    next: usize,
    answer: Vec<u8>,
    value: Vec<u8>,
    batch: Vec<u8>,
}

impl Load {
    /// Connects, and sets every key once where keys are to be read.
    pub(super) fn connect(to: SocketAddr, shape: Shape) -> Result<Self> {
        let mut streams = Vec::new();
        for _ in 0..shape.connections {
            let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(BOUND))?;
            streams.push(stream);
        }
        let value = vec![b'v'; shape.size];
        let keys = KEYS.0.min(KEYS.1 / shape.size.max(1));
        let mut load =
            Self { shape, streams, keys, next: 0, answer: vec![0; 512 * 1024], value, batch: Vec::new() };
        if !shape.set {
            load.shape.set = true;
            for _ in 0..keys.div_ceil(shape.depth) {
                load.send(0)?;
                load.receive(0)?;
            }
            load.shape.set = false;
        }
        Ok(load)
    }

    /// Operations per second over about `time`.
    pub(super) fn run(&mut self, time: Duration) -> Result<f64> {
        let start = Instant::now();
        let mut done = 0;
        for at in 0..self.streams.len() {
            self.send(at)?;
        }
        while start.elapsed() < time {
            for at in 0..self.streams.len() {
                self.receive(at)?;
                self.send(at)?;
            }
            done += self.streams.len() * self.shape.depth;
        }
        for at in 0..self.streams.len() {
            self.receive(at)?;
        }
        done += self.streams.len() * self.shape.depth;
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }

    fn send(&mut self, at: usize) -> Result<()> {
        self.batch.clear();
        for _ in 0..self.shape.depth {
            self.next = (self.next + 1) % self.keys;
            if self.shape.set {
                write!(
                    self.batch,
                    "set {:06}:{:06} 0 0 {}\r\n",
                    self.shape.size, self.next, self.shape.size
                )?;
                self.batch.extend_from_slice(&self.value);
                self.batch.extend_from_slice(b"\r\n");
            } else {
                write!(self.batch, "get {:06}:{:06}\r\n", self.shape.size, self.next)?;
            }
        }
        Ok(self.streams[at].write_all(&self.batch)?)
    }

    /// Reads one batch's answers: they are of known length, and begin as they should.
    fn receive(&mut self, at: usize) -> Result<()> {
        let head = if self.shape.set { "STORED\r\n".len() } else { self.value_bytes() };
        let bytes = head * self.shape.depth;
        ensure!(bytes <= self.answer.len(), "batches of {bytes} bytes are too long for this load");
        let answer = &mut self.answer[..bytes];
        self.streams[at].read_exact(answer).context("the answers stopped")?;
        let word: &[u8] = if self.shape.set { b"STORED" } else { b"VALUE " };
        ensure!(answer.starts_with(word), "answered {:?}", String::from_utf8_lossy(&answer[..bytes.min(60)]));
        Ok(())
    }

    fn value_bytes(&self) -> usize {
        format!("VALUE 000000:000000 0 {}\r\n", self.shape.size).len() + self.shape.size + "\r\nEND\r\n".len()
    }
}
