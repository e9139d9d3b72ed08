//! The bytes of a head as they came in, for the one question that parsed fields can't answer: was there a `Content-Length` beside
//! `Transfer-Encoding`? hyper drops the former without a word, as RFC 9112 (6.3) allows; here such a request is refused, for somebody on its
//! way may have believed the other field. Never keeps a body, never parses anything else.

use std::sync::{Mutex, PoisonError};

/// Heads are copied up to here: more than `header_bytes` is refused by its length.
const MOST_BYTES: usize = 65_536;
/// A larger copy is not kept for the next head.
const KEPT_BYTES: usize = 2_048;

/// What came in since the last request began. The lock is never contended: stream and service run on one thread.
#[derive(Debug, Default)]
pub(crate) struct RawHead(Mutex<Copied>);

#[derive(Debug, Default)]
struct Copied {
    bytes: Vec<u8>,
    requests: usize,
    missed: bool,
}

impl RawHead {
    /// More bytes of a head, or of several.
    pub(crate) fn add(&self, bytes: &[u8], begins: bool) {
        let mut copied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if begins {
            copied.forget();
        }
        let room = MOST_BYTES.saturating_sub(copied.bytes.len());
        copied.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Bytes came in while a request was being handled: its body's, or the next head's already. They are not copied.
    pub(crate) fn miss(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).missed = true;
    }

    /// A request begins: its head is the next of those that were copied.
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).requests += 1;
    }

    /// Whether the present request's head has no `Content-Length`. Where several heads came in at once, one of any of them counts; a head
    /// that came too early to be copied counts as having one.
    pub(crate) fn is_without_length(&self) -> bool {
        let copied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if copied.missed && copied.requests > 1 {
            return false;
        }
        let first = copied.bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(copied.bytes.len());
        let heads = if copied.requests == 1 { &copied.bytes[..first] } else { &copied.bytes };
        !copied.bytes.is_empty() && !heads.split(|byte| *byte == b'\n').any(is_length)
    }
}

impl Copied {
    fn forget(&mut self) {
        (self.requests, self.missed) = (0, false);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

fn is_length(line: &[u8]) -> bool {
    let name = b"content-length";
    line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(parts: &[&str]) -> RawHead {
        let raw = RawHead::default();
        raw.add(b"GET /before HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", true);
        for (at, part) in parts.iter().enumerate() {
            raw.add(part.as_bytes(), at == 0);
        }
        raw.begin();
        raw
    }

    #[test]
    fn only_the_present_head_counts() {
        assert!(head(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"]).is_without_length());
        assert!(
            !head(&["POST / HTTP/1.1\r\ncontent-LENGTH : 3\r\nTransfer-Encoding: chunked\r\n\r\n"])
                .is_without_length()
        );
        assert!(!head(&["POST / HTTP/1.1\r\nA: b\r\nConten", "t-Length: 3\r\n\r\n"]).is_without_length());
        let body = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n\r\nContent-Length: 3\r\n";
        assert!(head(&[body]).is_without_length(), "a body may say what it likes");
        let two = head(&["GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\nPOST / HTTP/1.1\r\n\r\n"]);
        two.begin();
        assert!(!two.is_without_length(), "heads that came at once are not told apart");
        let early = head(&["POST / HTTP/1.1\r\n\r\n"]);
        early.miss();
        assert!(early.is_without_length());
        early.begin();
        assert!(!early.is_without_length(), "the second head was not seen");
    }
}
