//! A memcached server of a few text commands, and a store whose replicas lag. Never waits: time is its caller's.

use std::collections::BTreeMap;

use crate::decide::relay::effect::value_hash;

/// A server's contents.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) copies: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Cache {
    /// Takes whole commands off the front of `bytes`; the answers.
    pub(super) fn commands(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
            let line = String::from_utf8(bytes[..end].to_vec()).expect("text");
            let words: Vec<&str> = line.split(' ').collect();
            let mut used = end + 2;
            let mut value = Vec::new();
            if matches!(words[0], "set" | "add") {
                let size: usize = words[4].parse().expect("a size");
                if bytes.len() < used + size + 2 {
                    break;
                }
                value = bytes[used..used + size].to_vec();
                used += size + 2;
            }
            let answer = self.command(&words, value);
            if words.last() != Some(&"noreply") {
                out.extend_from_slice(&answer);
            }
            bytes.drain(..used);
        }
        out
    }

    fn command(&mut self, words: &[&str], value: Vec<u8>) -> Vec<u8> {
        let key = words.get(1).map_or(&b""[..], |key| key.as_bytes()).to_vec();
        match words[0] {
            "get" => match self.copies.get(&key) {
                None => b"END\r\n".to_vec(),
                Some(value) => {
                    let mut answer = format!("VALUE {} 0 {}\r\n", words[1], value.len()).into_bytes();
                    answer.extend_from_slice(value);
                    answer.extend_from_slice(b"\r\nEND\r\n");
                    answer
                }
            },
            "add" if self.copies.contains_key(&key) => b"NOT_STORED\r\n".to_vec(),
            "set" | "add" => {
                self.copies.insert(key, value);
                b"STORED\r\n".to_vec()
            }
            "delete" if self.copies.remove(&key).is_some() => b"DELETED\r\n".to_vec(),
            "delete" => b"NOT_FOUND\r\n".to_vec(),
            "flush_all" => {
                self.copies.clear();
                b"OK\r\n".to_vec()
            }
            other => panic!("the model does not know {other}"),
        }
    }

    /// The hash of a key's copy, as the relay sees it.
    pub(super) fn hash(&self, key: &[u8]) -> Option<u128> {
        self.copies.get(key).map(|value| value_hash(value, 0))
    }
}

/// What a row is, in the order of writes: the last write wins everywhere, sooner or later.
pub(super) type Version = (u64, u8);

/// The store: its truth, and what each region's replica shows by now.
pub(super) struct Store {
    pub(super) truth: Vec<Version>,
    replicas: Vec<Vec<Version>>,
    last: u64,
}

impl Store {
    pub(super) fn new(regions: usize, keys: usize) -> Self {
        Self { truth: vec![(0, 0); keys], replicas: vec![vec![(0, 0); keys]; regions], last: 0 }
    }

    /// A client of `region` writes; the other replicas are told with [`Self::replicate`].
    pub(super) fn write(&mut self, region: usize, key: usize, value: u8) -> Version {
        self.last += 1;
        self.truth[key] = (self.last, value);
        self.replicate(region, key, (self.last, value));
        (self.last, value)
    }

    pub(super) fn replicate(&mut self, region: usize, key: usize, version: Version) {
        let shown = &mut self.replicas[region][key];
        *shown = (*shown).max(version);
    }

    pub(super) fn read(&self, region: usize, key: usize) -> u8 {
        self.replicas[region][key].1
    }
}
