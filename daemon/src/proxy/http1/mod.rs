//! One HTTP/1.1 connection to an endpoint or edge, driven by the task of the request that it carries. Never retries, never chooses.
//!
//! Between requests nothing runs for it: whether it is still good is looked at when it is wanted, and once a second.

mod receive;
mod send;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::BodyError;
use super::descriptors::Place;
use super::intake::Intake;
use super::shared::Open;
use super::stock::Stock;
use super::stream::Stream;
use crate::decide::wire::Unclear;
use receive::Left;
pub(super) use send::NotSent;
use send::Sending;

/// Most bytes of an answer that are read ahead of its client, and of its head.
const MOST_BUFFERED: usize = 64 << 10;
/// Most bytes of one read: what an answer holds whose client takes nothing of it.
const MOST_ROOM: usize = 32 << 10;

/// Why an exchange broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A connection that had waited was closed, perhaps before the request reached the peer: nothing of an answer came.
    #[error("the connection was closed without an answer")]
    Unheard,
    /// It was closed before the answer was whole.
    #[error("the connection was closed before the answer was whole")]
    Closed,
    /// The answer is none.
    #[error(transparent)]
    Unclear(#[from] Unclear),
    /// The client's body ended early.
    #[error("the request's body ended early")]
    Body(#[source] Box<BodyError>),
}

/// A connection, and how far its exchange has come.
#[derive(Debug)]
pub(crate) struct Connection {
    io: Stream,
    read: Intake,
    stock: Rc<Stock>,
    /// Bytes of `read` in which no head ends.
    looked_at: usize,
    /// To be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Bytes written so far, in all.
    sent: u64,
    sending: Sending,
    left: Left,
    /// Something of the answer has come.
    heard: bool,
    /// The answer allows another request.
    keeps: bool,
    to_head: bool,
    place: Place,
}

impl Connection {
    /// Over a stream on which nothing was said yet.
    pub(crate) fn new(io: Stream, place: Place, stock: &Rc<Stock>) -> Box<Self> {
        Box::new(Self {
            io,
            read: Intake::new(stock, MOST_ROOM),
            stock: Rc::clone(stock),
            looked_at: 0,
            out: Vec::new(),
            written: 0,
            sent: 0,
            sending: Sending::Done,
            left: Left::Nothing,
            heard: false,
            keeps: true,
            to_head: false,
            place,
        })
    }

    /// Nothing of an exchange is left over: another request may follow.
    pub(crate) fn is_clean(&self) -> bool {
        self.keeps
            && self.sending.is_done()
            && self.written == self.out.len()
            && self.left.is_nothing()
            && self.read.bytes.is_empty()
    }

    /// Whether it is of no use any more, while it waits: its peer closed it, or speaks unasked.
    pub(crate) fn is_over(&mut self) -> bool {
        self.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Gives back what it needs only during an exchange.
    pub(crate) fn rest(&mut self) {
        self.stock.give_out(std::mem::take(&mut self.out));
        self.read.rest();
    }

    /// Reads more; 0 where the peer has closed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.poll_fill(&mut self.io, cx)
    }

    /// The stream for another protocol, after the answer that switched to it.
    pub(crate) fn into_tunnel(self) -> Tunnel {
        Tunnel { first: self.read.bytes.freeze(), io: self.io, _place: Some(self.place), _open: None }
    }
}

/// A stream after a switch of protocols.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Came in behind the message that switched.
    first: Bytes,
    io: Stream,
    _place: Option<Place>,
    _open: Option<Arc<Open>>,
}

impl Tunnel {
    /// A client's stream, of which `first` was read already; it counts as a connection of its listener for as long as it lives.
    pub(crate) fn new(first: Bytes, io: Stream, open: &Arc<Open>) -> Self {
        Self { first, io, _place: None, _open: Some(Arc::clone(open)) }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let now = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(now));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
