//! An answer's head: status, fields, and how its body ends. Never guesses.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Most fields of an answer's head, or of its trailers.
pub(super) const MOST_FIELDS: usize = 100;

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    /// The head breaks RFC 9112's grammar, or has too many fields.
    #[error("the answer's head can't be parsed: {0}")]
    Head(#[from] httparse::Error),
    /// A name, value or status that the head's grammar does not cover.
    #[error("the answer's head has a faulty field or status")]
    Field,
    /// The head has more bytes than are kept of one.
    #[error("the answer's head is too large")]
    TooLarge,
    /// Lengths disagree or are no numbers, or stand beside a transfer coding.
    #[error("the answer's length is not clear")]
    Length,
    /// A coding other than `chunked` alone, or in HTTP/1.0.
    #[error("the answer's transfer coding is not chunked alone")]
    Coding,
    /// A chunk or a trailer is faulty.
    #[error("the answer's chunks are faulty")]
    Chunks,
}

/// How an answer's body ends (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunks,
    /// With the connection.
    Close,
}

/// An answer's head.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Where it is not the usual one.
    pub(crate) reason: Option<Bytes>,
    /// All fields but a `Connection` that names no others.
    pub(crate) headers: HeaderMap,
    pub(crate) ends: Ends,
    /// The connection may carry another request.
    pub(crate) keeps: bool,
}

/// How many bytes the head at the beginning of `bytes` has, if its end is there; nothing ends before `from`.
pub(crate) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|at| {
        let next = from + at + 1;
        match &bytes[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

/// Parses a whole head, that of an answer to a request which was HEAD or not.
///
/// # Errors
/// When it is not HTTP/1.0 or 1.1, or its body could be framed in more than one way.
pub(crate) fn parse(head: &Bytes, to_head: bool) -> Result<Reply, Unclear> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    if config.parse_response_with_uninit_headers(&mut parsed, head, &mut fields)?.is_partial() {
        return Err(Unclear::Field);
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Unclear::Field)?;
    let old = parsed.version == Some(0);
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut framing = Framing { keeps: !old, ..Framing::default() };
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Unclear::Field)?;
        if name == CONNECTION {
            framing.connection(field.value);
            if [&b"keep-alive"[..], b"close"].iter().any(|word| field.value.eq_ignore_ascii_case(word)) {
                continue;
            }
        } else if name == CONTENT_LENGTH {
            framing.length(field.value)?;
        } else if name == TRANSFER_ENCODING {
            framing.coding(field.value)?;
        }
        let value =
            HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| Unclear::Field)?;
        headers.append(name, value);
    }
    let ends = framing.conclude(old, has_no_body(status, to_head))?;
    let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| head.slice_ref(reason.as_bytes()));
    Ok(Reply { status, reason, headers, ends, keeps: framing.keeps })
}

fn has_no_body(status: StatusCode, to_head: bool) -> bool {
    to_head
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// What the fields say of the body and the connection.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    keeps: bool,
}

impl Framing {
    /// Lengths that agree are one, in one field or in several.
    fn length(&mut self, value: &[u8]) -> Result<(), Unclear> {
        for word in value.split(|byte| *byte == b',') {
            let number = number(word.trim_ascii()).ok_or(Unclear::Length)?;
            if self.length.replace(number).is_some_and(|before| before != number) {
                return Err(Unclear::Length);
            }
        }
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Unclear> {
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Unclear::Coding);
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if word.eq_ignore_ascii_case(b"close") {
                self.keeps = false;
            } else if word.eq_ignore_ascii_case(b"keep-alive") {
                self.keeps = true;
            }
        }
    }

    fn conclude(self, old: bool, no_body: bool) -> Result<Ends, Unclear> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Unclear::Length),
            (None, true) if old => Err(Unclear::Coding),
            _ if no_body => Ok(Ends::Length(0)),
            (Some(length), false) => Ok(Ends::Length(length)),
            (None, true) => Ok(Ends::Chunks),
            (None, false) => Ok(Ends::Close),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
