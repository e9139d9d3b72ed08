//! A connected byte stream, cleartext or TLS, to or from anyone. Never speaks HTTP.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio_rustls::TlsStream;

/// Up to here, pieces are put together and written as one: that costs less than a vectored write, and in TLS a record less.
const JOINED: usize = 4096;

/// Bytes of a write that cost one of its task's turn: tokio ends a turn after 128 reads or writes.
const COST_ONE: usize = 1 << 10;

/// How the kernel finds out that nobody is at the other end of a silent connection: within two minutes.
pub(crate) fn keep_alive() -> TcpKeepalive {
    let seconds = Duration::from_secs;
    TcpKeepalive::new().with_time(seconds(60)).with_interval(seconds(15)).with_retries(4)
}

thread_local! {
    static JOIN: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED));
}

/// What the proxy reads from and writes to.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Cleartext.
    Plain(TcpStream),
    /// TLS, from either end. Boxed: a session is large, and most streams between hosts of one region have none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(inner) => inner,
            Self::Tls(inner) => inner.get_ref().0,
        }
    }

    /// The protocol agreed on in the TLS handshake.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(inner) => inner.get_ref().1.alpn_protocol(),
        }
    }
}

macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($inner) => $call,
            Stream::Tls($inner) => {
                let $inner = &mut **$inner;
                $call
            }
        }
    };
}

/// Takes what was written off its task's turn. By number alone a turn would be megabytes where neither side waits, and everybody else on
/// this worker would wait for each of these.
fn pay(written: &Poll<io::Result<usize>>, cx: &mut Context<'_>) {
    let Poll::Ready(Ok(bytes)) = written else { return };
    for _ in 0..bytes / COST_ONE {
        if pin!(consume_budget()).poll(cx).is_pending() {
            break;
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = each!(self, inner => Pin::new(inner).poll_write(cx, buf));
        pay(&written, cx);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() <= JOINED {
            return JOIN.with_borrow_mut(|joined| {
                joined.clear();
                bufs.iter().for_each(|buf| joined.extend_from_slice(buf));
                self.poll_write(cx, joined)
            });
        }
        let written = each!(self, inner => Pin::new(inner).poll_write_vectored(cx, bufs));
        pay(&written, cx);
        written
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(inner) => inner.is_write_vectored(),
            Self::Tls(inner) => inner.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_turn_is_over_after_some_bytes() -> io::Result<()> {
        const PIECE: [u8; 16 << 10] = [0; 16 << 10];
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let tcp = TcpStream::connect(listener.local_addr()?).await?;
        socket2::SockRef::from(&tcp).set_send_buffer_size(1 << 20)?;
        let mut stream = Stream::Plain(tcp);
        stream.tcp().writable().await?;
        tokio::task::yield_now().await;
        let mut turn = 0;
        poll_fn(|cx| {
            while let Poll::Ready(Ok(count)) = Pin::new(&mut stream).poll_write(cx, &PIECE) {
                turn += count;
            }
            Poll::Ready(())
        })
        .await;
        assert!((1..=128 * COST_ONE + PIECE.len()).contains(&turn), "{turn} bytes in one turn");
        Ok(())
    }
}
