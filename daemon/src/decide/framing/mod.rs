//! Where a client's HTTP/1 messages (and HTTP/2 frames, in [`Frames`]) begin and end, judged before the parser sees them and more strictly: what two readers could take for
//! different requests goes no further. Never changes a byte, keeps a body, or parses what framing does not depend on.
//!
//! The parser behind accepts some of what is refused here, and hides what it dropped (RFC 9112, 2.2 and 6.3 allow both). It is given nothing
//! from a faulty head on, so that both always agree on where a message ends.

mod chunks;
mod fault;
mod frames;
mod head;
mod host;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use frames::Frames;
pub use head::is_token;
pub use host::{is_host, is_same_host};

pub(crate) use chunks::{Chunks, Step};

use chunks::Followed;
use head::{Body, Head};

/// Follows one connection's incoming bytes.
#[derive(Debug)]
pub struct Framer {
    at: At,
    /// The head that has begun, as far as it is there.
    partial: Vec<u8>,
    /// The message at hand asks for another protocol.
    upgrade: bool,
    heads: u64,
    header_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Length(u64),
    Chunks(Chunks),
    /// Behind a request for another protocol, whose answer decides what the next bytes are.
    Switching,
    /// Not HTTP/1: nothing is judged.
    Open,
}

/// What may be done with bytes that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// All of them go on.
    All,
    /// So many go on; the others wait until it is known what they are ([`Framer::resolve`]).
    Until(usize),
    /// So many go on, and nothing after them: a head is faulty.
    BadHead(usize, Fault),
    /// So many go on, and nothing after them: a body is faulty.
    BadBody(usize, Fault),
}

impl Framer {
    /// A connection that begins with a head; heads and trailers may have `header_bytes`.
    #[must_use]
    pub fn new(header_bytes: usize) -> Self {
        Self { at: At::Head, partial: Vec::new(), upgrade: false, heads: 0, header_bytes }
    }

    /// A connection that is not HTTP/1: everything passes.
    #[must_use]
    pub fn open() -> Self {
        Self { at: At::Open, partial: Vec::new(), upgrade: false, heads: 0, header_bytes: 0 }
    }

    /// Nothing is judged any more.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.at == At::Open
    }

    /// The next bytes wait for an answer.
    #[must_use]
    pub fn is_switching(&self) -> bool {
        self.at == At::Switching
    }

    /// Heads that went on so far.
    #[must_use]
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// The answer to a request for another protocol: `switched`, or HTTP/1 goes on.
    pub fn resolve(&mut self, switched: bool) {
        if self.is_switching() {
            self.at = if switched { At::Open } else { At::Head };
        }
    }

    /// What is wrong with the head that has begun, as far as it is there: for a parser that gave up on it.
    #[must_use]
    pub fn fault_so_far(&self) -> Fault {
        if let Some(fault) = head::first_line_fault(&self.partial) {
            return fault;
        }
        head::judge(&[&self.partial, &b"\r\n"[..]].concat()).err().unwrap_or(Fault::HeaderLine)
    }

    /// Judges the next bytes of the connection.
    pub fn pass(&mut self, bytes: &[u8]) -> Passed {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.at {
                At::Open => return Passed::All,
                At::Switching => return Passed::Until(at),
                At::Head => match self.head(rest) {
                    Ok(Some(length)) => at += length,
                    Ok(None) => return Passed::All,
                    Err(fault) => return Passed::BadHead(at, fault),
                },
                At::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= here as u64;
                    at += here;
                    if *left == 0 {
                        self.end();
                    }
                }
                At::Chunks(chunks) => match chunks.follow(rest) {
                    Followed::All => return Passed::All,
                    Followed::Ended(length) => {
                        at += length;
                        self.end();
                    }
                    Followed::Broken(after, fault) => return Passed::BadBody(at + after, fault),
                },
            }
        }
        Passed::All
    }

    /// Takes a head's bytes from `rest`: how many, or `None` where its end is not among them.
    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Fault> {
        if self.partial.is_empty() {
            if let Some(head) = head::judge(rest)? {
                return self.begin(head, rest, 0).map(Some);
            }
            self.partial.extend_from_slice(rest);
            return self.bounded().map(|()| None);
        }
        let had = self.partial.len();
        self.partial.extend_from_slice(rest);
        if !ends_after(&self.partial, had) {
            return self.bounded().map(|()| None);
        }
        let Some(head) = head::judge(&self.partial)? else { return self.bounded().map(|()| None) };
        let whole = std::mem::take(&mut self.partial);
        self.begin(head, &whole, had).map(Some)
    }

    /// A head is whole, at the beginning of `whole`; `had` of its bytes came earlier.
    fn begin(&mut self, head: Head, whole: &[u8], had: usize) -> Result<usize, Fault> {
        let Head { length, body, upgrade } = head;
        if length > self.header_bytes {
            return Err(too_large(&whole[..self.header_bytes]));
        }
        self.heads += 1;
        self.upgrade = upgrade;
        match body {
            Body::None | Body::Length(0) => self.end(),
            Body::Length(length) => self.at = At::Length(length),
            Body::Chunks => self.at = At::Chunks(Chunks::new(self.header_bytes)),
        }
        Ok(length.saturating_sub(had))
    }

    fn end(&mut self) {
        self.at = if self.upgrade { At::Switching } else { At::Head };
    }

    fn bounded(&self) -> Result<(), Fault> {
        if self.partial.len() <= self.header_bytes { Ok(()) } else { Err(too_large(&self.partial)) }
    }
}

fn too_large(begun: &[u8]) -> Fault {
    if head::is_first_line(begun) { Fault::TargetTooLong } else { Fault::HeadTooLarge }
}

/// Whether an empty line, in whatever form, ends among the bytes from `had` on: only then is it worth judging.
fn ends_after(bytes: &[u8], had: usize) -> bool {
    let from = had.saturating_sub(3);
    memchr::memchr_iter(b'\n', &bytes[from..]).any(|at| {
        let before = &bytes[..from + at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r") || !before.ends_with(b"\r")
    })
}
