//! Pseudo-header fields: missing, doubled, unknown, out of place, and with values that name something else than they seem to. Never bodies.

use super::{Case, END_HEADERS, HEADERS, Outcome, STREAM, WHOLE, block, case, frame, seen};

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/a");
const AUTHORITY: (&str, &str) = (":authority", "h");
const CONNECT: (&str, &str) = (":method", "CONNECT");
const WEBSOCKET: (&str, &str) = (":protocol", "websocket");

type Head = &'static [(&'static str, &'static str)];

/// Heads that are malformed.
const MALFORMED: &[(&str, Head)] = &[
    ("no method", &[SCHEME, PATH, AUTHORITY]),
    ("no scheme", &[METHOD, PATH, AUTHORITY]),
    ("no path", &[METHOD, SCHEME, AUTHORITY]),
    ("neither authority nor host", &[METHOD, SCHEME, PATH]),
    ("no pseudo-header at all", &[("host", "h"), ("x", "y")]),
    ("two methods", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
    ("two methods that differ", &[METHOD, (":method", "POST"), SCHEME, PATH, AUTHORITY]),
    ("two schemes", &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
    ("two paths", &[METHOD, SCHEME, PATH, (":path", "/smuggled"), AUTHORITY]),
    ("two authorities", &[METHOD, SCHEME, PATH, AUTHORITY, (":authority", "other")]),
    ("an unknown one", &[METHOD, SCHEME, PATH, AUTHORITY, (":foo", "bar")]),
    ("a colon alone", &[METHOD, SCHEME, PATH, AUTHORITY, (":", "bar")]),
    ("a response's", &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]),
    ("a response's alone", &[(":status", "200")]),
    ("in capitals", &[(":METHOD", "GET"), SCHEME, PATH, AUTHORITY]),
    ("a host by that form", &[METHOD, SCHEME, PATH, (":host", "h")]),
    ("method behind a field", &[SCHEME, PATH, AUTHORITY, ("x", "y"), METHOD]),
    ("scheme behind a field", &[METHOD, PATH, AUTHORITY, ("x", "y"), SCHEME]),
    ("path behind a field", &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH]),
    ("authority behind a field", &[METHOD, SCHEME, PATH, ("x", "y"), AUTHORITY]),
    ("a second path behind a field", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", "y"), (":path", "/smuggled")]),
    ("a protocol for GET", &[METHOD, WEBSOCKET, SCHEME, PATH, AUTHORITY]),
    ("CONNECT with a path", &[CONNECT, PATH, AUTHORITY]),
    ("CONNECT with scheme and path", &[CONNECT, SCHEME, PATH, AUTHORITY]),
    ("CONNECT without authority", &[CONNECT]),
    ("CONNECT without authority, but a host", &[CONNECT, ("host", "h")]),
    ("extended CONNECT without a path", &[CONNECT, WEBSOCKET, SCHEME, AUTHORITY]),
    ("extended CONNECT without a scheme", &[CONNECT, WEBSOCKET, PATH, AUTHORITY]),
    ("extended CONNECT without authority", &[CONNECT, WEBSOCKET, SCHEME, PATH]),
    ("two protocols", &[CONNECT, WEBSOCKET, WEBSOCKET, SCHEME, PATH, AUTHORITY]),
    ("another host", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "other")]),
    ("another port in host", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "h:8080")]),
    ("two hosts", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "h"), ("host", "h")]),
    ("two hosts, no authority", &[METHOD, SCHEME, PATH, ("host", "h"), ("host", "other")]),
    ("an empty host, no authority", &[METHOD, SCHEME, PATH, ("host", "")]),
    ("a host with a space, no authority", &[METHOD, SCHEME, PATH, ("host", "h h")]),
    ("hosts in a list, no authority", &[METHOD, SCHEME, PATH, ("host", "h,other")]),
    ("a host with user information, no authority", &[METHOD, SCHEME, PATH, ("host", "u@h")]),
    ("a host with a path, no authority", &[METHOD, SCHEME, PATH, ("host", "h/smuggled")]),
];

/// Values of `:path` that are malformed.
const PATHS: &[&str] = &[
    "",
    "a",
    "a/b",
    "?a",
    "#a",
    "*",
    "*a",
    " ",
    " /a",
    "/a ",
    "/a b",
    "/a\tb",
    "/a\rb",
    "/a\nb",
    "/a\r\nHost: other",
    "/a HTTP/1.1\r\nX: y\r\n\r\nGET /smuggled",
    "/a\0",
    "/\u{1f}",
    "/\u{7f}",
    "http://h/a",
    "http://other/a",
    "https://h/a",
    "h:80",
    "://h/",
    "/a?b c",
    "/a?b\r\nX: y",
];

/// Values of `:authority` that are malformed.
const AUTHORITIES: &[&str] = &[
    "",
    " ",
    "h ",
    " h",
    "h h",
    "h\t",
    "h,other",
    "h/a",
    "h?a",
    "h#a",
    "h\\other",
    "u@h",
    "u:p@h",
    "@h",
    "h:x",
    "h:-1",
    "h:80:80",
    "h:80@other",
    ":80",
    "[::1",
    "::1]",
    "http://h",
    "h\r\nX: y",
    "h\n",
    "h\0",
    "h\u{7f}",
];

/// Values of `:method` that are malformed.
const METHODS: &[&str] = &[
    "",
    " ",
    "GET ",
    " GET",
    "G ET",
    "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\nGET",
    "GET\r\n",
    "GET\n",
    "GET\0",
    "GET:",
    "GET,POST",
    "G(T",
    "\"GET\"",
    "GET\u{7f}",
    "G/T",
];

