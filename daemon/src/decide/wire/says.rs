//! An answer to a client as bytes: its head, and how its body is framed. Never decides what is answered.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

use super::request::{chunk_begins, field, last_chunk};

/// How an answer's body is framed (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// There is none, or nothing is left of it.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunks,
    /// It ends with the connection.
    Close,
}

/// What an answer's form depends on besides itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Says {
    /// The request was HTTP/1.0.
    pub(crate) old: bool,
    /// The request was `HEAD`.
    pub(crate) to_head: bool,
    /// Another request may follow.
    pub(crate) keeps: bool,
}

impl Says {
    /// How the body is framed: by its `Content-Length`, else by its size where that is known.
    pub(crate) fn frames(&self, status: StatusCode, headers: &HeaderMap, size: Option<u64>) -> Frames {
        let bare = self.to_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match said.or(size) {
            _ if bare => Frames::Nothing,
            Some(length) => Frames::Length(length),
            None if self.old => Frames::Close,
            None => Frames::Chunks,
        }
    }

    /// Writes an answer's head, with the fields that frame its body and say what becomes of the connection, and with what `add_date` writes unless it has a date.
    pub(crate) fn head(
        &self,
        status: StatusCode,
        reason: Option<&[u8]>,
        headers: &HeaderMap,
        (frames, size): (Frames, Option<u64>),
        add_date: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        status_line(self.old, status, reason, out);
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        let (mut dated, mut sized) = (switches, false);
        for (name, value) in headers {
            if *name == CONNECTION && !switches || *name == TRANSFER_ENCODING {
                continue;
            }
            dated |= *name == DATE;
            sized |= *name == CONTENT_LENGTH;
            field(name.as_str().as_bytes(), value.as_bytes(), out);
        }
        match (frames, size) {
            (Frames::Chunks, _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            (Frames::Length(length), _) if !sized => length_field(length, out),
            // What a GET would have got.
            (Frames::Nothing, Some(length)) if self.to_head && !sized && length > 0 => {
                length_field(length, out);
            }
            _ => {}
        }
        match (self.keeps, self.old) {
            _ if switches => {}
            (false, false) => out.extend_from_slice(b"connection: close\r\n"),
            (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, false) | (false, true) => {}
        }
        if !dated {
            out.extend_from_slice(b"date: ");
            add_date(out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the head of an interim answer.
    pub(crate) fn interim(status: StatusCode, reason: Option<&[u8]>, headers: &HeaderMap, out: &mut Vec<u8>) {
        status_line(false, status, reason, out);
        for (name, value) in headers {
            field(name.as_str().as_bytes(), value.as_bytes(), out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Frames {
    /// Writes what stands before a piece of `length` bytes, and tells what stands behind it; `None` where the body is longer than was said.
    pub(crate) fn piece(&mut self, length: usize, out: &mut Vec<u8>) -> Option<&'static [u8]> {
        match self {
            Self::Length(left) => *left = left.checked_sub(length as u64)?,
            Self::Chunks => {
                chunk_begins(length, out);
                return Some(b"\r\n");
            }
            Self::Nothing | Self::Close => {}
        }
        Some(b"")
    }

    /// Writes the body's end; `false` where it is shorter than was said.
    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Vec<u8>) -> bool {
        match std::mem::replace(self, Self::Nothing) {
            Self::Length(1..) => return false,
            Self::Chunks => last_chunk(trailers, out),
            Self::Nothing | Self::Length(0) | Self::Close => {}
        }
        true
    }
}

fn status_line(old: bool, status: StatusCode, reason: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let usual = || status.canonical_reason().unwrap_or_default().as_bytes();
    out.extend_from_slice(reason.unwrap_or_else(usual));
    out.extend_from_slice(b"\r\n");
}

fn length_field(length: u64, out: &mut Vec<u8>) {
    field(b"content-length", length.to_string().as_bytes(), out);
}
