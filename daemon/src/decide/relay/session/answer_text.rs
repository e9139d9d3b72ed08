//! Answer bytes of the text protocols. Never looks into a value.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

use super::order::{Op, Pending};
use super::request_text::trim;
use super::{Desync, MAX_LINE, Session};
use crate::decide::relay::io::Io;
use crate::decide::relay::line::{number, words};

/// What a line did to the head.
enum Step {
    /// The head has more to come, and this many bytes follow without a look.
    More(u64),
    /// Its answer is complete.
    Done,
    /// The line belongs to nobody; it passes.
    Pass,
    /// The line fits no request.
    Lost,
}

/// Whose line it is while quiet retrievals are the oldest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// One of theirs.
    Quiet,
    /// That of the first request behind them which must be answered: they are over.
    Loud,
    /// Nobody can tell.
    Unclear,
}

/// What an answer says about a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Changed,
    Unchanged,
    /// An error that may have cost the old value.
    Unsure,
    Misfit,
}

impl Session {
    pub(super) fn answer_text(
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
                    deliver(io, &bytes[start..at]);
                    start = at + take;
                }
                at += take;
                continue;
            }
            if self.order.front().is_some_and(|head| head.lane != lane && head.op != Op::Silent) {
                break;
            }
            let Some(end) = memchr(b'\n', &bytes[at..]).map(|place| at + place + 1) else {
                if bytes.len() - at > MAX_LINE {
                    deliver(io, &bytes[start..at]);
                    start = at;
                    self.go_blind(io)?;
                    continue;
                }
                break;
            };
            if self.line(lane, trim(&bytes[at..end]), io)? {
                deliver(io, &bytes[start..at]);
                start = end;
            }
            at = end;
        }
        deliver(io, &bytes[start..at.max(start)]);
        self.settle(io);
        Ok(at)
    }

    /// One line of answer; whether it is to be left out.
    fn line(&mut self, lane: usize, line: &[u8], io: &mut impl Io) -> Result<bool, Desync> {
        if !self.pass_silent(line, lane, io)? {
            return Ok(false);
        }
        let Some(&oldest) = self.order.front() else { return Ok(false) };
        let whose = if oldest.quiet { self.whose(line) } else { Whose::Loud };
        if oldest.lane == lane && whose == Whose::Loud {
            self.end_quiets(io);
        }
        let Some(&head) = self.order.front() else { return Ok(false) };
        if head.lane != lane || whose == Whose::Unclear {
            self.go_blind(io)?;
            return Ok(false);
        }
        let muted = self.mute || head.dropped;
        let step = self.step(&head, line, io);
        match step {
            Step::Pass => Ok(false),
            Step::Lost => {
                self.go_blind(io)?;
                Ok(false)
            }
            Step::More(bytes) => {
                (self.skip, self.skip_drop, self.open) = (bytes, muted, true);
                Ok(muted)
            }
            Step::Done => {
                self.open = false;
                let error = is_error(line);
                let hidden = muted || (head.more && !error);
                self.mute = head.more && (self.mute || error);
                self.order.pop();
                Ok(hidden)
            }
        }
    }

    /// Gets silent requests out of the way; false when the line is theirs.
    fn pass_silent(&mut self, line: &[u8], lane: usize, io: &mut impl Io) -> Result<bool, Desync> {
        while self.order.front().is_some_and(|head| head.op == Op::Silent) {
            let next = self.order.first_loud().copied();
            let ours = matches!(
                line,
                [b'N' | b'E', b'S' | b'X' | b'F'] | [b'N' | b'E', b'S' | b'X' | b'F', b' ', ..]
            );
            match next {
                None if self.order.len() == 1 => return Ok(false),
                // Another server's turn is next: this can only be a silent one's.
                Some(next) if next.lane != lane => return Ok(false),
                Some(next) if next.op == Op::MetaNoop && next.lane == lane && (ours || is_error(line)) => {
                    return Ok(false);
                }
                _ if is_error(line) || ours => {
                    self.go_blind(io)?;
                    return Ok(false);
                }
                _ => {}
            }
            self.order.pop();
        }
        Ok(true)
    }

    fn step(&mut self, head: &Pending, line: &[u8], io: &mut impl Io) -> Step {
        if head.quiet {
            return self.found(line, io);
        }
        match head.op {
            Op::Get => self.retrieved(line, io),
            Op::MetaGet | Op::MetaArithmetic | Op::MetaStore | Op::MetaDelete | Op::MetaOther => {
                self.meta_line(head, line, io)
            }
            Op::MetaNoop if line == b"MN" || is_error(line) => Step::Done,
            Op::MetaNoop => Step::Lost,
            Op::Listing => {
                let last =
                    matches!(line, b"END" | b"OK" | b"RESET") || is_error(line) || line.starts_with(b"BUSY");
                if last { Step::Done } else { Step::More(0) }
            }
            Op::Unknown if is_error(line) || line == b"OK" => Step::Done,
            Op::Unknown | Op::Silent | Op::Binary(_) => Step::Lost,
            Op::Simple => Step::Done,
            Op::Auth => {
                self.wants_auth = line != b"STORED";
                Step::Done
            }
            Op::Store | Op::Delete | Op::Arithmetic | Op::Flush(_) => self.written(head, line, io),
        }
    }

    /// A line of a classic retrieval.
    fn retrieved(&mut self, line: &[u8], io: &mut impl Io) -> Step {
        if let Some(rest) = line.strip_prefix(b"VALUE ") {
            let mut fields = words(rest);
            let (Some(key), Some(_flags), Some(size)) = (fields.next(), fields.next(), fields.next()) else {
                return Step::Lost;
            };
            let Some(block) = block(size) else { return Step::Lost };
            self.hit(key, io);
            return Step::More(block);
        }
        let complete = line == b"END";
        if !complete && !is_error(line) {
            return Step::Lost;
        }
        while complete && self.order.front().is_some_and(|head| head.keys > 0) {
            io.missed(self.order.front_key(), true);
            self.order.pop_key();
        }
        Step::Done
    }

    /// `key` was found; the keys before it were not.
    fn hit(&mut self, key: &[u8], io: &mut impl Io) {
        while self.order.front().is_some_and(|head| head.keys > 0) {
            let found = self.order.front_key() == key;
            if !found {
                io.missed(self.order.front_key(), true);
            }
            self.order.pop_key();
            if found {
                return;
            }
        }
    }

    fn written(&mut self, head: &Pending, line: &[u8], io: &mut impl Io) -> Step {
        let outcome = outcome(head.op, line);
        if outcome == Outcome::Misfit {
            return Step::Lost;
        }
        self.settle_write(head, outcome, io);
        Step::Done
    }

    fn settle_write(&mut self, head: &Pending, outcome: Outcome, io: &mut impl Io) {
        if outcome == Outcome::Changed && head.op.stores() {
            self.recheck(io);
        }
        if outcome == Outcome::Unchanged || head.skip {
            return;
        }
        match head.op {
            Op::Flush(delay_s) => io.flushed(delay_s),
            _ => head.capture(self.order.front_key(), io),
        }
    }

    fn meta_line(&mut self, head: &Pending, line: &[u8], io: &mut impl Io) -> Step {
        let (code, rest) = line.split_at(line.len().min(2));
        if !is_error(line) && rest.first().is_some_and(|&byte| byte != b' ') && head.op != Op::MetaOther {
            return Step::Lost;
        }
        let value = if code == b"VA" {
            let Some(block) = words(rest).next().and_then(block) else { return Step::Lost };
            Some(block)
        } else {
            None
        };
        match head.op {
            Op::MetaGet if code == b"EN" || asks_for_it(line) => {
                io.missed(self.order.front_key(), true);
            }
            Op::MetaGet | Op::MetaOther => {}
            _ => {
                let outcome = meta_outcome(head.op, line);
                if outcome == Outcome::Misfit {
                    return Step::Lost;
                }
                self.settle_write(head, outcome, io);
            }
        }
        match value {
            None => Step::Done,
            Some(bytes) => {
                (self.skip, self.skip_drop) = (bytes, self.mute || head.dropped);
                Step::Done
            }
        }
    }

    /// Whose line it is, when the oldest request is a quiet `mg`. What it finds is `VA` with the value and `HD` without; of a miss it says
    /// nothing, so that the next answer of another kind tells. Between two of one kind the returned key does, if there is one.
    fn whose(&self, line: &[u8]) -> Whose {
        let Some(loud) = self.order.first_loud() else { return Whose::Quiet };
        if loud.op == Op::MetaNoop {
            return if line == b"MN" { Whose::Loud } else { Whose::Quiet };
        }
        let code = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        let (quiet, other) = match code {
            b"VA" => (true, loud.op.may_find()),
            b"HD" => {
                let other = loud.op.may_find() || matches!(loud.op, Op::MetaStore | Op::MetaDelete);
                (!other || self.order.run().any(|one| one.quiet && !one.value), other)
            }
            // A quiet write among them may have failed.
            b"NS" | b"EX" | b"NF" => (self.order.run().any(|one| !one.quiet), true),
            _ => (is_error(line), true),
        };
        if !(quiet && other) {
            return if quiet { Whose::Quiet } else { Whose::Loud };
        }
        let Some(key) = returned_key(line).filter(|_| self.order.sure()) else { return Whose::Unclear };
        match (self.order.quiet_place(&key), self.order.is_of(loud, &key)) {
            (Some(_), false) => Whose::Quiet,
            (None, true) => Whose::Loud,
            _ => Whose::Unclear,
        }
    }

    /// The quiet retrievals before the first request that must be answered are over: what was not found is not there.
    fn end_quiets(&mut self, io: &mut impl Io) {
        while self.order.first_loud().is_some() && self.order.run().next().is_some() {
            self.end_quiet(io);
        }
    }

    fn end_quiet(&mut self, io: &mut impl Io) {
        if self.order.front().is_some_and(|head| head.quiet) {
            io.missed(self.order.front_key(), self.order.sure());
        }
        self.order.pop();
    }

    /// A quiet `mg` found its key. If it says which, those before it did not find theirs.
    fn found(&mut self, line: &[u8], io: &mut impl Io) -> Step {
        let key = returned_key(line).filter(|_| self.order.sure());
        match key.and_then(|key| self.order.quiet_place(&key)) {
            Some(place) => {
                (0..place).for_each(|_| self.end_quiet(io));
                match asks_for_it(line) {
                    true => self.end_quiet(io),
                    false => self.order.pop(),
                }
            }
            None => self.order.unsure_quiets(),
        }
        if line.starts_with(b"VA ") {
            let Some(block) = words(&line[3..]).next().and_then(block) else { return Step::Lost };
            (self.skip, self.skip_drop) = (block, false);
        }
        Step::Pass
    }
}

