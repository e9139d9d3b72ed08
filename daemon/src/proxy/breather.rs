//! An HTTP/2 connection that is read no faster than its small frames can be taken. Never looks at a payload.
//!
//! The library reads on for as long as bytes are there, in one turn, and ends the connection when too many small frames wait that no stream has
//! taken (`ENHANCE_YOUR_CALM`). A sender of small messages did nothing wrong: its frames are to be taken in between, also while the upstream is
//! still being connected to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::decide::framing::Walk;

/// `DATA` with less is small: the library counts what such a frame lacks of it.
const SMALL: u32 = 256;
/// What small frames may lack before there is a pause: some hundred frames, and a fraction of what the library bears.
const MOST: u32 = 64 << 10;
const PAUSE: Duration = Duration::from_millis(1);
/// Bytes of a read where small frames came last.
const LITTLE: usize = 4 << 10;
const DATA: u8 = 0;

/// A stream under HTTP/2.
#[derive(Debug)]
pub(crate) struct Breather<S> {
    inner: S,
    walk: Walk,
    /// What small frames lacked since the last pause.
    lacked: u32,
    /// A pause is on.
    rests: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Breather<S> {
    /// Over a stream whose next byte is the first of `walk`.
    pub(crate) fn new(inner: S, walk: Walk) -> Self {
        Self { inner, walk, lacked: 0, rests: false, timer: None }
    }

    fn look(&mut self, bytes: &[u8]) {
        let lacked = &mut self.lacked;
        self.walk.on(bytes, |head| {
            // What the one lacks, the other makes up for, as the library sees it.
            match head.kind {
                DATA if head.length >= SMALL => *lacked = lacked.saturating_sub(head.length - SMALL),
                DATA if head.length > 0 => *lacked = lacked.saturating_add(SMALL - head.length),
                _ => {}
            }
        });
        if self.lacked >= MOST {
            self.rest();
        }
    }

    fn rest(&mut self) {
        (self.lacked, self.rests) = (0, true);
        let until = Instant::now() + PAUSE;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(until),
            none => *none = Some(Box::pin(tokio::time::sleep_until(until))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let (true, Some(timer)) = (this.rests, &mut this.timer) {
            ready!(timer.as_mut().poll(cx));
            this.rests = false;
        }
        let before = buf.filled().len();
        if this.lacked > 0 {
            let room = buf.remaining().min(LITTLE);
            let mut little = ReadBuf::new(buf.initialize_unfilled_to(room));
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut little))?;
            let count = little.filled().len();
            buf.advance(count);
        } else {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        }
        this.look(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breather<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
