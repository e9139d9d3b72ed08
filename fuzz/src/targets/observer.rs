//! The observers of the three memcached protocols: whatever clients and servers send, in whatever pieces, nothing is added, lost or changed on
//! its way, and what was captured does not depend on how the bytes were cut. Never asks what a garbled dialogue means; `dialogue` does for
//! whole ones.
//!
//! An input: a byte of switches, four that cut, then the client's bytes and each server's, with [`BETWEEN`] between them.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use tidegate::decide::relay::effect::Effect;
use tidegate::decide::relay::io::{Io, Storing};
use tidegate::decide::relay::ketama::Ketama;
use tidegate::decide::relay::session::{MAX_LINE, Policy, Session};

use crate::Target;
use crate::cut::{BETWEEN, Cuts, parts};

/// The classic text protocol.
pub(super) const TEXT: Target = Target {
    name: "memcached_text",
    run,
    seeds: || seeds(TEXT_REQUESTS, TEXT_ANSWERS),
    words: &[
        b"noreply",
        b"set ",
        b"add ",
        b"cas ",
        b"append ",
        b"incr ",
        b"delete ",
        b"get ",
        b"gets ",
        b"gat ",
        b"touch ",
        b"flush_all",
        b"stats",
        b"VALUE ",
        b"END\r\n",
        b"STORED\r\n",
        b"NOT_FOUND\r\n",
        b"EXISTS\r\n",
        b"SERVER_ERROR ",
        b"CLIENT_ERROR ",
        b"ERROR\r\n",
        b"OK\r\n",
        b"\r\n",
        b"18446744073709551615",
        b"4294967296",
        b"2147483645",
        b"lru_crawler metadump",
        b"watch",
        BETWEEN,
    ],
    most_bytes: 4096,
};

/// The meta protocol.
pub(super) const META: Target = Target {
    name: "memcached_meta",
    run,
    seeds: || seeds(META_REQUESTS, META_ANSWERS),
    words: &[
        b"ms ",
        b"mg ",
        b"md ",
        b"ma ",
        b"me ",
        b"mn\r\n",
        b" q",
        b" b",
        b" v",
        b" I",
        b" MA",
        b" ME",
        b" T0",
        b" F5",
        b" C1",
        b" O1",
        b" k",
        b" S2",
        b"VA ",
        b"HD\r\n",
        b"EN\r\n",
        b"NS\r\n",
        b"NF\r\n",
        b"EX\r\n",
        b"MN\r\n",
        b" W",
        b" Z",
        b"Zm9v",
        b"CLIENT_ERROR ",
        b"18446744073709551615",
        b"\r\n",
        BETWEEN,
    ],
    most_bytes: 4096,
};

/// The binary protocol.
pub(super) const BINARY: Target = Target {
    name: "memcached_binary",
    run,
    seeds: binary_seeds,
    words: &[
        b"\x80\x01",
        b"\x80\x11",
        b"\x80\x0a",
        b"\x80\x09",
        b"\x80\x0d",
        b"\x80\x04",
        b"\x80\x10",
        b"\x81\x01",
        b"\x81\x00",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x03\x08\x00",
        b"\x80\x21",
        BETWEEN,
    ],
    most_bytes: 4096,
};

const TEXT_REQUESTS: &[&str] = &[
    "set a 0 0 2\r\nhi\r\n",
    "set a 7 0 2 noreply\r\nhi\r\nget a b c\r\n",
    "add a 0 0 0\r\n\r\nappend b 0 0 1\r\nx\r\n",
    "cas a 0 0 1 5\r\nx\r\n",
    "incr a 1\r\ndecr b 2 noreply\r\n",
    "delete a\r\ndelete b noreply\r\ntouch a 1\r\ngat 1 a b\r\n",
    "flush_all\r\nflush_all 5 noreply\r\nverbosity 1\r\n",
    "stats\r\nstats items\r\nversion\r\nquit\r\n",
    "bogus\r\nset a 0 0 1\r\nx\r\n",
];
const TEXT_ANSWERS: &[&str] = &[
    "STORED\r\n",
    "VALUE a 0 2\r\nhi\r\nEND\r\n",
    "NOT_STORED\r\nSERVER_ERROR out of memory storing object\r\n",
    "EXISTS\r\n",
    "12\r\n",
    "DELETED\r\nTOUCHED\r\nVALUE a 0 2\r\nhi\r\nEND\r\n",
    "OK\r\nOK\r\n",
    "STAT pid 1\r\nEND\r\nEND\r\nVERSION 1.6.18\r\n",
    "ERROR\r\nSTORED\r\n",
];
const META_REQUESTS: &[&str] = &[
    "ms a 2 T0\r\nhi\r\n",
    "ms a 2 q MA F5\r\nhi\r\nmn\r\n",
    "ms Zm9v 2 b MS I\r\nhi\r\n",
    "mg a v k c t\r\nmg b q\r\nmn\r\n",
    "mg a v q Oabc N30\r\nmn\r\n",
    "md a q\r\nmd b C5\r\nmd c I T30\r\nmn\r\n",
    "ma a N0 J13 v\r\nma b MD D2 q\r\nmn\r\n",
    "me a\r\nmn\r\n",
];
const META_ANSWERS: &[&str] = &[
    "HD\r\n",
    "MN\r\n",
    "HD\r\n",
    "VA 2 c5 kb\r\nhi\r\nMN\r\n",
    "VA 2 Oabc W\r\nhi\r\nMN\r\n",
    "EX\r\nNF\r\nMN\r\n",
    "VA 1\r\n3\r\nMN\r\n",
    "ME a exp=-1\r\nMN\r\n",
];

