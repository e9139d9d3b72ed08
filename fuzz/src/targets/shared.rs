//! Requests that clients share a connection for: what is taken for one request with one answer is that for the observer too, and both see the
//! answer's end at the same byte. Never several requests at once.

use tidegate::decide::relay::session::{Policy, Session};
use tidegate::decide::relay::single::{Progress, request};

use super::observer::{self, Ends};
use crate::Target;
use crate::cut::{BETWEEN, Cuts, parts};

/// One request and what follows its answer.
pub(super) const TARGET: Target =
    Target { name: "memcached_shared", run, seeds, words: observer::TEXT.words, most_bytes: 1024 };

fn seeds() -> Vec<Vec<u8>> {
    let text: [(&[u8], &[u8]); 6] = [
        (b"get a\r\n", b"VALUE a 0 2\r\nhi\r\nEND\r\n"),
        (b"set a 0 0 2\r\nhi\r\n", b"STORED\r\n"),
        (b"cas a 0 0 2 7\r\nhi\r\n", b"EXISTS\r\n"),
        (b"mg a v Ox\r\n", b"VA 2 Ox\r\nhi\r\n"),
        (b"incr a 1\r\n", b"2\r\n"),
        (b"delete a\r\n", b"SERVER_ERROR x\r\n"),
    ];
    let mut seeds: Vec<_> =
        text.iter().map(|(request, answer)| [b"1", *request, BETWEEN, answer].concat()).collect();
    seeds.extend((0..0x25).map(|opcode| {
        let answer = observer::packet(0x81, opcode, b"", b"", b"x");
        [b"1", &observer::request(opcode)[..], BETWEEN, &answer].concat()
    }));
    seeds
}

fn run(data: &[u8]) {
    let Some((&number, rest)) = data.split_first() else { return };
    let parts = parts(rest);
    let Some(kind) = request(parts[0]) else { return };
    let answer = parts.get(1).copied().unwrap_or_default();
    let (mut session, mut ends) = (Session::new(Policy::default(), 1, None, false), Ends::new(1));
    assert_eq!(session.request(parts[0], &mut ends), Ok(parts[0].len()), "the observer takes it all");
    assert!(session.between_requests() && session.owes(), "it is one whole request, and has an answer");
    let whole = taken(kind, &[answer]);
    assert_eq!(whole, taken(kind, &Cuts::of(number.into()).pieces(answer)), "whole and in pieces");
    let Some(end) = whole else { return };
    let before = session.answer(0, &answer[..end - 1], &mut ends);
    assert!(session.is_blind() || session.owes(), "it has ended before its last byte");
    let rest = &answer[before.unwrap_or(0)..end];
    assert_eq!(session.answer(0, rest, &mut ends), Ok(rest.len()), "the observer takes the answer");
    assert!(session.is_blind() || !session.owes(), "it has not ended with its last byte");
}

/// Where the answer ends; `None` where it does not, or is none.
fn taken(kind: tidegate::decide::relay::single::Kind, pieces: &[&[u8]]) -> Option<usize> {
    let (mut progress, mut held, mut at) = (Progress::default(), Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let (used, complete) = progress.take(kind, &held).ok()?;
        at += used;
        held.drain(..used);
        if complete {
            return Some(at);
        }
    }
    None
}
