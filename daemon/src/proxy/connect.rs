//! Connecting to an endpoint or edge and agreeing on HTTP. Never chooses whom to connect to, never retries.

use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::body::RequestBody;
use super::conn::OnThisThread;
use super::descriptors::Place;
use super::http1;
use super::stock::Stock;
use super::stream::{self, Stream};
use super::tls::{self, GreetError, Identities};
use super::topology::Endpoint;

/// No connection could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host name has no address.
    #[error("{host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// Refused, unreachable or the like.
    #[error("connecting to {host}:{port}: {source}")]
    Connect {
        /// Host as configured.
        host: String,
        /// Port.
        port: u16,
        /// Why.
        source: std::io::Error,
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
        let exhausted = |error: &std::io::Error| {
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
pub(crate) type Http2Sender = http2::SendRequest<RequestBody>;

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
        let stream = stream(identities, endpoint, need).await?;
        if tls::chose_h2(&stream) || need == Need::Http2 {
            http2(stream, place).await.map(Spoken::Http2)
        } else {
            Ok(Spoken::Http1(http1::Connection::new(stream, place, stock)))
        }
    };
    let timeout = || ConnectError::Timeout { host: endpoint.host.clone(), port: endpoint.port, limit };
    tokio::time::timeout(limit, begun).await.map_err(|_| timeout())?
}

/// A connected stream, with TLS where the endpoint's URL says so. Unbounded in time: the caller's limit counts.
pub(crate) async fn stream(
    identities: &Identities,
    endpoint: &Endpoint,
    need: Need,
) -> Result<Stream, ConnectError> {
    let failed = |source| ConnectError::Connect { host: endpoint.host.clone(), port: endpoint.port, source };
    let tcp = match endpoint.host.parse::<std::net::IpAddr>() {
        Ok(address) => TcpStream::connect((address, endpoint.port)).await.map_err(failed)?,
        Err(_) => dial_name(endpoint).await?,
    };
    tcp.set_nodelay(true).map_err(failed)?;
    _ = socket2::SockRef::from(&tcp).set_tcp_keepalive(&stream::keep_alive());
    Ok(tls::greet(identities, endpoint, tcp, need == Need::Http1).await?)
}

/// Tries every address that the name has, in the resolver's order.
async fn dial_name(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    let addresses = tokio::net::lookup_host((host.as_str(), port)).await;
    let addresses = addresses.map_err(|source| ConnectError::Resolve { host: host.clone(), source })?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Connect { host, port, source: last })
}

/// Begins HTTP/2; pings find out that the far end is gone while requests wait.
async fn http2(stream: Stream, place: Place) -> Result<Http2Sender, ConnectError> {
    let mut builder = http2::Builder::new(OnThisThread);
    builder.timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(10)));
    builder.keep_alive_timeout(Duration::from_secs(5));
    builder.initial_stream_window_size(1 << 20).initial_connection_window_size(8 << 20);
    builder.max_header_list_size(1 << 17);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
        drop(place);
    });
    sender.ready().await?;
    Ok(sender)
}