fn input(switches: u8, request: &[u8], answers: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [&[switches, 1, 2, 3, 4], request].concat();
    for answer in answers {
        bytes.extend_from_slice(BETWEEN);
        bytes.extend_from_slice(answer);
    }
    bytes
}

fn seeds(requests: &[&str], answers: &[&str]) -> Vec<Vec<u8>> {
    let pairs = requests.iter().zip(answers);
    pairs
        .flat_map(|(request, answer)| {
            let (request, answer) = (request.as_bytes(), answer.as_bytes());
            [input(0, request, &[answer]), input(SPREAD, request, &[answer, answer, answer])]
        })
        .collect()
}

/// A binary packet: magic, opcode, extras, key, value.
pub(super) fn packet(magic: u8, opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u8::try_from(part.len()).unwrap_or(0);
    let total = length(extras) + length(key) + length(value);
    let head = [magic, opcode, 0, length(key), length(extras), 0, 0, 0, 0, 0, 0, total];
    [&head, &[0; 12][..], extras, key, value].concat()
}

/// A request of that opcode in the shape that it has.
pub(super) fn request(opcode: u8) -> Vec<u8> {
    let extras: &[u8] = match opcode {
        1..=3 | 0x11..=0x13 => &[0; 8],
        5 | 6 | 0x15 | 0x16 => &[0; 20],
        8 | 0x18 | 0x1c..=0x1e => &[0; 4],
        _ => &[],
    };
    let bare = matches!(opcode, 7 | 8 | 0x0a | 0x0b | 0x17 | 0x18);
    let valued = matches!(opcode, 1..=3 | 0x11..=0x13 | 0x0e | 0x0f | 0x19 | 0x1a);
    packet(0x80, opcode, extras, if bare { b"" } else { b"key" }, if valued { b"hello" } else { b"" })
}

fn binary_seeds() -> Vec<Vec<u8>> {
    let one = |opcode: u8| {
        let answer = packet(0x81, opcode, if opcode == 0 { &[0; 4] } else { &[] }, b"", b"x");
        input(0, &request(opcode), &[&answer])
    };
    let noop = packet(0x81, 0x0a, b"", b"", b"");
    let quiet = [request(0x11), request(0x09), request(0x14), request(0x0a)].concat();
    (0..0x25).map(one).chain([input(0, &quiet, &[&noop]), input(SPREAD, &quiet, &[&noop, &noop])]).collect()
}

/// Keys are spread over three servers.
const SPREAD: u8 = 1;
const DELETES_ONLY: u8 = 2;
const SKIP_REFILLS: u8 = 4;
const REFILL_PORT: u8 = 8;
const WANTS_AUTH: u8 = 16;
/// Fences find stale sets, and servers come and go.
const ROUGH: u8 = 32;

/// What a connection's surroundings saw, and how they answer.
#[derive(Default)]
pub(super) struct Ends {
    /// By server.
    pub(super) forwarded: Vec<Vec<u8>>,
    /// To the client.
    pub(super) delivered: Vec<u8>,
    /// Keys and effects, in order.
    pub(super) captured: Vec<(Vec<u8>, Effect)>,
    /// Delays.
    pub(super) flushed: Vec<u32>,
    /// Keys that were missed.
    pub(super) missed: Vec<Vec<u8>>,
    stale: bool,
    overtaken: bool,
}

impl Ends {
    /// Before the first byte.
    pub(super) fn new(lanes: usize) -> Self {
        Self { forwarded: vec![Vec::new(); lanes], ..Self::default() }
    }
}

impl Io for Ends {
    fn forward(&mut self, lane: usize, bytes: &[u8]) {
        self.forwarded[lane].extend_from_slice(bytes);
    }
    fn deliver(&mut self, bytes: &[u8]) {
        self.delivered.extend_from_slice(bytes);
    }
    fn captured(&mut self, key: &[u8], effect: Effect) {
        self.captured.push((key.to_vec(), effect));
    }
    fn reread(&mut self, key: &[u8], hash: u128, _set: u64) {
        self.captured(key, Effect::Refill(hash));
    }
    fn flushed(&mut self, delay_s: u32) {
        self.flushed.push(delay_s);
    }
    fn missed(&mut self, key: &[u8], _sure: bool) {
        self.missed.push(key.to_vec());
    }
    fn storing(&mut self, _key: &[u8], _hash: Option<u128>) -> Storing {
        Storing { refill: self.stale, stale: self.stale, since: Some(1), reread: None }
    }
    fn overtaken(&mut self, _key: &[u8], _hash: Option<u128>, _since: u64) -> bool {
        self.overtaken
    }
    fn stale_set(&mut self) {}
    fn went_blind(&mut self) {}
}

