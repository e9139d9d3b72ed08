//! Whatever bytes come, from clients, servers or peers: the observers of the three memcached protocols and the frames of a link neither
//! panic, nor change a byte, nor hold more than their bounds. `TIDEGATE_FUZZ_SECONDS=600` gives each target that long;
//! `TIDEGATE_TEST_SEED` repeats a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate::decide::relay::effect::Effect;
use tidegate::decide::relay::frame::{Frame, MAX_FRAME};
use tidegate::decide::relay::io::{Io, Storing};
use tidegate::decide::relay::item::{Item, Items};
use tidegate::decide::relay::ketama::Ketama;
use tidegate::decide::relay::session::{MAX_LINE, Policy, Session};
use tidegate_tests::chance::Chance;

/// What a connection's surroundings saw, and how they answer.
#[derive(Default)]
struct Ends {
    forwarded: Vec<Vec<u8>>,
    delivered: Vec<u8>,
    captured: u64,
    stale: bool,
    overtaken: bool,
}

impl Io for Ends {
    fn forward(&mut self, lane: usize, bytes: &[u8]) {
        self.forwarded[lane].extend_from_slice(bytes);
    }
    fn deliver(&mut self, bytes: &[u8]) {
        self.delivered.extend_from_slice(bytes);
    }
    fn captured(&mut self, _key: &[u8], _effect: Effect) {
        self.captured += 1;
    }
    fn flushed(&mut self, _delay_s: u32) {
        self.captured += 1;
    }
    fn missed(&mut self, _key: &[u8], _sure: bool) {}
    fn storing(&mut self, _key: &[u8], _hash: Option<u128>) -> Storing {
        Storing { refill: self.stale, stale: self.stale, since: Some(1) }
    }
    fn overtaken(&mut self, _key: &[u8], _hash: Option<u128>, _since: u64) -> bool {
        self.overtaken
    }
    fn stale_set(&mut self) {}
    fn went_blind(&mut self) {}
}

/// A protocol's requests and answers to begin with, and pieces that mean something in it.
struct Corpus {
    requests: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
    /// Three servers.
    ring: Arc<Ketama>,
}

fn ring() -> Arc<Ketama> {
    let servers: Vec<std::net::SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
    Arc::new(Ketama::new(&servers))
}

