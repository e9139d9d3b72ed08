//! The one place where a cause becomes a status: every response that tidegate itself makes. Never forwards anything.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use super::clock::Dice;
use super::headers::{REASON, Wants};
use super::meter::Active;
use crate::decide::reason::Reason;

/// The status for a refusal or failure.
#[must_use]
pub(crate) fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::TooManyHops | Reason::Loop => StatusCode::LOOP_DETECTED,
        Reason::UntrustedPeer => StatusCode::FORBIDDEN,
        Reason::BadRequest | Reason::ClientGone => StatusCode::BAD_REQUEST,
        Reason::TargetTooLong => StatusCode::URI_TOO_LONG,
        Reason::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Reason::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Reason::UpstreamConnect | Reason::UpstreamReset | Reason::UpstreamInvalid => StatusCode::BAD_GATEWAY,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::Home
        | Reason::Misrouted
        | Reason::ModeLocal
        | Reason::OwnFailover
        | Reason::Failover
        | Reason::AutomaticFailover
        | Reason::AlreadyRedirected
        | Reason::NoPublicUrl
        | Reason::Health
        | Reason::Tunnel => StatusCode::OK,
        Reason::Unreachable
        | Reason::Denied
        | Reason::RequestsPerSecond
        | Reason::ConcurrentRequests
        | Reason::Priority
        | Reason::ForeignShare
        | Reason::UpstreamDown => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The client and we may not agree on where its next request begins.
fn is_clients_fault(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BadRequest
            | Reason::ClientGone
            | Reason::RequestTimeout
            | Reason::HeadTooLarge
            | Reason::NotImplemented
    )
}

/// What a person reads.
fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::TooManyHops => "the request has passed between more regions than allowed",
        Reason::Loop => "the request has passed this edge before",
        Reason::UntrustedPeer => "this listener serves only edges of other regions",
        Reason::BadRequest => "the request can't be understood without guessing",
        Reason::HeadTooLarge => "the request's head is larger than allowed",
        Reason::TargetTooLong => "the request's target is longer than allowed",
        Reason::VersionNotSupported => "this version of HTTP is not spoken",
        Reason::NotImplemented => "this method or transfer coding is not carried",
        Reason::UpstreamConnect => "the service can't be connected to",
        Reason::UpstreamReset => "the service broke off",
        Reason::UpstreamInvalid => "the service's answer can't be understood without guessing",
        Reason::ClientGone => "the request's body broke off",
        Reason::UpstreamTimeout => "the service did not answer in time",
        Reason::UpstreamDown => "the service is down",
        Reason::RequestTimeout => "the request's body did not arrive in time",
        Reason::Unreachable => "the client's home region can't be reached",
        Reason::Denied => "requests from this address are not served",
        _ => "too many requests at this moment",
    }
}

/// Shortest `Retry-After` in seconds, and how much chance adds; `None` where trying again won't help.
fn retry_after(reason: Reason) -> Option<(u64, usize)> {
    match reason {
        Reason::RequestsPerSecond | Reason::ConcurrentRequests | Reason::Priority | Reason::ForeignShare => {
            Some((1, 3))
        }
        Reason::Unreachable | Reason::UpstreamDown => Some((2, 4)),
        Reason::Denied => Some((60, 60)),
        _ => None,
    }
}

/// Refuses a request, or tells that it failed.
pub(crate) fn refuse(reason: Reason, wants: Wants, dice: &Dice, active: Active) -> Response<ResponseBody> {
    let status = status(reason);
    let closes = is_clients_fault(reason) && !active.is_multiplexed();
    let mut response = if wants.grpc { grpc(reason, active) } else { plain(status, reason, wants, active) };
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(reason.name()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some((least, spread)) = retry_after(reason) {
        headers.insert(RETRY_AFTER, HeaderValue::from(least + dice.below(spread) as u64));
    }
    response
}

fn plain(status: StatusCode, reason: Reason, wants: Wants, active: Active) -> Response<ResponseBody> {
    let (kind, text) = if wants.json {
        let title = status.canonical_reason().unwrap_or("error");
        let text = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{},\"detail\":\"{}\",\"reason\":\"{reason}\"}}\n",
            status.as_u16(),
            words(reason)
        );
        ("application/problem+json", Bytes::from(text))
    } else {
        ("text/plain; charset=utf-8", line(reason))
    };
    let malformed = reason == Reason::BadRequest && active.is_multiplexed();
    let body =
        if malformed { ResponseBody::own_with_reset(text, active) } else { ResponseBody::own(text, active) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The line of text of a refusal: made once, for a shed request may cost little.
fn line(reason: Reason) -> Bytes {
    static LINES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
        let line = |reason: &Reason| Bytes::from(format!("{}: {}\n", reason.name(), words(*reason)));
        Reason::ALL.iter().map(line).collect()
    });
    LINES[reason.index()].clone()
}

