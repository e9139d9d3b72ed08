//! Request bytes of the text protocols. Never waits for more than the end of a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;
use xxhash_rust::xxh3::Xxh3;

use super::order::{Op, Pending};
use super::run::Run;
use super::{Body, Desync, HashState, MAX_LINE, Session};
use crate::decide::relay::effect::{Effect, MAX_KEY, value_hash};
use crate::decide::relay::io::Io;
use crate::decide::relay::line::{Line, Meta, MetaOp, Verb, parse, words};

/// A delete that answers nothing.
pub(super) fn delete(key: &[u8]) -> Vec<u8> {
    if key.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
        [b"delete ", key, b" noreply\r\n"].concat()
    } else {
        format!("md {} b q\r\n", STANDARD.encode(key)).into_bytes()
    }
}

impl Session {
    pub(super) fn request_text(&mut self, bytes: &[u8], io: &mut impl Io) -> Result<usize, Desync> {
        let mut run = Run::new(bytes, self.body.as_ref().map_or(0, |body| body.lane));
        let mut at = 0;
        while at < bytes.len() {
            if self.body.is_some() {
                at += self.body_bytes(&bytes[at..], io);
                if self.body.is_none() && !self.inject.is_empty() {
                    run.flush(at, io);
                    self.between(io);
                }
                continue;
            }
            let Some(end) = memchr(b'\n', &bytes[at..]).map(|place| at + place + 1) else {
                if bytes.len() - at > MAX_LINE {
                    at = self.long_line(bytes, io)?;
                }
                break;
            };
            let line = trim(&bytes[at..end]);
            if self.blind {
                self.scan(line, io);
            } else {
                self.text_line(line, at, end, &mut run, io)?;
            }
            at = end;
        }
        run.flush(at, io);
        self.relieve(io);
        Ok(at)
    }

    /// A line that does not end: passes, and is no longer understood.
    fn long_line(&mut self, bytes: &[u8], io: &mut impl Io) -> Result<usize, Desync> {
        if !self.blind {
            self.go_blind(io)?;
        }
        self.scan_skip = true;
        Ok(bytes.len())
    }

    /// Blind: captures what looks like a write.
    fn scan(&mut self, line: &[u8], io: &mut impl Io) {
        if std::mem::take(&mut self.scan_skip) {
            return;
        }
        let stores = !self.policy.refill_port && !self.policy.deletes_only;
        match parse(line) {
            Line::Flush { delay_s, .. } => io.flushed(delay_s),
            Line::Delete { key, .. } => io.captured(key, Effect::Forget),
            Line::Store { key, .. } if stores => io.captured(key, Effect::Forget),
            Line::Arithmetic { key, .. } if !self.policy.deletes_only => io.captured(key, Effect::Forget),
            Line::Meta(meta) => {
                let taken = match meta.op {
                    MetaOp::Set => stores,
                    MetaOp::Delete => true,
                    MetaOp::Arithmetic => !self.policy.deletes_only,
                    MetaOp::Get | MetaOp::Debug => false,
                };
                if taken {
                    self.take_meta_key(&meta);
                    io.captured(&self.key, Effect::Forget);
                }
            }
            _ => {}
        }
    }

    fn text_line(
        &mut self,
        line: &[u8],
        start: usize,
        end: usize,
        run: &mut Run<'_>,
        io: &mut impl Io,
    ) -> Result<(), Desync> {
        match parse(line) {
            Line::Get { head, keys } => self.get(head, keys, start, end, run, io),
            Line::Store { verb, key, flags, data, noreply } => {
                self.key.clear();
                self.key.extend_from_slice(key);
                let lane = self.lane_of(key);
                run.turn(start, lane, io);
                self.store(verb, flags, data, noreply, lane, io);
            }
            Line::Delete { key, noreply } => self.keyed(Op::Delete, key, noreply, start, run, io),
            Line::Arithmetic { key, noreply } => self.keyed(Op::Arithmetic, key, noreply, start, run, io),
            Line::Touch { key, noreply } => self.keyed(Op::Simple, key, noreply, start, run, io),
            Line::Meta(meta) if !meta.early => self.meta(&meta, start, run, io),
            Line::Flush { delay_s, noreply } => {
                self.everywhere(Op::Flush(delay_s), noreply, start, end, run, io);
            }
            Line::MetaNoop => self.plain(Op::MetaNoop, start, run, io),
            Line::Listing => self.plain(Op::Listing, start, run, io),
            Line::Simple { noreply: true } => self.plain(Op::Silent, start, run, io),
            Line::Simple { noreply: false } => self.plain(Op::Simple, start, run, io),
            Line::Unknown => self.plain(Op::Unknown, start, run, io),
            Line::Quit => self.quitting = true,
            Line::Stream | Line::Unframed | Line::Meta(_) => {
                run.flush(start, io);
                self.lose_track(io)?;
                self.scan(line, io);
            }
        }
        Ok(())
    }

