//! Carrying a request to an endpoint of the upstream or to an edge of another region, and its response back. Never decides which of both.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::answer;
use super::body::{BodyError, Held, ResponseBody};
use super::clock;
use super::conn::Client;
use super::connect::Need;
use super::headers::{self, Added, Origin, Wants};
use super::http1::Broken;
use super::meter::Active;
use super::pool::{Lease, NotSent};
use super::service::{Journey, Plan, path_and_query};
use super::topology::{Endpoint, InFlight, Link};
use super::tunnel::{self, Switch};
use crate::decide::adaptive::Outcome;
use crate::decide::admission::Tick;
use crate::decide::outlier::{self, Turn};
use crate::decide::reason::Reason;
use crate::decide::{retry::Budget, target};

/// How long an endpoint is passed over after it could not be connected to.
const EJECT_NS: u64 = 1_000_000_000;
/// What a region's edge gets beyond the upstream's own `response_timeout`, so that its answer about a timeout arrives first.
const EDGE_GRACE: Duration = Duration::from_secs(1);

/// Why a request over the isthmus has no response.
pub(crate) enum NotHome {
    /// It broke off after an edge had been reached.
    Failed(Reason, Wants, Active),
    /// No edge could be reached; nothing was sent.
    NoEdge(Box<Journey>, Box<Plan>),
}

/// Puts a head into the shape that travels on, whichever way: what is meant for this connection is gone, what we know of the client is there.
pub(crate) fn prepare(client: &Client, journey: &mut Journey, plan: &Plan) {
    let Journey { head, present, added, upgrade, .. } = journey;
    let protocol = upgrade.as_ref().and_then(|_| headers::upgrade(&head.headers));
    if protocol.is_none() {
        *upgrade = None;
    }
    if present.hop_by_hop {
        headers::strip_hop_by_hop(&mut head.headers);
    }
    if let Some(protocol) = protocol {
        headers::set_upgrade(&mut head.headers, protocol);
    }
    if present.tidegate {
        headers::strip_tidegate(&mut head.headers);
    }
    if present.lookalikes {
        headers::strip_lookalikes(&mut head.headers);
    }
    if present.cookie && head.version == Version::HTTP_2 {
        headers::join_cookies(&mut head.headers);
    }
    to_origin_form(head);
    let host = head.headers.get(HOST).cloned();
    let via = &client.worker.shared.via;
    let origin = Origin {
        peer: &client.forwarded_for,
        believed: plan.arrival.believed,
        proto: if plan.arrival.secure { "https" } else { "http" },
        host: host.as_ref(),
        via: match head.version {
            Version::HTTP_2 => &via.http2,
            Version::HTTP_10 => &via.http10,
            _ => &via.http11,
        },
    };
    *added = Some(Added::new(&mut head.headers, present, &origin, plan.home_name.clone()));
    head.version = Version::HTTP_11;
    // Whichever way it goes, and once.
    client.listener.budget.deposit(client.listener.upstream.borrow().spec.retries.budget);
}

/// Absolute-form and HTTP/2 targets become path and query; their authority becomes `Host` (RFC 9112, 3.2.2).
fn to_origin_form(head: &mut Parts) {
    if let Some((target, host)) = origin_form(&head.uri) {
        head.uri = target;
        host.and_then(|host| head.headers.insert(HOST, host));
    }
}

/// The target without its authority, and the authority as `Host`; `None` where there is no authority.
fn origin_form(uri: &Uri) -> Option<(Uri, Option<HeaderValue>)> {
    let bare = uri.authority()?.as_str().rsplit('@').next().unwrap_or_default();
    let target = uri.path_and_query().map_or(Uri::from_static("/"), |target| Uri::from(target.clone()));
    Some((target, HeaderValue::from_str(bare).ok()))
}