fn all(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn text() -> Corpus {
    Corpus {
        requests: all(&[
            "set a 0 0 2\r\nhi\r\n",
            "set a 7 0 2 noreply\r\nhi\r\nget a b c\r\n",
            "add a 0 0 0\r\n\r\nappend b 0 0 1\r\nx\r\n",
            "cas a 0 0 1 5\r\nx\r\n",
            "incr a 1\r\ndecr b 2 noreply\r\n",
            "delete a\r\ndelete b noreply\r\ntouch a 1\r\ngat 1 a b\r\n",
            "flush_all\r\nflush_all 5 noreply\r\nverbosity 1\r\n",
            "stats\r\nstats items\r\nversion\r\nquit\r\n",
        ]),
        answers: all(&[
            "STORED\r\n",
            "NOT_STORED\r\n",
            "EXISTS\r\n",
            "NOT_FOUND\r\n",
            "DELETED\r\n",
            "TOUCHED\r\n",
            "OK\r\n",
            "12\r\n",
            "VALUE a 0 2\r\nhi\r\nEND\r\n",
            "END\r\n",
            "ERROR\r\n",
            "CLIENT_ERROR bad data chunk\r\n",
            "SERVER_ERROR out of memory storing object\r\n",
            "STAT pid 1\r\nEND\r\n",
            "VERSION 1.6.18\r\n",
        ]),
        tokens: all(&[
            " ",
            "\r\n",
            "\n",
            "\r",
            "noreply",
            "0",
            "-1",
            "4294967296",
            "99999999999999999999",
            "set",
            "get",
            "k",
            "\u{0}",
            "gets",
            "mg",
            "\u{80}",
            "END\r\n",
            "VALUE ",
        ]),
        ring: ring(),
    }
}

fn meta() -> Corpus {
    Corpus {
        requests: all(&[
            "ms a 2 T0\r\nhi\r\n",
            "ms a 2 q MA F5\r\nhi\r\nmn\r\n",
            "ms Zm9v 2 b MS I\r\nhi\r\n",
            "mg a v k c t\r\nmg b q\r\nmn\r\n",
            "mg a v q Oabc N30\r\nmn\r\n",
            "md a q\r\nmd b C5\r\nmd c I T30\r\nmn\r\n",
            "ma a N0 J13 v\r\nma b MD D2 q\r\nmn\r\n",
            "me a\r\nmn\r\n",
        ]),
        answers: all(&[
            "HD\r\n",
            "VA 2 c5 kb\r\nhi\r\n",
            "EN\r\n",
            "NF\r\n",
            "NS\r\n",
            "EX\r\n",
            "MN\r\n",
            "ME a exp=-1\r\n",
            "HD Oabc W\r\n",
            "CLIENT_ERROR bad command line format\r\n",
        ]),
        tokens: all(&[
            " ",
            "\r\n",
            "\n",
            "q",
            "b",
            "v",
            "C",
            "O",
            "W",
            "T0",
            "k",
            "99999999999999999999",
            "mn\r\n",
            "MN\r\n",
            "VA 0\r\n\r\n",
            "Zm9v",
            "=",
            "\u{0}",
        ]),
        ring: ring(),
    }
}

/// A binary packet: magic, opcode, extras, key, value.
fn packet(magic: u8, opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut packet = vec![magic, opcode];
    packet.extend_from_slice(&u16::try_from(key.len()).unwrap_or(0).to_be_bytes());
    packet.extend_from_slice(&[u8::try_from(extras.len()).unwrap_or(0), 0, 0, 0]);
    let total = extras.len() + key.len() + value.len();
    packet.extend_from_slice(&u32::try_from(total).unwrap_or(0).to_be_bytes());
    packet.extend_from_slice(&[0; 12]);
    [packet.as_slice(), extras, key, value].concat()
}

fn binary() -> Corpus {
    let requests = (0..0x25u8).map(|opcode| {
        let extras: &[u8] = match opcode {
            1..=3 | 0x11..=0x13 => &[0; 8],
            5 | 6 | 0x15 | 0x16 => &[0; 20],
            8 | 0x18 | 0x1c..=0x1e => &[0; 4],
            _ => &[],
        };
        let bare = matches!(opcode, 7 | 8 | 0x0a | 0x0b | 0x17 | 0x18);
        let key: &[u8] = if bare { b"" } else { b"key" };
        let value: &[u8] =
            if matches!(opcode, 1..=3 | 0x11..=0x13 | 0x0e | 0x0f | 0x19 | 0x1a) { b"hello" } else { b"" };
        packet(0x80, opcode, extras, key, value)
    });
    let answers =
        (0..0x25u8).map(|opcode| packet(0x81, opcode, if opcode == 0 { &[0; 4] } else { &[] }, b"", b"x"));
    let tokens = [
        packet(0x80, 0x0a, b"", b"", b""),
        vec![0x80],
        vec![0x81],
        vec![0xff; 4],
        vec![0; 4],
        vec![0, 0, 1, 0],
    ];
    Corpus { requests: requests.collect(), answers: answers.collect(), tokens: tokens.to_vec(), ring: ring() }
}

fn below(chance: &mut Chance, bound: usize) -> usize {
    usize::try_from(chance.below(bound.max(1) as u64)).unwrap_or(0)
}

/// Some of `seeds` behind each other, with a few changes.
fn mutated(seeds: &[Vec<u8>], tokens: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + below(chance, 6) {
        bytes.extend_from_slice(&seeds[below(chance, seeds.len())]);
    }
    for _ in 0..below(chance, 6) {
        let at = below(chance, bytes.len() + 1);
        match chance.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).unwrap_or(0),
            2 => bytes.truncate(at),
            3 => {
                let to = (at + below(chance, 20)).min(bytes.len());
                bytes.drain(at..to);
            }
            4 => {
                let part = bytes[at..(at + below(chance, 40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let long = vec![b'k'; below(chance, 400)];
                bytes.splice(at..at, long);
            }
            _ => {
                let token = tokens[below(chance, tokens.len())].clone();
                bytes.splice(at..at, token);
            }
        }
    }
    bytes
}

/// One connection: both sides' bytes in pieces, in any order.
fn connection(corpus: &Corpus, chance: &mut Chance) {
    let lanes = if chance.below(3) == 0 { 3 } else { 1 };
    let ring = (lanes > 1).then(|| Arc::clone(&corpus.ring));
    let policy = Policy {
        deletes_only: chance.below(4) == 0,
        skip_refills: chance.below(4) == 0,
        refill_port: chance.below(8) == 0,
    };
    let mut session = Session::new(policy, lanes, ring, chance.below(8) == 0);
    let plain = chance.below(2) == 0;
    let mut ends = Ends { forwarded: vec![Vec::new(); lanes], ..Ends::default() };
    let requests = mutated(&corpus.requests, &corpus.tokens, chance);
    let answers: Vec<Vec<u8>> =
        (0..lanes).map(|_| mutated(&corpus.answers, &corpus.tokens, chance)).collect();
    let (mut asked, mut told) = (0, vec![0; lanes]);
    let (mut ask_to, mut tell_to) = (0, vec![0; lanes]);
    for _ in 0..60 {
        (ends.stale, ends.overtaken) = (!plain && chance.below(4) == 0, !plain && chance.below(4) == 0);
        let lane = below(chance, lanes);
        let step = match chance.below(12) {
            0..=5 => {
                ask_to = (ask_to + below(chance, 40)).min(requests.len());
                session.request(&requests[asked..ask_to], &mut ends).map(|taken| asked += taken)
            }
            6..=10 => {
                tell_to[lane] = (tell_to[lane] + below(chance, 40)).min(answers[lane].len());
                let bytes = &answers[lane][told[lane]..tell_to[lane]];
                session.answer(lane, bytes, &mut ends).map(|taken| told[lane] += taken)
            }
            _ if !plain => {
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
        assert!(asked <= ask_to && ask_to - asked <= MAX_LINE + 64 * 1024, "held {}", ask_to - asked);
    }
    session.end(&mut ends);
    if plain && lanes == 1 {
        assert_eq!(ends.forwarded[0], requests[..asked], "what the server got");
        assert_eq!(ends.delivered, answers[0][..told[0]], "what the client got");
    }
}

/// Frames and items out of any bytes.
fn link(chance: &mut Chance) {
    let mut seeds = Vec::new();
    let mut items = Vec::new();
    for item in [
        Item::Forget(b"k"),
        Item::Differs(b"key", 7),
        Item::Flush(0),
        Item::Refill(b"r", 9),
        Item::Verify(b"v", 1),
    ] {
        item.write(&mut items);
    }
    let frames = [
        Frame::Hello { region: "eu" },
        Frame::Batch { number: 1, pool: "p", items: &items },
        Frame::Ack { number: 1, verified: [1, 2, 3], rests: true },
        Frame::Repeated { number: 1 },
        Frame::Refused { number: 2, why: "no" },
        Frame::Ping,
        Frame::Pong,
    ];
    for frame in frames {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        seeds.push(bytes);
    }
    let tokens =
        [vec![0xff; 4], vec![0; 4], vec![1, 0, 0, 0], b"tgr2".to_vec(), vec![2], vec![250], vec![251]];
    let bytes = mutated(&seeds, &tokens, chance);
    let mut at = 0;
    while let Ok(Some((frame, size))) = Frame::read(&bytes[at..]) {
        assert!(size <= 4 + MAX_FRAME && size <= bytes.len() - at);
        let mut again = Vec::new();
        frame.write(&mut again);
        assert_eq!(again, bytes[at..at + size], "{frame:?}");
        if let Frame::Batch { items, .. } = frame {
            let mut rewritten = Vec::new();
            let mut all = Items::new(items);
            all.by_ref().for_each(|item| item.write(&mut rewritten));
            assert!(items.starts_with(&rewritten) && (all.broken() || rewritten.len() == items.len()));
        }
        at += size;
    }
}

/// Runs until the time is over; how many inputs that were.
fn fuzz(name: &str, mut one: impl FnMut(&mut Chance)) -> Result<()> {
    let seconds = std::env::var("TIDEGATE_FUZZ_SECONDS").map_or(Ok(2), |seconds| seconds.parse())?;
    let (mut seeds, until) = (Chance::new()?, Instant::now() + Duration::from_secs(seconds));
    let mut inputs = 0u64;
    while Instant::now() < until {
        for _ in 0..100 {
            let seed = seeds.below(u64::MAX);
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(&mut Chance::of(seed))));
            anyhow::ensure!(run.is_ok(), "{name}: the input of seed {seed}");
            inputs += 1;
        }
    }
    println!("{name}: {inputs} inputs in {seconds} s, 0 crashes");
    Ok(())
}

#[test]
fn the_text_protocol_is_observed_whatever_comes() -> Result<()> {
    let corpus = text();
    fuzz("text", |chance| connection(&corpus, chance))
}

#[test]
fn the_meta_protocol_is_observed_whatever_comes() -> Result<()> {
    let corpus = meta();
    fuzz("meta", |chance| connection(&corpus, chance))
}

#[test]
fn the_binary_protocol_is_observed_whatever_comes() -> Result<()> {
    let corpus = binary();
    fuzz("binary", |chance| connection(&corpus, chance))
}

#[test]
fn the_frames_of_a_link_are_judged_whatever_comes() -> Result<()> {
    fuzz("frames", link)
}
