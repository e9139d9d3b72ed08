//! Who the client is: the peer's address, or what trusted proxies say of it. Never believes a header from anyone else.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// Most entries of a forwarding chain that are looked at; a longer chain is cut at the far end.
const MOST_ENTRIES: usize = 64;

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

/// Whether `address` is in one of the prefixes.
#[must_use]
pub fn is_in(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

/// The outermost-first list of addresses, as text.
fn chain(headers: &HeaderMap) -> Vec<&str> {
    let x_forwarded_for = headers.get_all("x-forwarded-for");
    let mut entries: Vec<&str> = x_forwarded_for
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if entries.is_empty() {
        let forwarded = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok());
        entries = forwarded.flat_map(|value| value.split(',')).map(for_parameter).collect();
    }
    let surplus = entries.len().saturating_sub(MOST_ENTRIES);
    entries.drain(..surplus);
    entries
}

/// The `for=` of one element of `Forwarded`; empty where there is none.
fn for_parameter(element: &str) -> &str {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| name.eq_ignore_ascii_case("for"))
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
}
