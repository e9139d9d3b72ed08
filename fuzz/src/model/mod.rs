//! A memcached server that answers whole commands, in memory and to the letter: what the observers are judged by. Never reads bytes: a command is
//! made, carried out, and written in one of the protocols ([`text`], [`meta`], [`binary`]).

pub(crate) mod binary;
mod command;
pub(crate) mod meta;
pub(crate) mod text;

use std::collections::BTreeMap;

pub(crate) use command::{Ask, Command, Verb};

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) value: Vec<u8>,
    pub(crate) flags: u32,
    cas: u64,
}

impl Copy {
    /// A value that nobody stored.
    pub(crate) fn of(value: &[u8], flags: u32) -> Self {
        Self { value: value.to_vec(), flags, cas: 0 }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    NotStored,
    Exists,
    NotFound,
    Number(u64),
    NotANumber,
    /// By key, in the order of asking.
    Found(Vec<(Vec<u8>, Option<Copy>)>),
    /// Out of memory.
    Failed,
    Unknown,
}

/// The server.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) copies: BTreeMap<Vec<u8>, Copy>,
    cas: u64,
}

impl Server {
    /// Carries a command out.
    pub(crate) fn carry_out(&mut self, command: &Command) -> Outcome {
        self.cas += 1;
        match &command.ask {
            Ask::Store { verb, value, flags, .. } => self.store(command, *verb, value, *flags),
            Ask::Delete => self.copies.remove(&command.key).map_or(Outcome::NotFound, |_| Outcome::Done),
            Ask::Count { up, by } => self.count(&command.key, *up, *by),
            Ask::Get { more } => {
                let found = |key: &Vec<u8>| (key.clone(), self.copies.get(key).cloned());
                Outcome::Found(std::iter::once(&command.key).chain(more).map(found).collect())
            }
            Ask::Touch if self.copies.contains_key(&command.key) => Outcome::Done,
            Ask::Touch => Outcome::NotFound,
            Ask::Flush => {
                self.copies.clear();
                Outcome::Done
            }
            Ask::Nothing => Outcome::Done,
            Ask::Nonsense => Outcome::Unknown,
        }
    }

    fn store(&mut self, command: &Command, verb: Verb, value: &[u8], flags: u32) -> Outcome {
        let key = &command.key;
        if let Some(lost) = command.fails {
            if lost {
                self.copies.remove(key);
            }
            return Outcome::Failed;
        }
        let cas = self.cas;
        let there = self.copies.get_mut(key);
        match (verb, there) {
            (Verb::Add, Some(_)) | (Verb::Replace | Verb::Append | Verb::Prepend, None) => {
                return Outcome::NotStored;
            }
            (Verb::Cas { .. }, None) => return Outcome::NotFound,
            (Verb::Cas { fits: false }, Some(_)) => return Outcome::Exists,
            (Verb::Append, Some(copy)) => {
                copy.value.extend_from_slice(value);
                copy.cas = cas;
            }
            (Verb::Prepend, Some(copy)) => {
                copy.value.splice(0..0, value.iter().copied());
                copy.cas = cas;
            }
            (Verb::Set | Verb::Add | Verb::Replace | Verb::Cas { fits: true }, _) => {
                self.copies.insert(key.clone(), Copy { value: value.to_vec(), flags, cas });
            }
        }
        Outcome::Done
    }

    fn count(&mut self, key: &[u8], up: bool, by: u64) -> Outcome {
        let Some(copy) = self.copies.get_mut(key) else { return Outcome::NotFound };
        let number = std::str::from_utf8(&copy.value).ok().and_then(|text| text.parse::<u64>().ok());
        let Some(number) = number else { return Outcome::NotANumber };
        let number = if up { number.wrapping_add(by) } else { number.saturating_sub(by) };
        copy.value = number.to_string().into_bytes();
        copy.cas = self.cas;
        Outcome::Number(number)
    }

    /// The number that a `cas` command must bring for its outcome.
    pub(crate) fn cas(&self, command: &Command) -> u64 {
        let there = self.copies.get(&command.key).map_or(7, |copy| copy.cas);
        if matches!(command.ask, Ask::Store { verb: Verb::Cas { fits: true }, .. }) {
            there
        } else {
            there + 1_000_000
        }
    }
}
