//! Whole dialogues with a model of memcached, in any pieces: what changed there is captured before the client hears of it, so that no other region
//! keeps an older copy; what failed for certain is not; misses are told, and nothing else as a miss. Never garbled bytes; `observer` has those.
//!
//! An input: four bytes that cut, then commands (`model::Command`).

use std::collections::{BTreeMap, BTreeSet};

use tidegate::decide::relay::effect::{Effect, value_hash};
use tidegate::decide::relay::io::{Io, Storing};
use tidegate::decide::relay::session::{Policy, Session};

use crate::Target;
use crate::cut::Cuts;
use crate::model::{Ask, Command, Copy, Outcome, Server, binary, meta, text};

/// In the classic text protocol.
pub(super) const TEXT: Target = target("dialogue_text", |data| run(Protocol::Text, data));
/// In the meta protocol.
pub(super) const META: Target = target("dialogue_meta", |data| run(Protocol::Meta, data));
/// In the binary protocol.
pub(super) const BINARY: Target = target("dialogue_binary", |data| run(Protocol::Binary, data));

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, seeds, words: &[], most_bytes: 512 }
}

/// Each command alone and quiet, and all of them one after the other.
fn seeds() -> Vec<Vec<u8>> {
    let one = |which: u8, switches: u8| vec![which, switches, 0, 3, b'1', b'2', b'3'];
    let set = one(0, 0);
    let mut seeds: Vec<Vec<u8>> = (0..16)
        .flat_map(|which| {
            [0, 1, 16, 17, 33, 6].map(|switches| [&[1, 2, 3, 4], &set[..], &one(which, switches)].concat())
        })
        .collect();
    seeds.push([vec![9, 9, 9, 9], (0..16).flat_map(|which| one(which, which)).collect()].concat());
    seeds
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Text,
    Meta,
    Binary,
}

/// One command as it goes over the wire, and what it does.
struct Spoken {
    command: Command,
    /// Where its bytes end in the client's.
    end: usize,
    answer: Vec<u8>,
}

/// A dialogue that has been thought through.
#[derive(Default)]
struct Script {
    requests: Vec<u8>,
    spoken: Vec<Spoken>,
    /// Every copy that a key had, the last one last (`None`: gone).
    copies: BTreeMap<Vec<u8>, Vec<Option<Copy>>>,
    /// Keys that a write may have changed: what is captured is among them.
    writable: BTreeSet<Vec<u8>>,
    /// Keys that a retrieval did not find.
    missed: BTreeSet<Vec<u8>>,
    flushed: bool,
    /// An error follows commands without an answer, or a line may be a quiet retrieval's or that of the command behind: nobody can tell
    /// whose it is, and the session may go blind.
    unclear: bool,
    quiet: Quiet,
}

/// Quiet retrievals since the last command that was answered in any case.
#[derive(Default)]
struct Quiet {
    keys: BTreeSet<Vec<u8>>,
    /// One without a value or a key in its answer is among them; or a write, which may fail.
    bare: bool,
    writes: bool,
}

impl Quiet {
    /// Whether this one's answer could be one of theirs, or one of theirs this one's.
    fn might(&self, command: &Command, answer: &[u8]) -> bool {
        let finds = matches!(command.ask, Ask::Get { .. } | Ask::Touch | Ask::Count { .. });
        let short = finds || matches!(command.ask, Ask::Store { .. } | Ask::Delete);
        let alike = match answer {
            [b'V', b'A', b' ', ..] => matches!(command.ask, Ask::Count { .. }),
            [b'N', b'S', ..] | [b'E', b'X', ..] | [b'N', b'F', ..] => self.writes,
            _ => answer.first_chunk().is_some_and(is_error),
        };
        let nothing = command.ask == Ask::Nothing;
        !nothing && (alike || (short && self.bare) || (finds && self.keys.contains(&command.key)))
    }
}

impl Script {
    fn of(protocol: Protocol, commands: Vec<Command>) -> Self {
        let (mut script, mut server) = (Self::default(), Server::default());
        for (number, command) in (1..).zip(commands) {
            script.add(protocol, &mut server, command, number);
        }
        let end = Command { key: Vec::new(), ask: Ask::Nothing, quiet: false, fails: None, other: false };
        script.add(protocol, &mut server, end, u32::MAX);
        script
    }

