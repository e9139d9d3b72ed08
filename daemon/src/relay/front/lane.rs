//! A client connection's own connection to one server. Never shared between clients: what they say is theirs. What may be shared takes
//! [`super::shared`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pool::CONNECT;

/// Waits after failed connections: doubled from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

enum State {
    Idle,
    Connecting(Connecting),
    Up(TcpStream),
}

/// The connection and what waits for it.
pub(super) struct Lane {
    address: SocketAddr,
    state: State,
    /// Request bytes that the socket did not take yet.
    out: Vec<u8>,
    sent: usize,
    /// A partial line of answer.
    pub(super) held: Vec<u8>,
    backoff: Duration,
    retry_at: Option<Instant>,
    /// The session answers for the server: nothing is to reach it, or its answers would be nobody's.
    down: bool,
}

impl Lane {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            state: State::Idle,
            out: Vec::new(),
            sent: 0,
            held: Vec::new(),
            backoff: BACKOFF.0,
            retry_at: None,
            down: false,
        }
    }

    /// Takes request bytes; writes them at once where that needs no copy. While the server is down they go nowhere.
    pub(super) fn forward(&mut self, bytes: &[u8], direct: bool) {
        if self.down {
            return;
        }
        let mut bytes = bytes;
        if direct
            && self.out.is_empty()
            && let State::Up(stream) = &self.state
            && let Ok(written) = stream.try_write(bytes)
        {
            bytes = &bytes[written..];
        }
        self.out.extend_from_slice(bytes);
    }

    /// Bytes that wait.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Whether a connection may be tried now.
    pub(super) fn may_try(&self) -> bool {
        self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// The next request is sent again.
    pub(super) fn revive(&mut self) {
        self.down = false;
    }

    /// The server has closed a connection that the client no longer uses.
    pub(super) fn rest(&mut self) {
        self.state = State::Idle;
        self.held.clear();
    }

    /// Connects if something waits, and writes what waits.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.state, State::Idle) {
            if self.backlog() == 0 {
                return Poll::Ready(Ok(()));
            }
            self.state = State::Connecting(Box::pin(connect(self.address)));
        }
        if let State::Connecting(connecting) = &mut self.state {
            match connecting.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stream)) => {
                    self.state = State::Up(stream);
                    self.retry_at = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        while self.sent < self.out.len() {
            let State::Up(stream) = &mut self.state else { break };
            match Pin::new(stream).poll_write(cx, &self.out[self.sent..]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        self.out.clear();
        self.sent = 0;
        if self.out.capacity() > 256 * 1024 {
            self.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads answer bytes; 0 is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let State::Up(stream) = &mut self.state else { return Poll::Pending };
        let mut buf = ReadBuf::new(into);
        match tokio::io::AsyncRead::poll_read(Pin::new(stream), cx, &mut buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                // A server that takes connections and closes them is no better than one that does not.
                if !buf.filled().is_empty() {
                    self.backoff = BACKOFF.0;
                }
                Poll::Ready(Ok(buf.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// The client says no more.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) {
        if let State::Up(stream) = &mut self.state {
            let _closed = Pin::new(stream).poll_shutdown(cx);
        }
    }

    /// The connection is lost; what waited goes with it. Whether there was one.
    pub(super) fn lose(&mut self) -> bool {
        let was_up = matches!(self.state, State::Up(_));
        self.state = State::Idle;
        self.out.clear();
        self.sent = 0;
        self.held.clear();
        self.down = true;
        self.retry_at = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        was_up
    }

    /// Whether there is a connection, or one on its way.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Idle)
    }
}

pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 1 s"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
