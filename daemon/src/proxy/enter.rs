//! The way into a listener: cleartext or TLS, who the peer is, which HTTP it speaks. Never reads a request.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use super::shared::Door;
use super::stream::Stream;
use super::tls::{self, Entry};
use crate::config::types::ListenerKind;
use crate::decide::client;
use crate::decide::proxy_protocol::{self, Progress};
use crate::decide::region::RegionId;
use crate::decide::report::proxy::Rejected;

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

/// Why a connection does not come to speak HTTP.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotEntered {
    /// Nothing whole came in time.
    #[error("no whole beginning within header_timeout")]
    Late,
    /// What should be the PROXY protocol is not.
    #[error(transparent)]
    Unintroduced(#[from] proxy_protocol::Fault),
    /// The handshake failed, or the certificate speaks for nobody.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The other side went away.
    #[error("it went away: {0}")]
    Left(#[from] io::Error),
}

impl NotEntered {
    /// How it is counted; who goes away by himself is not.
    pub(crate) fn counts_as(&self) -> Option<Rejected> {
        match self {
            Self::Late => Some(Rejected::Late),
            Self::Unintroduced(_) => Some(Rejected::ProxyProtocol),
            Self::Tls(_) => Some(Rejected::Tls),
            Self::Left(_) => None,
        }
    }

    fn of_tls(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Left(error),
            _ => Self::Tls(error),
        }
    }
}

/// Lets a connection in, within `limit`.
pub(crate) async fn enter(
    door: &Door,
    tcp: TcpStream,
    peer: IpAddr,
    limit: Duration,
) -> Result<Entered, NotEntered> {
    tokio::time::timeout(limit, come_in(door, tcp, peer)).await.unwrap_or(Err(NotEntered::Late))
}

async fn come_in(door: &Door, mut tcp: TcpStream, peer: IpAddr) -> Result<Entered, NotEntered> {
    let address = if door.spec.proxy_protocol { introduced(&mut tcp).await?.unwrap_or(peer) } else { peer };
    match &door.entry {
        Entry::Plain => Ok(plain(door, tcp, address).await?),
        Entry::Public(public) => {
            let stream = tls::welcome(public, tcp).await.map_err(NotEntered::of_tls)?;
            Ok(Entered { multiplexed: tls::chose_h2(&stream), stream, address, trusted: false, region: None })
        }
        Entry::Peer(Some(peer)) if first_byte(&tcp).await? == HANDSHAKE => {
            let (stream, region) = tls::welcome_peer(peer, tcp).await.map_err(NotEntered::of_tls)?;
            Ok(Entered {
                multiplexed: tls::chose_h2(&stream),
                stream,
                address,
                trusted: true,
                region: Some(region),
            })
        }
        Entry::Peer(_) => Ok(plain(door, tcp, address).await?),
    }
}

/// Reads the PROXY protocol's header, not a byte beyond it; `None` where the sender speaks for itself.
async fn introduced(tcp: &mut TcpStream) -> Result<Option<IpAddr>, NotEntered> {
    let mut header = Vec::with_capacity(64);
    let mut needed = 1;
    loop {
        let had = header.len();
        header.resize(needed, 0);
        tcp.read_exact(&mut header[had..]).await?;
        match proxy_protocol::parse(&header)? {
            Progress::Incomplete(more) if more > header.len() && more <= proxy_protocol::MOST_BYTES => {
                needed = more;
            }
            Progress::Incomplete(_) => return Err(proxy_protocol::Fault::LongLine.into()),
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

/// Whether the client speaks HTTP/2 at once. Bytes are left unread, and each that comes wakes us (the poll is edge-triggered): who stops in the
/// middle costs nothing while we wait.
async fn begins_with_preface(tcp: &TcpStream) -> io::Result<bool> {
    loop {
        let ready = tcp.ready(Interest::READABLE).await?;
        match tcp.try_io(Interest::READABLE, || preface(tcp)) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // No more will come.
            Err(_) if ready.is_read_closed() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => {}
            begins => return begins,
        }
    }
}

/// The same of what is there now; `WouldBlock` where that may become a preface.
fn preface(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let (_, count) = rustix::net::recv(tcp, &mut first, RecvFlags::PEEK)?;
    match count {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first[..count] != PREFACE[..count] => Ok(false),
        _ if count == PREFACE.len() => Ok(true),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    }
}
