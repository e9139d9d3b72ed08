//! Who the client is: the peer's address, or what trusted proxies say of it. Never believes a header from anyone else.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// Most entries of a forwarding chain that are looked at; a longer chain is cut at the far end.
const MOST_ENTRIES: usize = 64;
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address: walks the chain from the nearest hop outwards and stops at the first address that is not trusted.
///
/// `X-Forwarded-For` is used if there is one, else `Forwarded` (RFC 7239). An entry that is no address (`unknown`, `_hidden`) ends the walk.
#[must_use]
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_in(trusted, client) {
        return client;
    }
    let mut entries = chain(headers);
    while let Some(entry) = entries.pop() {
        let Some(address) = parse(entry) else { break };
        client = address.to_canonical();
        if !is_in(trusted, client) {
            break;
        }
    }
    client
}

/// The client's address as a believed peer tells it: as [`address`], whoever the peer is.
#[must_use]
pub fn behind_peer(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut trusted = trusted.to_vec();
    trusted.push(IpNet::from(peer.to_canonical()));
    address(peer, headers, &trusted)
}

/// What `Forwarded` says, put as `X-Forwarded-For`, for who reads nothing else: addresses without port and brackets, and hidden names as they are.
/// `None` where there is an `X-Forwarded-For`, or no `Forwarded`.
#[must_use]
pub fn forwarded_for(headers: &HeaderMap) -> Option<String> {
    if headers.contains_key(X_FORWARDED_FOR) {
        return None;
    }
    let shown = |entry: &str| match parse(entry) {
        Some(address) => address.to_string(),
        None if !entry.is_empty() && entry.bytes().all(is_name_byte) => entry.to_owned(),
        None => "unknown".to_owned(),
    };
    let entries: Vec<String> = chain(headers).into_iter().map(shown).collect();
    (!entries.is_empty()).then(|| entries.join(", "))
}

/// An obfuscated identifier's (RFC 7239, 6.3).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether `Forwarded` says that the client came by TLS to whoever of `trusted` it reached; `None` where it does not say, or `X-Forwarded-For`
/// names the client.
#[must_use]
pub fn came_by_https(headers: &HeaderMap, trusted: &[IpNet]) -> Option<bool> {
    if headers.contains_key(X_FORWARDED_FOR) {
        return None;
    }
    let elements = elements(headers);
    let inward = |element: &&&str| {
        parse(parameter(element, "for")).is_some_and(|address| is_in(trusted, address.to_canonical()))
    };
    let client = elements.iter().rev().find(|element| !inward(element)).or(elements.first())?;
    let proto = parameter(client, "proto");
    (!proto.is_empty()).then(|| proto.eq_ignore_ascii_case("https"))
}

/// Whether `address` is in one of the prefixes.
#[must_use]
pub fn is_in(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

/// The outermost-first list of addresses, as text.
fn chain(headers: &HeaderMap) -> Vec<&str> {
    let x_forwarded_for = headers.get_all(X_FORWARDED_FOR);
    let mut entries: Vec<&str> = x_forwarded_for
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if entries.is_empty() {
        entries = elements(headers).into_iter().map(|element| parameter(element, "for")).collect();
    }
    let surplus = entries.len().saturating_sub(MOST_ENTRIES);
    entries.drain(..surplus);
    entries
}

/// The elements of `Forwarded`, outermost first.
fn elements(headers: &HeaderMap) -> Vec<&str> {
    let forwarded = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok());
    forwarded.flat_map(|value| value.split(',')).collect()
}

/// A parameter of one element of `Forwarded`; empty where there is none.
fn parameter<'a>(element: &'a str, wanted: &str) -> &'a str {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.trim_matches('"'))
        .next()
        .unwrap_or("")
}

/// An address with or without port and brackets.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, name: &'static str, values: &[&str]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8::/64"].map(|net| net.parse().expect("net")).to_vec();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().expect("value"));
        }
        address(peer.parse().expect("peer"), &headers, &trusted).to_string()
    }

    #[test]
    fn the_first_address_that_is_not_trusted_is_the_client() {
        let xff = "x-forwarded-for";
        let rows: &[(&str, &'static str, &[&str], &str)] = &[
            ("192.0.2.1", xff, &["198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", xff, &[], "10.0.0.1"),
            ("10.0.0.1", xff, &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", xff, &["203.0.113.9, 198.51.100.1 ,10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", xff, &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", xff, &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", xff, &["[2001:db8:1::1]:4711"], "2001:db8:1::1"),
            ("10.0.0.1", xff, &["2001:db8:1::1"], "2001:db8:1::1"),
            ("10.0.0.1", xff, &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", xff, &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("::ffff:10.0.0.1", xff, &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", "forwarded", &["for=203.0.113.9, for=198.51.100.1;proto=https"], "198.51.100.1"),
            ("10.0.0.1", "forwarded", &["proto=https;For=\"[2001:db8:1::1]:80\""], "2001:db8:1::1"),
            ("10.0.0.1", "forwarded", &["proto=https"], "10.0.0.1"),
        ];
        for (peer, name, values, expected) in rows {
            assert_eq!(client(peer, name, values), *expected, "{peer} {name} {values:?}");
        }
    }

    fn forwarded(fields: &[(&'static str, &str)]) -> (Option<String>, Option<bool>) {
        let trusted = ["10.0.0.0/8".parse().expect("net")];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("value"));
        }
        (forwarded_for(&headers), came_by_https(&headers, &trusted))
    }

    #[test]
    fn forwarded_is_put_as_x_forwarded_for_where_there_is_none() {
        let rows: &[(&str, &str, Option<bool>)] = &[
            ("for=198.51.100.1;proto=https", "198.51.100.1", Some(true)),
            ("for=198.51.100.1", "198.51.100.1", None),
            ("For=\"[2001:db8::1]:99\";Proto=HTTP", "2001:db8::1", Some(false)),
            ("for=198.51.100.1;proto=https, for=10.0.0.2;proto=http", "198.51.100.1, 10.0.0.2", Some(true)),
            (
                "for=192.0.2.9;proto=https, for=198.51.100.1;proto=http",
                "192.0.2.9, 198.51.100.1",
                Some(false),
            ),
            ("for=10.0.0.3;proto=https", "10.0.0.3", Some(true)),
            ("for=_hidden;proto=https", "_hidden", Some(true)),
            ("for=\"a b\"", "unknown", None),
            ("proto=https", "unknown", Some(true)),
        ];
        for (value, chain, https) in rows {
            assert_eq!(forwarded(&[("forwarded", value)]), (Some((*chain).to_owned()), *https), "{value}");
        }
        let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=192.0.2.9;proto=https")];
        assert_eq!((forwarded(&both), forwarded(&[])), ((None, None), (None, None)), "the one that counts");
    }
}
