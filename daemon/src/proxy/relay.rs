//! Streams that a peer opens for the relay on a peer listener: handed over, never read.

use std::rc::Rc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use super::conn::Client;
use super::headers;
use super::meter::Active;
use super::shared::Worker;
use super::tunnel::Switch;
use crate::link::{ALPN_RELAY, RelayStream};

/// Gives a stream to the relay; closed where the relay has more to take than it can.
pub(crate) fn hand_over(worker: &Rc<Worker>, stream: RelayStream) {
    if worker.shared.relay.try_send(stream).is_err() {
        tracing::debug!("a peer's relay stream found nobody to take it");
    }
}

/// Whether a trusted peer asks for a relay stream in place of a request.
pub(crate) fn is_asked(client: &Client, headers: &HeaderMap) -> bool {
    client.trusted && headers::upgrade(headers).is_some_and(|protocol| protocol.as_bytes() == ALPN_RELAY)
}

/// Switches protocols and hands the stream over.
pub(crate) fn switch(client: &Rc<Client>, upgrade: Switch, active: Active) -> Response<ResponseBody> {
    let (worker, region) = (Rc::clone(&client.worker), client.region);
    tokio::task::spawn_local(async move {
        if let Some(io) = upgrade.stream().await {
            hand_over(&worker, RelayStream { region, io });
        }
        drop(active);
    });
    let mut response = Response::new(ResponseBody::Own { text: None, active: None, reset: false });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let protocol =
        std::str::from_utf8(ALPN_RELAY).map_or(HeaderValue::from_static(""), HeaderValue::from_static);
    response.headers_mut().insert(UPGRADE, protocol);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
}