/// To this region's upstream.
pub(crate) async fn local(
    client: &Rc<Client>,
    mut journey: Box<Journey>,
    plan: Plan,
) -> Result<Response<ResponseBody>, (Reason, Wants, Active)> {
    let upstream = Arc::clone(&client.listener.upstream.borrow());
    if plan.arrival.redirected {
        let target = target::unmarked(journey.head.uri.path(), journey.head.uri.query().unwrap_or_default());
        journey.head.uri = target.parse().unwrap_or(journey.head.uri);
    }
    let trip = Trip {
        client,
        endpoints: &upstream.endpoints,
        connect_timeout: upstream.spec.connect_timeout,
        response_timeout: upstream.spec.response_timeout,
        attempts: upstream.spec.retries.attempts,
        budget: &client.listener.budget,
        need: need(&journey),
    };
    let sent = trip.send(&mut journey).await;
    let Journey { present, upgrade, extended, active, .. } = *journey;
    let wants = present.wants;
    match sent {
        Ok(arrived) => hand_back(arrived, plan, upgrade.map(|upgrade| (upgrade, extended)), active, false)
            .map_err(|active| (Reason::UpstreamInvalid, wants, active)),
        Err(NotCarried::NoneLeft(reason) | NotCarried::Failed(reason)) => Err((reason, wants, active)),
    }
}

/// To an edge of the home region.
pub(crate) async fn isthmus(
    client: &Rc<Client>,
    mut journey: Box<Journey>,
    plan: Plan,
) -> Result<Response<ResponseBody>, NotHome> {
    let hops = plan.arrival.hops.saturating_add(1);
    if let Some(added) = &mut journey.added {
        let address = headers::text(plan.arrival.client.to_string());
        added.peers = Some((HeaderValue::from(u16::from(hops)), address));
    }
    let upstream = Arc::clone(&client.listener.upstream.borrow());
    let edges = client.worker.with_topology(|topology| topology.edges[plan.decision.home].clone());
    let trip = Trip {
        client,
        endpoints: &edges,
        connect_timeout: upstream.spec.connect_timeout,
        response_timeout: upstream.spec.response_timeout + EDGE_GRACE,
        attempts: upstream.spec.retries.attempts,
        budget: &client.listener.budget,
        need: need(&journey),
    };
    let sent = trip.send(&mut journey).await;
    if let Err(NotCarried::NoneLeft(_)) = sent {
        if let Some(added) = &mut journey.added {
            added.peers = None;
        }
        return Err(NotHome::NoEdge(journey, Box::new(plan)));
    }
    let Journey { present, upgrade, extended, active, .. } = *journey;
    match sent {
        Ok(arrived) => hand_back(arrived, plan, upgrade.map(|upgrade| (upgrade, extended)), active, true)
            .map_err(|active| NotHome::Failed(Reason::UpstreamInvalid, present.wants, active)),
        Err(NotCarried::Failed(reason) | NotCarried::NoneLeft(reason)) => {
            Err(NotHome::Failed(reason, present.wants, active))
        }
    }
}

/// A response's head, and what it came over.
struct Arrived {
    response: Response<Option<Incoming>>,
    /// From sending the request to this head.
    took: Duration,
    lease: Lease,
    in_flight: InFlight,
}

/// Why there is no response.
enum NotCarried {
    /// Nobody is left to try, and the request is whole; what went wrong last.
    NoneLeft(Reason),
    /// It was sent, at least in part.
    Failed(Reason),
}

/// No response's head came in time.
struct Late;

/// One request's attempts.
struct Trip<'a> {
    client: &'a Client,
    endpoints: &'a [Arc<Endpoint>],
    connect_timeout: Duration,
    response_timeout: Duration,
    attempts: u32,
    budget: &'a Budget,
    need: Need,
}

/// HTTP/1.0 may leave `Host` out; what goes on is HTTP/1.1, which may not (RFC 9112, 3.2). An empty one can't be said in HTTP/2.
fn name_host(head: &mut Parts, endpoint: &Endpoint) {
    // Where another endpoint was tried over HTTP/2, its name is in the target.
    to_origin_form(head);
    let authority = endpoint.url.authority().map_or("", http::uri::Authority::as_str);
    head.headers.insert(HOST, HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("")));
}