/// Whether the client was told to bring the value anew (`W`), which is as good as a miss.
fn asks_for_it(line: &[u8]) -> bool {
    line.contains(&b'W') && words(line).any(|flag| flag == b"W")
}

/// The key that a meta command's answer repeats (`k`), decoded (`b`).
fn returned_key(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let flags = words(line.strip_prefix(b"VA ").or_else(|| line.strip_prefix(b"HD "))?);
    let key = flags.clone().find_map(|word| word.strip_prefix(b"k"))?;
    match flags.clone().any(|word| word == b"b") {
        true => STANDARD.decode(key).ok().map(Cow::Owned),
        false => Some(Cow::Borrowed(key)),
    }
}

/// Bytes of a data block whose value has this size.
fn block(size: &[u8]) -> Option<u64> {
    number(size)?.checked_add(2)
}

fn deliver(io: &mut impl Io, bytes: &[u8]) {
    if !bytes.is_empty() {
        io.deliver(bytes);
    }
}

fn is_error(line: &[u8]) -> bool {
    line == b"ERROR"
        || line.starts_with(b"CLIENT_ERROR")
        || line.starts_with(b"SERVER_ERROR")
        || line.starts_with(b"ERROR ")
}

fn outcome(op: Op, line: &[u8]) -> Outcome {
    if line.starts_with(b"SERVER_ERROR") {
        return Outcome::Unsure;
    }
    if is_error(line) {
        return Outcome::Unchanged;
    }
    match (op, line) {
        (Op::Store, b"STORED") | (Op::Delete, b"DELETED" | b"NOT_FOUND") | (Op::Flush(_), b"OK") => {
            Outcome::Changed
        }
        (Op::Store, b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND") | (Op::Arithmetic, b"NOT_FOUND") => {
            Outcome::Unchanged
        }
        (Op::Arithmetic, [b'0'..=b'9', ..]) => Outcome::Changed,
        _ => Outcome::Misfit,
    }
}

fn meta_outcome(op: Op, line: &[u8]) -> Outcome {
    if line.starts_with(b"SERVER_ERROR") {
        return Outcome::Unsure;
    }
    if is_error(line) {
        return Outcome::Unchanged;
    }
    match (op, &line[..line.len().min(2)]) {
        (Op::MetaDelete, b"NF") | (_, b"HD" | b"OK" | b"VA") => Outcome::Changed,
        (_, b"NS" | b"EX" | b"NF" | b"EN") => Outcome::Unchanged,
        _ => Outcome::Misfit,
    }
}