    /// From here on nobody but a server knows where requests begin. One of several may still say what it makes of this, if no other's
    /// answer is due before: it is the last that the client hears.
    fn lose_track(&mut self, io: &mut impl Io) -> Result<(), Desync> {
        let alone = self.order.len() == 0;
        let lost = self.go_blind(io);
        if lost.is_err() && alone {
            self.quitting = true;
            return Ok(());
        }
        lost
    }

    fn plain(&mut self, op: Op, start: usize, run: &mut Run<'_>, io: &mut impl Io) {
        run.turn(start, 0, io);
        self.enqueue(Pending::new(op, 0), io);
    }

    fn get(
        &mut self,
        head: &[u8],
        keys: &[u8],
        start: usize,
        end: usize,
        run: &mut Run<'_>,
        io: &mut impl Io,
    ) {
        if self.ring.is_none() {
            let mut count = 0;
            for key in words(keys) {
                self.order.push_key(key);
                count += 1;
            }
            self.enqueue(Pending { keys: count, ..Pending::new(Op::Get, 0) }, io);
            return;
        }
        let mut shares: Vec<Vec<u8>> = vec![Vec::new(); self.down.len()];
        for key in words(keys) {
            let share = &mut shares[self.lane_of(key)];
            share.push(b' ');
            share.extend_from_slice(key);
        }
        run.cut(start, end, io);
        let mut left = shares.iter().filter(|share| !share.is_empty()).count();
        for (lane, share) in shares.iter().enumerate().filter(|(_, share)| !share.is_empty()) {
            left -= 1;
            let mut count = 0;
            for key in words(share) {
                self.order.push_key(key);
                count += 1;
            }
            self.enqueue(Pending { keys: count, more: left > 0, ..Pending::new(Op::Get, lane) }, io);
            io.forward(lane, &[head, share, b"\r\n"].concat());
        }
    }

    fn keyed(
        &mut self,
        op: Op,
        key: &[u8],
        noreply: bool,
        start: usize,
        run: &mut Run<'_>,
        io: &mut impl Io,
    ) {
        let lane = self.lane_of(key);
        run.turn(start, lane, io);
        let skip = self.policy.deletes_only && op == Op::Arithmetic;
        if noreply {
            if op.writes() && !skip {
                io.captured(key, Effect::Forget);
            }
            self.enqueue(Pending::new(Op::Silent, lane), io);
        } else {
            self.order.push_key(key);
            self.enqueue(Pending { keys: 1, skip, ..Pending::new(op, lane) }, io);
        }
    }

    /// A command for every server; the client hears the last one.
    fn everywhere(
        &mut self,
        op: Op,
        noreply: bool,
        start: usize,
        end: usize,
        run: &mut Run<'_>,
        io: &mut impl Io,
    ) {
        if let (Op::Flush(delay_s), true) = (op, noreply) {
            io.flushed(delay_s);
        }
        let op = if noreply { Op::Silent } else { op };
        let lanes = self.down.len();
        if lanes == 1 {
            self.enqueue(Pending::new(op, 0), io);
            return;
        }
        run.cut(start, end, io);
        for lane in 0..lanes {
            let last = lane + 1 == lanes;
            self.enqueue(Pending { dropped: !last, skip: !last, ..Pending::new(op, lane) }, io);
            io.forward(lane, run.slice(start, end));
        }
    }

    fn store(&mut self, verb: Verb, flags: u32, data: u64, noreply: bool, lane: usize, io: &mut impl Io) {
        let auth = self.wants_auth && verb == Verb::Set;
        let id = if auth {
            Some(self.enqueue(Pending::new(Op::Auth, lane), io))
        } else if noreply {
            self.enqueue(Pending::new(Op::Silent, lane), io);
            None
        } else {
            self.order.push_key(&self.key);
            Some(self.enqueue(Pending { keys: 1, ..Pending::new(Op::Store, lane) }, io))
        };
        self.begin_body(Body {
            value: data,
            tail: 2,
            id,
            flags,
            whole: verb.whole(),
            write: !auth,
            lane,
            hash: HashState::Off,
        });
    }