    fn add(&mut self, protocol: Protocol, server: &mut Server, command: Command, opaque: u32) {
        let cas = server.cas(&command);
        let request = match protocol {
            Protocol::Text => text::request(&command, cas),
            Protocol::Meta => meta::request(&command, cas),
            Protocol::Binary => binary::request(&command, cas, opaque),
        };
        let before = server.copies.clone();
        let mut outcome = server.carry_out(&command);
        if let (Outcome::Found(copies), false) = (&mut outcome, protocol == Protocol::Text) {
            copies.truncate(1);
        }
        let copy = before.get(&command.key);
        let answer = match protocol {
            Protocol::Text => text::answer(&command, &outcome, copy),
            Protocol::Meta => meta::answer(&command, &outcome, copy),
            Protocol::Binary => binary::answer(&command, &outcome, copy, opaque),
        };
        self.note(&command, &outcome, &before, server);
        let retrieves = protocol == Protocol::Meta || protocol == Protocol::Text && command.other;
        if command.ask == Ask::Touch && retrieves && copy.is_none() {
            self.missed.insert(command.key.clone());
        }
        if protocol == Protocol::Meta {
            self.hush(&command, &answer);
        }
        let after_silence =
            command.quiet || self.spoken.last().is_some_and(|spoken| spoken.answer.is_empty());
        self.unclear |=
            protocol != Protocol::Binary && after_silence && answer.first_chunk().is_some_and(is_error);
        self.requests.extend_from_slice(&request);
        self.spoken.push(Spoken { command, end: self.requests.len(), answer });
    }

    /// Notes what is quiet in the meta protocol, and what may be taken for it.
    fn hush(&mut self, command: &Command, answer: &[u8]) {
        let quiet = &mut self.quiet;
        match command.ask {
            Ask::Get { .. } if command.quiet => _ = quiet.keys.insert(command.key.clone()),
            Ask::Touch if command.quiet => {
                quiet.bare = true;
                quiet.keys.insert(command.key.clone());
            }
            // Where one that fails is told, see `after_silence`.
            _ if command.quiet && command.ask != Ask::Nothing && command.ask != Ask::Nonsense => {
                quiet.writes = true;
            }
            _ => {
                self.unclear |= !quiet.keys.is_empty() && quiet.might(command, answer);
                *quiet = Quiet::default();
            }
        }
    }

    fn note(
        &mut self,
        command: &Command,
        outcome: &Outcome,
        before: &BTreeMap<Vec<u8>, Copy>,
        server: &Server,
    ) {
        if command.ask == Ask::Flush {
            self.flushed = true;
        }
        // A value that a failed write cost is as good as written: no older one may stay elsewhere.
        let attempted = match (&command.ask, command.fails) {
            (Ask::Store { value, flags, .. }, Some(true)) => Some(Copy::of(value, *flags)),
            _ => None,
        };
        for key in before.keys().chain(server.copies.keys()) {
            let now = server.copies.get(key).or(attempted.as_ref().filter(|_| *key == command.key)).cloned();
            let history = self.copies.entry(key.clone()).or_default();
            if history.last() != Some(&now) {
                history.push(now);
            }
        }
        let failed =
            matches!(outcome, Outcome::NotStored | Outcome::Exists | Outcome::NotANumber | Outcome::NotFound);
        let certain = failed && !command.quiet && command.ask != Ask::Delete;
        if command.writes() && command.ask != Ask::Flush && !certain {
            self.writable.insert(command.key.clone());
        }
        if let Outcome::Found(copies) = outcome {
            self.missed.extend(copies.iter().filter(|(_, copy)| copy.is_none()).map(|(key, _)| key.clone()));
        }
    }
}

/// Whether a line of answer begins like one of the three errors (or like a failure of a quiet meta command).
fn is_error(begin: &[u8; 2]) -> bool {
    matches!(begin, b"ER" | b"CL" | b"SE" | b"NS" | b"EX" | b"NF")
}

/// What the session told.
#[derive(Default)]
struct Told {
    forwarded: Vec<u8>,
    delivered: Vec<u8>,
    effects: BTreeMap<Vec<u8>, Vec<Effect>>,
    /// Keys that were missed, for certain or perhaps.
    missed: BTreeSet<Vec<u8>>,
    missed_for_certain: BTreeSet<Vec<u8>>,
    flushed: bool,
    blind: bool,
}

impl Io for Told {
    fn forward(&mut self, _lane: usize, bytes: &[u8]) {
        self.forwarded.extend_from_slice(bytes);
    }
    fn deliver(&mut self, bytes: &[u8]) {
        self.delivered.extend_from_slice(bytes);
    }
    fn captured(&mut self, key: &[u8], effect: Effect) {
        self.effects.entry(key.to_vec()).or_default().push(effect);
    }
    fn reread(&mut self, key: &[u8], hash: u128, _set: u64) {
        self.captured(key, Effect::Refill(hash));
    }
    fn flushed(&mut self, _delay_s: u32) {
        self.flushed = true;
    }
    fn missed(&mut self, key: &[u8], sure: bool) {
        self.missed.insert(key.to_vec());
        if sure {
            self.missed_for_certain.insert(key.to_vec());
        }
    }
    fn storing(&mut self, _key: &[u8], _hash: Option<u128>) -> Storing {
        Storing::default()
    }
    fn overtaken(&mut self, _key: &[u8], _hash: Option<u128>, _since: u64) -> bool {
        false
    }
    fn stale_set(&mut self) {
        panic!("nothing was stale");
    }
    fn went_blind(&mut self) {
        self.blind = true;
    }
}

