//! What clients send, judged before a parser sees it: the judge and a lenient reader agree on how many requests there are, which is what
//! smuggling lives on, and where bytes are cut makes no difference. Never asks whether a refusal was due; the cases of `edge_framing` do.

use tidegate::decide::framing::{Fault, Frames};
use tidegate::decide::outside::{RequestsEnd, requests};
use tidegate_tests::{frames, framing};

use crate::Target;
use crate::cut::Cuts;

/// Requests of a client in HTTP/1.
pub(super) const HTTP1: Target = Target {
    name: "http1_framing",
    run: http1,
    seeds: || framing::all().into_iter().map(|case| [&[1][..], &case.bytes].concat()).collect(),
    words: &[
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"Host: h\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: ",
        b"chunked",
        b"Connection: upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"\r\n\r\n",
        b"\r\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"HTTP/1.0",
        b"CONNECT ",
        b";x=\"y\"",
        b"\t",
        b"\x0b",
        b"18446744073709551616",
        b"HEAD ",
        b"http://",
    ],
    most_bytes: 2048,
};

/// Most bytes of a head.
const HEADER_BYTES: usize = 1_000;

fn http1(data: &[u8]) {
    let Some((&number, bytes)) = data.split_first() else { return };
    let whole = requests(&[bytes], HEADER_BYTES);
    let cut = requests(&Cuts::of(number.into()).pieces(bytes), HEADER_BYTES);
    assert_eq!(whole.heads, cut.heads, "heads, whole and in pieces");
    // Of a head that is not there yet it may be known sooner or later that it is faulty.
    let early = |one: RequestsEnd, other| one == RequestsEnd::Refused && other == RequestsEnd::Open;
    let agree = whole.end == cut.end || early(whole.end, cut.end) || early(cut.end, whole.end);
    assert!(agree, "whole {:?}, in pieces {:?}", whole.end, cut.end);
    assert!(whole.passed <= bytes.len());
    let read = heads(&bytes[..whole.passed]);
    assert!(read.agrees(whole.heads), "{} heads have passed, but another reader sees {read:?}", whole.heads);
}

/// What a reader on httparse sees, which takes no more of RFC 9112 into account than it must.
#[derive(Debug)]
enum Read {
    /// So many heads.
    Heads(u64),
    /// So many, and then a head or trailers that it refuses for what is in them, which ends the connection.
    RefusedBehind(u64),
    /// A body whose end it does not find.
    Lost,
}

impl Read {
    fn agrees(&self, heads: u64) -> bool {
        match self {
            Self::Heads(seen) => *seen == heads,
            Self::RefusedBehind(seen) => *seen <= heads,
            Self::Lost => false,
        }
    }
}

fn heads(mut bytes: &[u8]) -> Read {
    let mut count = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 1_000];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Read::Heads(count),
            Err(_) => return Read::RefusedBehind(count),
        };
        count += 1;
        match behind_body(&request, &bytes[length..]) {
            Ok(Some(rest)) => bytes = rest,
            Ok(None) => return Read::Heads(count),
            Err(No::Trailers) => return Read::RefusedBehind(count),
            Err(No::End) => return Read::Lost,
        }
    }
}

/// Why there is nothing behind a body.
enum No {
    Trailers,
    End,
}

/// What follows a request's body; `None` while its end is not there.
fn behind_body<'a>(request: &httparse::Request<'_, '_>, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, No> {
    let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    if field("transfer-encoding").is_some() {
        return behind_chunks(bytes);
    }
    let Some(length) = field("content-length") else { return Ok(Some(bytes)) };
    let length: u64 =
        std::str::from_utf8(length.value).map_err(|_| No::End)?.trim().parse().map_err(|_| No::End)?;
    Ok(usize::try_from(length).ok().and_then(|length| bytes.get(length..)))
}

/// What follows a body in chunks; `None` while it has not ended.
fn behind_chunks(mut bytes: &[u8]) -> Result<Option<&[u8]>, No> {
    loop {
        let line = httparse::parse_chunk_size(bytes).map_err(|_| No::End)?;
        let httparse::Status::Complete((line, size)) = line else { return Ok(None) };
        bytes = &bytes[line..];
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 1_000];
            let trailers = httparse::parse_headers(bytes, &mut fields).map_err(|_| No::Trailers)?;
            let httparse::Status::Complete((length, _)) = trailers else { return Ok(None) };
            return Ok(Some(&bytes[length..]));
        }
        let rest = usize::try_from(size).ok().and_then(|size| bytes.get(size..));
        let Some(rest) = rest.filter(|rest| rest.len() >= 2) else { return Ok(None) };
        bytes = rest.strip_prefix(b"\r\n").ok_or(No::End)?;
    }
}

/// Frames of a client in HTTP/2.
pub(super) const HTTP2: Target = Target {
    name: "http2_frames",
    run: http2,
    seeds: || frames::all().into_iter().map(|case| [&[1][..], PREFACE, &case.bytes].concat()).collect(),
    words: &[
        PREFACE,
        b"\0\0\0\x04\0\0\0\0\0",
        b"\0\0\0\x04\x01\0\0\0\0",
        b"\0\0\x06\x04\0\0\0\0\0",
        b"\0\0\x01\x01\x05\0\0\0\x01",
        b"\0\0\x04\x08\0\0\0\0\x01",
        b"\0\0\x04\x03\0\0\0\0\x01",
        b"\0\0\x08\x06\0\0\0\0\0",
        b"\0\0\0\x09\x04\0\0\0\x01",
        b"\0\0\0\0\x01\0\0\0\x01",
        b"\xff\xff\xff\xff",
        b"\0\x04",
    ],
    most_bytes: 2048,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn http2(data: &[u8]) {
    let Some((&number, bytes)) = data.split_first() else { return };
    let (mut one, mut other) = (Frames::default(), Frames::default());
    let whole = one.look(bytes);
    if let Some((at, _)) = whole {
        assert!(at <= bytes.len());
    }
    let pieces = Cuts::of(number.into()).pieces(bytes);
    let cut = pieces.iter().find_map(|piece| other.look(piece));
    let told = |found: Option<(usize, Fault)>, frames: &Frames| found.is_some() || frames.noted().is_some();
    assert_eq!(told(whole, &one), told(cut, &other), "a fault, whole and in pieces");
}
