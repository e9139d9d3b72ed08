//! Fields that are added, believed and taken out on a request's and a response's way. Never decides where it goes.

use http::header::{CONNECTION, COOKIE, FORWARDED, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::decide::client;

/// Region-to-region hops so far.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("tidegate-hops");
/// The client's address, from edge to edge.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("tidegate-client");
/// Why tidegate itself answered.
pub(crate) const REASON: HeaderName = HeaderName::from_static("tidegate-reason");
/// On health answers: the region is in failover.
pub(crate) const FAILOVER: HeaderName = HeaderName::from_static("tidegate-failover");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Meant for one connection only.
pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// Meant for one connection only.
pub(crate) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Which of the fields that matter here a head has: found in one pass, so that absent ones cost nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present {
    /// `Connection`, `Keep-Alive`, `Proxy-Connection`, `TE`, `Transfer-Encoding`, `Upgrade`.
    pub(crate) hop_by_hop: bool,
    /// `X-Forwarded-*` or `Forwarded`.
    pub(crate) forwarded: bool,
    /// `Via`.
    pub(crate) via: bool,
    /// `Tidegate-*`.
    pub(crate) tidegate: bool,
    /// `Upgrade`.
    pub(crate) upgrade: bool,
    /// `Cookie`.
    pub(crate) cookie: bool,
    /// `Transfer-Encoding`.
    pub(crate) transfer_encoding: bool,
    /// `Host` fields.
    pub(crate) hosts: u8,
    /// Fields that are ours to set or that frame, spelled with `_` for `-`.
    pub(crate) lookalikes: bool,
    /// `Content-Length` fields.
    pub(crate) lengths: u8,
    /// How tidegate's own words are to be put.
    pub(crate) wants: Wants,
}

/// What a client can read of tidegate's own answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// `Accept` names JSON; `*/*` alone gets the line of text that a person with curl wants to read.
    pub(crate) json: bool,
    /// A gRPC call.
    pub(crate) grpc: bool,
}

impl Present {
    /// Looks through a head once.
    pub(crate) fn scan(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" => present.hosts = present.hosts.saturating_add(1),
                "content-length" => present.lengths = present.lengths.saturating_add(1),
                "accept" => present.wants.json |= names_json(value),
                "content-type" => present.wants.grpc |= value.as_bytes().starts_with(b"application/grpc"),
                "connection" | "keep-alive" | "proxy-connection" | "te" | "http2-settings" => {
                    present.hop_by_hop = true;
                }
                "transfer-encoding" => (present.hop_by_hop, present.transfer_encoding) = (true, true),
                "upgrade" => (present.hop_by_hop, present.upgrade) = (true, true),
                "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "forwarded" => {
                    present.forwarded = true;
                }
                "via" => present.via = true,
                "cookie" => present.cookie = true,
                other if is_ours(other) => present.tidegate = true,
                other if other.contains('_') => present.lookalikes |= is_lookalike(other),
                _ => {}
            }
        }
        present
    }
}

/// Whether a media range's parameter is a weight of zero: "not acceptable" (RFC 9110, 12.4.2).
fn is_refused(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, value)| value.trim().parse() == Ok(0.0))
}

fn names_json(accept: &HeaderValue) -> bool {
    accept.to_str().unwrap_or_default().split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let named = kind.eq_ignore_ascii_case("application/json")
            || kind == "application/*"
            || kind.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"));
        named && !parts.any(is_refused)
    })
}

/// Takes out what is meant for one connection only (RFC 9110, 7.6.1). `TE: trailers` stays: gRPC needs it end to end.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            tokens(headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
        for name in named {
            // Framing and routing fields can't be smuggled out by naming them.
            if !matches!(
                name.as_str(),
                "host" | "content-length" | "te" | "via" | "x-forwarded-for" | "forwarded"
            ) {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    let wants_trailers =
        headers.contains_key(TE) && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    headers.remove(TE);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS] {
        headers.remove(name);
    }
}