    pub(super) fn begin_body(&mut self, mut body: Body) {
        if body.write && body.whole && !self.policy.deletes_only {
            body.hash = HashState::Fresh;
        }
        self.body = Some(body);
    }

    fn meta(&mut self, meta: &Meta<'_>, start: usize, run: &mut Run<'_>, io: &mut impl Io) {
        self.take_meta_key(meta);
        let lane = self.lane_of(&self.key);
        run.turn(start, lane, io);
        let op = match meta.op {
            MetaOp::Get => Op::MetaGet,
            MetaOp::Set => Op::MetaStore,
            MetaOp::Delete => Op::MetaDelete,
            MetaOp::Arithmetic => Op::MetaArithmetic,
            MetaOp::Debug => Op::MetaOther,
        };
        let skip = self.policy.deletes_only && op == Op::MetaArithmetic;
        let silent = meta.quiet && op.writes();
        let id = if silent {
            if op != Op::MetaStore && !skip {
                io.captured(&self.key, Effect::Forget);
            }
            self.enqueue(Pending::new(Op::Silent, lane), io);
            None
        } else {
            self.order.push_key(&self.key);
            let (quiet, value) = (meta.quiet && op == Op::MetaGet, meta.value);
            Some(self.enqueue(Pending { keys: 1, skip, quiet, value, ..Pending::new(op, lane) }, io))
        };
        if meta.op == MetaOp::Set {
            self.begin_body(Body {
                value: meta.data,
                tail: 2,
                id,
                flags: meta.flags,
                whole: meta.verb.whole(),
                write: true,
                lane,
                hash: HashState::Off,
            });
        }
    }

    /// Puts a meta command's key, decoded, into `self.key`.
    fn take_meta_key(&mut self, meta: &Meta<'_>) {
        self.key.clear();
        if meta.base64 && STANDARD.decode_vec(meta.key, &mut self.key).is_ok() && self.key.len() <= MAX_KEY {
            return;
        }
        self.key.clear();
        self.key.extend_from_slice(meta.key);
    }

    /// Takes bytes of the data block; returns how many.
    pub(super) fn body_bytes(&mut self, bytes: &[u8], io: &mut impl Io) -> usize {
        let Some(mut body) = self.body.take() else { return 0 };
        let take = usize::try_from(body.value).unwrap_or(usize::MAX).min(bytes.len());
        body.hash = hash_part(body.hash, &bytes[..take], body.flags, take as u64 == body.value);
        body.value -= take as u64;
        let mut taken = take;
        let mut broken = false;
        while body.value == 0 && body.tail > 0 && taken < bytes.len() && !broken {
            let due = if body.tail == 2 { b'\r' } else { b'\n' };
            if bytes[taken] == due {
                taken += 1;
                body.tail -= 1;
            } else {
                broken = true;
            }
        }
        if broken {
            // "bad data chunk": memcached reads on as commands. In a pool of several servers the next request finds out.
            self.refused_body(io);
        } else if body.value > 0 || body.tail > 0 {
            self.body = Some(body);
        } else if body.write {
            self.stored(&body, io);
        }
        taken
    }

    /// The data block did not end as its length said: whatever follows is only scanned.
    fn refused_body(&mut self, io: &mut impl Io) {
        let spread = self.go_blind(io).is_err();
        self.quitting |= spread;
    }

    /// Forgets the oldest quiet requests when nobody has closed them for long.
    pub(super) fn relieve(&mut self, io: &mut impl Io) {
        while self.order.full() && self.order.two_quiet() {
            self.order.unsure_quiets();
            if self.order.front().is_some_and(|head| head.op != Op::Silent) {
                io.missed(self.order.front_key(), false);
            }
            self.order.pop();
            let second = self.order.front_key();
            if !second.is_empty() {
                io.missed(second, false);
            }
            self.order.silence_front();
        }
    }
}

/// Goes on with a value's hash.
fn hash_part(state: HashState, part: &[u8], flags: u32, last: bool) -> HashState {
    match (state, last) {
        (HashState::Fresh, true) => HashState::Done(value_hash(part, flags)),
        (HashState::Fresh, false) => {
            let mut hasher = Box::new(Xxh3::with_seed(u64::from(flags)));
            hasher.update(part);
            HashState::Streaming(hasher)
        }
        (HashState::Streaming(mut hasher), last) => {
            hasher.update(part);
            if last { HashState::Done(hasher.digest128()) } else { HashState::Streaming(hasher) }
        }
        (state, _) => state,
    }
}

/// The line without its end.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
