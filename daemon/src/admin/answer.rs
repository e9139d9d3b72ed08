//! HTTP answers of the admin socket: JSON, text, problems, streams. Never decides which one.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use serde::Serialize;

use super::wire::problem::Problem;

/// An answer with its body.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Marks an answer that goes on until the reader ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streaming;

fn with(status: StatusCode, kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// JSON with status 200, ending with a line break for people who use curl.
#[must_use]
pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            with(StatusCode::OK, "application/json", Full::from(body).boxed_unsync())
        }
        Err(error) => problem(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Text of some kind.
#[must_use]
pub(super) fn text(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    with(StatusCode::OK, kind, Full::from(body.into()).boxed_unsync())
}

/// A problem document.
#[must_use]
pub(super) fn problem(problem: &Problem) -> Answer {
    let mut body = serde_json::to_vec(problem).unwrap_or_default();
    body.push(b'\n');
    with(problem.status(), "application/problem+json", Full::from(body).boxed_unsync())
}

/// 405 with what is allowed (RFC 9110 section 15.5.6).
#[must_use]
pub(super) fn not_allowed(allowed: &'static str) -> Answer {
    let text = format!("this resource answers {allowed}");
    let mut answer = problem(&Problem::new(StatusCode::METHOD_NOT_ALLOWED, text));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A stream that goes on.
#[must_use]
pub(super) fn stream(kind: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = with(StatusCode::OK, kind, body);
    answer.extensions_mut().insert(Streaming);
    answer
}

/// The same head without a body (HEAD).
#[must_use]
pub(super) fn without_body(answer: Answer) -> Answer {
    let (head, _) = answer.into_parts();
    Response::from_parts(head, Empty::new().boxed_unsync())
}
