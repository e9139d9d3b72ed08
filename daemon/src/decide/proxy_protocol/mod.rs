//! The PROXY protocol's header, versions 1 and 2, as it begins a connection. Never reads a socket and never believes anybody: who may send
//! one is the listener's business.
//!
//! As in the specification (haproxy, `doc/proxy-protocol.txt`, 2020/03/05), read strictly: what isn't a header to the letter is a fault, and
//! nothing is guessed. Extensions (TLVs) are skipped.

mod v1;
mod v2;

use std::net::SocketAddr;

/// Most bytes of a header: addresses and a few kilobytes of extensions.
pub const MOST_BYTES: usize = 4096;

/// Where a connection came from, and where it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// The address that it connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a header, which has at least so many bytes in all.
    Incomplete(usize),
    /// A whole header.
    Complete {
        /// Its bytes; what follows is the connection's.
        bytes: usize,
        /// The ends it tells. `None`: the sender speaks for itself (`LOCAL`), or does not know (`UNKNOWN`, `AF_UNSPEC`, other families): the
        /// connection's own ends count.
        ends: Option<Ends>,
    },
}

/// The bytes are no header. The connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They begin like none.
    #[error(
        "no PROXY protocol header: the sender must send one on this listener (proxy_protocol = \"require\")"
    )]
    Missing,
    /// Version 1: no line end within 107 bytes.
    #[error("PROXY v1: the line is longer than 107 bytes")]
    LongLine,
    /// Version 1: not to the letter.
    #[error("PROXY v1: {0}")]
    Line(&'static str),
    /// Version 2: not to the letter.
    #[error("PROXY v2: {0}")]
    Binary(&'static str),
}

/// Reads the header at the beginning of `bytes`. To be asked again with more bytes while it is incomplete; never asks for more than
/// [`MOST_BYTES`].
///
/// # Errors
/// As soon as the bytes can't become a header any more.
pub fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    if begins(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Fault::Missing)
    }
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes[..common] == signature[..common]
}

#[cfg(test)]
mod tests;
