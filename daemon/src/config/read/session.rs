//! `[session]`: the signed pin that keeps a device's session in one region. Never reads the key.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    DAY, SECOND,
};
use crate::config::types::Session;

pub(in crate::config) const KEYS: &[Key] = &[
    key::default(
        "cookie",
        "\"tg_home\"",
        "the name of a cookie (RFC 6265 token)",
        "Cookie that holds the pin: region, expiry, HMAC-SHA256.",
    ),
    key::default("ttl", "\"12h\"", "\"1s\" to \"365d\"", "How long a pin lasts."),
    key::required(
        "key_file",
        "an absolute path",
        "File with the key, the same on every edge; a second line holds the previous key.",
    ),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>) -> Option<Session> {
    let cookie = cursor.get("cookie", cookie);
    let ttl = cursor.get("ttl", scalar::duration(SECOND..=DAY * 365));
    let key_file = cursor.get("key_file", scalar::path);
    Some(Session { cookie: cookie?, ttl: ttl?, key_file: key_file? })
}

fn cookie(found: &node::Node) -> Result<String, Wrong> {
    let text = scalar::text(found)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(token) {
        return Ok(text);
    }
    Err(Wrong::only(format!("{} is not the name of a cookie", node::quote(&text))))
}
