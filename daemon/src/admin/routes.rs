//! Which resource a request means, who may have it, and what answers it. Never touches a socket.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::answer::{self, Answer};
use super::rights::{self, Peer};
use super::server::Admin;
use super::wire::change::{
    self, Changed, Confirmed, Explain, Failover, Invalidate, Invalidated, ListChange, Misroute, Question,
    Reload, Reloaded, Simulate,
};
use super::wire::problem::Problem;
use super::wire::{Ceilings, Regions};
use super::{metrics, openapi, show, stream};
use crate::decide::measure::Measure;
use crate::decide::overrides::{Caller, CeilingKey, ListKind, Order, Slot};
use crate::decide::verb::{self, Refusal, RefusalKind, Verb};

/// Largest body of a request.
const MAX_BODY: usize = 4 << 20;
/// Longest wait for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a request came in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door {
    /// The unix socket.
    Socket(Peer),
    /// The metrics address: reading only.
    Metrics,
}

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, admin: &Arc<Admin>, door: Door) -> Answer {
    match dispatch(request, admin, door).await {
        Ok(answer) => answer,
        Err(Failure::Refused(refusal)) => answer::problem(&Problem::from(refusal)),
        Err(Failure::Problem(status, text)) => answer::problem(&Problem::new(status, text)),
        Err(Failure::Method(allowed)) => answer::not_allowed(allowed),
    }
}