static RING: LazyLock<Arc<Ketama>> = LazyLock::new(|| {
    let servers: Vec<SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
    Arc::new(Ketama::new(&servers))
});

fn session(switches: u8, lanes: usize) -> Session {
    let is = |switch| switches & switch != 0;
    let policy = Policy {
        deletes_only: is(DELETES_ONLY),
        skip_refills: is(SKIP_REFILLS),
        refill_port: is(REFILL_PORT),
    };
    Session::new(policy, lanes, (lanes > 1).then(|| Arc::clone(&RING)), is(WANTS_AUTH))
}

fn run(data: &[u8]) {
    let Some((&[switches, a, b, c, d], rest)) = data.split_first_chunk::<5>() else { return };
    let cuts = Cuts::of(u32::from_le_bytes([a, b, c, d]).into());
    let parts = parts(rest);
    let (requests, answers) = (parts[0], &parts[1..]);
    interleaved(switches, cuts, requests, answers);
    if switches & (SPREAD | ROUGH) == 0 {
        let answers = answers.first().copied().unwrap_or_default();
        let whole = one_after_the_other(switches, &[requests], &[answers]);
        let mut cuts = cuts;
        let pieces = one_after_the_other(switches, &cuts.pieces(requests), &cuts.pieces(answers));
        assert_eq!(whole.forwarded, pieces.forwarded, "forwarded, whole and in pieces");
        assert_eq!(whole.delivered, pieces.delivered, "delivered, whole and in pieces");
        assert_eq!(whole.captured, pieces.captured, "captured, whole and in pieces");
        assert_eq!(whole.flushed, pieces.flushed, "flushed, whole and in pieces");
        assert_eq!(whole.missed, pieces.missed, "missed, whole and in pieces");
    }
}

/// Both sides' bytes in pieces, in any order.
fn interleaved(switches: u8, mut cuts: Cuts, requests: &[u8], answers: &[&[u8]]) {
    let lanes = if switches & SPREAD == 0 { 1 } else { 3 };
    let rough = switches & ROUGH != 0;
    let (mut session, mut ends) = (session(switches, lanes), Ends::new(lanes));
    let said = |lane: usize| answers.get(lane).copied().unwrap_or_default();
    let (mut asked, mut ask_to) = (0, 0);
    let (mut told, mut tell_to) = (vec![0; lanes], vec![0; lanes]);
    for _ in 0..60 {
        (ends.stale, ends.overtaken) = (rough && cuts.below(4) == 0, rough && cuts.below(4) == 0);
        let lane = cuts.below(lanes);
        let step = match cuts.below(12) {
            0..=5 => {
                ask_to = (ask_to + cuts.below(40)).min(requests.len());
                session.request(&requests[asked..ask_to], &mut ends).map(|taken| asked += taken)
            }
            6..=10 => {
                tell_to[lane] = (tell_to[lane] + cuts.below(40)).min(said(lane).len());
                let bytes = &said(lane)[told[lane]..tell_to[lane]];
                session.answer(lane, bytes, &mut ends).map(|taken| told[lane] += taken)
            }
            _ if rough => {
                let down = session.lane_down(lane, "gone", &mut ends);
                session.lane_up(lane, false);
                down
            }
            _ => Ok(()),
        };
        if step.is_err() {
            break;
        }
        session.between(&mut ends);
        assert!(asked <= ask_to && ask_to - asked <= 2 * MAX_LINE, "held {}", ask_to - asked);
    }
    session.end(&mut ends);
    if !rough && lanes == 1 {
        assert_eq!(ends.forwarded[0], requests[..asked], "what the server got");
        assert_eq!(ends.delivered, said(0)[..told[0]], "what the client got");
    }
}

/// Both sides' bytes with one server, the client's first.
fn one_after_the_other(switches: u8, requests: &[&[u8]], answers: &[&[u8]]) -> Ends {
    let (mut session, mut ends) = (session(switches, 1), Ends::new(1));
    for (pieces, answer) in [(requests, false), (answers, true)] {
        let mut held: Vec<u8> = Vec::new();
        for piece in pieces {
            held.extend_from_slice(piece);
            let taken =
                if answer { session.answer(0, &held, &mut ends) } else { session.request(&held, &mut ends) };
            // With one server there is always a way on.
            held.drain(..taken.unwrap_or(0));
            session.between(&mut ends);
        }
    }
    session.end(&mut ends);
    ends
}