/// A trailers-only response (gRPC over HTTP/2, "Responses"): the status is in `grpc-status`.
fn grpc(reason: Reason, active: Active) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::own(Bytes::new(), active));
    let code = match reason {
        Reason::UntrustedPeer => "7",
        Reason::BadRequest
        | Reason::HeadTooLarge
        | Reason::TargetTooLong
        | Reason::VersionNotSupported
        | Reason::TooManyHops
        | Reason::Loop => "13",
        Reason::NotImplemented => "12",
        Reason::UpstreamTimeout | Reason::RequestTimeout => "4",
        _ => "14",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    headers.insert("grpc-message", HeaderValue::from_static(words(reason)));
    response
}

/// Sends the client to its home region.
pub(crate) fn redirect(
    status: u16,
    location: &str,
    reason: Reason,
    active: Active,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::own(Bytes::new(), active));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(LOCATION, location);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REASON, HeaderValue::from_static(reason.name()));
    response
}

/// Answers a probe of another region's edge, or of a load balancer in front.
pub(crate) fn health(region: &str, failover: bool, draining: bool, active: Active) -> Response<ResponseBody> {
    let state = if draining { "draining" } else { "ok" };
    let text = format!("{{\"status\":\"{state}\",\"region\":\"{region}\",\"failover\":{failover}}}\n");
    let mut response = Response::new(ResponseBody::own(Bytes::from(text), active));
    if draining {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REASON, HeaderValue::from_static(Reason::Health.name()));
    headers.insert(super::headers::FAILOVER, HeaderValue::from_static(if failover { "on" } else { "off" }));
    response
}

#[cfg(test)]
mod tests {
    use super::super::headers::Present;
    use super::*;
    use http::HeaderMap;
    use http::header::ACCEPT;
    use std::sync::Arc;

    fn active() -> Active {
        Active::new(&Arc::new(super::super::meter::Pace::of_defaults()))
    }

    #[test]
    fn every_refusal_names_its_reason_is_not_stored_and_never_says_retry_at_once() {
        let dice = Dice::new();
        for reason in Reason::ALL {
            for _ in 0..20 {
                let response = refuse(*reason, Wants::default(), &dice, active());
                let headers = response.headers();
                assert_eq!(headers[REASON], reason.name());
                assert_eq!(headers[CACHE_CONTROL], "no-store");
                let retry = headers
                    .get(RETRY_AFTER)
                    .map(|value| value.to_str().expect("text").parse::<u64>().expect("number"));
                assert!(retry.is_none_or(|seconds| seconds > 0));
                assert_eq!(retry.is_some(), response.status() == StatusCode::SERVICE_UNAVAILABLE, "{reason}");
            }
        }
    }

    #[test]
    fn the_body_is_what_the_client_reads() {
        let refused = |name: http::HeaderName, value: &'static str| {
            let request = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            refuse(Reason::RequestsPerSecond, Present::scan(&request).wants, &Dice::new(), active())
        };
        let kind = |accept| refused(ACCEPT, accept).headers()[CONTENT_TYPE].clone();
        assert_eq!(kind("application/json"), "application/problem+json");
        assert_eq!(kind("text/html, application/problem+json;q=0.5"), "application/problem+json");
        assert_eq!(kind("Application/JSON; Q=0.1"), "application/problem+json");
        assert_eq!(kind("application/json;q=0.000, text/*"), "text/plain; charset=utf-8");
        assert_eq!(kind("*/*"), "text/plain; charset=utf-8");
        let grpc = refused(CONTENT_TYPE, "application/grpc+proto");
        assert_eq!((grpc.status(), grpc.headers()["grpc-status"].as_bytes()), (StatusCode::OK, &b"14"[..]));
    }
}
