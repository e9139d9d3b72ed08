//! `[[listener]]`: where traffic comes in. Never binds a socket.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, scalar},
    Context, HOUR, ms,
};
use crate::config::types::{Limits, Listener, ListenerKind, Tls};

pub(in crate::config) const KEYS: &[Key] = &[
    key::required("name", "1 to 63 letters, digits, \"-\", \"_\" or \".\"", "The listener's name."),
    key::required("address", "IP:PORT", "Where it listens."),
    key::default(
        "kind",
        "\"public\"",
        "\"public\", \"peer\"",
        "`peer`: requests that other regions' edges hand over; only here is a peer's word about the client believed.",
    ),
    key::optional(
        "tls",
        "{ certificate = PATH, key = PATH }",
        "Certificate and key; omit for cleartext (HTTP/1.1 and h2c). A peer listener uses [identity].",
    ),
    key::default(
        "proxy_protocol",
        "\"off\"",
        "\"off\", \"require\"",
        "PROXY protocol (v1 and v2) at the start of each connection.",
    ),
    key::default(
        "trusted_proxies",
        "[]",
        "an array of ADDRESS/LENGTH",
        "Whose X-Forwarded-For / Forwarded is believed for the client's address.",
    ),
    key::default(
        "trusted_peers",
        "[]",
        "an array of ADDRESS/LENGTH",
        "On a peer listener: whose cleartext is believed (a private link); the others' `edges` are then http://.",
    ),
    key::optional(
        "upstream",
        "the name of an [[upstream]]",
        "Where requests go; may be left out where there is only one upstream.",
    ),
    key::optional("limits", "a table", "Bounds of each connection."),
];

pub(in crate::config) const TLS: &[Key] = &[
    key::required("certificate", "an absolute path", "PEM chain."),
    key::required("key", "an absolute path", "PEM key."),
];

pub(in crate::config) const LIMITS: &[Key] = &[
    key::default(
        "header_bytes",
        "65536",
        "a whole number from 1024 to 1048576",
        "Most bytes of a request's head.",
    ),
    key::default("headers", "100", "a whole number from 8 to 1000", "Most header fields."),
    key::default(
        "header_timeout",
        "\"10s\"",
        "\"100ms\" to \"1h\"",
        "Longest wait for a complete head; one that has begun is answered with 408.",
    ),
    key::default("idle_timeout", "\"75s\"", "\"100ms\" to \"1h\"", "Longest wait between requests."),
    key::default(
        "body_idle_timeout",
        "\"30s\"",
        "\"100ms\" to \"1h\"",
        "Longest pause in a body; a client that takes less than 64 KiB of what waits for it pauses.",
    ),
    key::default(
        "max_connections",
        "50_000",
        "a whole number from 1 to 10_000_000",
        "Most connections at once.",
    ),
];

const KINDS: &[(&str, ListenerKind)] = &[("public", ListenerKind::Public), ("peer", ListenerKind::Peer)];

pub(in crate::config) fn read(
    cursor: &Cursor<'_>,
    context: &Context<'_>,
    identity: bool,
) -> Option<Listener> {
    let name = cursor.get("name", scalar::name);
    if let Some(name) = &name {
        context.claims.take("listener", name, cursor, "name");
    }
    let address = cursor.get("address", scalar::socket);
    if let Some(address) = address.filter(|address| address.port() != 0) {
        context.claims.take("address", &address.to_string(), cursor, "address");
    }
    let kind = cursor.get("kind", scalar::choice(KINDS));
    let tls = read_tls(cursor);
    let proxy_protocol = cursor.get("proxy_protocol", scalar::choice(&[("off", false), ("require", true)]));
    let trusted_proxies = cursor.list("trusted_proxies", scalar::prefix);
    let trusted_peers = cursor.list("trusted_peers", scalar::prefix);
    let upstream = read_upstream(cursor, context);
    let limits = cursor.table_or_default("limits", LIMITS).and_then(|table| read_limits(&table));
    let listener = Listener {
        name: name?,
        address: address?,
        kind: kind?,
        tls: tls?,
        proxy_protocol: proxy_protocol?,
        trusted_proxies: trusted_proxies?,
        trusted_peers: trusted_peers?,
        upstream: upstream?,
        limits: limits?,
    };
    check_kind(cursor, &listener, identity);
    Some(listener)
}

fn check_kind(cursor: &Cursor<'_>, listener: &Listener, identity: bool) {
    let trusted = !listener.trusted_peers.is_empty();
    match listener.kind {
        ListenerKind::Peer if !identity && !trusted => cursor.error(
            "kind",
            Wrong::new(
                "a peer listener can believe nobody",
                "[identity] for mutual TLS, or `trusted_peers` for cleartext",
            ),
        ),
        ListenerKind::Peer if listener.tls.is_some() => cursor.error(
            "tls",
            Wrong::new(
                "a peer listener has no certificate of its own",
                "[identity] holds certificate and key towards peers",
            ),
        ),
        ListenerKind::Public if trusted => cursor.error(
            "trusted_peers",
            Wrong::new("only a peer listener believes peers", "`kind = \"peer\"`, or leave it out"),
        ),
        _ => {}
    }
}

fn read_upstream(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<usize> {
    if cursor.has("upstream") {
        return cursor.get("upstream", scalar::reference("upstream", &context.upstreams));
    }
    if context.upstreams.len() == 1 {
        return Some(0);
    }
    cursor.missing("upstream", "");
    None
}

/// The outer `None` is a fault, the inner one cleartext.
#[expect(clippy::option_option, reason = "faulty and absent differ here, and only here")]
fn read_tls(cursor: &Cursor<'_>) -> Option<Option<Tls>> {
    if !cursor.has("tls") {
        return Some(None);
    }
    let table = cursor.table("tls", TLS)?;
    let certificate = table.get("certificate", scalar::path);
    let key = table.get("key", scalar::path);
    Some(Some(Tls { certificate: certificate?, key: key? }))
}

fn read_limits(cursor: &Cursor<'_>) -> Option<Limits> {
    let header_bytes = cursor.get("header_bytes", scalar::integer(1024..=1_048_576));
    let headers = cursor.get("headers", scalar::integer(8..=1000));
    let header_timeout = cursor.get("header_timeout", scalar::duration(ms(100)..=HOUR));
    let idle_timeout = cursor.get("idle_timeout", scalar::duration(ms(100)..=HOUR));
    let body_idle_timeout = cursor.get("body_idle_timeout", scalar::duration(ms(100)..=HOUR));
    let max_connections = cursor.get("max_connections", scalar::integer(1..=10_000_000));
    Some(Limits {
        header_bytes: header_bytes?,
        headers: headers?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        body_idle_timeout: body_idle_timeout?,
        max_connections: max_connections?,
    })
}
