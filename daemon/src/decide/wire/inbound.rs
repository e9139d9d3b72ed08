//! One client's HTTP/1 connection as its bytes come in: heads, and the bodies between them. Never reads a socket, keeps a body, or reads past
//! a head before it is asked for the next.

use bytes::BytesMut;

use super::ask::{Ask, Bounds};
use super::unchunk::{Next, Unchunker};
use crate::decide::framing::{self, Body, Fault};

/// A first line that is longer is no more looked at from its beginning with each read.
const LONG_LINE: usize = 4096;

/// How far a connection has come.
#[derive(Debug)]
pub struct Inbound {
    bounds: Bounds,
    left: Left,
    /// Bytes of the head that has begun in which it does not end.
    looked_at: usize,
    /// Bytes of it whose lines were judged.
    judged: usize,
}

/// What is left of a message's body.
#[derive(Debug)]
enum Left {
    Nothing,
    Length(u64),
    Chunks(Box<Unchunker>),
}

impl Inbound {
    /// Before the first head.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, left: Left::Nothing, looked_at: 0, judged: 0 }
    }

    /// Nothing is left of the last message.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    /// How many bytes are left of its body, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.left {
            Left::Nothing => Some(0),
            Left::Length(left) => Some(left),
            Left::Chunks(_) => None,
        }
    }

    /// Takes the next head out of `read`, which has all that came in since the last one; `None` while its end is not there. To be asked for
    /// when the message before [has ended](Self::has_ended).
    ///
    /// # Errors
    /// When no request can begin so, as soon as that is known.
    pub fn head(&mut self, read: &mut BytesMut) -> Result<Option<Ask>, Fault> {
        let from = std::mem::replace(&mut self.looked_at, read.len());
        let length = match framing::end(read, from) {
            Ok(Some(length)) => length,
            Ok(None) => return self.begun(read, from).map(|()| None),
            // A fault in a line before that one is the first one.
            Err(fault) => return self.judge(read).and(Err(fault)),
        };
        self.bounded(read, length)?;
        let head = read.split_to(length).freeze();
        (self.looked_at, self.judged) = (0, 0);
        let ask = Ask::parse(&head, &self.bounds)?;
        self.left = match ask.body {
            Body::None | Body::Length(0) => Left::Nothing,
            Body::Length(length) => Left::Length(length),
            Body::Chunks => Left::Chunks(Box::new(Unchunker::new(self.bounds.header_bytes))),
        };
        Ok(Some(ask))
    }

    /// A head has begun, and may be wrong already.
    fn begun(&mut self, bytes: &[u8], from: usize) -> Result<(), Fault> {
        let first = framing::is_first_line(bytes);
        // Judged again only when it has doubled: whoever sends it byte by byte gains nothing.
        if first || bytes.len() >= self.judged * 2 {
            self.judged = bytes.len();
            self.judge(bytes)?;
        }
        if !first || bytes.len() < LONG_LINE {
            framing::fault_so_far(bytes, from).map_or(Ok(()), Err)?;
        }
        self.bounded(bytes, bytes.len())
    }

    /// The lines that are there.
    fn judge(&self, bytes: &[u8]) -> Result<(), Fault> {
        let each = |name: &[u8], value: &[u8]| {
            if framing::is_field(name, value) { Ok(()) } else { Err(Fault::HeaderLine) }
        };
        framing::judge(bytes, each).map(drop)
    }

    fn bounded(&self, bytes: &[u8], length: usize) -> Result<(), Fault> {
        let most = self.bounds.header_bytes;
        if length <= most {
            Ok(())
        } else if framing::is_first_line(&bytes[..most.min(bytes.len())]) {
            Err(Fault::TargetTooLong)
        } else {
            Err(Fault::HeadTooLarge)
        }
    }

    /// Takes what comes next of the message's body out of `read`.
    ///
    /// # Errors
    /// When its coding is broken; there is nothing to be read behind that.
    pub fn body(&mut self, read: &mut BytesMut) -> Result<Next, Fault> {
        match &mut self.left {
            Left::Nothing => Ok(Next::End(None)),
            Left::Length(_) if read.is_empty() => Ok(Next::More),
            Left::Length(left) => {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= now as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                Ok(Next::Data(read.split_to(now).freeze()))
            }
            Left::Chunks(chunks) => {
                let next = chunks.next(read)?;
                if let Next::End(_) = next {
                    self.left = Left::Nothing;
                }
                Ok(next)
            }
        }
    }
}
