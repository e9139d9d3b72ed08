//! Writing a request, and its body as it comes in. Never waits for it to be read before the answer is looked for.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite as _;
use tokio::time::Sleep;

use super::{Broken, Connection};
use crate::decide::wire::{self, Sends};
use crate::proxy::body::RequestBody;
use crate::proxy::headers::Added;
use crate::proxy::serve::Interim;

/// Longest time in which an upstream takes nothing of a body whose answer it has given already.
const UNWANTED: Duration = Duration::from_secs(30);

/// How long a client that expects `100 Continue` waits for an upstream which says nothing (RFC 9110, 10.1.1: not for ever).
const UNASKED: Duration = Duration::from_secs(1);

/// A request's body on its way.
#[derive(Debug)]
pub(super) enum Sending {
    /// All of it is written, or waits in `out`.
    Done,
    /// The peer takes no more; it may have answered all the same.
    Refused(io::ErrorKind),
    /// There is more.
    Body(RequestBody, Sends),
    /// There is more, once the upstream asks for it or has said nothing for [`UNASKED`].
    Expecting(RequestBody, Sends, Pin<Box<Sleep>>),
}

impl Sending {
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// Nothing was written, and the request is whole.
    Back,
    /// It broke off after something was written.
    Broken(Broken),
}

impl Connection {
    /// Sends a request and waits for its answer's head; the answer's body is read from here afterwards. A body that is sent is taken.
    /// Answers before that one go to `interim`.
    pub(crate) async fn exchange(
        &mut self,
        head: &Parts,
        added: Option<&Added>,
        interim: Option<&Interim>,
        body: &mut RequestBody,
    ) -> Result<Response<()>, NotSent> {
        let mut begun = false;
        poll_fn(|cx| {
            if !begun && !self.begin(head, added, body, cx) {
                return Poll::Ready(Err(NotSent::Back));
            }
            begun = true;
            self.poll_answer(interim, cx).map_err(NotSent::Broken)
        })
        .await
    }

    /// Writes as much of a request as goes at once; `false` where it has no body and nothing could be written.
    fn begin(
        &mut self,
        head: &Parts,
        added: Option<&Added>,
        body: &mut RequestBody,
        cx: &mut Context<'_>,
    ) -> bool {
        let sends = if body.is_empty() {
            Sends::Nothing
        } else {
            Sends::of_body(&head.headers, body.size_hint().exact())
        };
        if self.out.capacity() == 0 {
            self.out = self.stock.take_out();
        }
        self.out.clear();
        self.written = 0;
        wire::request_line(&head.method, &head.uri, &mut self.out);
        wire::fields(&head.headers, &mut self.out);
        for (name, value) in added.into_iter().flat_map(Added::each) {
            wire::field(name.as_bytes(), value.as_bytes(), &mut self.out);
        }
        wire::end_head(&head.headers, sends, &mut self.out);
        self.to_head = head.method == Method::HEAD;
        self.keeps = false;
        self.heard = false;
        self.sending = Sending::Done;
        if sends != Sends::Nothing {
            let body = std::mem::replace(body, RequestBody::Empty);
            self.sending = if expects_continue(&head.headers) {
                body.is_clients_turn();
                Sending::Expecting(body, sends, Box::pin(tokio::time::sleep(UNASKED)))
            } else {
                Sending::Body(body, sends)
            };
            return true;
        }
        _ = self.poll_out(cx);
        !matches!(self.sending, Sending::Refused(_)) || self.written > 0
    }

