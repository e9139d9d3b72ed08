//! Connecting to an endpoint or edge and agreeing on HTTP. Never chooses whom to connect to, never retries.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::RequestBody;
use super::breather::Breather;
use super::conn::OnThisThread;
use super::descriptors::Place;
use super::gather::Gathered;
use super::http1;
use super::stock::Stock;
use super::stream::{self, Stream};
use super::tls::{self, GreetError, Identities};
use super::topology::Endpoint;
use crate::decide::framing::Walk;

/// No connection could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host name has no address.
    #[error("{host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Refused, unreachable or the like.
    #[error("connecting to {host}:{port}: {source}")]
    Connect {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// It took longer than `connect_timeout`.
    #[error("no connection to {host}:{port} within {limit:?}")]
    Timeout {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// The limit.
        limit: Duration,
    },
    /// All descriptors for upstream connections are in use.
    #[error("no descriptor is left for another upstream connection")]
    NoDescriptor,
    /// TLS could not begin.
    #[error(transparent)]
    Tls(#[from] GreetError),
    /// HTTP could not begin.
    #[error(transparent)]
    Handshake(#[from] hyper::Error),
}

impl ConnectError {
    /// Whether this host lacks something: the endpoint is not to blame.
    pub(crate) fn is_ours(&self) -> bool {
        let exhausted = |error: &io::Error| {
            matches!(
                error.raw_os_error().map(rustix::io::Errno::from_raw_os_error),
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOBUFS)
            )
        };
        match self {
            Self::NoDescriptor => true,
            Self::Connect { source, .. } => exhausted(source),
            _ => false,
        }
    }
}

/// Which HTTP a request needs of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// What the endpoint prefers: by ALPN, HTTP/1.1 in cleartext.
    Any,
    /// HTTP/1.1, for upgrades.
    Http1,
    /// HTTP/2, by prior knowledge in cleartext: gRPC can't do without.
    Http2,
}

/// Where HTTP/2 requests are written to, many at once.
pub(crate) type Http2Sender = http2::SendRequest<Gathered<RequestBody>>;

/// A connection that HTTP has begun on.
#[derive(Debug)]
pub(crate) enum Spoken {
    /// One request at a time.
    Http1(Box<http1::Connection>),
    /// Many.
    Http2(Http2Sender),
}

/// Connects and agrees on HTTP, within `limit`.
pub(crate) async fn connect(
    identities: &Identities,
    endpoint: &Endpoint,
    need: Need,
    limit: Duration,
    place: Place,
    stock: &Rc<Stock>,
) -> Result<Spoken, ConnectError> {
    let begun = async {
        let stream = stream(identities, endpoint, need, limit).await?;
        if tls::chose_h2(&stream) || need == Need::Http2 {
            http2(stream, place).await.map(Spoken::Http2)
        } else {
            Ok(Spoken::Http1(http1::Connection::new(stream, place, stock)))
        }
    };
    let timeout = || ConnectError::Timeout { host: endpoint.host.clone(), port: endpoint.port, limit };
    tokio::time::timeout(limit, begun).await.map_err(|_| timeout())?
}

/// A connected stream, with TLS where the endpoint's URL says so. The caller's limit counts; with several addresses none takes more than its
/// share of it.
pub(crate) async fn stream(
    identities: &Identities,
    endpoint: &Endpoint,
    need: Need,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let failed = |source| ConnectError::Connect { host: endpoint.host.clone(), port: endpoint.port, source };
    let tcp = match endpoint.host.parse::<std::net::IpAddr>() {
        Ok(address) => TcpStream::connect((address, endpoint.port)).await.map_err(failed)?,
        Err(_) => dial(&resolve(endpoint).await?, limit).await.map_err(failed)?,
    };
    tcp.set_nodelay(true).map_err(failed)?;
    _ = socket2::SockRef::from(&tcp).set_tcp_keepalive(&stream::keep_alive());
    Ok(tls::greet(identities, endpoint, tcp, need == Need::Http1).await?)
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let found = found.map_err(|source| ConnectError::Resolve { host: endpoint.host.clone(), source })?;
    Ok(found.collect())
}

/// Tries each address in the resolver's order. One that does not answer leaves the others their part of the time: a name with an IPv6 address
/// that leads nowhere would otherwise never be reached.
async fn dial(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let share = end.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Begins HTTP/2; pings find out that the far end is gone while requests wait.
async fn http2(stream: Stream, place: Place) -> Result<Http2Sender, ConnectError> {
    let mut builder = http2::Builder::new(OnThisThread);
    builder.timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(10)));
    builder.keep_alive_timeout(Duration::from_secs(5));
    builder.initial_stream_window_size(1 << 20).initial_connection_window_size(8 << 20);
    builder.max_header_list_size(1 << 17);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(Breather::new(stream, Walk::default()))).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
        drop(place);
    });
    sender.ready().await?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// An address that answers nobody, and what keeps it so: its queue is full.
    fn mute() -> io::Result<(SocketAddr, Vec<Socket>)> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mute = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        mute.bind(&any.into())?;
        mute.listen(0)?;
        let address = mute.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut kept = vec![mute];
        for _ in 0..4 {
            let waits = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            waits.set_nonblocking(true)?;
            // It is under way, and stays so.
            _ = waits.connect(&address.into());
            kept.push(waits);
        }
        Ok((address, kept))
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() -> io::Result<()> {
        let limit = Duration::from_secs(3);
        let (mute, _kept) = mute()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let good = listener.local_addr()?;
        let dialled =
            async |addresses: &[SocketAddr]| tokio::time::timeout(limit, dial(addresses, limit)).await;
        let reached = dialled(&[mute, mute, good]).await;
        assert_eq!(reached.expect("in time")?.peer_addr()?, good);
        assert!(!matches!(dialled(&[mute]).await, Ok(Ok(_))), "it would have answered");
        Ok(())
    }
}
