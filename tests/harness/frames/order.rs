//! Frames in an order or place that they must not have, or may: streams, continuations, ends, trailers. Never what is in a header block.

use super::{
    CONTINUATION, Case, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, HEADERS, Outcome, PADDED, PING, PRIORITIZED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE,
    RST_STREAM, SETTINGS, STREAM, STREAM_CLOSED, WHOLE, WINDOW_UPDATE, block, case, frame, get, post, seen,
};

const AGAINST: Outcome = Outcome::Ended(&[PROTOCOL_ERROR]);
const TOO_LATE: Outcome = Outcome::Ended(&[STREAM_CLOSED]);
const OTHER: u32 = 3;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = continued();
    cases.extend(placed());
    cases.extend(ended());
    cases.extend(trailers());
    cases.extend(padded());
    cases
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

/// Header blocks in several frames.
fn continued() -> Vec<Case> {
    let head = get("/a");
    let (one, two) = head.split_at(9);
    let begun = || frame(HEADERS, END_STREAM, STREAM, one);
    let rest = || frame(CONTINUATION, END_HEADERS, STREAM, two);
    let nothing = || frame(CONTINUATION, 0, STREAM, &[]);
    let between = |name: &str, frame: Vec<u8>| case(name, join(&[begun(), frame, rest()]), AGAINST);
    vec![
        case("a head in two frames", join(&[begun(), rest()]), seen("GET /a", "")),
        case(
            "a head with frames of nothing",
            join(&[begun(), nothing(), nothing(), rest()]),
            seen("GET /a", ""),
        ),
        case(
            "a head byte by byte",
            {
                let bytes = head.iter().map(|byte| frame(CONTINUATION, 0, STREAM, &[*byte]));
                let mut frames = vec![frame(HEADERS, END_STREAM, STREAM, &[])];
                frames.extend(bytes);
                frames.push(frame(CONTINUATION, END_HEADERS, STREAM, &[]));
                join(&frames)
            },
            Outcome::Ended(&[ENHANCE_YOUR_CALM]),
        ),
        case(
            "an empty HEADERS, all of it continued",
            join(&[frame(HEADERS, END_STREAM, STREAM, &[]), frame(CONTINUATION, END_HEADERS, STREAM, &head)]),
            seen("GET /a", ""),
        ),
        between("a PING in a head", frame(PING, 0, 0, &[0; 8])),
        between("SETTINGS in a head", frame(SETTINGS, 0, 0, &[])),
        between("DATA in a head", frame(DATA, 0, STREAM, b"abc")),
        between("another head in a head", frame(HEADERS, WHOLE, OTHER, &get("/smuggled"))),
        between("another stream's continuation in a head", frame(CONTINUATION, 0, OTHER, &[])),
        between("WINDOW_UPDATE in a head", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        between("RST_STREAM in a head", frame(RST_STREAM, 0, STREAM, &[0, 0, 0, 8])),
        between("PRIORITY in a head", frame(PRIORITY, 0, OTHER, &[0, 0, 0, 0, 16])),
        between("an unknown frame in a head", frame(0x77, 0, 0, b"abc")),
        case("a continuation of nothing", frame(CONTINUATION, END_HEADERS, STREAM, &head), AGAINST),
        case(
            "a continuation on stream 0",
            join(&[begun(), frame(CONTINUATION, END_HEADERS, 0, two)]),
            AGAINST,
        ),
        case(
            "a continuation behind a whole head",
            join(&[
                frame(HEADERS, END_HEADERS, STREAM, &post()),
                frame(CONTINUATION, END_HEADERS, STREAM, &block(&[("x", "y")])),
            ]),
            AGAINST,
        ),
    ]
}

/// Streams that can't be, and frames that are no client's.
fn placed() -> Vec<Case> {
    let head = get("/a");
    let data = |stream| frame(DATA, END_STREAM, stream, b"abc");
    vec![
        case("a head on stream 0", frame(HEADERS, WHOLE, 0, &head), AGAINST),
        case("a head on an even stream", frame(HEADERS, WHOLE, 2, &head), AGAINST),
        case("DATA on stream 0", data(0), AGAINST),
        case("DATA before any head", data(STREAM), AGAINST),
        case("DATA on an even stream", data(2), AGAINST),
        case(
            "DATA on a later stream",
            join(&[frame(HEADERS, END_HEADERS, STREAM, &post()), data(OTHER)]),
            AGAINST,
        ),
        case("RST_STREAM on an idle stream", frame(RST_STREAM, 0, OTHER, &[0, 0, 0, 8]), AGAINST),
        case("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]), AGAINST),
        case("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, OTHER, &[0, 0, 0, 1]), AGAINST),
        case("WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), AGAINST),
        case(
            "WINDOW_UPDATE beyond all windows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Outcome::Ended(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "a stream's WINDOW_UPDATE by nothing",
            join(&[frame(HEADERS, END_HEADERS, STREAM, &post()), frame(WINDOW_UPDATE, 0, STREAM, &[0; 4])]),
            Outcome::Malformed,
        ),
        case(
            "PUSH_PROMISE",
            frame(PUSH_PROMISE, END_HEADERS, STREAM, &[&[0, 0, 0, 2], &head[..]].concat()),
            AGAINST,
        ),
        case("SETTINGS on a stream", frame(SETTINGS, 0, STREAM, &[]), AGAINST),
        case("PING on a stream", frame(PING, 0, STREAM, &[0; 8]), AGAINST),
        case("push switched on with 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), AGAINST),
        case("frames of at most nothing", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0]), AGAINST),
        case("frames larger than any", frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]), AGAINST),
        case("extended CONNECT switched on with 2", frame(SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 2]), AGAINST),
        case(
            "a head that depends on itself",
            frame(HEADERS, WHOLE | PRIORITIZED, STREAM, &[&[0, 0, 0, 1, 16], &head[..]].concat()),
            Outcome::Malformed,
        ),
        case(
            "a frame larger than agreed",
            frame(DATA, 0, STREAM, &[0; 16_385]),
            Outcome::Ended(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "an unknown frame",
            join(&[frame(0x77, 0xff, STREAM, b"abc"), frame(HEADERS, WHOLE, STREAM, &head)]),
            seen("GET /a", ""),
        ),
        case(
            "unknown settings",
            join(&[frame(SETTINGS, 0, 0, &[0xff, 0xff, 1, 2, 3, 4]), frame(HEADERS, WHOLE, STREAM, &head)]),
            seen("GET /a", ""),
        ),
        case("a reserved bit", frame(HEADERS, WHOLE, STREAM | 0x8000_0000, &head), seen("GET /a", "")),
        case("unknown flags", frame(HEADERS, WHOLE | 0xd0 & !PADDED, STREAM, &head), seen("GET /a", "")),
    ]
}

/// Behind the end of a stream.
fn ended() -> Vec<Case> {
    let posted = || frame(HEADERS, END_HEADERS, STREAM, &post());
    let data = |flags| frame(DATA, flags, STREAM, b"abc");
    let reset = || frame(RST_STREAM, 0, STREAM, &[0, 0, 0, 8]);
    vec![
        case("an empty end", join(&[posted(), frame(DATA, END_STREAM, STREAM, &[])]), seen("POST /a", "")),
        case(
            "a body and an empty end",
            join(&[posted(), data(0), frame(DATA, END_STREAM, STREAM, &[])]),
            seen("POST /a", "abc"),
        ),
        case(
            "an earlier stream",
            join(&[
                frame(RST_STREAM, 0, 0x7fff_ffff, &[0, 0, 0, 8]),
                frame(HEADERS, WHOLE, STREAM, &get("/a")),
            ]),
            AGAINST,
        ),
        case("DATA behind a reset", join(&[posted(), reset(), data(END_STREAM)]), TOO_LATE),
        case(
            "a head behind a reset",
            join(&[posted(), reset(), frame(HEADERS, WHOLE, STREAM, &get("/smuggled"))]),
            TOO_LATE,
        ),
    ]
}

/// Fields behind a body.
fn trailers() -> Vec<Case> {
    let with = |fields: &[(&str, &str)], flags| {
        let posted = frame(HEADERS, END_HEADERS, STREAM, &post());
        join(&[posted, frame(DATA, 0, STREAM, b"abc"), frame(HEADERS, flags, STREAM, &block(fields))])
    };
    let quiet = |name: &str, fields: &[(&str, &str)]| case(name, with(fields, WHOLE), seen("POST /a", "abc"));
    let wrong = |name: &str, fields: &[(&str, &str)]| case(name, with(fields, WHOLE), Outcome::Malformed);
    vec![
        quiet("a trailer", &[("x", "y")]),
        quiet("a length in a trailer", &[("content-length", "5")]),
        quiet("a host in a trailer", &[("host", "other")]),
        quiet("a cookie in a trailer", &[("cookie", "a=1")]),
        quiet("our own words in a trailer", &[("tidegate-client", "192.0.2.9")]),
        quiet("a name that is none in a trailer", &[("x\"", "y")]),
        // The library drops these before anybody here sees them.
        quiet("a method in a trailer", &[(":method", "GET")]),
        quiet("a status in a trailer", &[(":status", "200")]),
        wrong("a path in a trailer", &[("x", "y"), (":path", "/smuggled")]),
        wrong("an unknown pseudo-header in a trailer", &[(":foo", "bar")]),
        wrong("chunks in a trailer", &[("transfer-encoding", "chunked")]),
        wrong("a connection in a trailer", &[("connection", "close")]),
        wrong("capitals in a trailer", &[("X", "y")]),
        wrong("a line end in a trailer's name", &[("x\r\ny", "z")]),
        wrong(
            "a line end in a trailer's value",
            &[("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")],
        ),
        case("a trailer that is not the end", with(&[("x", "y")], END_HEADERS), Outcome::Malformed),
        case(
            "a second head",
            join(&[
                frame(HEADERS, END_HEADERS, STREAM, &post()),
                frame(HEADERS, END_HEADERS, STREAM, &get("/smuggled")),
            ]),
            Outcome::Malformed,
        ),
    ]
}

/// Bytes that mean nothing.
fn padded() -> Vec<Case> {
    let head = get("/a");
    let posted = || frame(HEADERS, END_HEADERS, STREAM, &post());
    let padded = |pad: u8, body: &[u8], zeros: usize| [&[pad], body, &vec![0; zeros][..]].concat();
    vec![
        case(
            "a padded head",
            frame(HEADERS, WHOLE | PADDED, STREAM, &padded(3, &head, 3)),
            seen("GET /a", ""),
        ),
        case(
            "padding of nothing",
            frame(HEADERS, WHOLE | PADDED, STREAM, &padded(0, &head, 0)),
            seen("GET /a", ""),
        ),
        case(
            "a padded body",
            join(&[posted(), frame(DATA, END_STREAM | PADDED, STREAM, &padded(4, b"abc", 4))]),
            seen("POST /a", "abc"),
        ),
        case(
            "padding alone",
            join(&[posted(), frame(DATA, END_STREAM | PADDED, STREAM, &padded(4, b"", 4))]),
            seen("POST /a", ""),
        ),
        case(
            "more padding than head",
            frame(HEADERS, WHOLE | PADDED, STREAM, &padded(255, &head, 0)),
            AGAINST,
        ),
        case(
            "more padding than body",
            join(&[posted(), frame(DATA, END_STREAM | PADDED, STREAM, &padded(4, b"abc", 0))]),
            AGAINST,
        ),
        case(
            "padding without its length",
            join(&[posted(), frame(DATA, END_STREAM | PADDED, STREAM, &[])]),
            Outcome::Ended(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
    ]
}
