//! Lines of mcrouter's asynclog: deletes that a destination did not take. Never reads a file.
//!
//! A line is a JSON array: a version, seconds since 1970, `"C"`, and the delete. `AS1.0` has it as `[host, port, "delete KEY\r\n"]`,
//! `AS2.0` as an object with the pool in `p` and the key in `k` (mcrouter's `AsyncLog.cpp`). Keys are bytes: mcrouter writes them as they
//! came, whether they are UTF-8 or not.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::effect::MAX_KEY;

/// A delete that mcrouter could not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// mcrouter's name of the pool; `AS1.0` has none.
    pub pool: Option<String>,
    /// The key, with the routing prefix if the client sent one.
    pub key: Vec<u8>,
}

impl Delete {
    /// The keys under which a memcached server may hold it: as it is, and without a routing prefix (`/region/cluster/`).
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let bare = self.key.strip_prefix(b"/").and_then(|rest| {
            let mut parts = rest.splitn(3, |&byte| byte == b'/');
            let (region, cluster, key) = (parts.next()?, parts.next()?, parts.next()?);
            (!region.is_empty() && !cluster.is_empty() && !key.is_empty()).then_some(key)
        });
        [Some(self.key.as_slice()), bare].into_iter().flatten()
    }
}

/// Why a line is no delete.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// Not JSON, or not of that shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A version that is not known.
    #[error("version {0:?} is not known; \"AS1.0\" and \"AS2.0\" are")]
    Version(String),
    /// Not a command.
    #[error("the third element is {0:?}, not \"C\"")]
    Kind(String),
    /// Another command.
    #[error("{0:?} is not `delete KEY`")]
    Command(String),
    /// Not a key that memcached can hold.
    #[error("a key has 1 to {MAX_KEY} bytes without spaces or control characters; this one is {0:?}")]
    Key(String),
}

/// The delete in a line without its end.
///
/// # Errors
/// See [`BadLine`].
pub fn parse(line: &[u8]) -> Result<Delete, BadLine> {
    let Line(version, kind, body) = serde_json::from_slice(line)?;
    if !matches!(version.0.as_slice(), b"AS1.0" | b"AS2.0") {
        return Err(BadLine::Version(text(&version.0)));
    }
    if kind.0 != b"C" {
        return Err(BadLine::Kind(text(&kind.0)));
    }
    let (pool, key) = match body {
        Body::Command(command) => (None, key_of(&command.0)?.to_vec()),
        Body::Object { pool, key } => (pool.map(|pool| text(&pool.0)), key.0),
    };
    let key = key.strip_suffix(b"\r\n").unwrap_or(&key).to_vec();
    let fits = (1..=MAX_KEY).contains(&key.len()) && !key.iter().any(|&byte| byte <= b' ' || byte == 0x7f);
    if fits { Ok(Delete { pool, key }) } else { Err(BadLine::Key(text(&key))) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}

/// `delete KEY`, perhaps with a time and `noreply` behind it.
fn key_of(command: &[u8]) -> Result<&[u8], BadLine> {
    let line = command.strip_suffix(b"\r\n").unwrap_or(command);
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    match (words.next(), words.next()) {
        (Some(b"delete"), Some(key)) => Ok(key),
        _ => Err(BadLine::Command(text(command))),
    }
}

/// A JSON string whatever its bytes.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Any)
    }
}

/// Version, kind, body.
struct Line(Bytes, Bytes, Body);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (version, _, kind, body): (_, f64, _, _) = Deserialize::deserialize(deserializer)?;
        Ok(Self(version, kind, body))
    }
}

enum Body {
    Command(Bytes),
    Object { pool: Option<Bytes>, key: Bytes },
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Body;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[host, port, command], or an object with \"k\"")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Body, A::Error> {
                let short = |at| A::Error::invalid_length(at, &"[host, port, command]");
                let _host: Bytes = seq.next_element()?.ok_or_else(|| short(0))?;
                let _port: u32 = seq.next_element()?.ok_or_else(|| short(1))?;
                let command = seq.next_element()?.ok_or_else(|| short(2))?;
                Ok(Body::Command(command))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let (mut pool, mut key) = (None, None);
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "p" => pool = Some(map.next_value()?),
                        "k" => key = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let key = key.ok_or_else(|| A::Error::missing_field("k"))?;
                Ok(Body::Object { pool, key })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delete(pool: Option<&str>, key: &[u8]) -> Delete {
        Delete { pool: pool.map(str::to_owned), key: key.to_vec() }
    }

    #[test]
    fn both_versions_are_read() {
        let one = br#"["AS1.0", 1289416829.836, "C", ["10.0.0.1", 11302, "delete foo\r\n"]]"#;
        assert_eq!(parse(one).ok(), Some(delete(None, b"foo")));
        let two = br#"["AS2.0",1289416829.836,"C",{"f":"web","h":"[10.0.0.1]:11302","p":"sessions","k":"foo","a":{"x":1}}]"#;
        assert_eq!(parse(two).ok(), Some(delete(Some("sessions"), b"foo")));
        let raw = b"[\"AS2.0\",1,\"C\",{\"p\":\"s\",\"k\":\"a\xff\\u00e9\"}]";
        assert_eq!(parse(raw).ok(), Some(delete(Some("s"), b"a\xff\xc3\xa9")));
    }

    #[test]
    fn what_is_no_delete_is_named() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "EOF"),
            (b"[\"AS2.0\",1,\"C\",{\"p\":\"s\",\"k\":\"cut", "EOF"),
            (b"[\"AS9.0\",1,\"C\",{\"k\":\"x\"}]", "AS9.0"),
            (b"[\"AS1.0\",1,\"D\",[\"h\",1,\"delete x\"]]", "not \"C\""),
            (b"[\"AS1.0\",1,\"C\",[\"h\",1,\"set x 0 0 1\\r\\ny\"]]", "not `delete KEY`"),
            (b"[\"AS1.0\",1,\"C\",[\"h\",1]]", "[host, port, command]"),
            (b"[\"AS2.0\",1,\"C\",{\"p\":\"s\"}]", "missing field `k`"),
            (b"[\"AS2.0\",1,\"C\",{\"k\":\"a b\"}]", "1 to 250 bytes"),
            (b"[\"AS2.0\",1,\"C\",{\"k\":\"\"}]", "1 to 250 bytes"),
        ];
        for (line, why) in cases {
            let said = parse(line).expect_err("no delete").to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_routing_prefix_is_forgotten_both_ways() {
        let keys = |key: &[u8]| delete(None, key).keys().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(keys(b"/eu/web/k/x"), [b"/eu/web/k/x".to_vec(), b"k/x".to_vec()]);
        for bare in [&b"k"[..], b"/k", b"/a/b", b"/a/b/", b"//b/k"] {
            assert_eq!(keys(bare), [bare.to_vec()]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _judged = parse(&bytes);
        }
    }
}
