//! What a request's head says that its way depends on. Never decides and never changes the head.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, HOST, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::conn::Client;
use super::headers::{self, CLIENT, HOPS, Present};
use super::pins;
use super::tunnel;
use crate::config::types::ListenerKind;
use crate::decide::framing::{is_host, is_same_host};
use crate::decide::pin::Pin;
use crate::decide::reason::Reason;
use crate::decide::route::RequestFacts;
use crate::decide::{client, target};

/// A request's head, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The client.
    pub(crate) client: IpAddr,
    /// The forwarding fields are believed.
    pub(crate) believed: bool,
    /// Hops between regions so far.
    pub(crate) hops: u8,
    /// `Via` names this edge.
    pub(crate) seen_here: bool,
    /// `tg_from` is in the query.
    pub(crate) redirected: bool,
    /// The session's pin.
    pub(crate) pin: Pin,
    /// It came over the isthmus.
    pub(crate) foreign: bool,
    /// The client speaks TLS, to us or to whoever is believed.
    pub(crate) secure: bool,
}

impl Arrival {
    /// The facts that [`crate::decide::route`] asks for.
    pub(crate) fn facts<'a>(
        &self,
        method: &'a Method,
        path: &'a str,
        headers: &'a HeaderMap,
    ) -> RequestFacts<'a> {
        RequestFacts {
            client: self.client,
            method,
            path,
            headers,
            hops: self.hops,
            seen_here: self.seen_here,
            redirected: self.redirected,
            pin: self.pin.region(),
        }
    }
}

/// Reads a head; refuses one that can't be forwarded without guessing.
pub(crate) fn read(from: &Client, head: &Parts, present: &Present) -> Result<Arrival, Reason> {
    admissible(from, head, present)?;
    let peer = from.listener.spec.kind == ListenerKind::Peer;
    let claims = if peer { peer_claims(head, present) } else { None };
    let trusted = &from.listener.spec.trusted_proxies;
    let believed = peer || client::is_in(trusted, from.address);
    let client = match claims {
        Some(client) => client,
        None if !believed || !present.forwarded => from.address,
        None if peer => client::behind_peer(from.address, &head.headers, trusted),
        None => client::address(from.address, &head.headers, trusted),
    };
    let forwarded = (believed && present.forwarded)
        .then(|| {
            let said = headers::forwarded_https(&head.headers, present);
            said.or_else(|| client::came_by_https(&head.headers, trusted))
        })
        .flatten();
    Ok(Arrival {
        client,
        believed,
        hops: if peer { hops(head, present).ok_or(Reason::BadRequest)? } else { 0 },
        seen_here: present.via && names(&head.headers, &from.worker.shared.pseudonym),
        redirected: head.uri.query().is_some_and(target::is_marked),
        pin: if present.cookie { pins::read(from, &head.headers) } else { Pin::Absent },
        foreign: peer,
        // Between edges TLS says nothing about the client.
        secure: forwarded.unwrap_or(from.tls),
    })
}

fn admissible(from: &Client, head: &Parts, present: &Present) -> Result<(), Reason> {
    if from.listener.spec.kind == ListenerKind::Peer && !from.trusted {
        return Err(Reason::UntrustedPeer);
    }
    if head.headers.len() > from.listener.spec.limits.headers {
        return Err(Reason::HeadTooLarge);
    }
    if head.version == Version::HTTP_2 && !is_well_formed(head) {
        return Err(Reason::BadRequest);
    }
    if head.method == Method::CONNECT {
        return Err(if tunnel::is_nonsense(head) { Reason::BadRequest } else { Reason::NotImplemented });
    }
    if !target_fits(head) || !framing_is_plain(head, present) {
        return Err(Reason::BadRequest);
    }
    let hosts_fit = match head.version {
        Version::HTTP_11 => present.hosts == 1,
        Version::HTTP_2 => present.hosts <= 1 && head.uri.authority().is_some() || names_host(head, present),
        _ => present.hosts <= 1,
    };
    let host_is_one = head.headers.get(HOST).is_none_or(|host| is_host(host.as_bytes()));
    if hosts_fit && host_is_one { Ok(()) } else { Err(Reason::BadRequest) }
}

/// What HTTP/1 can't even say, and the library lets through (RFC 9113, 8.2.1, 8.3.1 and 8.5): blanks around a value, a quotation mark in a
/// name, a path that begins with its query or fragment.
fn is_well_formed(head: &Parts) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded =
        |value: &HeaderValue| is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last());
    let fits = |(name, value): (&HeaderName, &HeaderValue)| !name.as_str().contains('"') && !padded(value);
    (head.method != Method::CONNECT || head.uri.authority().is_some())
        && head.headers.iter().all(fits)
        && head.uri.path_and_query().is_none_or(begins_with_path)
}

/// The library's `path` is `/` where there is none; where nothing stands before it, it is what was sent.
fn begins_with_path(target: &PathAndQuery) -> bool {
    let sent = Uri::from(target.clone());
    !sent.path().is_empty() && target.as_str().starts_with(['/', '*'])
}

/// The one `Host` stands for `:authority`: a URL of `http` or `https` has a host (RFC 9110, 4.2).
fn names_host(head: &Parts, present: &Present) -> bool {
    present.hosts == 1 && head.headers.get(HOST).is_some_and(|host| !host.is_empty())
}

/// A path, `*` for `OPTIONS`, or a whole URL whose host is the one in `Host` (RFC 9112, 3.2; RFC 9113, 8.3.1): whoever comes after us may read
/// the other one.
fn target_fits(head: &Parts) -> bool {
    let uri = &head.uri;
    let path = uri.path();
    let is_path = path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS);
    if !is_path {
        return false;
    }
    let Some(authority) = uri.authority() else { return true };
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return false,
    };
    let authority = authority.as_str().as_bytes();
    let agrees = |host: &HeaderValue| is_same_host(authority, host.as_bytes(), https);
    !authority.is_empty() && is_host(authority) && head.headers.get(HOST).is_none_or(agrees)
}

/// One length at most, of digits; in HTTP/1 `decide::framing` has judged both fields already.
fn framing_is_plain(head: &Parts, present: &Present) -> bool {
    let plain = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    match present.lengths {
        0 => true,
        1 => !present.transfer_encoding && head.headers.get(CONTENT_LENGTH).is_some_and(plain),
        _ => false,
    }
}

/// What a peer says of the client in `Tidegate-Client`.
fn peer_claims(head: &Parts, present: &Present) -> Option<IpAddr> {
    let client = present.tidegate.then(|| head.headers.get(CLIENT)).flatten()?;
    client.to_str().ok()?.trim().parse::<IpAddr>().ok().map(|client| client.to_canonical())
}

/// `Tidegate-Hops`; absent is none, nonsense is `None`.
fn hops(head: &Parts, present: &Present) -> Option<u8> {
    match present.tidegate.then(|| head.headers.get(HOPS)).flatten() {
        None => Some(0),
        Some(hops) => hops.to_str().ok()?.trim().parse().ok(),
    }
}

/// Whether `Via` names this pseudonym.
fn names(headers: &HeaderMap, pseudonym: &str) -> bool {
    let received_by =
        |entry: &str| entry.split_ascii_whitespace().nth(1).is_some_and(|name| name == pseudonym);
    let values = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(received_by)
}
