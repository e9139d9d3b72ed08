//! Names and values of fields, what belongs to a connection, and lengths. Never pseudo-header fields.

use super::{Case, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, STREAM, WHOLE, block, case, frame, seen};

type Field = (&'static [u8], &'static [u8]);

const HEAD: [Field; 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"h")];
const POST: [Field; 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"h")];

/// Fields that make a request malformed (RFC 9113, 8.2).
const MALFORMED: &[Field] = &[
    (b"X", b"y"),
    (b"x-Y", b"z"),
    (b"Content-Length", b"0"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Host", b"h"),
    (b"", b"y"),
    (b" ", b"y"),
    (b" x", b"y"),
    (b"x ", b"y"),
    (b"x\t", b"y"),
    (b"x y", b"z"),
    (b"x:", b"y"),
    (b"x:y", b"z"),
    (b"x\r", b"y"),
    (b"x\n", b"y"),
    (b"x\r\ny", b"z"),
    (b"x: y\r\nhost: other\r\nz", b"z"),
    (b"x\0", b"y"),
    (b"x\x7f", b"y"),
    (b"x\x1f", b"y"),
    (b"\xe9", b"y"),
    (b"x(y", b"z"),
    (b"x/y", b"z"),
    (b"x,y", b"z"),
    (b"x\"", b"z"),
    (b"x", b"\0"),
    (b"x", b"y\0"),
    (b"x", b"\r"),
    (b"x", b"y\r"),
    (b"x", b"\n"),
    (b"x", b"y\n"),
    (b"x", b"y\r\nhost: other"),
    (b"x", b"y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    (b"x", b"y\nhost: other"),
    (b"x", b" y"),
    (b"x", b"y "),
    (b"x", b"\ty"),
    (b"x", b"y\t"),
    (b"x", b" "),
    (b"x", b"\x7f"),
    (b"x", b"y\x1bz"),
    (b"x", b"y\x01"),
    (b"connection", b"close"),
    (b"connection", b"keep-alive"),
    (b"connection", b"x"),
    (b"connection", b""),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-connection", b"keep-alive"),
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"identity"),
    (b"transfer-encoding", b"gzip, chunked"),
    (b"transfer-encoding", b""),
    (b"upgrade", b"h2c"),
    (b"upgrade", b"websocket"),
    (b"te", b"gzip"),
    (b"te", b"trailers, gzip"),
    (b"te", b"chunked"),
    (b"te", b""),
];

/// Lengths with a body of three bytes that make a request malformed.
const LENGTHS: &[&[&[u8]]] = &[
    &[b"3", b"3"],
    &[b"3", b"4"],
    &[b"3, 3"],
    &[b"3,3"],
    &[b"+3"],
    &[b"-3"],
    &[b"0x3"],
    &[b"3.0"],
    &[b"3e0"],
    &[b""],
    &[b" "],
    &[b" 3"],
    &[b"3 "],
    &[b"three"],
    &[b"3\0"],
    &[b"18446744073709551619"],
    &[b"340282366920938463463374607431768211459"],
    &[b"0"],
    &[b"2"],
    &[b"4"],
    &[b"18446744073709551615"],
];

pub(super) fn cases() -> Vec<Case> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut cases = Vec::new();
    for (name, value) in MALFORMED {
        let what = format!("field {:?}: {:?}", text(name), text(value));
        cases.push(with(&what, &[&HEAD[..], &[(name, value)]].concat(), Outcome::Malformed));
    }
    for lengths in LENGTHS {
        let told: Vec<String> = lengths.iter().map(|length| text(length)).collect();
        let fields: Vec<Field> = lengths.iter().map(|length| (&b"content-length"[..], *length)).collect();
        cases.push(posted(&format!("lengths {told:?}"), &fields, b"abc", Outcome::Malformed));
    }
    cases.push(with(
        "a length without a body",
        &[&POST[..], &[(b"content-length", b"3")]].concat(),
        Outcome::Malformed,
    ));
    cases.push(posted(
        "a length and chunks",
        &[(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
        b"abc",
        Outcome::Malformed,
    ));
    cases.extend(too_much());
    cases.extend(good());
    cases
}

/// More than `header_bytes`, more than `headers`.
fn too_much() -> Vec<Case> {
    let many: Vec<Field> = HEAD.iter().copied().chain((0..101).map(|_| (&b"x"[..], &b"y"[..]))).collect();
    vec![with("too many fields", &many, Outcome::Refused(431))]
}

fn good() -> Vec<Case> {
    let with_fields = |name: &str, more: &[Field], fields: Vec<(&'static str, Vec<&'static str>)>| {
        let outcome = seen("GET /a", "");
        Case { fields, ..with(name, &[&HEAD[..], more].concat(), outcome) }
    };
    vec![
        with_fields(
            "cookies in crumbs",
            &[(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")],
            vec![("cookie", vec!["a=1; b=2"]), ("x", vec!["y"])],
        ),
        with_fields(
            "values in their order",
            &[(b"x", b"1"), (b"y", b"2"), (b"x", b"3")],
            vec![("x", vec!["1", "3"])],
        ),
        with_fields("an empty value", &[(b"x", b"")], vec![("x", vec![""])]),
        with_fields("spaces and tabs inside", &[(b"x", b"a \t b")], vec![("x", vec!["a \t b"])]),
        with_fields(
            "a colon in a value",
            &[(b"x", b": :method: POST")],
            vec![("x", vec![": :method: POST"])],
        ),
        with_fields("te: trailers", &[(b"te", b"trailers")], vec![("transfer-encoding", vec![])]),
        with_fields(
            "an underscore for a dash",
            &[(b"content_length", b"5"), (b"transfer_encoding", b"chunked")],
            vec![("content_length", vec![]), ("transfer_encoding", vec![])],
        ),
        with_fields(
            "our own words",
            &[(b"tidegate-hops", b"7"), (b"tidegate-client", b"192.0.2.9")],
            vec![("tidegate-hops", vec![]), ("tidegate-client", vec![])],
        ),
        with_fields(
            "what belongs to an upgrade",
            &[(b"http2-settings", b"AAMAAABkAAQAAP__")],
            vec![("http2-settings", vec![])],
        ),
        with_fields("no length, no body", &[(b"content-length", b"0")], vec![("content-length", vec!["0"])]),
        posted("the right length", &[(b"content-length", b"3")], b"abc", seen("POST /a", "abc")),
        posted("no length", &[], b"abc", seen("POST /a", "abc")),
        posted(
            "what looks like chunks",
            &[],
            b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
            seen("POST /a", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
        ),
        Case {
            outcome: Outcome::Malformed,
            ..in_parts("more than its length, in parts", &[(b"content-length", b"3")], &[b"ab", b"cd"])
        },
        in_parts("its length, in parts", &[(b"content-length", b"4")], &[b"ab", b"", b"cd"]),
    ]
}

fn with(name: &str, head: &[Field], outcome: Outcome) -> Case {
    case(name, frame(HEADERS, WHOLE, STREAM, &block(head)), outcome)
}

fn posted(name: &str, more: &[Field], body: &[u8], outcome: Outcome) -> Case {
    Case { outcome, ..in_parts(name, more, &[body]) }
}

/// A body in so many frames.
fn in_parts(name: &str, more: &[Field], body: &[&[u8]]) -> Case {
    let mut bytes = frame(HEADERS, END_HEADERS, STREAM, &block(&[&POST[..], more].concat()));
    for (at, part) in body.iter().enumerate() {
        let last = if at + 1 == body.len() { END_STREAM } else { 0 };
        bytes.extend(frame(DATA, last, STREAM, part));
    }
    case(name, bytes, seen("POST /a", &String::from_utf8_lossy(&body.concat())))
}