/// How one attempt ended without a response.
enum Attempt {
    /// Before anything was sent: the request is whole.
    Back,
    /// After something was sent. It is whole where it is [`repeatable`].
    Lost(Reason),
}

impl Trip<'_> {
    /// Sends a request, which stays where it is: each hand that it passed through would copy it.
    async fn send(&self, journey: &mut Journey) -> Result<Arrived, NotCarried> {
        let hostless = journey.head.headers.get(HOST).is_none_or(HeaderValue::is_empty);
        let repeatable = repeatable(journey);
        let (mut tried, mut again, mut last) = (0_u64, self.attempts, Reason::UpstreamDown);
        let mut first = true;
        loop {
            let Some((at, endpoint)) = self.choose(tried) else {
                return Err(NotCarried::NoneLeft(last));
            };
            if hostless {
                name_host(&mut journey.head, endpoint);
            }
            let in_flight = InFlight::new(endpoint);
            let Some(lease) = self.lease(endpoint).await else {
                tried |= 1 << at;
                last = Reason::UpstreamConnect;
                continue;
            };
            let reused = lease.reused;
            // Nothing was waited for since the request came.
            let began = if std::mem::take(&mut first) && reused { clock::recently() } else { clock::now() };
            let attempted = self.attempt(lease, in_flight, journey, (repeatable, began)).await;
            if let Some(turn) = turn(&attempted, reused) {
                endpoint.took_turn(turn, clock::recently().0);
            }
            match attempted {
                Ok(arrived) => return Ok(arrived),
                Err(Attempt::Back) => tried |= u64::from(!reused) << at,
                Err(Attempt::Lost(reason)) if repeatable && again > 0 && self.budget.spend() => {
                    again -= 1;
                    last = reason;
                    tried |= u64::from(!reused) << at;
                }
                Err(Attempt::Lost(reason)) => return Err(NotCarried::Failed(reason)),
            }
        }
    }

    /// Power of two choices by requests in flight, among those that are up, not ejected and not tried.
    fn choose(&self, tried: u64) -> Option<(usize, &Arc<Endpoint>)> {
        let now = clock::recently().0;
        let fit = |at: &usize| {
            let endpoint = &self.endpoints[*at];
            endpoint.is_up() && tried & (1 << at) == 0 && !endpoint.is_ejected(now)
        };
        let candidates = 0..self.endpoints.len().min(64);
        let up = |at: &usize| self.endpoints[*at].is_up() && tried & (1 << at) == 0;
        let chosen =
            self.of_two(&candidates.clone().filter(fit)).or_else(|| self.of_two(&candidates.filter(up)))?;
        Some((chosen, &self.endpoints[chosen]))
    }

    fn of_two(&self, fit: &(impl Iterator<Item = usize> + Clone)) -> Option<usize> {
        let count = fit.clone().count();
        if count < 2 {
            return fit.clone().next();
        }
        let dice = &self.client.worker.dice;
        let first = dice.below(count);
        let second = (first + 1 + dice.below(count - 1)) % count;
        let mut both = [first, second].into_iter().filter_map(|at| fit.clone().nth(at));
        let (first, second) = (both.next()?, both.next()?);
        let busier = self.endpoints[second].in_flight() < self.endpoints[first].in_flight();
        Some(if busier { second } else { first })
    }

    async fn lease(&self, endpoint: &Arc<Endpoint>) -> Option<Lease> {
        let pool = &self.client.worker.pool;
        let need = match (self.need, endpoint.link) {
            // A cleartext edge is of our own kind: it understands HTTP/2, but HTTP/1.1 costs less.
            (Need::Http2, Link::Outward | Link::Peer(_)) => Need::Any,
            (need, _) => need,
        };
        if let Some(lease) = pool.ready(endpoint, need) {
            return Some(lease);
        }
        // In a box of its own: connecting is rare, and its state would make that of every request larger.
        match Box::pin(pool.connect(endpoint, need, self.connect_timeout)).await {
            Ok(lease) => Some(lease),
            Err(error) => {
                if !error.is_ours() {
                    endpoint.eject_until(clock::now().0.saturating_add(EJECT_NS));
                }
                tracing::debug!(endpoint = %endpoint.url, %error, "can't connect");
                None
            }
        }
    }

    /// Waits for a response's head: `response_timeout` from the request, or from the last of its body that came.
    async fn in_time<T>(
        &self,
        sent: impl Future<Output = T>,
        mut now: Tick,
        progress: Option<&Cell<u64>>,
    ) -> Result<T, Late> {
        let mut sent = pin!(sent);
        let mut wait = self.response_timeout;
        loop {
            let mut deadline = self.client.worker.deadlines.after(now.0, wait);
            let answer = poll_fn(|cx| match sent.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => deadline.poll(cx).map(|()| None),
            });
            if let Some(answer) = answer.await {
                return Ok(answer);
            }
            drop(deadline);
            now = clock::now();
            let last = progress.map_or(0, Cell::get);
            // While it is the client's turn, `body_idle_timeout` counts.
            let since = Duration::from_nanos(now.0.saturating_sub(last));
            wait = self.response_timeout.checked_sub(since).filter(|left| !left.is_zero()).ok_or(Late)?;
        }
    }

    async fn attempt(
        &self,
        mut lease: Lease,
        in_flight: InFlight,
        journey: &mut Journey,
        (repeatable, began): (bool, Tick),
    ) -> Result<Arrived, Attempt> {
        let Journey { head, body, added, interim, .. } = journey;
        let progress = body.progress();
        shape(head, lease.is_http2());
        let sent = lease.send(head, (added.as_ref(), interim.as_ref()), body, repeatable);
        match self.in_time(sent, began, progress.as_deref()).await {
            Ok(Ok(response)) => {
                let took = Duration::from_nanos(clock::now().0.saturating_sub(began.0));
                Ok(Arrived { response, took, lease, in_flight })
            }
            Err(Late) => Err(Attempt::Lost(Reason::UpstreamTimeout)),
            Ok(Err(NotSent::Back)) => Err(Attempt::Back),
            // It was closed while it waited for a request: another connection is asked (RFC 9112, 9.3.1), and no retry is spent.
            Ok(Err(NotSent::Http1(Broken::Unheard))) if lease.reused && repeatable => Err(Attempt::Back),
            Ok(Err(NotSent::Http1(error))) => Err(Attempt::Lost(why_http1(&error))),
            Ok(Err(NotSent::Http2(error))) => Err(Attempt::Lost(why(&error))),
        }
    }
}

