//! Answer bytes of the binary protocol. Never looks into a value.

use super::order::{Op, Pending};
use super::request_binary::{HEADER, Head, OP_DELETE, OP_NOOP, OP_STAT, loud, retrieves, stores};
use super::{Desync, Session};
use crate::decide::relay::io::Io;

const NOT_FOUND: u16 = 0x01;
/// Statuses from here on may have cost the old value ("too large", "out of memory", "internal error", …).
const TOO_LARGE: u16 = 0x03;
const OUT_OF_MEMORY: u16 = 0x82;

impl Session {
    pub(super) fn answer_binary(
        &mut self,
        lane: usize,
        bytes: &[u8],
        io: &mut impl Io,
    ) -> Result<usize, Desync> {
        let (mut at, mut start) = (0, 0);
        while at < bytes.len() {
            if self.blind {
                at = bytes.len();
                break;
            }
            if self.skip > 0 {
                let take = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.skip -= take as u64;
                if self.skip_drop {
                    start = at + take;
                }
                at += take;
                continue;
            }
            if bytes.len() - at < HEADER {
                break;
            }
            let Some(head) = Head::parse(&bytes[at..], 0x81) else {
                self.go_blind(io)?;
                continue;
            };
            let Some(hidden) = self.packet(lane, &head, io)? else { break };
            (self.skip, self.skip_drop) = (head.body as u64, hidden);
            if hidden {
                if at > start {
                    io.deliver(&bytes[start..at]);
                }
                start = at + HEADER;
            }
            at += HEADER;
        }
        if at > start {
            io.deliver(&bytes[start..at]);
        }
        self.settle(io);
        Ok(at)
    }

    /// One answer; whether it is to be left out. `None` while it is not this server's turn.
    fn packet(&mut self, lane: usize, answer: &Head, io: &mut impl Io) -> Result<Option<bool>, Desync> {
        let of_silent = tells_of_silent(answer);
        loop {
            let Some(&head) = self.order.front() else { return Ok(Some(false)) };
            if head.op == Op::Silent && of_silent {
                return Ok(Some(false));
            }
            if head.op == Op::Silent {
                let next = self.order.second().copied();
                match next {
                    None => return Ok(Some(false)),
                    Some(next) if next.lane != lane && !next.quiet => return Ok(None),
                    Some(next) if !fits(&next, answer) && !next.quiet => return Ok(Some(false)),
                    Some(_) => self.order.pop(),
                }
                continue;
            }
            if head.lane != lane {
                return Ok(None);
            }
            if fits(&head, answer) {
                return Ok(Some(self.answered(&head, answer, io)));
            }
            if !head.quiet {
                self.go_blind(io)?;
                return Ok(Some(false));
            }
            io.missed(self.order.front_key(), true);
            self.order.pop();
        }
    }

    fn answered(&mut self, head: &Pending, answer: &Head, io: &mut impl Io) -> bool {
        let opcode = loud(answer.opcode).0;
        if opcode == OP_STAT && answer.status == 0 && answer.body > 0 {
            self.open = true;
            return false;
        }
        self.open = false;
        let changed = match answer.status {
            0 => true,
            NOT_FOUND => opcode == OP_DELETE,
            TOO_LARGE => stores(opcode),
            status => status >= OUT_OF_MEMORY,
        };
        if retrieves(opcode) && answer.status == NOT_FOUND {
            io.missed(self.order.front_key(), true);
        }
        if answer.status == 0 && head.op.stores() {
            self.recheck(io);
        }
        if changed && !head.skip {
            match head.op {
                Op::Flush(delay_s) => io.flushed(delay_s),
                _ if head.op.writes() => head.capture(self.order.front_key(), io),
                _ => {}
            }
        }
        self.order.pop();
        head.dropped
    }
}

/// Whether an answer tells of a quiet write's failure: servers repeat its opcode.
fn tells_of_silent(answer: &Head) -> bool {
    let (opcode, quiet) = loud(answer.opcode);
    quiet && !retrieves(opcode)
}

/// Whether an answer belongs to a request.
fn fits(head: &Pending, answer: &Head) -> bool {
    let same = match head.op {
        Op::Flush(_) => loud(answer.opcode).0 == 0x08,
        Op::Binary(opcode) => {
            opcode == answer.opcode || (opcode != OP_NOOP && loud(opcode).0 == answer.opcode)
        }
        _ => false,
    };
    same && head.opaque == answer.opaque
}
