//! TLS: who this host is towards clients and other regions, and who they are. Never opens a connection and never reads a request.
//!
//! Public listeners show a certificate ([`PublicTls`]); links between regions are mutual ([`PeerTls`]): both ends carry a certificate that
//! `[identity].authority` signed and whose SAN names exactly one region, as `URI:tidegate://region/NAME`. Files are read again when they
//! change ([`keep_fresh`]); connections that are open stay as they are, and faulty files change nothing.
//!
//! The cryptography is *ring*'s: it builds with a C compiler alone.

mod dial;
mod fault;
mod files;
mod handed;
mod identity;
mod outward;
mod peer;
mod public;
mod refresh;
mod region;

pub use dial::{BadServerName, server_name};
pub use fault::TlsFault;
pub use handed::{Duplex, RelayStream};
pub use identity::Doubt;
pub use outward::OutwardTls;
pub use peer::{PeerTls, Purpose};
pub use public::PublicTls;
pub use refresh::{Fresh, Refreshed, keep_fresh};
pub use region::{RegionFault, peer_region};

/// HTTP/2 (RFC 9113, section 3.2).
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 (RFC 7301, section 6).
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// The relay's frames, on a peer listener.
pub const ALPN_RELAY: &[u8] = b"tidegate-relay/1";

/// The one provider of cryptography.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