/// Many servers hand `X_Forwarded_For` to their applications as if it were `X-Forwarded-For`: neither may a client say.
fn is_lookalike(name: &str) -> bool {
    let dashed = name.replace('_', "-");
    let ours =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "content-length", "transfer-encoding"];
    ours.contains(&dashed.as_str()) || is_ours(&dashed)
}

/// Takes them out.
pub(crate) fn strip_lookalikes(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_') && is_lookalike(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// One `Cookie` field of the crumbs that HTTP/2 allows (RFC 9113, 8.2.3): HTTP/1 knows one only.
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.by_ref().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// Takes out of trailers what must stand in a head to be believed (RFC 9110, 6.5.1): framing, routing, who it is for, what it may do.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    let kept = |name: &HeaderName| {
        let name = name.as_str();
        !NEVER_TRAILERS.contains(&name)
            && !name.starts_with("x-forwarded-")
            && !is_ours(name)
            && !name.contains(['_', '"'])
    };
    let names: Vec<HeaderName> = trailers.keys().filter(|name| !kept(name)).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

const NEVER_TRAILERS: [&str; 27] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// The comma-separated tokens of all fields with this name.
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The protocol of an upgrade that the client asks for.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = asked.then(|| headers.get(UPGRADE)).flatten()?;
    let speaks_http = tokens(headers, &UPGRADE).any(is_http);
    (!speaks_http).then(|| protocol.clone())
}

/// Behind a switch to this protocol would be requests that nobody here sees; a client that can do without asks for it in vain.
pub(crate) fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2", "h2c", "http", "tls"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Puts an upgrade back in after [`strip_hop_by_hop`].
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// What is said to the next one about where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// Who is connected to us.
    pub(crate) peer: &'a HeaderValue,
    /// The forwarding fields are believed: they are extended, not replaced.
    pub(crate) believed: bool,
    /// `https` where the client's connection is TLS, to us or to whoever is believed.
    pub(crate) proto: &'static str,
    /// The host that the client asked for.
    pub(crate) host: Option<&'a HeaderValue>,
    /// This edge in `Via`, see [`Vias`].
    pub(crate) via: &'a HeaderValue,
}

/// This edge in `Via`, by the version in which a request came.
#[derive(Debug)]
pub(crate) struct Vias {
    pub(crate) http10: HeaderValue,
    pub(crate) http11: HeaderValue,
    pub(crate) http2: HeaderValue,
}

impl Vias {
    /// For an edge that is called `pseudonym`.
    pub(crate) fn of(pseudonym: &str) -> Self {
        let via = |version| text(format!("{version} {pseudonym}"));
        Self { http10: via("1.0"), http11: via("1.1"), http2: via("2") }
    }
}

/// A value from text of our own.
pub(crate) fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Fields that a request is given on its way. They stand beside its head: putting them into it would cost more than all else that is done to it.
#[derive(Debug)]
pub(crate) struct Added {
    chain: HeaderValue,
    proto: HeaderValue,
    host: Option<HeaderValue>,
    via: HeaderValue,
    home: HeaderValue,
    /// From edge to edge: hops so far, and the client's address.
    pub(crate) peers: Option<(HeaderValue, HeaderValue)>,
}

impl Added {
    /// `X-Forwarded-For/-Proto/-Host`, `Via` and the home region's name; what `headers` had of the first four is taken out.
    pub(crate) fn new(
        headers: &mut HeaderMap,
        present: &Present,
        origin: &Origin<'_>,
        home: HeaderValue,
    ) -> Self {
        let keep = present.forwarded && origin.believed;
        let kept = |headers: &mut HeaderMap, name: HeaderName| keep.then(|| headers.remove(name)).flatten();
        let chain = match keep.then(|| client::forwarded_for(headers)).flatten() {
            Some(before) => text(format!("{before}, {}", origin.peer.to_str().unwrap_or("unknown"))),
            None => joined(headers, keep.then_some(&FORWARDED_FOR), origin.peer),
        };
        let via = joined(headers, present.via.then_some(&VIA), origin.via);
        let proto = kept(headers, FORWARDED_PROTO);
        let host = kept(headers, FORWARDED_HOST).or_else(|| origin.host.cloned());
        if present.forwarded {
            for name in [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST] {
                headers.remove(name);
            }
            if !keep {
                headers.remove(FORWARDED);
            }
        }
        if present.via {
            headers.remove(VIA);
        }
        let proto = proto.unwrap_or(HeaderValue::from_static(origin.proto));
        Self { chain, proto, host, via, home, peers: None }
    }

