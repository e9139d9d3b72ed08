//! The task of a shared line: connects it when it is wanted, and moves its bytes. Never knows what they mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::conn::SCRATCH;
use super::lane::connect;
use super::pool::{PROBE, Pool};
use super::shared::Line;

/// Wait after a server that could not be used.
const PAUSE: Duration = Duration::from_secs(1);
/// What is asked before a line is used, and how an answer begins that says that it may be: a server that wants authentication says
/// something else.
const TEXT: (&[u8], &[u8]) = (b"version\r\n", b"VERSION ");
const BINARY: (&[u8], &[u8]) = (
    &[0x80, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x81, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
);
/// Longest answer to that, in bytes.
const GREETING: usize = 256;

/// Runs a line to the server at `place` of the pool, for ever.
pub(super) async fn drive(line: Arc<Line>, pool: Arc<Pool>, place: usize) {
    loop {
        std::future::poll_fn(|cx| if line.watch(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        match tokio::time::timeout(PROBE, open(&line)).await {
            Ok(Ok(stream)) => {
                line.opened();
                let since = Instant::now();
                let mut carry = Carry { stream, out: Vec::new(), sent: 0, held: Vec::new() };
                let end = std::future::poll_fn(|cx| carry.poll(&line, cx)).await;
                pool.forget(place);
                line.lost(&end.to_string());
                if since.elapsed() < PAUSE {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Ok(Err(_)) | Err(_) => {
                // Clients use their own connections, and hear there what is wrong. The next one that wants the line has it tried again.
                line.unwanted();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection whose server answers.
async fn open(line: &Line) -> io::Result<TcpStream> {
    let mut stream = connect(line.address).await?;
    let (question, due) = if line.binary { BINARY } else { TEXT };
    stream.write_all(question).await?;
    let (mut answer, mut length) = ([0; GREETING], 0);
    loop {
        let read = stream.read(&mut answer[length..]).await?;
        length += read;
        let whole = if line.binary { length >= 24 } else { answer[..length].ends_with(b"\r\n") };
        if whole && answer.starts_with(due) {
            return Ok(stream);
        }
        if whole || read == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
}

/// An open line.
struct Carry {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    /// The beginning of a line of answer.
    held: Vec<u8>,
}

impl Carry {
    /// Ready when the line has ended, with why.
    fn poll(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<io::Error> {
        line.watch(cx);
        if let Poll::Ready(Err(error)) = self.poll_write(line, cx) {
            return Poll::Ready(error);
        }
        match ready!(self.poll_read(line, cx)) {
            Ok(()) => Poll::Ready(io::Error::other("the server closed the connection")),
            Err(error) => Poll::Ready(error),
        }
    }

    /// Writes until there is nothing to write, or no room.
    fn poll_write(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
                line.take_out(&mut self.out);
                if self.out.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            self.sent += ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..]))?;
        }
    }

    /// Reads until there is nothing to read; ready when the server has closed.
    fn poll_read(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
                self.take(line, buf.filled())?;
                Poll::Ready(io::Result::Ok(buf.filled().len()))
            });
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn take(&mut self, line: &Line, fresh: &[u8]) -> io::Result<()> {
        let misfit = |_| io::Error::other("an answer fits no request");
        if self.held.is_empty() {
            let taken = line.answers(fresh).map_err(misfit)?;
            self.held.extend_from_slice(&fresh[taken..]);
        } else {
            self.held.extend_from_slice(fresh);
            let taken = line.answers(&self.held).map_err(misfit)?;
            self.held.drain(..taken);
        }
        Ok(())
    }
}
