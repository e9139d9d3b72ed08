//! A client's stream with what was read of it and what is to be written to it. Never parses or makes a message: `decide::wire` does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::io::AsyncWrite as _;

use super::{Shared, refusal};
use crate::decide::framing::Fault;
use crate::decide::wire::{Ask, Bounds, Frames, Inbound, Next, Says};
use crate::proxy::answer;
use crate::proxy::conn::Client;
use crate::proxy::http1::Tunnel;
use crate::proxy::intake::Intake;
use crate::proxy::lane::Share;
use crate::proxy::linger::Linger;
use crate::proxy::stream::Stream;

/// Most bytes of one read.
const MOST_ROOM: usize = 64 << 10;
/// Pieces up to this are put together with what stands before them.
const JOINED: usize = 8 << 10;
/// Nothing is added to what waits to be written beyond this.
const MOST_OUT: usize = 16 << 10;
/// Most bytes of a request's body that nobody wants and that are read all the same, so that the connection can carry the next request.
const MOST_UNWANTED: u64 = 64 << 10;
/// Most bytes of interim answers that wait to be written; more are left out.
const MOST_INTERIM: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    client: Rc<Client>,
    /// `None` once it is somebody else's.
    io: Option<Stream>,
    read: Intake,
    inbound: Inbound,
    body: Body,
    /// To be written: first this, then `piece`, then `tail`.
    out: Vec<u8>,
    piece: Bytes,
    tail: &'static [u8],
    /// Bytes of the three that are written.
    written: usize,
    share: Share,
    /// The connection's own task, and whether it waits for the request's body to end.
    task: Option<Waker>,
    waits: bool,
    /// It is to end when it is idle.
    leaving: bool,
    /// The client has closed its end, and may still read.
    half_closed: bool,
    linger: Linger,
}

/// Who has the body of the request at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Nobody, or nothing is left of it.
    Nobodys,
    /// It will be read, and the client waits to be told so.
    Expected,
    /// It is read by somebody.
    Somebodys,
    /// Nothing more can be read.
    Broken,
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Came {
    /// A request's head.
    Head(Ask),
    /// No request can begin so.
    Fault(Fault),
    /// The client has closed its end, or the connection is to end.
    Nothing,
}

impl Line {
    /// A connection on which nothing was said yet.
    pub(crate) fn new(client: &Rc<Client>, io: Stream) -> Self {
        let limits = &client.listener.spec.limits;
        let bounds = Bounds { header_bytes: limits.header_bytes, headers: limits.headers };
        Self {
            client: Rc::clone(client),
            io: Some(io),
            read: Intake::new(&client.worker.stock, MOST_ROOM),
            inbound: Inbound::new(bounds),
            body: Body::Nobodys,
            out: Vec::new(),
            piece: Bytes::new(),
            tail: b"",
            written: 0,
            share: Share::new(&client.worker.lane),
            task: None,
            waits: false,
            leaving: false,
            half_closed: false,
            linger: Linger::Open,
        }
    }

    /// The connection is to end when nothing is under way on it.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// It is reset rather than closed.
    pub(super) fn abort(&self) {
        self.client.pace.abort();
    }

    /// Closes it, whoever still holds on to it.
    pub(crate) fn cut(&mut self) {
        if let Some(io) = self.io.take()
            && self.client.pace.is_aborted()
        {
            // Who does not take what was written is not waited for by the kernel either: what it holds for it is freed at once.
            _ = socket2::SockRef::from(io.tcp()).set_linger(Some(Duration::ZERO));
        }
    }

