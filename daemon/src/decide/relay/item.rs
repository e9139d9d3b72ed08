//! Invalidations as bytes, the same on disk, on a link and between front and spool. Never holds a value.
//!
//! One item is a tag byte and, for keys, a length byte and the key; all but [`Item::Forget`] end with the 16-byte hash
//! (little-endian), [`Item::Flush`] is the tag and four bytes of delay in seconds (little-endian).

use super::effect::{Effect, MAX_KEY};

const FORGET: u8 = 1;
const DIFFERS: u8 = 2;
const FLUSH: u8 = 3;
const VERIFY: u8 = 4;
const REFILL: u8 = 5;
const REREAD: u8 = 6;

/// One invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Forget the key in any case.
    Forget(&'a [u8]),
    /// Forget the key if its copy has another hash.
    Differs(&'a [u8], u128),
    /// Flush the pool after so many seconds.
    Flush(u32),
    /// As [`Item::Differs`], to be reported: a read-back.
    Verify(&'a [u8], u128),
    /// As [`Item::Differs`], see [`Effect::Refill`].
    Refill(&'a [u8], u128),
    /// As [`Item::Refill`], and the value was read after every write of that key that the same sender sent before.
    Reread(&'a [u8], u128),
}

/// The refill at the beginning of `items` is a reread.
pub fn mark_reread(items: &mut [u8]) {
    if let Some(tag) = items.first_mut().filter(|tag| **tag == REFILL) {
        *tag = REREAD;
    }
}

impl<'a> Item<'a> {
    /// An effect on a key.
    #[must_use]
    pub fn new(key: &'a [u8], effect: Effect) -> Self {
        match effect {
            Effect::Forget => Self::Forget(key),
            Effect::Differs(hash) => Self::Differs(key, hash),
            Effect::Refill(hash) => Self::Refill(key, hash),
        }
    }

    /// The key and what happens to it; `None` for a flush.
    #[must_use]
    pub fn key(&self) -> Option<(&'a [u8], Effect)> {
        match *self {
            Self::Forget(key) => Some((key, Effect::Forget)),
            Self::Differs(key, hash) | Self::Verify(key, hash) => Some((key, Effect::Differs(hash))),
            Self::Refill(key, hash) | Self::Reread(key, hash) => Some((key, Effect::Refill(hash))),
            Self::Flush(_) => None,
        }
    }

    /// Appends the item; a key longer than memcached takes, or an empty one, is left out.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (tag, key, hash) = match *self {
            Self::Forget(key) => (FORGET, key, None),
            Self::Differs(key, hash) => (DIFFERS, key, Some(hash)),
            Self::Verify(key, hash) => (VERIFY, key, Some(hash)),
            Self::Refill(key, hash) => (REFILL, key, Some(hash)),
            Self::Reread(key, hash) => (REREAD, key, Some(hash)),
            Self::Flush(delay_s) => {
                out.push(FLUSH);
                out.extend_from_slice(&delay_s.to_le_bytes());
                return;
            }
        };
        let Some(len) = u8::try_from(key.len()).ok().filter(|&len| (1..=MAX_KEY).contains(&usize::from(len)))
        else {
            return;
        };
        out.extend_from_slice(&[tag, len]);
        out.extend_from_slice(key);
        if let Some(hash) = hash {
            out.extend_from_slice(&hash.to_le_bytes());
        }
    }
}

/// The items in some bytes. Ends early, with [`Items::broken`] set, at bytes that are no item.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Items<'a> {
    /// Over all of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, broken: false }
    }

    /// Whether something that is no item was met.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken
    }

    fn take(&mut self) -> Option<Item<'a>> {
        let (&tag, rest) = self.rest.split_first()?;
        if tag == FLUSH {
            let (delay, rest) = rest.split_first_chunk::<4>()?;
            self.rest = rest;
            return Some(Item::Flush(u32::from_le_bytes(*delay)));
        }
        let (&len, rest) = rest.split_first()?;
        if len == 0 || usize::from(len) > MAX_KEY {
            return None;
        }
        let (key, rest) = rest.split_at_checked(usize::from(len))?;
        if tag == FORGET {
            self.rest = rest;
            return Some(Item::Forget(key));
        }
        let (hash, rest) = rest.split_first_chunk::<16>()?;
        let hash = u128::from_le_bytes(*hash);
        self.rest = rest;
        match tag {
            DIFFERS => Some(Item::Differs(key, hash)),
            VERIFY => Some(Item::Verify(key, hash)),
            REFILL => Some(Item::Refill(key, hash)),
            REREAD => Some(Item::Reread(key, hash)),
            _ => None,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.rest.is_empty() || self.broken {
            return None;
        }
        let item = self.take();
        self.broken = item.is_none();
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_come_back_as_they_were_written() {
        let items = [
            Item::Forget(b"a"),
            Item::Differs(b"b\0 ", 7),
            Item::Flush(9),
            Item::Verify(b"c", u128::MAX),
            Item::Refill(b"d", 1),
            Item::Reread(b"e", 2),
        ];
        let mut bytes = Vec::new();
        for item in &items {
            item.write(&mut bytes);
        }
        let mut back = Items::new(&bytes);
        assert_eq!(back.by_ref().collect::<Vec<_>>(), items);
        assert!(!back.broken());
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut items = Items::new(&bytes);
            let read: Vec<Item<'_>> = items.by_ref().collect();
            let mut again = Vec::new();
            for item in &read {
                item.write(&mut again);
            }
            prop_assert!(bytes.starts_with(&again));
            prop_assert_eq!(items.broken(), again.len() < bytes.len());
        }
    }
}
