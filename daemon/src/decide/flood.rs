//! Whether an HTTP/2 client sends frames for their own sake: pings, settings, window updates, resets and empty frames cost each side work
//! and carry nothing. Never looks into a payload, and never counts what a request or response is made of.
//!
//! A connection has an allowance of such frames that grows with time, with the requests it makes and with what is sent to it: whoever
//! downloads must send window updates, whoever cancels a request must reset it. Rapid reset (CVE-2023-44487), CONTINUATION (CVE-2024-27316),
//! "made you reset" (CVE-2025-8671), PING, SETTINGS, PRIORITY and empty-frame floods (CVE-2019-9511 to 9518) all run out of it.

use super::framing::Walk;

/// Frames that may be saved up.
const CAPACITY: u64 = 2_000;
/// Frames per second.
const PER_SECOND: u64 = 200;
/// Bytes sent to the client that pay for one frame.
const BYTES: u64 = 1_024;
/// One frame, in the unit that the allowance is kept in: nanoseconds of its growth.
const FRAME_NS: u64 = 1_000_000_000 / PER_SECOND;

const DATA: u8 = 0;
const END_STREAM: u8 = 1;

/// One connection's frames.
#[derive(Debug)]
pub struct Flood {
    walk: Walk,
    /// The allowance was empty then; full means [`CAPACITY`] frames later.
    empty_ns: u64,
    /// Requests that were paid for.
    requests: u64,
    sent: u64,
}

impl Flood {
    /// A connection that begins now, with a full allowance.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        let empty_ns = now_ns.saturating_sub(CAPACITY * FRAME_NS);
        Self { walk: Walk::behind_preface(), empty_ns, requests: 0, sent: 0 }
    }

    /// Reads on: how many frames began in `bytes` that carry nothing by themselves.
    pub fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut frames = 0;
        self.walk.on(bytes, |head| {
            let carries = head.kind == DATA && (head.length > 0 || head.flags & END_STREAM != 0);
            frames += u64::from(!carries);
        });
        frames
    }

    /// Bytes were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Takes `frames` out of the allowance; whether it held them. `requests` is how many the connection has made so far: each pays for the
    /// HEADERS that it began with.
    #[must_use]
    pub fn allows(&mut self, frames: u64, requests: u64, now_ns: u64) -> bool {
        let paid = requests.saturating_sub(self.requests) + self.sent / BYTES;
        (self.requests, self.sent) = (requests, self.sent % BYTES);
        let credit = paid.min(CAPACITY) * FRAME_NS;
        let full = now_ns.saturating_sub(CAPACITY * FRAME_NS);
        self.empty_ns = self.empty_ns.saturating_sub(credit).max(full).saturating_add(frames * FRAME_NS);
        self.empty_ns <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: u8 = 1;
    const HEADER: usize = 9;
    const START: u64 = 1_000_000_000_000;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).expect("short").to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER + length, 0xff);
        bytes
    }

    fn begun() -> Flood {
        let mut flood = Flood::new(START);
        assert_eq!(flood.count(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0);
        flood
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let stream = [
            frame(4, 0, 18),
            frame(DATA, 0, 100),
            frame(6, 0, 8),
            frame(DATA, 0, 0),
            frame(DATA, END_STREAM, 0),
        ]
        .concat();
        for piece in 1..40 {
            let mut flood = begun();
            let counted: u64 = stream.chunks(piece).map(|bytes| flood.count(bytes)).sum();
            assert_eq!(counted, 3, "SETTINGS, PING and an empty DATA, in pieces of {piece}");
        }
    }

    #[test]
    fn the_allowance_is_used_up_and_grows_again() {
        let mut flood = begun();
        for _ in 0..CAPACITY {
            assert!(flood.allows(1, 0, START));
        }
        assert!(!flood.allows(1, 0, START));
        let mut flood = begun();
        assert!(flood.allows(CAPACITY, 0, START));
        assert!(flood.allows(PER_SECOND, 0, START + 1_000_000_000));
        assert!(!flood.allows(1, 0, START + 1_000_000_000));
        let mut patient = begun();
        assert!(
            (0..100_000).all(|frame| patient.allows(1, 0, START + frame * FRAME_NS)),
            "for ever at that pace"
        );
    }

    #[test]
    fn requests_and_downloads_pay_but_resets_do_not() {
        let mut flood = begun();
        for request in 1..=100_000 {
            let frames = flood.count(&frame(HEADERS, END_STREAM, 30));
            assert!(flood.allows(frames, request, START), "request {request}");
        }
        let mut download = begun();
        for _ in 0..100_000 {
            download.sent(16_384);
            assert!(download.allows(2, 1, START), "window updates");
        }
        let mut rapid = begun();
        let allowed = (1..=100_000).take_while(|request| rapid.allows(2, *request, START)).count();
        assert_eq!(
            allowed as u64,
            CAPACITY - 1,
            "a reset each; what the first request paid found the allowance full"
        );
    }
}