/// What an attempt says of its endpoint. That a connection which had been idle was closed says nothing, nor what the client did.
fn turn(attempted: &Result<Arrived, Attempt>, reused: bool) -> Option<Turn> {
    match attempted {
        Ok(arrived) => {
            let response = &arrived.response;
            Some(outlier::judge(response.status().as_u16(), response.headers().contains_key(headers::REASON)))
        }
        Err(Attempt::Lost(Reason::UpstreamTimeout)) => Some(Turn::Failed),
        Err(Attempt::Lost(Reason::UpstreamReset)) if !reused => Some(Turn::Failed),
        Err(_) => None,
    }
}

/// Which HTTP a request needs: upgrades exist in HTTP/1.1 alone, gRPC in HTTP/2 alone.
fn need(journey: &Journey) -> Need {
    match (&journey.upgrade, journey.present.wants.grpc) {
        (Some(_), _) => Need::Http1,
        (None, true) => Need::Http2,
        (None, false) => Need::Any,
    }
}

/// Puts a request into the form of its connection's HTTP: the authority is in the target or in `Host`, never in both.
fn shape(head: &mut Parts, http2: bool) {
    if !http2 {
        to_origin_form(head);
        head.version = Version::HTTP_11;
    } else if head.uri.authority().is_none()
        && let Some(host) = head.headers.remove(HOST)
    {
        let authority = http::uri::Authority::try_from(host.as_bytes());
        let target = Uri::builder().scheme("https").path_and_query(path_and_query(&head.uri));
        match authority.map(|authority| target.authority(authority).build()) {
            Ok(Ok(uri)) => head.uri = uri,
            _ => _ = head.headers.insert(HOST, host),
        }
        head.version = Version::HTTP_2;
    }
}