fn run(protocol: Protocol, data: &[u8]) {
    let Some((&[a, b, c, d], rest)) = data.split_first_chunk::<4>() else { return };
    let script = Script::of(protocol, Command::all(rest));
    let told = play(&script, Cuts::of(u32::from_le_bytes([a, b, c, d]).into()));
    let answers: Vec<u8> = script.spoken.iter().flat_map(|spoken| spoken.answer.iter().copied()).collect();
    assert_eq!(told.forwarded, script.requests, "what the server got");
    assert_eq!(told.delivered, answers, "what the client got");
    fresh(&script, &told);
    if told.blind {
        assert!(script.unclear, "it could have been followed: {}", String::from_utf8_lossy(&script.requests));
        return;
    }
    assert_eq!(told.flushed, script.flushed);
    for key in told.effects.keys() {
        assert!(script.writable.contains(key), "{:?} was not written", String::from_utf8_lossy(key));
    }
    assert!(told.missed.is_superset(&script.missed), "misses: {:?} of {:?}", told.missed, script.missed);
    assert!(told.missed_for_certain.is_subset(&script.missed), "a hit is told as a miss: {:?}", told.missed);
}

/// Of every copy that another region may have, none stays that is older than the last write.
fn fresh(script: &Script, told: &Told) {
    for (key, history) in script.copies.iter().filter(|_| !told.flushed) {
        let effects = told.effects.get(key).map_or(&[][..], Vec::as_slice);
        let now = history.last().cloned().flatten();
        for old in
            history.iter().flatten().filter(|copy| Some(&copy.value) != now.as_ref().map(|now| &now.value))
        {
            let hash = value_hash(&old.value, old.flags);
            let stays = effects.iter().all(|effect| effect.hash() == Some(hash));
            assert!(!stays, "an older copy of {:?} stays: {effects:?}", String::from_utf8_lossy(key));
        }
    }
}

/// Both sides in pieces: the server answers what has reached it as a whole.
fn play(script: &Script, mut cuts: Cuts) -> Told {
    let (mut session, mut told) = (Session::new(Policy::default(), 1, None, false), Told::default());
    let (mut asked, mut carried, mut answers) = (0, 0, Vec::new());
    loop {
        if cuts.below(3) > 0 {
            let to = (asked + 1 + cuts.below(60)).min(script.requests.len()).max(asked);
            asked += session.request(&script.requests[asked..to], &mut told).unwrap_or(0);
            if to == script.requests.len() && to > asked {
                panic!("the end of the requests was not taken");
            }
            if to > asked {
                // A line that is not whole: it comes again as a whole.
                let whole =
                    script.spoken.iter().map(|spoken| spoken.end).find(|&end| end >= to).unwrap_or(to);
                asked += session.request(&script.requests[asked..whole], &mut told).unwrap_or(0);
            }
        }
        while script.spoken.get(carried).is_some_and(|spoken| spoken.end <= told.forwarded.len()) {
            answers.extend_from_slice(&script.spoken[carried].answer);
            carried += 1;
        }
        if asked == script.requests.len() || cuts.below(2) == 0 {
            let some =
                if asked == script.requests.len() { answers.len() } else { cuts.below(answers.len() + 1) };
            let taken = session.answer(0, &answers[..some], &mut told).unwrap_or(0);
            answers.drain(..taken);
            in_time(script, &told);
        }
        if asked == script.requests.len() && carried == script.spoken.len() && answers.is_empty() {
            break;
        }
    }
    assert!(told.blind || !session.owes(), "something is still owed");
    session.end(&mut told);
    told
}

/// What the client has heard of is captured.
fn in_time(script: &Script, told: &Told) {
    let mut heard = 0;
    for spoken in &script.spoken {
        heard += spoken.answer.len();
        if heard > told.delivered.len() {
            return;
        }
        let stored = matches!(spoken.command.ask, Ask::Store { .. } | Ask::Count { .. });
        let loud = matches!(spoken.answer.as_slice(), [b'S' | b'H', b'T' | b'D', ..]);
        if stored && loud {
            assert!(told.effects.contains_key(&spoken.command.key), "heard of before it was captured");
        }
    }
}
