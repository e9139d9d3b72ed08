//! The admin socket under damaged requests, many connections and readers that do not read. Judges no rights.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::http;
use tidegate_tests::process::wait_until;

const FILE: &str = "[[region]]\nname = \"north\"\n[[region]]\nname = \"south\"\n\
    [[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1_000\n";

/// Most growth of the daemon's resident memory, in KiB.
const MOST_GROWTH: u64 = 8 * 1024;

const GOOD: [&str; 8] = [
    "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /v1/ceilings/everyone HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "PUT /v1/regions/south/failover HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{\"on\": true}\n",
    "PATCH /v1/ceilings/everyone HTTP/1.1\r\nHost: x\r\nContent-Length: 27\r\n\r\n{\"requests_per_second\": 10}",
    "POST /v1/deny HTTP/1.1\r\nHost: x\r\nContent-Length: 23\r\n\r\n{\"prefix\": \"192.0.2.1\"}",
    "POST /v1/explain HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\n{\"from\": \"192.0.2.1\", \"url\": \"/x\"}",
    "POST /v1/confirm HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
];

/// xorshift64*: the same damages in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or(0) % below
    }

    fn damaged(&mut self) -> Vec<u8> {
        let mut bytes = GOOD[self.roll(GOOD.len())].as_bytes().to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match self.roll(4) {
                0 => bytes[at] = u8::try_from(self.roll(256)).unwrap_or(0),
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b'9'),
                _ => {
                    let piece = bytes[at..].to_vec();
                    bytes.extend(piece);
                }
            }
        }
        bytes
    }
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

fn send(socket: &Path, bytes: &[u8]) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // The daemon may have closed already: that is its right.
    let written = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    if written.is_ok() {
        _ = stream.read_to_end(&mut Vec::new());
    }
    Ok(())
}

fn answers(daemon: &Daemon) -> bool {
    daemon.admin("GET", "/v1/status", "").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn ten_thousand_damaged_requests_do_no_harm() -> Result<()> {
    let daemon = Daemon::start(None, "north", FILE)?;
    let pid = daemon.id().context("it runs")?;
    let mut dice = Dice(0x0064_616d_6167_6564);
    for _ in 0..500 {
        send(&daemon.socket(), &dice.damaged())?;
    }
    let before = resident_kib(pid)?;
    for _ in 0..10_000 {
        send(&daemon.socket(), &dice.damaged())?;
    }
    let grown = resident_kib(pid)?.saturating_sub(before);
    ensure!(answers(&daemon), "it no longer answers");
    ensure!(grown < MOST_GROWTH, "it grew by {grown} KiB");
    let log = std::fs::read_to_string(daemon.log())?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

#[test]
fn a_thousand_connections_and_readers_that_do_not_read_do_no_harm() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a thousand connections to one socket as root");
        return Ok(());
    }
    let daemon = Daemon::start(None, "north", FILE)?;
    let pid = daemon.id().context("it runs")?;
    ensure!(answers(&daemon), "it does not answer");
    let before = resident_kib(pid)?;
    for crowds in 1..=2 {
        let seats = crowd(&daemon)?;
        let grown = resident_kib(pid)?.saturating_sub(before);
        println!("{crowds} crowds: {grown} KiB, seats free again after {seats:?}");
        ensure!(grown < MOST_GROWTH, "it grew by {grown} KiB");
    }
    Ok(())
}

/// Sixty readers of events that don't read, a thousand connections that say nothing, and changes that all of them would hear of.
/// How long it took until the seats of those that left were free.
fn crowd(daemon: &Daemon) -> Result<Duration> {
    let mut readers = Vec::new();
    for _ in 0..60 {
        let mut stream = UnixStream::connect(daemon.socket())?;
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")?;
        readers.push(stream);
    }
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        match UnixStream::connect(daemon.socket()) {
            Ok(stream) => idle.push(stream),
            Err(error) => ensure!(idle.len() > 100, "after {} connections: {error}", idle.len()),
        }
    }
    drop(idle);
    let left = Instant::now();
    wait_until("an answer", Duration::from_secs(60), || answers(daemon))?;
    let seats = left.elapsed();
    for limit in 1..200u32 {
        let body = format!("{{\"requests_per_second\": {limit}}}");
        let answer = http::unix(&daemon.socket(), "PATCH", "/v1/ceilings/everyone", body.as_bytes())?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    drop(readers);
    Ok(seats)
}
