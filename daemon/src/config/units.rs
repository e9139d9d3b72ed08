//! Durations, rates, sizes and prefixes as operators write them, in the file and on the command line. Holds no state.

use std::time::Duration;

use ipnet::IpNet;

use super::node::quote;

/// Highest rate of requests, connections or packets.
pub const MAX_RATE: u64 = 1_000_000_000;
/// Highest rate of bits: 10 Tbit/s.
pub const MAX_BITS: u64 = 10_000_000_000_000;

/// Text that is no such value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; allowed: {allowed}")]
pub struct BadUnit {
    /// What was found.
    pub problem: String,
    /// What is allowed.
    pub allowed: &'static str,
}

fn bad(text: &str, what: &str, allowed: &'static str) -> BadUnit {
    BadUnit { problem: format!("{} is not {what}", quote(text)), allowed }
}

/// Number and unit at the front of `text`, and what is left.
fn number_unit(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')?;
    let (number, rest) = text.split_at(digits);
    let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    (!number.is_empty() && !unit.is_empty()).then_some((number, unit, rest))
}

/// A duration: whole numbers with `ms`, `s`, `m`, `h` or `d`, e.g. `30s` or `1h30m`.
///
/// # Errors
/// Anything else, also a number without a unit.
pub fn duration(text: &str) -> Result<Duration, BadUnit> {
    let wrong =
        || bad(text, "a duration", "a number and ms, s, m, h or d, e.g. \"250ms\", \"30s\", \"10m\", \"2h\"");
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let (number, unit, left) = number_unit(rest).ok_or_else(wrong)?;
        let scale: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total = number.checked_mul(scale).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        rest = left;
    }
    Ok(Duration::from_millis(total))
}

/// A duration as [`duration`] reads it, with its largest exact units.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut shown = String::new();
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let count = ms / scale;
        if count > 0 {
            shown.push_str(&format!("{count}{unit}"));
            ms %= scale;
        }
    }
    shown
}

