//! NATS subjects of the relay. Never holds a raw key: a subject's tokens cannot have dots, spaces or wildcards.
//!
//! `tidegate.keys.POOL.TO.FROM.LIFE.ITEM` carries one item; a later letter with the same subject takes the place of an earlier one.
//! `tidegate.words.FROM.TO.LIFE` carries what region `TO` says to the daemon of `FROM` with that life.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::item::{Item, Items};

/// Where letters of one daemon go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    prefix: String,
}

/// A name as one token: letters, digits, `-` and `_` stay, other bytes become `~XX`.
#[must_use]
pub fn token(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("~{byte:02X}") })
        .collect()
}

/// The stream of a pool.
#[must_use]
pub fn stream(pool: &str) -> String {
    format!("tidegate-{}", token(pool))
}

/// Everything in the stream of a pool.
#[must_use]
pub fn all(pool: &str) -> String {
    format!("tidegate.keys.{}.>", token(pool))
}

/// Everything of a pool for a region.
#[must_use]
pub fn to(pool: &str, region: &str) -> String {
    format!("tidegate.keys.{}.{}.>", token(pool), token(region))
}

/// What `to` says to the daemon of `from` with that life.
#[must_use]
pub fn words(from: &str, to: &str, life: &str) -> String {
    format!("tidegate.words.{}.{}.{life}", token(from), token(to))
}

impl Way {
    /// Letters about `pool` from region `from` to region `to`.
    #[must_use]
    pub fn new(pool: &str, from: &str, to: &str, life: &str) -> Self {
        Self { prefix: format!("tidegate.keys.{}.{}.{}.{life}", token(pool), token(to), token(from)) }
    }

    /// The subject of the first item in `items`.
    #[must_use]
    pub fn subject(&self, items: &[u8]) -> String {
        let item = match Items::new(items).next() {
            Some(Item::Flush(delay_s)) => format!("f{delay_s}"),
            Some(Item::Verify(key, _)) => format!("v{}", URL_SAFE_NO_PAD.encode(key)),
            Some(Item::Forget(key) | Item::Differs(key, _) | Item::Refill(key, _) | Item::Reread(key, _)) => {
                format!("k{}", URL_SAFE_NO_PAD.encode(key))
            }
            None => "n".to_owned(),
        };
        format!("{}.{item}", self.prefix)
    }
}

/// The tokens of the sending region and its daemon's life in a letter's subject.
#[must_use]
pub fn sender(subject: &str) -> Option<(&str, &str)> {
    let mut tokens = subject.strip_prefix("tidegate.keys.")?.split('.').skip(2);
    Some((tokens.next()?, tokens.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(item: &Item<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        item.write(&mut bytes);
        bytes
    }

    #[test]
    fn any_key_and_name_fits_a_subject() {
        let way = Way::new("a.b", "eu west", "us", "0f");
        let subject = way.subject(&items(&Item::Differs(b"\0 .*>\xff", 1)));
        assert_eq!(subject, "tidegate.keys.a~2Eb.us.eu~20west.0f.kACAuKj7_");
        assert_eq!(sender(&subject), Some(("eu~20west", "0f")));
        assert_eq!(sender("tidegate.words.a.b.c"), None);
        let longest = way.subject(&items(&Item::Forget(&[b'k'; 250])));
        assert!(longest.len() < 600 && longest.is_ascii());
    }

    #[test]
    fn only_what_covers_another_shares_its_subject() {
        let way = Way::new("p", "eu", "us", "0f");
        let subjects: Vec<String> = [
            Item::Forget(b"a"),
            Item::Differs(b"a", 9),
            Item::Refill(b"a", 8),
            Item::Verify(b"a", 9),
            Item::Flush(0),
            Item::Flush(5),
            Item::Forget(b"b"),
        ]
        .iter()
        .map(|item| way.subject(&items(item)))
        .collect();
        assert!(subjects[0] == subjects[1] && subjects[1] == subjects[2]);
        let others: std::collections::BTreeSet<&String> = subjects[2..].iter().collect();
        assert_eq!(others.len(), 5);
    }
}
