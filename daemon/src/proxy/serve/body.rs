//! A request's body over HTTP/1, read from its connection when somebody asks for a piece. Never reads ahead.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Shared;

/// The body of the request at hand.
#[derive(Debug)]
pub(crate) struct ClientBody {
    line: Shared,
    /// All of it was handed over: its connection may carry the next request.
    ended: bool,
}

impl ClientBody {
    /// The body behind the head that came last; the client may wait to be asked for it.
    pub(super) fn new(line: &Shared, expects: bool) -> Self {
        line.borrow_mut().begin_body(expects);
        Self { line: Rc::clone(line), ended: false }
    }

    /// The next piece.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut line = self.line.borrow_mut();
        let frame = ready!(line.poll_body(cx));
        self.ended = !matches!(frame, Some(Ok(_))) || line.left() == Some(0);
        Poll::Ready(frame)
    }

    /// Nothing is left of it.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended
    }

    /// How much is left of it, as far as that is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        self.line.borrow().left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if !self.ended {
            self.line.borrow_mut().drop_body();
        }
    }
}
