//! A client's stream between the socket and the parser: nothing that `decide::framing` refuses gets through. Never decides what is refused.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::amend;
use super::linger::Linger;
use super::meter::{Pace, Switched};
use crate::decide::framing::{Fault, Framer, Frames, Passed};

/// What the parser gets in place of a faulty head: no byte of any head may be NUL, so that it answers 400 by itself, which is amended.
const POISON: &[u8] = b"\0\r\n\r\n";
/// What the HTTP/2 library gets in place of a faulty frame: a frame larger than any, which it answers with `GOAWAY`.
const OVERSIZE: &[u8] = &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
/// Bytes of a refused client that are still read, so that closing does not reset the connection under our answer.
const MOST_DRAINED: usize = 1 << 20;

/// A stream whose framing is judged as it comes in.
#[derive(Debug)]
pub(crate) struct Framed<S> {
    inner: S,
    pace: Arc<Pace>,
    framer: Framer,
    /// Follows HTTP/2 in place of `framer`.
    frames: Option<Box<Frames>>,
    /// Came in behind a request for another protocol: nobody knows yet what it is.
    held: Vec<u8>,
    refused: Refused,
    linger: Linger,
}

/// How far a refusal has come.
#[derive(Debug)]
enum Refused {
    No,
    /// A body is faulty: the next read fails.
    Body(Fault),
    /// A head is faulty: the parser gets what is left of the poison, then nothing.
    Head {
        poison: &'static [u8],
        drained: usize,
    },
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// HTTP/1 in.
    pub(crate) fn http1(inner: S, pace: Arc<Pace>, header_bytes: usize) -> Self {
        let framer = Framer::new(header_bytes);
        Self {
            inner,
            pace,
            framer,
            frames: None,
            held: Vec::new(),
            refused: Refused::No,
            linger: Linger::Open,
        }
    }

    /// HTTP/2 in.
    pub(crate) fn http2(inner: S, pace: Arc<Pace>) -> Self {
        let (framer, frames) = (Framer::open(), Some(Box::default()));
        Self { inner, pace, framer, frames, held: Vec::new(), refused: Refused::No, linger: Linger::Open }
    }

    /// HTTP/2: what the library would answer with another code than RFC 9113 asks for.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Some(frames) = &mut self.frames else { return };
        let found = frames.look(&buf.filled()[before..]);
        if let Some(fault) = frames.noted().or(found.map(|(_, fault)| fault)) {
            self.pace.refuse(fault);
        }
        if let Some((good, _)) = found {
            buf.set_filled(before + good);
            self.refused = Refused::Head { poison: OVERSIZE, drained: 0 };
            self.poison(buf);
        }
    }

    /// `bytes` with the right code in their `GOAWAY` or `RST_STREAM`, if they end in one and a fault was found.
    fn recoded(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let fault = self.pace.fault()?;
        self.frames.as_ref()?;
        let ends_in = |length: usize, head: &[u8]| {
            bytes.len().checked_sub(length).is_some_and(|at| bytes[at..].starts_with(head))
        };
        let is_last = ends_in(17, &[0, 0, 8, 7, 0, 0, 0, 0, 0]) || ends_in(13, &[0, 0, 4, 3, 0]);
        is_last.then(|| [&bytes[..bytes.len() - 4], &fault.code().to_be_bytes()].concat())
    }

    /// What is beneath.
    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Passes on what may be passed of the bytes in `buf` from `before` on.
    fn judge(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        match self.framer.pass(&buf.filled()[before..]) {
            Passed::All => {}
            Passed::Until(good) => {
                let mut held = buf.filled()[before + good..].to_vec();
                held.append(&mut self.held);
                self.held = held;
                buf.set_filled(before + good);
            }
            Passed::BadHead(good, fault) => {
                self.pace.refuse(fault);
                buf.set_filled(before + good);
                self.refused = Refused::Head { poison: POISON, drained: 0 };
                self.poison(buf);
            }
            Passed::BadBody(good, fault) => {
                self.pace.refuse(fault);
                buf.set_filled(before + good);
                self.refused = Refused::Body(fault);
                if good == 0 {
                    return Err(broken(fault));
                }
            }
        }
        Ok(())
    }

    fn poison(&mut self, buf: &mut ReadBuf<'_>) {
        if let Refused::Head { poison, .. } = &mut self.refused {
            let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
            buf.put_slice(now);
            *poison = later;
        }
    }

    /// Everything but the straight way: a refusal is under way, or bytes wait for an answer.
    fn poll_aside(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.refused {
            Refused::No => {}
            Refused::Body(fault) => return Poll::Ready(Err(broken(fault))),
            Refused::Head { poison: [], .. } => return self.poll_drain(cx),
            Refused::Head { .. } => {
                self.poison(buf);
                return Poll::Ready(Ok(()));
            }
        }
        match self.pace.switched(self.framer.heads()) {
            Switched::Open => self.framer.resolve(true),
            Switched::Declined => self.framer.resolve(false),
            Switched::Unknown if self.held.is_empty() => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
                // It spoke too early: whether it is heard is known with the answer.
                self.held.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
                self.pace.wake_on_end(cx);
                return Poll::Pending;
            }
            Switched::Unknown => {
                self.pace.wake_on_end(cx);
                return Poll::Pending;
            }
        }
        let before = buf.filled().len();
        if self.held.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        } else {
            let now = self.held.len().min(buf.remaining());
            buf.put_slice(&self.held[..now]);
            self.held.drain(..now);
        }
        Poll::Ready(self.judge(buf, before))
    }

    /// Reads and forgets, so that the client's end is still noticed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Refused::Head { drained, .. } = &mut self.refused else { return Poll::Pending };
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

fn broken(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let refused = !matches!(this.refused, Refused::No);
        if refused || this.framer.is_switching() || !this.held.is_empty() {
            return this.poll_aside(cx, buf);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if this.framer.is_open() {
            this.look(buf, before);
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(this.judge(buf, before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(recoded) = self.recoded(buf) {
            return Pin::new(&mut self.inner).poll_write(cx, &recoded);
        }
        if self.pace.is_between()
            && let Some(amended) = amend::amended(buf, &self.pace, || self.framer.fault_so_far())
        {
            // A few hundred bytes, the last ones of this connection: whatever the kernel does not take at once is not worth waiting for.
            return Pin::new(&mut self.inner).poll_write(cx, &amended).map_ok(|_| buf.len());
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
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
        // In a tunnel each way ends by itself.
        if this.frames.is_none() && this.framer.is_open() {
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }
        this.linger.poll_shutdown(&mut this.inner, cx)
    }
}