/// Whether the request is safe to send twice: idempotent (RFC 9110, 9.2.2) and without a body.
fn repeatable(journey: &Journey) -> bool {
    let safe = matches!(
        journey.head.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    safe && journey.body.is_empty()
}

/// Whose fault it was that there is no response.
fn why(error: &hyper::Error) -> Reason {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        match inner.downcast_ref() {
            Some(error) => return whose(error),
            None => source = inner.source(),
        }
    }
    if error.is_parse() { Reason::UpstreamInvalid } else { Reason::UpstreamReset }
}

fn why_http1(error: &Broken) -> Reason {
    match error {
        Broken::Io(_) | Broken::Closed | Broken::Unheard => Reason::UpstreamReset,
        Broken::Unclear(_) => Reason::UpstreamInvalid,
        Broken::Body(error) => whose(error),
    }
}

/// A request's body ended early.
fn whose(error: &BodyError) -> Reason {
    match error {
        BodyError::Paused(_) => Reason::RequestTimeout,
        BodyError::Broken(broken) => how(broken),
        BodyError::Client(error) if error.kind() == ErrorKind::InvalidData => Reason::BadRequest,
        BodyError::Client(_) => Reason::ClientGone,
        BodyError::Malformed(_) => Reason::BadRequest,
        BodyError::Upstream(_) => Reason::UpstreamReset,
    }
}

/// How a client's body ended early: against the rules, or with the client.
fn how(broken: &hyper::Error) -> Reason {
    let mut source = std::error::Error::source(broken);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            let against = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput);
            return if against { Reason::BadRequest } else { Reason::ClientGone };
        }
        source = inner.source();
    }
    Reason::ClientGone
}

/// What adaptive ceilings may learn: streams may wait for news rather than in a queue, and failures may be fast.
fn outcome<T>(response: &Response<T>, took: Duration) -> Outcome {
    let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let stream = kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc");
    let ordinary = response.status().as_u16() >= 200 && response.status().as_u16() < 500;
    if ordinary && !stream { Outcome::Answered(took) } else { Outcome::LeftOut }
}

/// Turns what came over the upstream's connection into what goes over the client's. A response that can't be passed on gives `active` back;
/// its connection is not used again.
fn hand_back(
    arrived: Arrived,
    plan: Plan,
    upgrade: Option<(Switch, bool)>,
    active: Active,
    is_edges: bool,
) -> Result<Response<ResponseBody>, Active> {
    let Arrived { mut response, took, lease, in_flight } = arrived;
    let permit = plan.permit;
    if let Some(permit) = &permit {
        permit.over(outcome(&response, took), clock::recently());
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(tunnel::open(
            response.map(drop),
            upgrade,
            tunnel::Ends { permit, in_flight, active, lease },
        ));
    }
    let status = response.status();
    // To HTTP/2's CONNECT a success means a tunnel, and here is none (RFC 8441, 5).
    if status.is_success() && upgrade.is_some_and(|(_, extended)| extended) {
        return Err(active);
    }
    if answer::settle(status, response.headers_mut(), is_edges).is_err() {
        return Err(active);
    }
    *response.version_mut() = Version::HTTP_11;
    Ok(response.map(|incoming| ResponseBody::stream(incoming, Held { permit, in_flight, active, lease })))
}
