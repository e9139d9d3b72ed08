//! Bytes both ways after an upgrade (WebSocket and others). Never looks at them.

use base64::Engine as _;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::answer;
use super::body::ResponseBody;
use super::clock::Dice;
use super::headers;
use super::http1::Tunnel;
use super::meter::Active;
use super::pool::Lease;
use super::topology::InFlight;
use crate::decide::admission::Permit;
use crate::decide::framing::is_token;
use crate::decide::reason::Reason;
use crate::link::Duplex;

/// What a tunnel holds while it is open.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) permit: Option<Permit>,
    pub(crate) in_flight: InFlight,
    pub(crate) active: Active,
    pub(crate) lease: Lease,
}

/// Where a client's stream comes from once its connection has switched protocols.
#[derive(Debug)]
pub(crate) enum Switch {
    /// One stream of an HTTP/2 connection.
    Http2(OnUpgrade),
    /// All of an HTTP/1 connection.
    Http1(oneshot::Receiver<Tunnel>),
}

impl Switch {
    /// The stream, behind the answer that switches; `None` where the client has gone by then.
    pub(crate) async fn stream(self) -> Option<Box<dyn Duplex>> {
        match self {
            Self::Http2(upgrade) => Some(Box::new(TokioIo::new(upgrade.await.ok()?))),
            Self::Http1(tunnel) => Some(Box::new(tunnel.await.ok()?)),
        }
    }
}

/// Passes `101 Switching Protocols` on and joins both streams. An upstream that switches unasked is answered for with 502.
pub(crate) fn open(
    mut upstream: Response<()>,
    client: Option<(Switch, bool)>,
    ends: Ends,
) -> Response<ResponseBody> {
    let Some((client, extended)) = client else { return unasked(ends.active) };
    let Ends { permit, in_flight, active, lease } = ends;
    let Some(far) = lease.into_tunnel() else { return unasked(active) };
    let protocol = headers::upgrade(upstream.headers());
    answer::strip_hop_by_hop(upstream.headers_mut());
    if extended {
        *upstream.status_mut() = StatusCode::OK;
        upstream.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    } else if let Some(protocol) = protocol {
        headers::set_upgrade(upstream.headers_mut(), protocol);
    }
    tokio::task::spawn_local(async move {
        join(client, far).await;
        drop((permit, in_flight, active));
    });
    upstream.map(|()| ResponseBody::Own { text: None, active: None, reset: false })
}

/// An extended CONNECT whose protocol has no name.
pub(crate) fn is_nonsense(head: &Parts) -> bool {
    head.extensions.get::<Protocol>().is_some_and(|protocol| !is_name(protocol.as_str()))
}

/// A token, with a version if need be (RFC 9110, 7.8): HTTP/1.1's list of several is none.
fn is_name(protocol: &str) -> bool {
    let (name, version) = protocol.split_once('/').unwrap_or((protocol, "1"));
    is_token(name.as_bytes()) && is_token(version.as_bytes())
}

/// HTTP/2's extended CONNECT (RFC 8441) as the HTTP/1.1 upgrade that it stands for; `None` for any other request, and for a protocol that
/// HTTP/1.1 must not switch to here.
pub(crate) fn extended_connect(request: &mut Request<Incoming>, dice: &Dice) -> Option<Switch> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let protocol = request.extensions().get::<Protocol>()?.as_str();
    if !is_name(protocol) || headers::is_http(protocol) {
        return None;
    }
    let protocol = HeaderValue::try_from(protocol).ok()?;
    let upgrade = hyper::upgrade::on(&mut *request);
    *request.method_mut() = Method::GET;
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&dice.roll().to_ne_bytes());
    nonce[8..].copy_from_slice(&dice.roll().to_ne_bytes());
    let key = HeaderValue::try_from(base64::engine::general_purpose::STANDARD.encode(nonce)).ok()?;
    let fields = request.headers_mut();
    fields.insert(SEC_WEBSOCKET_KEY, key);
    headers::set_upgrade(fields, protocol);
    Some(Switch::Http2(upgrade))
}

async fn join(client: Switch, mut far: Tunnel) {
    let Some(mut client) = client.stream().await else { return };
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut far).await {
        tracing::debug!(%error, "tunnel ended");
    }
}

fn unasked(active: Active) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::own(bytes::Bytes::new(), active));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let reason = HeaderValue::from_static(Reason::UpstreamInvalid.name());
    response.headers_mut().insert(headers::REASON, reason);
    response
}
