//! Readers of single values: text, numbers, durations, rates, sizes, addresses. Knows no key by name.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;

use super::fault::Wrong;
use super::node::{Node, Value, describe, quote};
use super::units;
use crate::decide::nearest::nearest;

/// Any text.
pub(super) fn text(node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(Wrong::only(format!("{} is not text", describe(node)))),
    }
}

/// Text that is not empty.
pub(super) fn nonempty(node: &Node) -> Result<String, Wrong> {
    let text = text(node)?;
    if text.is_empty() { Err(Wrong::only("is empty")) } else { Ok(text) }
}

/// A name: 1 to 63 letters, digits, `-`, `_` or `.`.
pub(super) fn name(node: &Node) -> Result<String, Wrong> {
    let text = text(node)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=63).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text);
    }
    Err(Wrong::new(
        format!("{} is not a name", quote(&text)),
        "1 to 63 letters, digits, \"-\", \"_\" or \".\"",
    ))
}

/// An absolute path of a file.
pub(super) fn path(node: &Node) -> Result<PathBuf, Wrong> {
    let text = nonempty(node)?;
    let path = PathBuf::from(&text);
    if path.is_absolute() && !text.contains('\0') {
        return Ok(path);
    }
    Err(Wrong::new(format!("{} is not an absolute path", quote(&text)), "a path that begins with /"))
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, Wrong> {
    match node.value {
        Value::Boolean(boolean) => Ok(boolean),
        _ => Err(Wrong::only(format!("{} is neither true nor false", describe(node)))),
    }
}

/// A whole number in a range.
pub(super) fn integer<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| {
        let found = match node.value {
            Value::Integer(found) => found,
            _ => return Err(Wrong::only(format!("{} is not a whole number", describe(node)))),
        };
        found
            .filter(|found| range.contains(found))
            .and_then(|found| T::try_from(found).ok())
            .ok_or_else(|| Wrong::new(format!("{} is out of range", describe(node)), between(&range)))
    }
}

