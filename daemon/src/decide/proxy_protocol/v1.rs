//! Version 1: one line of text. Never longer than 107 bytes.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Ends, Fault, Progress};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// With its line end (specification, section 2.1).
const MOST_BYTES: usize = 107;
/// `PROXY UNKNOWN\r\n`.
const FEWEST_BYTES: usize = 15;

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    let window = &bytes[..bytes.len().min(MOST_BYTES)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        let incomplete = Progress::Incomplete((bytes.len() + 1).max(FEWEST_BYTES));
        return if bytes.len() < MOST_BYTES { Ok(incomplete) } else { Err(Fault::LongLine) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Fault::Line("the line must end with CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| Fault::Line("the line must be ASCII"))?;
    let words = line.strip_prefix("PROXY ").ok_or(Fault::Missing)?;
    Ok(Progress::Complete { bytes: end + 1, ends: ends(words)? })
}

fn ends(words: &str) -> Result<Option<Ends>, Fault> {
    let (family, rest) = words.split_once(' ').unwrap_or((words, ""));
    match family {
        "TCP4" => both(rest, |ip| ip.is_ipv4()).map(Some),
        "TCP6" => both(rest, |ip| ip.is_ipv6()).map(Some),
        // What follows must be ignored (specification, section 2.1).
        "UNKNOWN" => Ok(None),
        _ => Err(Fault::Line("the family must be TCP4, TCP6 or UNKNOWN")),
    }
}

fn both(rest: &str, of_family: fn(&IpAddr) -> bool) -> Result<Ends, Fault> {
    let mut words = rest.split(' ');
    let mut next = || words.next().ok_or(Fault::Line("two addresses and two ports must follow the family"));
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(Fault::Line("nothing may follow the ports"));
    }
    let address = |text| {
        let ip = IpAddr::from_str(text).ok().filter(of_family);
        ip.ok_or(Fault::Line("an address must be of the family, in its ordinary notation"))
    };
    Ok(Ends {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

/// Digits only, without a leading zero: `u16::from_str` alone would take a sign.
fn port(text: &str) -> Result<u16, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    let port = (digits && !leading).then(|| text.parse().ok()).flatten();
    port.ok_or(Fault::Line("a port must be a number from 0 to 65535, without leading zeros"))
}
