//! A client's HTTP/2 stream between the socket and the library: what the library would answer with another code than RFC 9113 asks for.
//! Never decides what that is; `decide::framing` does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::Linger;
use super::meter::Pace;
use crate::decide::framing::Frames;

/// What the library gets in place of a faulty frame: a frame larger than any, which it answers with `GOAWAY`.
const OVERSIZE: &[u8] = &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
/// Bytes of a refused client that are still read, so that closing does not reset the connection under our answer.
const MOST_DRAINED: usize = 1 << 20;

/// A stream whose frames are followed as they come in.
#[derive(Debug)]
pub(crate) struct Framed<S> {
    inner: S,
    pace: Arc<Pace>,
    frames: Box<Frames>,
    refused: Option<Refused>,
    linger: Linger,
}

/// A frame is faulty: the library gets what is left of the poison, then nothing.
#[derive(Debug)]
struct Refused {
    poison: &'static [u8],
    drained: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// HTTP/2 from its preface on.
    pub(crate) fn new(inner: S, pace: Arc<Pace>) -> Self {
        Self { inner, pace, frames: Box::default(), refused: None, linger: Linger::Open }
    }

    /// What is beneath.
    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }

    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let found = self.frames.look(&buf.filled()[before..]);
        if let Some(fault) = self.frames.noted().or(found.map(|(_, fault)| fault)) {
            self.pace.refuse(fault);
        }
        if let Some((good, _)) = found {
            buf.set_filled(before + good);
            self.refused = Some(Refused { poison: OVERSIZE, drained: 0 });
            self.poison(buf);
        }
    }

    /// `bytes` with the right code in their `GOAWAY` or `RST_STREAM`, if they end in one and a fault was found.
    fn recoded(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let fault = self.pace.fault()?;
        let ends_in = |length: usize, head: &[u8]| {
            bytes.len().checked_sub(length).is_some_and(|at| bytes[at..].starts_with(head))
        };
        let is_last = ends_in(17, &[0, 0, 8, 7, 0, 0, 0, 0, 0]) || ends_in(13, &[0, 0, 4, 3, 0]);
        is_last.then(|| [&bytes[..bytes.len() - 4], &fault.code().to_be_bytes()].concat())
    }

    fn poison(&mut self, buf: &mut ReadBuf<'_>) {
        if let Some(Refused { poison, .. }) = &mut self.refused {
            let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
            buf.put_slice(now);
            *poison = later;
        }
    }

    /// Reads and forgets, so that the client's end is still noticed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(Refused { drained, .. }) = &mut self.refused else { return Poll::Pending };
        let mut scratch = [0; 4096];
        while *drained < MOST_DRAINED {
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut scratch))?;
            if scratch.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            *drained += scratch.filled().len();
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.refused {
            Some(Refused { poison: [], .. }) => return this.poll_drain(cx),
            Some(_) => {
                this.poison(buf);
                return Poll::Ready(Ok(()));
            }
            None => {}
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        this.look(buf, before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.recoded(buf) {
            Some(recoded) => Pin::new(&mut self.inner).poll_write(cx, &recoded),
            None => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        // Such a frame is in the last of them: the others go first.
        if let Some((last, before)) = bufs.split_last()
            && self.recoded(last).is_some()
        {
            let some = before.iter().any(|buf| !buf.is_empty());
            return if some {
                Pin::new(&mut self.inner).poll_write_vectored(cx, before)
            } else {
                self.poll_write(cx, last)
            };
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.linger.poll_shutdown(&mut this.inner, cx)
    }
}
