//! A request's head and chunks as bytes. Never changes a field.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri};

/// How a request's body is framed (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sends {
    /// There is none.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunks,
}

impl Sends {
    /// For a body that is there: by its `Content-Length`, else by its size where that is known, else in chunks.
    pub(crate) fn of_body(headers: &HeaderMap, size: Option<u64>) -> Self {
        let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        said.or(size).map_or(Self::Chunks, Self::Length)
    }
}

/// Writes a request's first line, with an origin-form target (RFC 9112, 3.2.1).
pub(crate) fn request_line(method: &Method, target: &Uri, out: &mut Vec<u8>) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.path().as_bytes());
    if let Some(query) = target.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes all fields but `Transfer-Encoding`, which is [`end_head`]'s.
pub(crate) fn fields(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        if name != TRANSFER_ENCODING {
            field(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
}

/// Ends a head, with the field that frames the body unless it is there.
pub(crate) fn end_head(headers: &HeaderMap, sends: Sends, out: &mut Vec<u8>) {
    match sends {
        Sends::Length(length) if !headers.contains_key(CONTENT_LENGTH) => {
            field(b"content-length", length.to_string().as_bytes(), out);
        }
        Sends::Chunks => field(b"transfer-encoding", b"chunked", out),
        Sends::Nothing | Sends::Length(_) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes one field.
pub(crate) fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes what stands before `length` bytes of a chunk; CRLF stands behind them.
pub(crate) fn chunk_begins(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{length:x}\r\n").as_bytes());
}

/// Writes the end of a body in chunks.
pub(crate) fn last_chunk(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}
