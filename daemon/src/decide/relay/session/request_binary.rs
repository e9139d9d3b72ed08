//! Request bytes of the binary protocol (doc/protocol-binary.txt). Never waits for more than header, extras and key.

use super::order::{Op, Pending};
use super::run::Run;
use super::{Body, Desync, HashState, Session};
use crate::decide::relay::effect::{Effect, MAX_KEY};
use crate::decide::relay::io::Io;

/// Bytes of a header.
pub(super) const HEADER: usize = 24;
pub(super) const OP_DELETE: u8 = 0x04;
pub(super) const OP_NOOP: u8 = 0x0a;
/// Marks requests of ours; a client's request with it is answered all the same, since order decides first.
pub(super) const OWN_OPAQUE: u32 = 0x7469_6465;
/// A no-op of ours.
pub(super) const NOOP: [u8; HEADER] = {
    let mut header = [0; HEADER];
    header[0] = 0x80;
    header[1] = OP_NOOP;
    let opaque = OWN_OPAQUE.to_be_bytes();
    (header[12], header[13], header[14], header[15]) = (opaque[0], opaque[1], opaque[2], opaque[3]);
    header
};
const OP_QUIT: u8 = 0x07;
const OP_QUITQ: u8 = 0x17;
const OP_FLUSH: u8 = 0x08;
pub(super) const OP_STAT: u8 = 0x10;

/// A delete of ours.
pub(super) fn delete(key: &[u8]) -> Vec<u8> {
    let mut bytes = NOOP.to_vec();
    bytes[1] = OP_DELETE;
    let len = u16::try_from(key.len()).unwrap_or(0);
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes[8..12].copy_from_slice(&u32::from(len).to_be_bytes());
    bytes.extend_from_slice(&key[..usize::from(len)]);
    bytes
}

/// "Temporary failure" with words.
pub(super) fn refusal(opcode: u8, opaque: u32, why: &str) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    (bytes[0], bytes[1], bytes[7]) = (0x81, opcode, 0x86);
    let text = why.as_bytes();
    bytes[8..12].copy_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    bytes[12..16].copy_from_slice(&opaque.to_be_bytes());
    bytes.extend_from_slice(text);
    bytes
}

/// The loud form of a quiet opcode, and whether it was quiet.
pub(super) fn loud(opcode: u8) -> (u8, bool) {
    match opcode {
        0x09 => (0x00, true),
        0x0d => (0x0c, true),
        0x11..=0x1a => (opcode - 0x10 + if opcode == 0x19 || opcode == 0x1a { 0x05 } else { 0 }, true),
        0x1e => (0x1d, true),
        0x24 => (0x23, true),
        _ => (opcode, false),
    }
}

/// set, add, replace, append, prepend (loud opcodes).
pub(super) fn stores(opcode: u8) -> bool {
    matches!(opcode, 0x01..=0x03 | 0x0e | 0x0f)
}

/// Whatever may change a key.
pub(super) fn writes(opcode: u8) -> bool {
    stores(opcode) || matches!(opcode, OP_DELETE | 0x05 | 0x06 | OP_FLUSH)
}

/// get, getk, gat, gatk.
pub(super) fn retrieves(opcode: u8) -> bool {
    matches!(opcode, 0x00 | 0x0c | 0x1d | 0x23)
}

/// A request's header.
pub(super) struct Head {
    pub(super) opcode: u8,
    pub(super) key: usize,
    pub(super) extras: usize,
    pub(super) body: usize,
    pub(super) opaque: u32,
    /// Vbucket of a request, status of an answer.
    pub(super) status: u16,
}

impl Head {
    pub(super) fn parse(bytes: &[u8], magic: u8) -> Option<Self> {
        let head: &[u8; HEADER] = bytes.first_chunk()?;
        let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let key = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let extras = usize::from(head[4]);
        (head[0] == magic && key + extras <= body).then_some(Self {
            opcode: head[1],
            key,
            extras,
            body,
            opaque: u32::from_be_bytes([head[12], head[13], head[14], head[15]]),
            status: u16::from_be_bytes([head[6], head[7]]),
        })
    }
}

impl Session {
    pub(super) fn request_binary(&mut self, bytes: &[u8], io: &mut impl Io) -> Result<usize, Desync> {
        let mut run = Run::new(bytes, self.body.as_ref().map_or(0, |body| body.lane));
        let mut at = 0;
        while at < bytes.len() {
            if self.unframed {
                at = bytes.len();
                break;
            }
            if self.body.is_some() {
                at += self.body_bytes(&bytes[at..], io);
            } else {
                let rest = &bytes[at..];
                if rest.len() < HEADER {
                    break;
                }
                let Some(head) = Head::parse(rest, 0x80) else {
                    run.flush(at, io);
                    self.unframed = true;
                    if !self.blind {
                        self.go_blind(io)?;
                    }
                    continue;
                };
                if rest.len() < HEADER + head.extras + head.key {
                    break;
                }
                self.frame(&head, rest, at, &mut run, io);
                at += HEADER + head.extras + head.key;
                if self.body.as_ref().is_some_and(|body| body.value == 0) {
                    self.body_bytes(&[], io);
                }
            }
            if self.body.is_none() && !self.inject.is_empty() {
                run.flush(at, io);
                self.between(io);
            }
        }
        run.flush(at, io);
        self.relieve(io);
        Ok(at)
    }

