//! Closing without taking the last answer back: our end is closed first, then what still comes in is read and forgotten. Never for longer than
//! a second or a mebibyte.
//!
//! A socket that is closed while bytes lie in it unread resets its connection, and a reset may overtake what the client has not read yet
//! (RFC 9112, 9.6).

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Longest wait for the client to close its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes that are read and forgotten.
const MOST_DRAINED: usize = 1 << 20;

/// How far a close has come.
#[derive(Debug, Default)]
pub(crate) enum Linger {
    /// Our end is open.
    #[default]
    Open,
    /// Our end is closed; bytes that may still be read, and the end of patience.
    Draining(usize, Pin<Box<Sleep>>),
}

impl Linger {
    /// Closes our end, then waits for the client's.
    pub(crate) fn poll_shutdown<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Self::Open = self {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            *self = Self::Draining(MOST_DRAINED, Box::pin(tokio::time::sleep(PATIENCE)));
        }
        if let Self::Draining(left, end) = self
            && drain(stream, left, cx).is_pending()
        {
            ready!(end.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Ready when the client has closed, the connection is broken, or it sent more than is worth reading.
fn drain<S: AsyncRead + Unpin>(stream: &mut S, left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    let mut scratch = [0; 4096];
    while *left > 0 {
        let mut scratch = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut scratch));
        if read.is_err() || scratch.filled().is_empty() {
            break;
        }
        *left = left.saturating_sub(scratch.filled().len());
    }
    Poll::Ready(())
}
