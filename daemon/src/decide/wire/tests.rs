//! Heads and chunked bodies, as upstreams send them and as they should not.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Uri};
use proptest::prelude::*;

use super::*;
use crate::decide::framing::Fault;

fn reply(text: &str) -> Result<reply::Reply, Unclear> {
    parse(&Bytes::copy_from_slice(text.as_bytes()), false)
}

#[test]
fn a_head_ends_at_its_empty_line() {
    let head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\n\r\n";
    assert_eq!(end_of_head(head, 0), Some(25));
    for cut in 0..25 {
        assert_eq!(end_of_head(&head[..cut], 0), None, "{cut}");
        assert_eq!(end_of_head(head, cut), Some(25), "{cut}");
    }
    assert_eq!(end_of_head(b"HTTP/1.1 200 OK\n\nx", 0), Some(17));
}

#[test]
fn a_body_ends_as_rfc_9112_says() {
    let ends = |text: &str| reply(text).map(|reply| (reply.ends, reply.keeps));
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok((Ends::Length(5), true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\n", Ok((Ends::Length(5), true))),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok((Ends::Chunks, true))),
        ("HTTP/1.1 200 OK\r\n\r\n", Ok((Ends::Close, true))),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Ok((Ends::Length(0), true))),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Ok((Ends::Length(0), true))),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", Ok((Ends::Length(0), true))),
        (
            "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
            Ok((Ends::Length(0), false)),
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Ok((Ends::Length(0), false))),
        ("HTTP/1.0 200\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", Ok((Ends::Length(0), true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Unclear::Length)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err(Unclear::Length)),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Err(Unclear::Length)),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Err(Unclear::Length)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", Err(Unclear::Length)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(Unclear::Coding)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Unclear::Coding),
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Unclear::Coding)),
    ];
    for (text, expected) in table {
        assert_eq!(ends(text), expected, "{text}");
    }
    for wrong in [
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "\r\n\r\n",
    ] {
        assert!(reply(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_plain_connection_field_ends_here_and_one_that_names_others_does_not() {
    let names = |text: &str| {
        let reply = reply(text).expect("a head");
        reply.headers.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    let length = "content-length".to_owned();
    assert_eq!(names("HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n"), [length]);
    assert_eq!(names("HTTP/1.1 200 OK\r\nConnection: close, x\r\n\r\n"), ["connection"]);
    let odd = reply("HTTP/1.1 200 Fine\r\n\r\n").expect("a head");
    assert_eq!(odd.reason.as_deref(), Some(&b"Fine"[..]));
    assert!(reply("HTTP/1.1 200 OK\r\n\r\n").expect("a head").reason.is_none());
}

#[test]
fn a_request_is_framed_by_its_length_or_in_chunks() {
    let written = |target: &'static str, fields: &[(&'static str, &'static str)], size: Option<u64>| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        let sends = Sends::of_body(&headers, size);
        request_line(&Method::POST, &Uri::from_static(target), &mut out);
        super::fields(&headers, &mut out);
        end_head(&headers, sends, &mut out);
        (String::from_utf8(out).expect("text"), sends)
    };
    let said = ("POST /a?b HTTP/1.1\r\ncontent-length: 5\r\n\r\n".to_owned(), Sends::Length(5));
    assert_eq!(written("/a?b", &[("content-length", "5")], None), said);
    assert_eq!(written("/a?b", &[], Some(5)), said);
    let chunks = ("POST * HTTP/1.1\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), Sends::Chunks);
    assert_eq!(written("*", &[("x", "y"), ("transfer-encoding", "gzip")], None), chunks);
    let mut out = Vec::new();
    chunk_begins(26, &mut out);
    last_chunk(Some(&HeaderMap::from_iter([(http::header::EXPIRES, "0".parse().expect("value"))])), &mut out);
    assert_eq!(out, b"1a\r\n0\r\nexpires: 0\r\n\r\n");
}

/// An answer's head, and how its body is framed.
fn told(
    says: Says,
    status: u16,
    fields: &[(&'static str, &'static str)],
    size: Option<u64>,
) -> (Frames, String) {
    let status = http::StatusCode::from_u16(status).expect("status");
    let value = |(name, value): &(&'static str, &'static str)| {
        (name.parse().expect("name"), value.parse().expect("value"))
    };
    let headers = HeaderMap::from_iter(fields.iter().map(value));
    let frames = says.frames(status, &headers, size);
    let mut out = Vec::new();
    says.head(status, None, &headers, (frames, size), |out| out.extend_from_slice(b"now"), &mut out);
    (frames, String::from_utf8(out).expect("text"))
}

#[test]
fn an_answer_says_where_it_ends_and_what_becomes_of_the_connection() {
    let says = |old, to_head, keeps| Says { old, to_head, keeps };
    let (new, last) = (says(false, false, true), says(false, false, false));
    let length = [("content-length", "5")];
    let rows = [
        (
            told(new, 200, &length, None),
            Frames::Length(5),
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: now\r\n\r\n",
        ),
        (
            told(new, 200, &[("date", "x")], Some(0)),
            Frames::Length(0),
            "HTTP/1.1 200 OK\r\ndate: x\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            told(new, 200, &[], None),
            Frames::Chunks,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ndate: now\r\n\r\n",
        ),
        (told(new, 204, &[], Some(0)), Frames::Nothing, "HTTP/1.1 204 No Content\r\ndate: now\r\n\r\n"),
        (
            told(new, 304, &length, None),
            Frames::Nothing,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\ndate: now\r\n\r\n",
        ),
        (
            told(says(false, true, true), 200, &[], Some(7)),
            Frames::Nothing,
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ndate: now\r\n\r\n",
        ),
        (
            told(last, 503, &[("connection", "close")], Some(1)),
            Frames::Length(1),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1\r\nconnection: close\r\ndate: now\r\n\r\n",
        ),
        (
            told(says(true, false, false), 200, &[], None),
            Frames::Close,
            "HTTP/1.0 200 OK\r\ndate: now\r\n\r\n",
        ),
        (
            told(says(true, false, true), 200, &length, None),
            Frames::Length(5),
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\ndate: now\r\n\r\n",
        ),
        (
            told(new, 101, &[("connection", "upgrade"), ("upgrade", "x")], None),
            Frames::Nothing,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        ),
    ];
    for ((frames, head), expected, text) in rows {
        assert_eq!((frames, head.as_str()), (expected, text));
    }
}

#[test]
fn a_body_that_is_not_as_long_as_was_said_is_noticed() {
    let mut out = Vec::new();
    assert_eq!(Frames::Length(2).piece(3, &mut out), None);
    let mut short = Frames::Length(2);
    assert!(short.piece(1, &mut out) == Some(b"") && !short.end(None, &mut out));
    let mut chunks = Frames::Chunks;
    assert!(out.is_empty() && chunks.piece(10, &mut out) == Some(b"\r\n") && chunks.end(None, &mut out));
    assert_eq!(out, b"a\r\n0\r\n\r\n");
}

/// Data, trailers, and how many bytes are left behind them.
type Whole = (Vec<u8>, Option<HeaderMap>, usize);

/// What is in a body that comes in pieces of `cut` bytes.
fn unchunked(body: &[u8], cut: usize) -> Result<Option<Whole>, Fault> {
    let (mut unchunker, mut bytes, mut data) = (Unchunker::new(1_000), BytesMut::new(), Vec::new());
    let mut pieces = body.chunks(cut);
    let mut taken = 0;
    loop {
        match unchunker.next(&mut bytes)? {
            Next::Data(piece) => data.extend_from_slice(&piece),
            Next::End(trailers) => return Ok(Some((data, trailers, bytes.len() + body.len() - taken))),
            Next::More => match pieces.next() {
                Some(piece) => {
                    taken += piece.len();
                    bytes.extend_from_slice(piece);
                }
                None => return Ok(None),
            },
        }
    }
}

#[test]
fn chunks_come_out_as_they_went_in_however_they_are_cut() {
    let body = b"3;x=y\r\nabc\r\n00A \r\n0123456789\r\n0\r\nExpires: 0\r\nX: \r\n\r\nrest";
    for cut in 1..=body.len() {
        let (data, trailers, rest) = unchunked(body, cut).expect("good").expect("whole");
        assert_eq!((&data[..], rest), (&b"abc0123456789"[..], 4), "{cut}");
        let trailers = trailers.expect("trailers");
        assert_eq!(
            (trailers["expires"].as_bytes(), trailers["x"].as_bytes()),
            (&b"0"[..], &b""[..]),
            "{cut}"
        );
    }
    assert!(unchunked(b"3\r\nabc\r\n0\r\n\r", 4).expect("good so far").is_none());
    for wrong in
        [&b"3\nabc"[..], b"3\r\nabcd\r\n", b"-1\r\n", b"\r\n", b"0\r\nA b\r\n\r\n", b"fffffffffffffffff\r\n"]
    {
        assert!(unchunked(wrong, 64).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 1_usize..64) {
        let head = [&b"HTTP/1.1 200 OK\r\n"[..], &bytes, b"\r\n\r\n"].concat();
        if let Some(end) = end_of_head(&head, 0) {
            _ = parse(&Bytes::copy_from_slice(&head[..end]), false);
        }
        _ = unchunked(&bytes, cut);
    }
}