    /// Each of them, by its name in lower case.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        let (hops, client) = self.peers.as_ref().map(|(hops, client)| (hops, client)).unzip();
        let all = [
            ("x-forwarded-for", Some(&self.chain)),
            ("x-forwarded-proto", Some(&self.proto)),
            ("x-forwarded-host", self.host.as_ref()),
            ("via", Some(&self.via)),
            ("tidegate-home", Some(&self.home)),
            ("tidegate-hops", hops),
            ("tidegate-client", client),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// Puts them into a head.
    pub(crate) fn put_into(&self, headers: &mut HeaderMap) {
        for (name, value) in self.each() {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }

    /// Takes them out again.
    pub(crate) fn take_out_of(&self, headers: &mut HeaderMap) {
        for (name, _) in self.each() {
            headers.remove(name);
        }
    }
}

/// The values of a field that is there already, and one more.
fn joined(headers: &HeaderMap, name: Option<&HeaderName>, last: &HeaderValue) -> HeaderValue {
    let before = name.into_iter().flat_map(|name| headers.get_all(name).iter());
    let mut all = String::new();
    for value in before.filter_map(|value| value.to_str().ok()) {
        all.push_str(value);
        all.push_str(", ");
    }
    if all.is_empty() {
        return last.clone();
    }
    all.push_str(last.to_str().unwrap_or("unknown"));
    text(all)
}

/// Whether a believed `X-Forwarded-Proto` says that the client speaks TLS; `None` where it says nothing.
pub(crate) fn forwarded_https(headers: &HeaderMap, present: &Present) -> Option<bool> {
    let proto = present.forwarded.then(|| headers.get(FORWARDED_PROTO)).flatten();
    proto.map(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// `Tidegate-*`: what only edges say to each other, and to whom they serve.
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with("tidegate-")
}

/// Takes out what only edges may say.
pub(crate) fn strip_tidegate(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("value"));
        }
        headers
    }

    #[test]
    fn what_connection_names_is_taken_out_but_not_the_framing() {
        let mut map = headers(&[
            ("connection", "close, X-Private, content-length"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("content-length", "3"),
            ("te", "gzip, Trailers"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("content-length", "3"), ("te", "trailers"), ("x-kept", "1")]));
    }

    fn forwarded(fields: &[(&'static str, &str)], believed: bool) -> HeaderMap {
        let mut map = headers(fields);
        let present = Present::scan(&map);
        let host = HeaderValue::from_static("www.example.com");
        let origin = Origin {
            peer: &HeaderValue::from_static("192.0.2.1"),
            believed,
            proto: "https",
            host: Some(&host),
            via: &Vias::of("eu.main").http11,
        };
        let added = Added::new(&mut map, &present, &origin, HeaderValue::from_static("eu"));
        added.put_into(&mut map);
        map
    }

    #[test]
    fn forwarding_fields_are_extended_for_the_believed_and_replaced_for_others() {
        let sent = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "http"),
            ("via", "1.1 a"),
            ("forwarded", "for=x"),
        ];
        let expected = |rest: &[(&'static str, &str)]| {
            let mut all = headers(&[
                ("x-forwarded-host", "www.example.com"),
                ("via", "1.1 a, 1.1 eu.main"),
                ("tidegate-home", "eu"),
            ]);
            all.extend(headers(rest));
            all
        };
        let replaced = expected(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")]);
        assert_eq!(forwarded(&sent, false), replaced);
        let chain = [
            ("x-forwarded-for", "198.51.100.1, 192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=x"),
        ];
        assert_eq!(forwarded(&sent, true), expected(&chain));
    }
}
