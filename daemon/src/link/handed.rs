//! A connection that was accepted for somebody else: the peer listener's port carries the relay's links, too. Never reads from it.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::decide::region::RegionId;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A peer's stream that asked for [`super::ALPN_RELAY`]: by ALPN over mutual TLS, or by an HTTP upgrade from a trusted prefix.
pub struct RelayStream {
    /// The region in the peer's certificate; `None` where a trusted prefix's cleartext says nothing of it.
    pub region: Option<RegionId>,
    /// The stream, after the handshake or upgrade. Its input and output are driven by the thread that accepted it.
    pub io: Box<dyn Duplex>,
}

impl fmt::Debug for RelayStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayStream").field("region", &self.region).finish_non_exhaustive()
    }
}