    /// Writes what is there and can be written now; whether all of the request is.
    ///
    /// # Errors
    /// When the client's body ended early. An upstream that takes no more is no error here: its answer may have come.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        if let Sending::Expecting(.., unasked) = &mut self.sending
            && unasked.as_mut().poll(cx).is_ready()
        {
            self.go_on();
        }
        while let Sending::Body(body, sends) = &mut self.sending {
            if self.out.len() > super::MOST_BUFFERED {
                if self.poll_out(cx).is_pending() {
                    return Ok(false);
                }
                continue;
            }
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { break };
            let frame = frame.transpose().map_err(|error| Broken::Body(Box::new(error)))?;
            if put(frame, sends, &mut self.out)? {
                self.sending = Sending::Done;
            }
        }
        Ok(self.poll_out(cx).is_ready()
            && !matches!(self.sending, Sending::Body(..) | Sending::Expecting(..)))
    }

    /// The upstream wants the body: reading it tells the client so.
    pub(super) fn go_on(&mut self) {
        self.sending = match std::mem::replace(&mut self.sending, Sending::Done) {
            Sending::Expecting(body, sends, _) => Sending::Body(body, sends),
            other => other,
        };
    }

    /// The upstream has answered: a body that it did not ask for is not sent, and ends the connection in its place.
    pub(super) fn answered(&mut self) {
        if matches!(self.sending, Sending::Expecting(..)) {
            self.sending = Sending::Done;
            self.keeps = false;
        }
    }

    /// Writes what is in `out`.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.written == self.out.len() {
            return Poll::Ready(());
        }
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.written..])) {
                Ok(0) => return self.refused(io::ErrorKind::WriteZero),
                Ok(count) => {
                    self.written += count;
                    self.sent += count as u64;
                }
                Err(error) => return self.refused(error.kind()),
            }
        }
        self.stock.give_out(std::mem::take(&mut self.out));
        self.written = 0;
        match ready!(Pin::new(&mut self.io).poll_flush(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(error) => self.refused(error.kind()),
        }
    }

    fn refused(&mut self, kind: io::ErrorKind) -> Poll<()> {
        self.out.clear();
        self.sending = Sending::Refused(kind);
        Poll::Ready(())
    }

    /// Sends the rest of a body whose answer came early; whether another request may follow.
    pub(crate) async fn finish_sending(&mut self) -> bool {
        loop {
            let before = self.sent;
            let sent = poll_fn(|cx| match self.poll_send(cx) {
                Ok(true) => Poll::Ready(true),
                Ok(false) if self.sent != before => Poll::Ready(false),
                Ok(false) => Poll::Pending,
                Err(_) => {
                    self.keeps = false;
                    Poll::Ready(true)
                }
            });
            match tokio::time::timeout(UNWANTED, sent).await {
                Ok(true) => return self.is_clean(),
                Ok(false) => {}
                Err(_) => return false,
            }
        }
    }

    /// Part of a request's body is still to come, and the connection could be used again after it.
    pub(crate) fn is_sending(&self) -> bool {
        self.keeps
            && self.left.is_nothing()
            && !matches!(self.sending, Sending::Refused(_))
            && !self.is_clean()
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Puts a piece of a body, or its end, into `out` as it is framed; whether it was the last.
fn put(piece: Option<Frame<Bytes>>, sends: &mut Sends, out: &mut Vec<u8>) -> Result<bool, Broken> {
    let trailers = match piece.map(Frame::into_data) {
        Some(Ok(data)) => return put_data(&data, sends, out),
        Some(Err(frame)) => frame.into_trailers().ok(),
        None => None,
    };
    match sends {
        Sends::Chunks => wire::last_chunk(trailers.as_ref(), out),
        Sends::Length(1..) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        Sends::Nothing | Sends::Length(0) => {}
    }
    Ok(true)
}

fn put_data(data: &[u8], sends: &mut Sends, out: &mut Vec<u8>) -> Result<bool, Broken> {
    match sends {
        Sends::Nothing => return Ok(true),
        Sends::Chunks if data.is_empty() => return Ok(false),
        Sends::Chunks => {
            wire::chunk_begins(data.len(), out);
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
            return Ok(false);
        }
        Sends::Length(left) => {
            let after = left.checked_sub(data.len() as u64);
            *left = after.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            out.extend_from_slice(data);
        }
    }
    Ok(*sends == Sends::Length(0))
}