/// Values of `:scheme` that are malformed, or not ours.
const SCHEMES: &[&str] = &[
    "",
    " ",
    "ftp",
    "file",
    "javascript",
    "http ",
    " http",
    "http:",
    "http://",
    "ht tp",
    "http\r\nX: y",
    "http\0",
];

/// Values of `:protocol` that name no protocol.
const PROTOCOLS: &[&str] = &[
    "",
    " ",
    "websocket\r\nX: y",
    "web socket",
    "websocket, h2c",
    "websocket\0",
    "websocket/",
    "/13",
    "a/b/c",
];

/// Values of `:protocol` behind which would be requests that nobody sees.
const HIDING: &[&str] = &["h2c", "H2C", "h2", "HTTP/2.0", "TLS", "tls/1.0"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        MALFORMED.iter().map(|(name, head)| with(name, head, WHOLE, Outcome::Malformed)).collect();
    let value = |name: &str, value: &str| format!("{name} {value:?}");
    for path in PATHS {
        let head = [METHOD, SCHEME, (":path", *path), AUTHORITY];
        cases.push(with(&value(":path", path), &head, WHOLE, Outcome::Malformed));
    }
    for authority in AUTHORITIES {
        let head = [METHOD, SCHEME, PATH, (":authority", *authority)];
        cases.push(with(&value(":authority", authority), &head, WHOLE, Outcome::Malformed));
    }
    for method in METHODS {
        let head = [(":method", *method), SCHEME, PATH, AUTHORITY];
        cases.push(with(&value(":method", method), &head, WHOLE, Outcome::Malformed));
    }
    for scheme in SCHEMES {
        let head = [METHOD, (":scheme", *scheme), PATH, AUTHORITY];
        cases.push(with(&value(":scheme", scheme), &head, WHOLE, Outcome::Malformed));
    }
    for protocol in PROTOCOLS {
        let head = [CONNECT, (":protocol", *protocol), SCHEME, PATH, AUTHORITY];
        cases.push(with(&value(":protocol", protocol), &head, END_HEADERS, Outcome::Malformed));
    }
    for protocol in HIDING {
        let head = [CONNECT, (":protocol", *protocol), SCHEME, PATH, AUTHORITY];
        cases.push(with(&value(":protocol", protocol), &head, END_HEADERS, Outcome::Refused(501)));
    }
    cases.extend(good());
    cases
}

fn good() -> Vec<Case> {
    let ordinary = [METHOD, SCHEME, PATH, AUTHORITY];
    let other_order = [AUTHORITY, PATH, SCHEME, METHOD];
    let mut cases = vec![
        with("an ordinary head", &ordinary, WHOLE, seen("GET /a", "")),
        with("in another order", &other_order, WHOLE, seen("GET /a", "")),
        with("a host that agrees", &[&ordinary[..], &[("host", "h")]].concat(), WHOLE, seen("GET /a", "")),
        with("a host in capitals", &[&ordinary[..], &[("host", "H")]].concat(), WHOLE, seen("GET /a", "")),
        with("a host instead", &[METHOD, SCHEME, PATH, ("host", "h")], WHOLE, seen("GET /a", "")),
        with(
            "https, over cleartext",
            &[METHOD, (":scheme", "https"), PATH, AUTHORITY],
            WHOLE,
            seen("GET /a", ""),
        ),
        with(
            "a method of its own",
            &[(":method", "PURGE"), SCHEME, PATH, AUTHORITY],
            WHOLE,
            seen("PURGE /a", ""),
        ),
        with(
            "a method in small letters",
            &[(":method", "get"), SCHEME, PATH, AUTHORITY],
            WHOLE,
            seen("get /a", ""),
        ),
        with(
            "OPTIONS *",
            &[(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY],
            WHOLE,
            seen("OPTIONS *", ""),
        ),
        with(
            "two slashes",
            &[METHOD, SCHEME, (":path", "//other/a"), AUTHORITY],
            WHOLE,
            seen("GET //other/a", ""),
        ),
        with("dots", &[METHOD, SCHEME, (":path", "/../a/./b"), AUTHORITY], WHOLE, seen("GET /../a/./b", "")),
        with(
            "escapes",
            &[METHOD, SCHEME, (":path", "/%0d%0aX:y%00"), AUTHORITY],
            WHOLE,
            seen("GET /%0d%0aX:y%00", ""),
        ),
        with(
            "a query",
            &[METHOD, SCHEME, (":path", "/a?b=/c?d&e=%20"), AUTHORITY],
            WHOLE,
            seen("GET /a?b=/c?d&e=%20", ""),
        ),
        with(
            "extended CONNECT, not switched",
            &[CONNECT, WEBSOCKET, SCHEME, PATH, AUTHORITY],
            END_HEADERS,
            Outcome::Unswitched("GET /a".to_owned()),
        ),
        // No client sends a fragment; the library takes it out before anybody here sees it.
        with("a fragment", &[METHOD, SCHEME, (":path", "/a#b"), AUTHORITY], WHOLE, seen("GET /a", "")),
        with("CONNECT", &[CONNECT, AUTHORITY], END_HEADERS, Outcome::Refused(501)),
    ];
    for case in &mut cases[..13] {
        case.fields.push(("transfer-encoding", Vec::new()));
    }
    cases
}

fn with(name: &str, head: &[(&str, &str)], flags: u8, outcome: Outcome) -> Case {
    case(name, frame(HEADERS, flags, STREAM, &block(head)), outcome)
}
