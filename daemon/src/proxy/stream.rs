//! A connected byte stream, cleartext or TLS, to or from anyone. Never speaks HTTP.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Up to here, pieces are put together and written as one: that costs less than a vectored write, and in TLS a record less.
const JOINED: usize = 4096;

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

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, buf))
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
        each!(self, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
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