/// Why there is no answer.
enum Failure {
    Refused(Refusal),
    Problem(StatusCode, String),
    Method(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn not_found() -> Failure {
    Failure::Problem(
        StatusCode::NOT_FOUND,
        "no such resource; GET /v1/openapi.json names them all".to_owned(),
    )
}

async fn dispatch(request: Request<Incoming>, admin: &Arc<Admin>, door: Door) -> Result<Answer, Failure> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let segments: Vec<String> = path.split('/').skip(1).map(decode).collect::<Result<_, _>>()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match (segments.as_slice(), reads) {
        ([""] | ["page"], true) if matches!(door, Door::Metrics) => Ok(super::page::page()),
        (["metrics"], true) => Ok(metrics(admin).await?),
        (["v1", "openapi.json"], true) => Ok(answer::text("application/json", openapi::DOCUMENT)),
        (["v1", "events"], true) => Ok(stream::events(admin, &query).await?),
        (["v1", resource], true) => read(resource, admin).await,
        (["v1", "ceilings", name], true) => one_ceiling(name, admin).await,
        (
            ["metrics"]
            | ["v1", "openapi.json" | "events" | "status" | "regions" | "ceilings" | "relay" | "config"],
            false,
        ) => Err(Failure::Method("GET, HEAD")),
        (["v1", ..], _) => change(&segments, request, admin, door).await,
        _ => Err(not_found()),
    }
}

fn decode(segment: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex =
            [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        match hex {
            [Some(high), Some(low)] => bytes.push(u8::try_from(high * 16 + low).unwrap_or(0)),
            _ => {
                return Err(Failure::Problem(
                    StatusCode::BAD_REQUEST,
                    "a % in the path is not escaped".to_owned(),
                ));
            }
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::Problem(StatusCode::BAD_REQUEST, "the path is not UTF-8".to_owned()))
}

async fn metrics(admin: &Arc<Admin>) -> Result<Answer, Refusal> {
    let view = admin.desk.view().await?;
    Ok(answer::text("text/plain; version=0.0.4; charset=utf-8", metrics::render(&view)))
}

async fn read(resource: &str, admin: &Arc<Admin>) -> Result<Answer, Failure> {
    let view = match resource {
        "status" | "regions" | "ceilings" | "relay" | "config" | "deny" | "allow" => {
            admin.desk.view().await?
        }
        "misroute" | "explain" | "invalidations" | "simulate" | "reload" | "confirm" => {
            return Err(Failure::Method(if resource == "misroute" { "PUT" } else { "POST" }));
        }
        _ => return Err(not_found()),
    };
    Ok(match resource {
        "status" => answer::json(&show::status(&view)),
        "regions" => answer::json(&Regions { regions: show::regions(&view) }),
        "ceilings" => answer::json(&Ceilings { ceilings: show::ceilings(&view) }),
        "relay" => answer::json(&show::status(&view).relay),
        "config" => answer::json(&super::show_config::config(&view)),
        "deny" => answer::json(&show::list(&view, ListKind::Deny)),
        _ => answer::json(&show::list(&view, ListKind::Allow)),
    })
}

async fn one_ceiling(name: &str, admin: &Arc<Admin>) -> Result<Answer, Failure> {
    let view = admin.desk.view().await?;
    crate::decide::overrides::find_ceiling(&view.config, name)?;
    let found = show::ceilings(&view).into_iter().find(|ceiling| ceiling.name == name);
    found.map(|ceiling| answer::json(&ceiling)).ok_or_else(not_found)
}

/// What a resource that changes or asks something is, apart from its body.
enum Target<'a> {
    Failover(&'a str),
    Ceiling(&'a str),
    CeilingReset(&'a str),
    Misroute,
    List(ListKind),
    Explain,
    Invalidate,
    Simulate,
    Reload,
    Confirm,
}

/// The target of a path, with the one method it takes.
fn target<'a>(segments: &[&'a str]) -> Option<(Target<'a>, Method, &'static str)> {
    let post = |target| Some((target, Method::POST, "POST"));
    match *segments {
        ["v1", "regions", name, "failover"] => Some((Target::Failover(name), Method::PUT, "PUT")),
        ["v1", "ceilings", name] => Some((Target::Ceiling(name), Method::PATCH, "GET, HEAD, PATCH")),
        ["v1", "ceilings", name, "override"] => Some((Target::CeilingReset(name), Method::DELETE, "DELETE")),
        ["v1", "misroute"] => Some((Target::Misroute, Method::PUT, "PUT")),
        ["v1", "deny"] => Some((Target::List(ListKind::Deny), Method::POST, "GET, HEAD, POST")),
        ["v1", "allow"] => Some((Target::List(ListKind::Allow), Method::POST, "GET, HEAD, POST")),
        ["v1", "explain"] => post(Target::Explain),
        ["v1", "invalidations"] => post(Target::Invalidate),
        ["v1", "simulate"] => post(Target::Simulate),
        ["v1", "reload"] => post(Target::Reload),
        ["v1", "confirm"] => post(Target::Confirm),
        _ => None,
    }
}

async fn change(
    segments: &[&str],
    request: Request<Incoming>,
    admin: &Arc<Admin>,
    door: Door,
) -> Result<Answer, Failure> {
    let (target, method, allowed) = target(segments).ok_or_else(not_found)?;
    if *request.method() != method {
        return Err(Failure::Method(allowed));
    }
    let asks = matches!(target, Target::Explain | Target::Simulate);
    let peer = match door {
        Door::Socket(peer) => peer,
        Door::Metrics => {
            return Err(Failure::Problem(
                StatusCode::FORBIDDEN,
                "this address is for reading; changes go over the unix socket".to_owned(),
            ));
        }
    };
    if !asks && !may_change(admin, peer).await {
        return Err(forbidden(admin, peer, segments));
    }
    let body = body(request).await?;
    let caller = Caller { uid: peer.uid, pid: peer.pid };
    let verb = verb_of(&target, &body, caller)?;
    let answer = admin.desk.ask(verb, caller).await?;
    Ok(present(answer))
}

/// Off the async threads: the user database may wait for a name service.
async fn may_change(admin: &Arc<Admin>, peer: Peer) -> bool {
    let group = admin.write_group.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let asked = tokio::task::spawn_blocking(move || rights::may_change(peer, group.as_deref())).await;
    asked.unwrap_or(false)
}

fn forbidden(admin: &Admin, peer: Peer, segments: &[&str]) -> Failure {
    tracing::warn!(uid = peer.uid, pid = peer.pid, resource = segments.join("/"), "refused: may only read");
    let group = admin.write_group.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let whom = group.map_or("root".to_owned(), |group| format!("root and members of the group {group}"));
    let text = format!("uid {} may read only; {whom} may change things", peer.uid);
    Failure::Problem(StatusCode::FORBIDDEN, text)
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Failure> {
    let limited = Limited::new(request.into_body(), MAX_BODY);
    match tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::Problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB".to_owned()))
        }
        Ok(Err(error)) => Err(Failure::Problem(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => Err(Failure::Problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive".to_owned())),
    }
}

/// Reads a body; an empty one counts as `{}`. Only objects: a list would be taken for the values of all keys in their order.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refusal::new(RefusalKind::Invalid, "the body can't be read: it must be a JSON object"));
    }
    serde_json::from_slice(text)
        .map_err(|error| Refusal::new(RefusalKind::Invalid, format!("the body can't be read: {error}")))
}

fn verb_of(target: &Target<'_>, body: &Bytes, caller: Caller) -> Result<Verb, Refusal> {
    Ok(match *target {
        Target::Failover(name) => Verb::Change(parse::<Failover>(body)?.order(name.to_owned(), caller)?),
        Target::Ceiling(name) => Verb::Change(change::ceiling(name, &parse(body)?, caller)?),
        Target::CeilingReset(name) => Verb::Change(reset(name, parse(body)?, caller)?),
        Target::Misroute => Verb::Change(parse::<Misroute>(body)?.order(caller)?),
        Target::List(list) => Verb::Change(parse::<ListChange>(body)?.order(list, caller)?),
        Target::Explain => match parse::<Explain>(body)?.question()? {
            Question::Packet(question) => Verb::ExplainPacket(question),
            Question::Request(question) => Verb::ExplainRequest(*question),
        },
        Target::Invalidate => {
            let asked: Invalidate = parse(body)?;
            Verb::Invalidate { keys: asked.keys()?, pool: asked.pool }
        }
        Target::Simulate => Verb::Simulate { region: parse::<Simulate>(body)?.fail },
        Target::Reload => {
            let asked: Reload = parse(body)?;
            Verb::Reload { confirm: change::time("confirm", asked.confirm.as_deref())? }
        }
        Target::Confirm => {
            let change::Confirm {} = parse(body)?;
            Verb::Confirm
        }
    })
}

fn reset(name: &str, terms: change::Terms, caller: Caller) -> Result<Order, Refusal> {
    let keys = Measure::ALL.map(CeilingKey::Limit).into_iter().chain([CeilingKey::Observe]);
    let slot = |key| (Slot::Ceiling { name: name.to_owned(), key }, None);
    terms.order(keys.map(slot).collect(), caller)
}

fn present(answer: verb::Answer) -> Answer {
    match answer {
        verb::Answer::Changed(done) => answer::json(&Changed::from(done)),
        verb::Answer::Confirmed(confirmed) => answer::json(&Confirmed { confirmed }),
        verb::Answer::Reloaded(reloaded) => answer::json(&Reloaded {
            generation: reloaded.generation,
            warnings: reloaded.warnings,
            confirm_by: reloaded.confirm_by.map(super::wire::time_text),
        }),
        verb::Answer::Packet(packet) => answer::json(&packet),
        verb::Answer::Request(request) => answer::json(&request),
        verb::Answer::Invalidated { keys, regions } => answer::json(&Invalidated { keys, regions }),
        verb::Answer::Simulated(simulation) => answer::json(&simulation),
    }
}