    /// The next request's head.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Came>> {
        if self.task.is_none() {
            self.task = Some(cx.waker().clone());
        }
        loop {
            if !self.read.bytes.is_empty() {
                match self.inbound.head(&mut self.read.bytes) {
                    Ok(Some(ask)) => {
                        self.share.begin();
                        return Poll::Ready(Ok(Came::Head(ask)));
                    }
                    Ok(None) => self.client.pace.has_read(),
                    Err(fault) => return Poll::Ready(Ok(Came::Fault(fault))),
                }
            } else if self.leaving {
                return Poll::Ready(Ok(Came::Nothing));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(Came::Nothing));
            }
        }
    }

    /// Reads more; 0 where the client has closed its end: by TLS's own end, or by FIN without it. A request says itself where it ends, so that
    /// nothing is taken for whole that was cut.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        match self.read.poll_fill(io, cx) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            filled => filled,
        }
    }

    /// While a request is handled: writes what there is to be written, and notices when the client goes away. One that closes its end behind
    /// its request, as RFC 9293 (3.6) lets it, looks the same as one that is gone: it is served for as long as [`Pace::half_closed`] says.
    pub(super) fn poll_meanwhile<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.has_out()
            && let Poll::Ready(Err(error)) = self.poll_out(cx)
        {
            return Poll::Ready(Err(error));
        }
        // What is there already is the next request, or its beginning: more is not read before its turn.
        let reads = self.inbound.has_ended() && self.body != Body::Broken && self.read.bytes.is_empty();
        if reads && !self.half_closed {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    self.half_closed = true;
                    self.client.pace.half_closed();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// A request's body is somebody's from now on.
    pub(super) fn begin_body(&mut self, expects: bool) {
        self.body = if expects { Body::Expected } else { Body::Somebodys };
    }

    /// Nobody wants the rest of it.
    pub(super) fn drop_body(&mut self) {
        if self.body == Body::Somebodys {
            self.body = Body::Nobodys;
        }
        self.wake();
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.waits)
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }

    /// How much of the request's body is left, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.inbound.left()
    }

    /// The next piece of the request's body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.body {
            Body::Broken => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Body::Expected => self.ask_for_body(),
            Body::Nobodys | Body::Somebodys => {}
        }
        let next = loop {
            match self.inbound.body(&mut self.read.bytes) {
                Ok(Next::More) => {}
                Ok(Next::Data(data)) => break Some(Ok(Frame::data(data))),
                Ok(Next::End(trailers)) => break trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(fault) => {
                    self.client.pace.refuse(fault);
                    break Some(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => break Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => break Some(Err(error)),
            }
        };
        if matches!(next, Some(Err(_))) {
            self.body = Body::Broken;
            self.wake();
        } else if self.inbound.has_ended() {
            self.body = Body::Nobodys;
            self.wake();
        }
        Poll::Ready(next)
    }

    /// Tells the client to send its body (RFC 9110, 10.1.1).
    fn ask_for_body(&mut self) {
        self.body = Body::Somebodys;
        self.add(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    /// The answer comes now: whether the connection can carry another request after it.
    pub(super) fn may_go_on(&mut self) -> bool {
        match self.body {
            Body::Broken => false,
            Body::Somebodys => true,
            // Whether the client sends its body now, nobody knows.
            Body::Expected => {
                self.body = Body::Somebodys;
                false
            }
            Body::Nobodys => self.forget() || self.left().is_some_and(|left| left <= MOST_UNWANTED),
        }
    }

    /// Forgets what is there of a body that nobody wants; whether it is over.
    fn forget(&mut self) -> bool {
        while let Ok(Next::Data(_)) = self.inbound.body(&mut self.read.bytes) {}
        self.inbound.has_ended()
    }

    /// Behind an answer: waits for the end of the request's body; whether another request may follow.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.body {
                Body::Broken | Body::Expected => return Poll::Ready(false),
                Body::Somebodys => {
                    self.waits = true;
                    return Poll::Pending;
                }
                Body::Nobodys => {}
            }
            if self.forget() {
                return Poll::Ready(true);
            }
            if self.left().is_none_or(|left| left > MOST_UNWANTED) {
                return Poll::Ready(false);
            }
            if !matches!(ready!(self.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(false);
            }
        }
    }

    /// Adds to what is to be written.
    pub(super) fn add<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.out.capacity() == 0 {
            self.out = self.client.worker.stock.take_out();
        }
        write(&mut self.out)
    }

    /// Adds an answer to a head that is none.
    pub(super) fn refuse(&mut self, fault: Fault) {
        self.add(|out| refusal::write(fault, out));
    }

    /// Something is to be written.
    pub(super) fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Another piece of a body would not wait for long.
    pub(super) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.out.len() < MOST_OUT
    }

    /// Adds a piece of a body; `false` where it has more than was said.
    pub(super) fn put(&mut self, piece: Bytes, frames: &mut Frames) -> bool {
        if piece.is_empty() {
            return true;
        }
        let Some(tail) = self.add(|out| frames.piece(piece.len(), out)) else { return false };
        if piece.len() <= JOINED {
            self.out.extend_from_slice(&piece);
            self.out.extend_from_slice(tail);
        } else {
            (self.piece, self.tail) = (piece, tail);
            self.rest();
        }
        true
    }

    /// Gives back a buffer in which nothing is: the piece may have to wait for as long as the client lets it.
    fn rest(&mut self) {
        if self.out.is_empty() {
            self.client.worker.stock.give_out(std::mem::take(&mut self.out));
        }
    }

    /// Writes what is to be written.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.poll_write(cx);
        self.client.pace.wrote(&outcome);
        outcome
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let total = self.out.len() + self.piece.len() + self.tail.len();
        while self.written < total {
            ready!(self.share.poll(cx));
            let count = if self.piece.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.out[self.written..]))?
            } else {
                let mut slices =
                    [IoSlice::new(&self.out), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
                let mut slices = &mut slices[..];
                IoSlice::advance_slices(&mut slices, self.written);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.share.wrote(count);
            self.client.pace.wrote(&Poll::Ready(()));
            if self.half_closed {
                self.client.pace.half_closed();
            }
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        (self.piece, self.tail, self.written) = (Bytes::new(), b"", 0);
        self.client.worker.stock.give_out(std::mem::take(&mut self.out));
        Poll::Ready(Ok(()))
    }

    /// Closes our end, then waits a little for the client's.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        self.linger.poll_shutdown(io, cx)
    }

    /// The stream, for another protocol; `None` where the client has more of its request to send.
    pub(super) fn take_tunnel(&mut self) -> Option<Tunnel> {
        let io = self.io.take()?;
        let first = std::mem::take(&mut self.read.bytes).freeze();
        self.inbound.has_ended().then(|| Tunnel::new(first, io, &self.client.open))
    }
}

/// Where interim answers to the request at hand go.
#[derive(Clone, Debug)]
pub(crate) struct Interim(Shared);

impl Interim {
    pub(super) fn new(line: &Shared) -> Self {
        Self(Rc::clone(line))
    }

    /// Passes one on, as far as it is meant for the client; written by the connection's task, which this is.
    pub(crate) fn pass(&self, status: StatusCode, reason: Option<&[u8]>, mut headers: HeaderMap) {
        if answer::settle(status, &mut headers, false).is_err() {
            return;
        }
        let mut line = self.0.borrow_mut();
        if line.out.len() < MOST_INTERIM {
            line.add(|out| Says::interim(status, reason, &headers, out));
        }
    }
}
