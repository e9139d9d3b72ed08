//! Connecting to an endpoint or edge and agreeing on HTTP. Never chooses whom to connect to, never retries.

use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::RequestBody;
use super::stream::Stream;
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
    /// HTTP could not begin.
    #[error(transparent)]
    Handshake(#[from] hyper::Error),
}

/// Where requests are written to.
pub(crate) type Http1Sender = http1::SendRequest<RequestBody>;

/// A connected stream, within `limit`.
pub(crate) async fn stream(endpoint: &Endpoint, limit: Duration) -> Result<Stream, ConnectError> {
    let Ok(connected) = tokio::time::timeout(limit, dial(endpoint)).await else {
        return Err(ConnectError::Timeout { host: endpoint.host.clone(), port: endpoint.port, limit });
    };
    connected
}

async fn dial(endpoint: &Endpoint) -> Result<Stream, ConnectError> {
    let failed = |source| ConnectError::Connect { host: endpoint.host.clone(), port: endpoint.port, source };
    let tcp = match endpoint.host.parse::<std::net::IpAddr>() {
        Ok(address) => TcpStream::connect((address, endpoint.port)).await.map_err(failed)?,
        Err(_) => dial_name(endpoint).await?,
    };
    tcp.set_nodelay(true).map_err(failed)?;
    let keep_alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30));
    _ = socket2::SockRef::from(&tcp).set_tcp_keepalive(&keep_alive);
    Ok(Stream::Plain(tcp))
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

/// Begins HTTP/1.1 on a stream; the connection runs as a task of this worker until either side ends it.
pub(crate) async fn http1(stream: Stream) -> Result<Http1Sender, ConnectError> {
    let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(sender)
}
