//! Doors for the fuzzer (`fuzz/`) into what is private to this crate, or changes its shape often: a client's requests, an upstream's answer, its
//! chunks. Never used by the daemon itself.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::framing::Fault;
use super::wire::{self, Bounds, Ends, Inbound, Next, Unchunker};

/// What is read of an answer's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
    /// How its body ends, in words.
    pub ends: String,
    /// Bytes of its body, if its head says so.
    pub length: Option<u64>,
    /// The connection may carry another request.
    pub keeps: bool,
}

/// Where the head at the beginning of `bytes` ends; nothing ends before `from`.
#[must_use]
pub fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    wire::end_of_head(bytes, from)
}

/// An answer's whole head, of a request that was HEAD or not; `None` where it is refused.
#[must_use]
pub fn answer(head: &[u8], to_head: bool) -> Option<Answer> {
    let reply = wire::parse(&Bytes::copy_from_slice(head), to_head).ok()?;
    let length = match reply.ends {
        Ends::Length(length) => Some(length),
        Ends::Chunks | Ends::Close => None,
    };
    let (status, ends) = (reply.status.as_u16(), format!("{:?}", reply.ends));
    Some(Answer { status, fields: reply.headers, ends, length, keeps: reply.keeps })
}

/// A body without its chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unchunked {
    /// Its data, as far as they came.
    pub data: Vec<u8>,
    /// What came behind the last chunk, if it came.
    pub trailers: Option<HeaderMap>,
    /// Bytes from there on; `None` while it has not ended.
    pub rest: Option<usize>,
    /// It is broken there.
    pub broken: bool,
}

/// Takes the coding off a body that comes in pieces.
#[must_use]
pub fn unchunked(pieces: &[&[u8]]) -> Unchunked {
    let mut body = Unchunked::default();
    body.broken = follow(pieces, &mut body).is_err();
    body
}

/// Most bytes of an answer's trailers.
const MOST_TRAILER_BYTES: usize = 16_384;

fn follow(pieces: &[&[u8]], body: &mut Unchunked) -> Result<(), Fault> {
    let (mut unchunker, mut bytes, mut left) =
        (Unchunker::new(MOST_TRAILER_BYTES), BytesMut::new(), pieces.iter());
    loop {
        match unchunker.next(&mut bytes)? {
            Next::Data(data) => body.data.extend_from_slice(&data),
            Next::End(trailers) => {
                body.rest = Some(bytes.len() + left.map(|piece| piece.len()).sum::<usize>());
                body.trailers = trailers;
                return Ok(());
            }
            Next::More => match left.next() {
                Some(piece) => bytes.extend_from_slice(piece),
                None => return Ok(()),
            },
        }
    }
}

/// Puts a body into one chunk (none where it is empty), and ends it.
#[must_use]
pub fn chunked(data: &[u8], trailers: Option<&HeaderMap>) -> Vec<u8> {
    let mut out = Vec::new();
    if !data.is_empty() {
        wire::chunk_begins(data.len(), &mut out);
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    wire::last_chunk(trailers, &mut out);
    out
}

/// What becomes of a client's bytes in HTTP/1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Heads that went on.
    pub heads: u64,
    /// How the bytes are judged in the end.
    pub end: RequestsEnd,
    /// Bytes before a faulty head, or before those that wait.
    pub passed: usize,
}

/// See [`Requests`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestsEnd {
    /// More may come.
    Open,
    /// Behind a request for another protocol: nobody knows yet what they are.
    Waits,
    /// Refused.
    Refused,
}

/// Judges a client's bytes that come in pieces; heads and trailers may have `header_bytes`.
#[must_use]
pub fn requests(pieces: &[&[u8]], header_bytes: usize) -> Requests {
    let bounds = Bounds { header_bytes, headers: 1_000 };
    let mut talk = Talk { inbound: Inbound::new(bounds), read: BytesMut::new(), switching: false, heads: 0 };
    let (mut fed, mut passed) = (0, 0);
    for piece in pieces {
        talk.read.extend_from_slice(piece);
        fed += piece.len();
        loop {
            match talk.step() {
                Some(RequestsEnd::Open) => passed = fed - talk.read.len(),
                Some(end) => return Requests { heads: talk.heads, end, passed },
                None => break,
            }
        }
    }
    Requests { heads: talk.heads, end: RequestsEnd::Open, passed: fed }
}

struct Talk {
    inbound: Inbound,
    read: BytesMut,
    switching: bool,
    heads: u64,
}

impl Talk {
    /// Takes what comes next; `None` while it is not there.
    fn step(&mut self) -> Option<RequestsEnd> {
        if !self.inbound.has_ended() {
            return match self.inbound.body(&mut self.read) {
                Ok(Next::More) => None,
                Ok(Next::Data(_) | Next::End(_)) => Some(RequestsEnd::Open),
                Err(_) => Some(RequestsEnd::Refused),
            };
        }
        if self.read.is_empty() {
            return None;
        }
        if self.switching {
            return Some(RequestsEnd::Waits);
        }
        match self.inbound.head(&mut self.read) {
            Ok(None) => None,
            Ok(Some(ask)) => {
                (self.switching, self.heads) = (ask.upgrade, self.heads + 1);
                Some(RequestsEnd::Open)
            }
            Err(_) => Some(RequestsEnd::Refused),
        }
    }
}
