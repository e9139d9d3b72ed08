//! One cookie by its name, read and written (RFC 6265). Never judges the value.

use std::time::Duration;

use http::HeaderMap;

/// All values of the cookie called `name`, in order. Quotes around a value are no part of it (RFC 6265, section 4.1.1).
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(http::header::COOKIE).into_iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// A `Set-Cookie` field's value: for the whole site, out of scripts' reach, sent along when a link leads here.
pub(super) fn set(name: &str, value: &str, ttl: Duration, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={}{secure}; HttpOnly; SameSite=Lax", ttl.as_secs())
}
