//! An answer on its way to a client: head and body in as few writes as can be. Never asks for more of a body than the client takes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::CONNECTION;
use http::{HeaderMap, Response};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;

use super::{Line, Shared};
use crate::decide::wire::{Frames, Says};
use crate::proxy::body::ResponseBody;
use crate::proxy::clock;

/// Writes an answer to its end; `says` tells afterwards whether another request may follow.
///
/// # Errors
/// When the client does not take it, or the body breaks off: the connection is of no use then.
pub(super) async fn send(line: &Shared, says: &mut Says, response: Response<ResponseBody>) -> io::Result<()> {
    let (head, body) = response.into_parts();
    let size = body.size_hint().exact();
    let frames = says.frames(head.status, &head.headers, size);
    says.keeps &= frames != Frames::Close && !ends(&head.headers) && line.borrow_mut().may_go_on();
    let reason = head.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    line.borrow_mut()
        .add(|out| says.head(head.status, reason, &head.headers, (frames, size), clock::add_date, out));
    let closes = frames == Frames::Close;
    let mut sending = Sending { line, body, frames, ended: false, broken: None };
    let sent = poll_fn(|cx| sending.poll(cx)).await;
    if sent.is_err() && closes {
        // Its end would look like the body's.
        line.borrow_mut().abort();
    }
    sent
}

/// Whether the answer ends its connection.
fn ends(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| value.as_bytes() == b"close")
}

/// An answer whose head is made.
struct Sending<'a> {
    line: &'a Shared,
    body: ResponseBody,
    frames: Frames,
    /// All of it waits to be written, or is.
    ended: bool,
    /// It broke off: what came of it is written all the same. A client that has not seen an answer's head may take its request for one that was
    /// not carried out, and send it again.
    broken: Option<io::Error>,
}

impl Sending<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let waits = match self.broken {
                Some(_) => false,
                None => match self.poll_pieces(cx) {
                    Poll::Pending => true,
                    Poll::Ready(pieces) => {
                        self.broken = pieces.err();
                        false
                    }
                },
            };
            ready!(self.line.borrow_mut().poll_out(cx))?;
            if let Some(error) = self.broken.take() {
                return Poll::Ready(Err(error));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return self.line.borrow_mut().poll_meanwhile(cx);
            }
        }
    }

    /// Takes pieces of the body as long as there is room; pending where there is none at the moment.
    fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended && self.line.borrow().has_room() {
            // Nothing is asked of a body that has ended: its end goes with its last piece.
            let frame = if self.body.is_end_stream() {
                None
            } else {
                ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose().map_err(io::Error::other)?
            };
            let line = self.line;
            let mut line = line.borrow_mut();
            match frame.map(http_body::Frame::into_data) {
                Some(Ok(data)) if self.frames == Frames::Nothing => drop(data),
                Some(Ok(data)) => {
                    if !line.put(data, &mut self.frames) {
                        return Poll::Ready(Err(io::Error::other("the answer is longer than it said")));
                    }
                }
                Some(Err(frame)) => self.end(&mut line, frame.into_trailers().ok().as_ref())?,
                None => self.end(&mut line, None)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, line: &mut Line, trailers: Option<&HeaderMap>) -> io::Result<()> {
        self.ended = true;
        if line.add(|out| self.frames.end(trailers, out)) {
            Ok(())
        } else {
            Err(io::Error::other("the answer is shorter than it said"))
        }
    }
}
