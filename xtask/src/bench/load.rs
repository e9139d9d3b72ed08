//! Requests at a steady pace, whatever the answers: how many were answered how, when, and after how long.
//! Never waits for a slow answer to begin the next request of another connection. What is late is sent late, and waited for from when it
//! was due; what is still late when the time is over is left out, and said.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::contender::{HOST, OTHER_CORE};

/// The niceness of threads that come after all others.
const LAST: i32 = 19;

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// Since the load began, in microseconds.
    pub(super) at_us: u64,
    /// Status.
    pub(super) status: u16,
    /// From when it was sent, or should have been, until the whole answer was there, in microseconds.
    pub(super) took_us: u64,
}

/// Sends `per_second` requests for `path` for `length` over `connections`, each at its own times, from the other core than the proxy's.
pub(super) fn paced(
    to: SocketAddr,
    path: &'static str,
    per_second: f64,
    length: Duration,
    connections: u32,
) -> Result<Vec<Answered>> {
    let began = Instant::now() + Duration::from_millis(50);
    let gap = Duration::from_secs_f64(f64::from(connections) / per_second);
    let one = |number: u32| {
        let offset = gap.mul_f64(f64::from(number) / f64::from(connections));
        thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || connection(to, path, began, offset, gap, length))
    };
    let threads = (0..connections).map(one).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| anyhow!("a load thread panicked"))??);
    }
    all.sort_unstable_by_key(|answered| answered.at_us);
    ensure!(!all.is_empty(), "nothing was answered");
    let due = per_second * length.as_secs_f64();
    if (all.len() as f64) < 0.97 * due {
        eprintln!("    only {} of {due:.0} requests could be sent in time", all.len());
    }
    Ok(all)
}

fn connection(
    to: SocketAddr,
    path: &str,
    began: Instant,
    offset: Duration,
    gap: Duration,
    length: Duration,
) -> Result<Vec<Answered>> {
    go_to_other_core()?;
    let (mut stream, mut reader) = open(to)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let (mut answers, mut next) = (Vec::new(), began + offset);
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    while next < began + length && Instant::now() < began + length {
        let sent = match next.checked_duration_since(Instant::now()) {
            Some(early) => {
                thread::sleep(early);
                Instant::now()
            }
            None => next,
        };
        stream.write_all(request.as_bytes())?;
        let status = answer(&mut reader)?;
        let at_us = micros(began.elapsed());
        answers.push(Answered { at_us, status, took_us: micros(sent.elapsed()) });
        next += gap;
    }
    Ok(answers)
}

fn go_to_other_core() -> Result<()> {
    let mut core = CpuSet::new();
    core.set(OTHER_CORE);
    sched_setaffinity(None, &core).context("going to the other core")
}

fn open(to: SocketAddr) -> Result<(TcpStream, BufReader<TcpStream>)> {
    let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let reader = BufReader::new(stream.try_clone()?);
    Ok((stream, reader))
}

/// Clients that ask for a large answer as soon as they have the last one, from the other core than the proxy's, of which they get what nobody
/// else wants; they end when dropped.
pub(super) struct Downloads {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Downloads {
    /// Starts so many.
    pub(super) fn start(to: SocketAddr, path: &'static str, clients: usize) -> Result<Self> {
        let (stop, bytes) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let one = |_| {
            let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&bytes));
            thread::Builder::new().spawn(move || download(to, path, &stop, &bytes))
        };
        let clients = (0..clients).map(one).collect::<Result<_, _>>()?;
        Ok(Self { stop, bytes, clients })
    }

    /// Bytes that came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Ends them.
    pub(super) fn end(mut self) -> Result<()> {
        self.stop.store(true, Relaxed);
        let ended = self.clients.drain(..).map(|client| client.join());
        ended
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|client| client.map_err(|_| anyhow!("a client panicked"))?)
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn download(to: SocketAddr, path: &str, stop: &AtomicBool, bytes: &AtomicU64) -> Result<()> {
    go_to_other_core()?;
    rustix::process::setpriority_process(None, LAST).context("coming last")?;
    let (mut stream, mut reader) = open(to)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    while !stop.load(Relaxed) {
        stream.write_all(request.as_bytes())?;
        let (status, length) = head(&mut reader)?;
        ensure!(status == 200, "{path} is answered with {status}");
        let (mut left, mut room) = (length, vec![0; 64 << 10]);
        while left > 0 && !stop.load(Relaxed) {
            let most = usize::try_from(left)?.min(room.len());
            let count = reader.read(&mut room[..most])? as u64;
            ensure!(count > 0, "{path} breaks off");
            left -= count;
            bytes.fetch_add(count, Relaxed);
        }
    }
    Ok(())
}

/// Opens so many connections, lets each carry one request after the other was answered, and leaves them open.
pub(super) fn idle(to: SocketAddr, connections: usize) -> Result<Vec<TcpStream>> {
    let one = |_| {
        let (mut stream, mut reader) = open(to)?;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
        ensure!(answer(&mut reader)? == 200, "not answered with 200");
        Ok(stream)
    };
    (0..connections).map(one).collect()
}

fn answer(reader: &mut BufReader<TcpStream>) -> Result<u16> {
    let (status, length) = head(reader)?;
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(status)
}

/// Status, and bytes behind it.
fn head(reader: &mut BufReader<TcpStream>) -> Result<(u16, u64)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status =
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| format!("{line:?}"))?;
    let (mut length, mut chunked) = (0_u64, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        chunked |= field.starts_with("transfer-encoding:");
    }
    ensure!(!chunked, "a chunked answer: the load reads plain lengths only");
    Ok((status, length))
}