    /// One request, as far as its key.
    fn frame(&mut self, head: &Head, bytes: &[u8], start: usize, run: &mut Run<'_>, io: &mut impl Io) {
        let extras = &bytes[HEADER..HEADER + head.extras];
        let key = &bytes[HEADER + head.extras..HEADER + head.extras + head.key];
        let (opcode, quiet) = loud(head.opcode);
        let valid = key.len() <= MAX_KEY && !key.is_empty();
        let lane = if valid { self.lane_of(key) } else { 0 };
        self.key.clear();
        self.key.extend_from_slice(key);
        let word =
            |at: usize| extras.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        if matches!(head.opcode, OP_QUIT | OP_QUITQ) {
            self.quitting = true;
        }
        let op = if opcode == OP_FLUSH { Op::Flush(word(0)) } else { Op::Binary(head.opcode) };
        let captured = valid && writes(opcode) || opcode == OP_FLUSH;
        if opcode == OP_FLUSH && self.ring.is_some() {
            self.flush_everywhere(op, quiet, head, bytes, start, run, io);
            return;
        }
        run.turn(start, lane, io);
        if self.blind {
            self.scan_binary(head, op, opcode, captured, lane, io);
            return;
        }
        let id = self.binary_order(head, op, opcode, quiet, captured, lane, io);
        self.begin_body(Body {
            value: (head.body - head.extras - head.key) as u64,
            tail: 0,
            id,
            flags: word(0),
            whole: matches!(opcode, 0x01..=0x03),
            write: captured && stores(opcode),
            lane,
            hash: HashState::Off,
        });
    }

    /// Blind: captures what is a write, whatever comes of it.
    fn scan_binary(
        &mut self,
        head: &Head,
        op: Op,
        opcode: u8,
        captured: bool,
        lane: usize,
        io: &mut impl Io,
    ) {
        let stores = stores(opcode) && self.policy.refill_port;
        let skip = stores || self.policy.deletes_only && opcode != OP_DELETE && opcode != OP_FLUSH;
        match op {
            Op::Flush(delay_s) => io.flushed(delay_s),
            _ if captured && !skip => io.captured(&self.key, Effect::Forget),
            _ => {}
        }
        self.begin_body(Body {
            value: (head.body - head.extras - head.key) as u64,
            tail: 0,
            id: None,
            flags: 0,
            whole: false,
            write: false,
            lane,
            hash: HashState::Off,
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one header")]
    fn binary_order(
        &mut self,
        head: &Head,
        op: Op,
        opcode: u8,
        quiet: bool,
        captured: bool,
        lane: usize,
        io: &mut impl Io,
    ) -> Option<u64> {
        let skip = self.policy.deletes_only && opcode != OP_DELETE && opcode != OP_FLUSH;
        if quiet && !retrieves(opcode) {
            if captured && !stores(opcode) && !skip {
                match op {
                    Op::Flush(delay_s) => io.flushed(delay_s),
                    _ => io.captured(&self.key, Effect::Forget),
                }
            }
            self.enqueue(Pending { opaque: head.opaque, ..Pending::new(Op::Silent, lane) }, io);
            return None;
        }
        let keys = u32::from(!self.key.is_empty());
        if keys > 0 {
            self.order.push_key(&self.key);
        }
        let skip = skip || !captured;
        let pending = Pending { quiet, keys, skip, opaque: head.opaque, ..Pending::new(op, lane) };
        Some(self.enqueue(pending, io))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    fn flush_everywhere(
        &mut self,
        op: Op,
        quiet: bool,
        head: &Head,
        bytes: &[u8],
        start: usize,
        run: &mut Run<'_>,
        io: &mut impl Io,
    ) {
        let size = HEADER + head.extras + head.key;
        run.cut(start, start + size, io);
        if let (Op::Flush(delay_s), true) = (op, quiet) {
            io.flushed(delay_s);
        }
        let lanes = self.down.len();
        for lane in 0..lanes {
            let last = lane + 1 == lanes;
            let op = if quiet { Op::Silent } else { op };
            self.enqueue(
                Pending { dropped: !last, skip: !last, opaque: head.opaque, ..Pending::new(op, lane) },
                io,
            );
            io.forward(lane, &bytes[..size]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_opcodes_have_their_loud_form() {
        let pairs = [
            (0x09, 0x00),
            (0x0d, 0x0c),
            (0x11, 0x01),
            (0x12, 0x02),
            (0x13, 0x03),
            (0x14, 0x04),
            (0x15, 0x05),
        ];
        let more = [
            (0x16, 0x06),
            (0x17, 0x07),
            (0x18, 0x08),
            (0x19, 0x0e),
            (0x1a, 0x0f),
            (0x1e, 0x1d),
            (0x24, 0x23),
        ];
        for (quiet, expected) in pairs.into_iter().chain(more) {
            assert_eq!(loud(quiet), (expected, true), "{quiet:#x}");
        }
        for same in [0x00, 0x01, 0x0e, 0x0f, 0x10, 0x1c, 0x1d, 0x20] {
            assert_eq!(loud(same), (same, false), "{same:#x}");
        }
    }
}