fn between(range: &RangeInclusive<i64>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// A share: `low < x <= high`, or `low <= x` where `closed`.
pub(super) fn share(low: f64, closed: bool, high: f64) -> impl Fn(&Node) -> Result<f64, Wrong> {
    move |node| {
        #[expect(clippy::cast_precision_loss, reason = "shares are small numbers")]
        let found = match node.value {
            Value::Float(found) => found,
            Value::Integer(Some(found)) => found as f64,
            _ => return Err(Wrong::only(format!("{} is not a number", describe(node)))),
        };
        let above = if closed { found >= low } else { found > low };
        if above && found <= high { Ok(found) } else { Err(Wrong::only(format!("{found} is out of range"))) }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Node) -> Result<T, Wrong> {
    move |node| {
        let text = text(node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let allowed: Vec<String> = names.clone().map(|word| format!("\"{word}\"")).collect();
        let hint = nearest(&text, names).map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
        Err(Wrong::new(format!("{} is not known{hint}", quote(&text)), allowed.join(", ")))
    }
}

/// The place of a name among known names.
pub(super) fn reference(what: &'static str, known: &[String]) -> impl Fn(&Node) -> Result<usize, Wrong> {
    move |node| {
        let text = text(node)?;
        if let Some(index) = known.iter().position(|name| *name == text) {
            return Ok(index);
        }
        let hint = nearest(&text, known.iter().map(String::as_str))
            .map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
        let allowed = match known {
            [] => format!("a [[{what}]] of this name must be added"),
            _ => known.iter().take(20).map(|name| quote(name)).collect::<Vec<_>>().join(", "),
        };
        Err(Wrong::new(format!("{} names no [[{what}]]{hint}", quote(&text)), allowed))
    }
}

/// A duration such as `"250ms"`, in a range.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node) -> Result<Duration, Wrong> {
    move |node| {
        let text = text(node).map_err(|_| {
            Wrong::new(
                format!("{} is not a duration", describe(node)),
                "text with a unit, e.g. \"250ms\", \"30s\", \"10m\", \"2h\"",
            )
        })?;
        let found = units::duration(&text).map_err(|wrong| Wrong::new(wrong.problem, wrong.allowed))?;
        if range.contains(&found) {
            return Ok(found);
        }
        let (low, high) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
        Err(Wrong::new(format!("{} is out of range", quote(&text)), format!("\"{low}\" to \"{high}\"")))
    }
}

/// A rate: a whole number, and with `bits` also text such as `"4Gbit"`.
pub(super) fn rate(bits: bool) -> impl Fn(&Node) -> Result<u64, Wrong> {
    let highest = if bits { units::MAX_BITS } else { units::MAX_RATE };
    move |node| {
        let found = match &node.value {
            Value::String(text) if bits => {
                units::bits(text).map_err(|wrong| Wrong::new(wrong.problem, wrong.allowed))?
            }
            Value::Integer(found) => found.and_then(|found| u64::try_from(found).ok()).ok_or_else(|| {
                Wrong::new(format!("{} is out of range", describe(node)), format!("0 to {highest}"))
            })?,
            _ => return Err(Wrong::only(format!("{} is not a rate", describe(node)))),
        };
        if found <= highest {
            return Ok(found);
        }
        Err(Wrong::new(format!("{} is out of range", describe(node)), format!("0 to {highest}")))
    }
}

/// A size such as `"1GiB"`, or a number of bytes.
pub(super) fn bytes(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Result<u64, Wrong> {
    move |node| {
        let found = match &node.value {
            Value::String(text) => {
                units::bytes(text).map_err(|wrong| Wrong::new(wrong.problem, wrong.allowed))?
            }
            Value::Integer(Some(found)) if *found >= 0 => found.unsigned_abs(),
            _ => return Err(Wrong::only(format!("{} is not a size", describe(node)))),
        };
        if range.contains(&found) {
            return Ok(found);
        }
        let allowed = format!("{} to {} bytes", range.start(), range.end());
        Err(Wrong::new(format!("{} is out of range", describe(node)), allowed))
    }
}

/// A prefix such as `10.0.0.0/8`, or one address.
pub(super) fn prefix(node: &Node) -> Result<IpNet, Wrong> {
    let text = text(node)?;
    units::prefix(&text).map_err(|wrong| Wrong::new(wrong.problem, wrong.allowed))
}

/// An address and port.
pub(super) fn socket(node: &Node) -> Result<SocketAddr, Wrong> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        Wrong::new(
            format!("{} is not an address with a port", quote(&text)),
            "IP:PORT, e.g. \"0.0.0.0:443\" or \"[::]:443\"",
        )
    })
}

/// An `http` or `https` URL without path, query or user.
pub(super) fn origin(node: &Node) -> Result<Uri, Wrong> {
    let text = text(node)?;
    let wrong = |problem: &str| {
        Wrong::new(
            format!("{} {problem}", quote(&text)),
            "http:// or https://, a host and maybe a port, nothing behind, e.g. \"https://edge.example.net:8443\"",
        )
    };
    let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let authority = uri.authority().ok_or_else(|| wrong("is not a URL with scheme and host"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("is neither http nor https"));
    }
    if authority.as_str().contains('@') {
        return Err(wrong("names a user"));
    }
    let (host, rest) = (authority.host(), authority.as_str());
    if host.is_empty() || (rest.len() > host.len() && !matches!(authority.port_u16(), Some(1..))) {
        return Err(wrong("has no valid host and port"));
    }
    if uri.query().is_some() || !matches!(uri.path(), "" | "/") || text.contains('#') {
        return Err(wrong("has a path or query"));
    }
    Ok(uri)
}

/// An absolute path of a URL.
pub(super) fn url_path(node: &Node) -> Result<String, Wrong> {
    let text = text(node)?;
    let clean = text.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#' && b != b'?');
    if text.starts_with('/') && clean {
        return Ok(text);
    }
    Err(Wrong::new(
        format!("{} is not the path of a URL", quote(&text)),
        "begins with /, no spaces, no ? or #",
    ))
}

/// An HTTP method.
pub(super) fn method(node: &Node) -> Result<http::Method, Wrong> {
    let text = text(node)?;
    let upper = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    http::Method::from_bytes(text.as_bytes()).ok().filter(|_| upper).ok_or_else(|| {
        Wrong::new(format!("{} is not an HTTP method", quote(&text)), "upper case, e.g. \"GET\"")
    })
}
