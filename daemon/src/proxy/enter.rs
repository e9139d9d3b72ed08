//! The way into a listener: cleartext or TLS, who the peer is, which HTTP it speaks. Never reads a request.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::shared::Door;
use super::stream::Stream;
use super::tls::{self, Entry};
use crate::config::types::ListenerKind;
use crate::decide::client;
use crate::decide::proxy_protocol::{self, Progress};
use crate::decide::region::RegionId;

/// A connection that may speak HTTP now.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) stream: Stream,
    /// Who connected; as the PROXY protocol says where the listener requires it.
    pub(crate) address: IpAddr,
    /// It speaks HTTP/2.
    pub(crate) multiplexed: bool,
    /// On a peer listener: it is known to be an edge of another region.
    pub(crate) trusted: bool,
    /// The region in its certificate.
    pub(crate) region: Option<RegionId>,
}

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// The first byte of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;

/// Lets a connection in. Unbounded in time: the caller's limit counts.
pub(crate) async fn enter(door: &Door, mut tcp: TcpStream, peer: IpAddr) -> io::Result<Entered> {
    let address = if door.spec.proxy_protocol { introduced(&mut tcp).await?.unwrap_or(peer) } else { peer };
    match &door.entry {
        Entry::Plain => plain(door, tcp, address).await,
        Entry::Public(public) => {
            let stream = tls::welcome(public, tcp).await?;
            Ok(Entered { multiplexed: tls::chose_h2(&stream), stream, address, trusted: false, region: None })
        }
        Entry::Peer(Some(peer)) if first_byte(&tcp).await? == HANDSHAKE => {
            let (stream, region) = tls::welcome_peer(peer, tcp).await?;
            Ok(Entered {
                multiplexed: tls::chose_h2(&stream),
                stream,
                address,
                trusted: true,
                region: Some(region),
            })
        }
        Entry::Peer(_) => plain(door, tcp, address).await,
    }
}

/// Reads the PROXY protocol's header, not a byte beyond it; `None` where the sender speaks for itself.
async fn introduced(tcp: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = Vec::with_capacity(64);
    let mut needed = 1;
    loop {
        let had = header.len();
        header.resize(needed, 0);
        tcp.read_exact(&mut header[had..]).await?;
        match proxy_protocol::parse(&header).map_err(io::Error::other)? {
            Progress::Incomplete(more) if more > header.len() && more <= proxy_protocol::MOST_BYTES => {
                needed = more;
            }
            Progress::Incomplete(_) => return Err(io::Error::other("PROXY protocol: header too long")),
            Progress::Complete { ends, .. } => return Ok(ends.map(|ends| ends.source.ip().to_canonical())),
        }
    }
}

/// Cleartext: a peer listener trusts only the prefixes that it was told to.
async fn plain(door: &Door, tcp: TcpStream, address: IpAddr) -> io::Result<Entered> {
    let multiplexed = begins_with_preface(&tcp).await?;
    let spec = &door.spec;
    let trusted = spec.kind == ListenerKind::Peer && client::is_in(&spec.trusted_peers, address);
    Ok(Entered { stream: Stream::Plain(tcp), address, multiplexed, trusted, region: None })
}

async fn first_byte(tcp: &TcpStream) -> io::Result<u8> {
    let mut first = [0];
    match tcp.peek(&mut first).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        _ => Ok(first[0]),
    }
}

/// Whether the client speaks HTTP/2 at once.
async fn begins_with_preface(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = tcp.peek(&mut first).await?;
        let matches = first[..count] == PREFACE[..count];
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        if !matches || count == PREFACE.len() {
            return Ok(matches);
        }
        // A part of the preface: nothing wakes us when the rest arrives behind bytes that were left unread.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