fn scaled(number: &str, scale: u64) -> Option<u64> {
    let clean = number.replace('_', "");
    let (whole, part) = clean.split_once('.').unwrap_or((&clean, ""));
    if whole.is_empty() || part.len() > 9 || part.contains('.') || (clean.contains('.') && part.is_empty()) {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let ten = 10u128.pow(u32::try_from(part.len()).ok()?);
    let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let total = whole.checked_mul(ten)?.checked_add(part)?.checked_mul(u128::from(scale))?;
    if total % ten == 0 { u64::try_from(total / ten).ok() } else { None }
}

/// A plain rate: digits, `_` allowed.
///
/// # Errors
/// Anything else, and more than [`MAX_RATE`].
pub fn rate(text: &str) -> Result<u64, BadUnit> {
    let clean = text.replace('_', "");
    let digits = !clean.is_empty() && text.starts_with(|c: char| c.is_ascii_digit());
    match clean.parse() {
        Ok(rate) if digits && rate <= MAX_RATE => Ok(rate),
        _ => Err(bad(text, "a rate", "a whole number from 0 to 1_000_000_000")),
    }
}

/// A rate of bits: digits, or a number with `bit`, `kbit`, `Mbit`, `Gbit` or `Tbit` (powers of 1000).
///
/// # Errors
/// Anything else, and more than [`MAX_BITS`].
pub fn bits(text: &str) -> Result<u64, BadUnit> {
    let wrong =
        || bad(text, "a rate of bits", "bits per second, e.g. \"4Gbit\", \"500Mbit\", up to \"10Tbit\"");
    let (number, unit) = match number_unit(text) {
        Some((number, unit, "")) => (number, unit),
        Some(_) => return Err(wrong()),
        None => (text, "bit"),
    };
    let scale = match unit.to_ascii_lowercase().as_str() {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        "tbit" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    scaled(number, scale).filter(|bits| *bits <= MAX_BITS).ok_or_else(wrong)
}

/// A rate of bits as [`bits`] reads it.
#[must_use]
pub fn show_bits(bits: u64) -> String {
    let units = [("Tbit", 1_000_000_000_000), ("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000)];
    for (unit, scale) in units {
        if bits >= scale && bits.is_multiple_of(scale / 1_000) {
            let (whole, part) = (bits / scale, bits % scale / (scale / 1_000));
            let shown = format!("{whole}.{part:03}");
            return format!("{}{unit}", shown.trim_end_matches('0').trim_end_matches('.'));
        }
    }
    format!("{bits}bit")
}

/// The URL of an edge or endpoint as the file has it: without the path `/` that [`http::Uri`] adds.
#[must_use]
pub fn show_origin(url: &http::Uri) -> String {
    let mut shown = url.to_string();
    if shown.ends_with('/') {
        shown.pop();
    }
    shown
}

/// A size: digits, or a number with `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`.
///
/// # Errors
/// Anything else.
pub fn bytes(text: &str) -> Result<u64, BadUnit> {
    let wrong = || bad(text, "a size", "bytes, e.g. \"1GiB\", \"512MiB\", \"10GB\"");
    let (number, unit) = match number_unit(text) {
        Some((number, unit, "")) => (number, unit),
        Some(_) => return Err(wrong()),
        None => (text, "B"),
    };
    let scale = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    scaled(number, scale).ok_or_else(wrong)
}

/// A prefix such as `10.0.0.0/8`, or one address; IPv4-mapped IPv6 is refused.
///
/// # Errors
/// No address, a length out of range, or bits set behind the length.
pub fn prefix(text: &str) -> Result<IpNet, BadUnit> {
    const ALLOWED: &str = "an address or ADDRESS/LENGTH, e.g. \"198.51.100.0/24\" or \"2001:db8::/32\"";
    let parsed: Option<IpNet> = if text.contains('/') {
        text.parse().ok()
    } else {
        text.parse::<std::net::IpAddr>().ok().map(IpNet::from)
    };
    let net = parsed.ok_or_else(|| bad(text, "a prefix", ALLOWED))?;
    if net.trunc() != net {
        let problem =
            format!("{} has bits set behind its length; did you mean \"{}\"?", quote(text), net.trunc());
        return Err(BadUnit { problem, allowed: ALLOWED });
    }
    if let IpNet::V6(v6) = net
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err(bad(text, "a plain prefix (it is IPv4 written as IPv6)", ALLOWED));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_operators_write_them() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(duration(&show_duration(Duration::from_millis(ms))), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "30", "s", "1.5s", "-1s", "1 s", "30sec", "1s ", "99999999999999999999h", "1h30"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_and_sizes_as_operators_write_them() {
        for (text, value) in
            [("4Gbit", 4_000_000_000), ("500Mbit", 500_000_000), ("2.5Gbit", 2_500_000_000), ("1_000", 1_000)]
        {
            assert_eq!(bits(text), Ok(value), "{text}");
            assert_eq!(bits(&show_bits(value)), Ok(value));
        }
        for text in ["", "4G", "Gbit", "1.Gbit", "1.2.3Gbit", "11Tbit", "-4Gbit", "0.1bit", "4 Gbit"] {
            assert!(bits(text).is_err(), "{text}");
        }
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(rate("20_000"), Ok(20_000));
        for text in ["", "_1", "1e3", "1.5", "+3", "1_000_000_001"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_shown_as_the_file_has_them() {
        for text in ["http://192.0.2.1:8443", "https://edge.example.net", "http://[2001:db8::1]:80"] {
            assert_eq!(text.parse().map(|url| show_origin(&url)).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn prefixes_with_stray_bits_are_named() {
        assert_eq!(prefix("192.0.2.7").map(|p| p.to_string()), Ok("192.0.2.7/32".to_owned()));
        let wrong = prefix("192.0.2.7/24").map_err(|wrong| wrong.problem);
        assert_eq!(
            wrong,
            Err("\"192.0.2.7/24\" has bits set behind its length; did you mean \"192.0.2.0/24\"?".to_owned())
        );
        assert!(prefix("::ffff:192.0.2.0/120").is_err());
    }
}
