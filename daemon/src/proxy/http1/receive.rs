//! Reading an answer: its head, then its body piece by piece as the client takes it. Never reads ahead of the client by more than a buffer.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;

use super::send::Sending;
use super::{Broken, Connection, MOST_BUFFERED};
use crate::decide::wire::{self, Ends, Next, Unchunker, Unclear};
use crate::proxy::serve::Interim;

/// Most bytes of an answer's trailers.
const MOST_TRAILER_BYTES: usize = 16_384;
/// Interim answers before the one that counts.
const MOST_INTERIM: u8 = 32;

/// What is left of an answer's body.
#[derive(Debug)]
pub(super) enum Left {
    Nothing,
    Length(u64),
    Chunks(Box<Unchunker>),
    /// All until the connection's end.
    Close,
}

impl Left {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl From<Ends> for Left {
    fn from(ends: Ends) -> Self {
        match ends {
            Ends::Length(0) => Self::Nothing,
            Ends::Length(length) => Self::Length(length),
            Ends::Chunks => Self::Chunks(Box::new(Unchunker::new(MOST_TRAILER_BYTES))),
            Ends::Close => Self::Close,
        }
    }
}

impl Connection {
    /// Goes on with the request until its answer's head is there.
    pub(super) fn poll_answer(
        &mut self,
        interim: Option<&Interim>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Broken>> {
        let mut passed = 0;
        loop {
            self.poll_send(cx)?;
            while let Some(end) = wire::end_of_head(&self.read.bytes, self.looked_at) {
                self.looked_at = 0;
                let head = self.read.bytes.split_to(end).freeze();
                if let Some(answer) = self.take_head(&head, interim)? {
                    return Poll::Ready(Ok(answer));
                }
                self.poll_send(cx)?;
                passed += 1;
                if passed > MOST_INTERIM {
                    return Poll::Ready(Err(Unclear::TooLarge.into()));
                }
            }
            self.looked_at = self.read.bytes.len();
            if self.looked_at > MOST_BUFFERED {
                return Poll::Ready(Err(Unclear::TooLarge.into()));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(self.why_closed())),
                Ok(_) => self.heard = true,
                Err(_) if !self.heard => return Poll::Ready(Err(Broken::Unheard)),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn why_closed(&self) -> Broken {
        if !self.heard {
            return Broken::Unheard;
        }
        match self.sending {
            Sending::Refused(kind) => io::Error::from(kind).into(),
            Sending::Done | Sending::Body(..) | Sending::Expecting(..) => Broken::Closed,
        }
    }

    /// The answer that a head begins; `None` for an interim one, which is passed on unless it is `100 Continue`: reading the body says that.
    fn take_head(&mut self, head: &Bytes, interim: Option<&Interim>) -> Result<Option<Response<()>>, Broken> {
        let reply = wire::parse(head, self.to_head)?;
        let switches = reply.status == StatusCode::SWITCHING_PROTOCOLS;
        if reply.status.is_informational() && !switches {
            if reply.status == StatusCode::CONTINUE {
                self.go_on();
            } else if let Some(interim) = interim {
                interim.pass(reply.status, reply.reason.as_deref(), reply.headers);
            }
            return Ok(None);
        }
        self.keeps = reply.keeps && !switches && reply.ends != Ends::Close;
        self.answered();
        self.left = reply.ends.into();
        let mut answer = Response::new(());
        *answer.status_mut() = reply.status;
        *answer.headers_mut() = reply.headers;
        if let Some(Ok(reason)) = reply.reason.map(|reason| ReasonPhrase::try_from(&reason[..])) {
            answer.extensions_mut().insert(reason);
        }
        Ok(Some(answer))
    }

    /// The next piece of the answer's body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.sending.is_done() || self.written < self.out.len() {
            self.poll_send(cx)?;
        }
        loop {
            if let Some(frame) = self.next_frame()? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.left.is_nothing() {
                return Poll::Ready(None);
            }
            match (ready!(self.poll_fill(cx)), &self.left) {
                (Ok(0), Left::Close) => {
                    self.left = Left::Nothing;
                    return Poll::Ready(None);
                }
                (Ok(0), _) => return Poll::Ready(Some(Err(Broken::Closed))),
                (Ok(_), _) => {}
                (Err(error), _) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// The next piece, if it has been read.
    fn next_frame(&mut self) -> Result<Option<Frame<Bytes>>, Broken> {
        if self.read.bytes.is_empty() {
            return Ok(None);
        }
        let data = match &mut self.left {
            Left::Nothing => return Ok(None),
            Left::Close => self.read.bytes.split().freeze(),
            Left::Length(left) => {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(self.read.bytes.len());
                *left -= now as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                self.read.bytes.split_to(now).freeze()
            }
            Left::Chunks(chunks) => match chunks.next(&mut self.read.bytes).map_err(|_| Unclear::Chunks)? {
                Next::More => return Ok(None),
                Next::Data(data) => data,
                Next::End(trailers) => {
                    self.left = Left::Nothing;
                    return Ok(trailers.map(Frame::trailers));
                }
            },
        };
        Ok(Some(Frame::data(data)))
    }

    /// Nothing is left of the answer's body.
    pub(crate) fn has_ended(&self) -> bool {
        self.left.is_nothing()
    }

    /// How much is left of the answer's body, as far as that is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Nothing => SizeHint::with_exact(0),
            Left::Length(left) => SizeHint::with_exact(left),
            Left::Chunks(_) | Left::Close => SizeHint::default(),
        }
    }
}
