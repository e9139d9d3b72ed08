//! Connections to other regions' edges. Never speaks a frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::frames::Stream;
use crate::decide::region::RegionId;
use crate::link::{ALPN_RELAY, PeerTls, Purpose, server_name};

/// Longest wait for a connection with its handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// Most bytes of the answer to an upgrade.
const MOST_HEAD: usize = 8 * 1024;

/// Connects to an edge: mutual TLS for `https`, an upgrade of HTTP/1.1 for `http` (a private link).
pub(crate) async fn dial(edge: &Uri, region: RegionId, tls: Option<&Arc<PeerTls>>) -> io::Result<Stream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s");
    timeout(CONNECT, connect(edge, region, tls)).await.map_err(late)?
}

async fn connect(edge: &Uri, region: RegionId, tls: Option<&Arc<PeerTls>>) -> io::Result<Stream> {
    let host = edge.host().ok_or_else(|| io::Error::other("the edge has no host"))?;
    let secure = edge.scheme_str() == Some("https");
    let port = edge.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = TcpStream::connect((bare, port)).await?;
    tcp.set_nodelay(true)?;
    if !secure {
        return upgrade(tcp, host).await;
    }
    let config = tls.and_then(|tls| tls.client(region, Purpose::Relay));
    let config = config.ok_or_else(|| io::Error::other("an https:// edge needs [identity]"))?;
    let name = server_name(host).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, tcp).await?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN_RELAY) {
        return Err(io::Error::other("the edge does not speak the relay's protocol"));
    }
    Ok(Box::new(stream))
}

/// Asks a cleartext peer listener to switch (RFC 9110, section 7.8).
async fn upgrade(tcp: TcpStream, host: &str) -> io::Result<Stream> {
    let mut stream = BufReader::new(tcp);
    let protocol = String::from_utf8_lossy(ALPN_RELAY);
    let ask = format!(
        "GET /.well-known/tidegate/relay HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MOST_HEAD || stream.read_until(b'\n', &mut head).await? == 0 {
            return Err(io::Error::other("the edge's answer to the upgrade is cut off"));
        }
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or(&[]);
        return Err(io::Error::other(format!(
            "the edge answered the upgrade with {:?}",
            String::from_utf8_lossy(line)
        )));
    }
    Ok(Box::new(stream))
}
