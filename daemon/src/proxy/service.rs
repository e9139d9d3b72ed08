//! A request's straight line: head → client and home → route → ceilings → one arm → response. Never turns back but for an unreachable region.

use std::rc::Rc;

use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::body::{RequestBody, ResponseBody};
use super::carry::{self, NotHome};
use super::clock;
use super::conn::Client;
use super::facts::{self, Arrival};
use super::headers::{Added, Present};
use super::meter::Active;
use super::pins;
use super::relay;
use super::respond;
use super::serve::Interim;
use super::tell::{self, Outcome, Told};
use super::tunnel::{self, Switch};
use crate::config::types::Class;
use crate::decide::admission::{Asking, Permit, Tick};
use crate::decide::home::List;
use crate::decide::policy::Policy;
use crate::decide::priority;
use crate::decide::reason::{Reason, RouteKind};
use crate::decide::region::RegionId;
use crate::decide::route::{self, Decision};
use crate::decide::target;

/// Where peers and load balancers ask for health.
pub(crate) const HEALTH_PATH: &str = "/.well-known/tidegate/health";

/// A request on its way.
pub(crate) struct Journey {
    /// In a box: it goes through many hands.
    pub(crate) head: Box<Parts>,
    pub(crate) body: RequestBody,
    pub(crate) present: Present,
    /// What goes on with the head; from [`carry::prepare`] on.
    pub(crate) added: Option<Added>,
    pub(crate) upgrade: Option<Switch>,
    /// The upgrade was asked for by HTTP/2's extended CONNECT.
    pub(crate) extended: bool,
    /// Where the origin's interim answers go, if the client understands them.
    pub(crate) interim: Option<Interim>,
    pub(crate) active: Active,
}

/// A request as it came in.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) head: Box<Parts>,
    pub(crate) body: RequestBody,
    /// Where the client's stream comes from, if it asks for another protocol.
    pub(crate) upgrade: Option<Switch>,
    /// That was asked for by HTTP/2's extended CONNECT.
    pub(crate) extended: bool,
    /// Where interim answers go.
    pub(crate) interim: Option<Interim>,
}

impl Asked {
    /// A request over HTTP/2.
    pub(crate) fn over_http2(client: &Client, mut request: Request<Incoming>) -> Self {
        let upgrade = tunnel::extended_connect(&mut request, &client.worker.dice);
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body, client.listener.spec.limits.body_idle_timeout);
        // The library has no way to send interim answers.
        Self { head: Box::new(head), body, extended: upgrade.is_some(), upgrade, interim: None }
    }
}

/// What was decided about it.
pub(crate) struct Plan {
    pub(crate) arrival: Arrival,
    pub(crate) decision: Decision,
    /// Present where a ceiling let it in.
    pub(crate) permit: Option<Permit>,
    /// The region's name in `Tidegate-Home`.
    pub(crate) home_name: http::HeaderValue,
}

/// Handles one request; while the connection is to leave, its client is told.
pub(crate) async fn handle(client: Rc<Client>, asked: Asked) -> Response<ResponseBody> {
    let mut response = answer(&client, asked).await;
    if client.is_leaving()
        && !client.pace.is_multiplexed()
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(client: &Rc<Client>, asked: Asked) -> Response<ResponseBody> {
    let began = clock::now();
    let active = Active::new(&client.pace);
    let Asked { head, body, upgrade, extended, interim } = asked;
    let mut present = Present::scan(&head.headers);
    present.upgrade &= head.version == Version::HTTP_11;
    present.hop_by_hop |= extended;
    let upgrade = match upgrade {
        Some(upgrade) if !extended && relay::is_asked(client, &head.headers) => {
            return relay::switch(client, upgrade, active);
        }
        upgrade => upgrade,
    };
    // In a box: its way is long, and each function on it would copy it.
    let journey = Box::new(Journey { head, body, present, added: None, upgrade, extended, interim, active });
    if journey.head.uri.path() == HEALTH_PATH {
        return health(client, journey.active);
    }
    match facts::read(client, &journey.head, &present) {
        Ok(arrival) => travel(client, journey, arrival, began).await,
        Err(reason) => {
            let home = client.worker.with_policy(|policy, _| policy.own);
            let told = Told::new(client, client.address, &journey.head, began, true);
            refuse(client, journey, home, reason, told)
        }
    }
}

fn health(client: &Client, active: Active) -> Response<ResponseBody> {
    let draining = client.worker.draining.get();
    client.worker.with_policy(|policy, _| {
        let name = policy.regions[policy.own].name.to_str().unwrap_or_default();
        respond::health(name, policy.failover[policy.own], draining, active)
    })
}

async fn travel(
    client: &Rc<Client>,
    mut journey: Box<Journey>,
    arrival: Arrival,
    began: Tick,
) -> Response<ResponseBody> {
    let plan = match plan(client, &journey.head, arrival, began) {
        Ok(plan) => plan,
        Err((reason, home)) => {
            let told = Told::new(client, arrival.client, &journey.head, began, true);
            return refuse(client, journey, home, reason, told);
        }
    };
    let told = Told::new(client, arrival.client, &journey.head, began, false);
    if matches!(plan.decision.route, RouteKind::Local | RouteKind::Isthmus) {
        carry::prepare(client, &mut journey, &plan);
    }
    match plan.decision.route {
        RouteKind::Local => local(client, journey, plan, told).await,
        RouteKind::Isthmus => Box::pin(isthmus(client, journey, plan, told)).await,
        RouteKind::Redirect => redirect(client, journey, &plan, told),
        RouteKind::Shed => refuse(client, journey, plan.decision.home, plan.decision.reason, told),
    }
}

/// Decides and asks the ceilings; a refusal comes with the client's home.
fn plan(client: &Client, head: &Parts, arrival: Arrival, now: Tick) -> Result<Plan, (Reason, RegionId)> {
    client.worker.with_policy(|policy, live| {
        let facts = arrival.facts(&head.method, head.uri.path(), &head.headers);
        let decision = route::route(&facts, policy, live);
        if decision.home != policy.own {
            client.worker.stats.misrouted(decision.home);
        }
        let permit = match decision.route {
            RouteKind::Shed => return Err((decision.reason, decision.home)),
            RouteKind::Redirect => None,
            RouteKind::Local | RouteKind::Isthmus => {
                let class =
                    if policy.priorities.is_empty() { Class::Degraded } else { route::class(&facts, policy) };
                Some(admit(client, policy, &arrival, decision, class, now)?)
            }
        };
        let home_name = policy.regions[decision.home].name.clone();
        Ok(Plan { arrival, decision, permit, home_name })
    })
}

fn admit(
    client: &Client,
    policy: &Policy,
    arrival: &Arrival,
    decision: Decision,
    class: Class,
    now: Tick,
) -> Result<Permit, (Reason, RegionId)> {
    let user =
        if policy.priorities.is_empty() { 0.0 } else { priority::place(tell::hash_of(arrival.client)) };
    let asking = Asking { class, user, foreign: arrival.foreign, always: decision.list == List::Allow };
    match policy.ceilings[decision.home].admit(asking, now) {
        Ok(admitted) => {
            if let Some(observed) = admitted.observed {
                client.worker.stats.observed(decision.home, observed.reason);
                tell::observed(client, arrival.client, decision.home, observed.reason, now);
            }
            Ok(admitted.permit)
        }
        Err(refused) => Err((refused.reason, decision.home)),
    }
}

async fn local(client: &Rc<Client>, journey: Box<Journey>, plan: Plan, told: Told) -> Response<ResponseBody> {
    let (home, reason) = (plan.decision.home, plan.decision.reason);
    let arrival = plan.arrival;
    match carry::local(client, journey, plan).await {
        Ok(mut response) => {
            if reason == Reason::Home {
                pins::write(client, &arrival, home, &mut response);
            }
            told.answered(client, Outcome { route: RouteKind::Local, reason, home }, response)
        }
        Err((failed, wants, active)) => {
            let response = respond::refuse(failed, wants, &client.worker.dice, active);
            told.answered(client, Outcome { route: RouteKind::Local, reason: failed, home }, response)
        }
    }
}

async fn isthmus(
    client: &Rc<Client>,
    journey: Box<Journey>,
    plan: Plan,
    told: Told,
) -> Response<ResponseBody> {
    let (home, reason) = (plan.decision.home, plan.decision.reason);
    let (journey, mut plan) = match carry::isthmus(client, journey, plan).await {
        Ok(response) => {
            return told.answered(client, Outcome { route: RouteKind::Isthmus, reason, home }, response);
        }
        Err(NotHome::Failed(failed, wants, active)) => {
            let response = respond::refuse(failed, wants, &client.worker.dice, active);
            let outcome = Outcome { route: RouteKind::Isthmus, reason: failed, home };
            return told.answered(client, outcome, response);
        }
        Err(NotHome::NoEdge(journey, plan)) => (journey, *plan),
    };
    plan.decision = client.worker.with_policy(|policy, _| {
        let facts = plan.arrival.facts(&journey.head.method, journey.head.uri.path(), &journey.head.headers);
        route::unreachable(plan.decision, &facts, policy)
    });
    match plan.decision.route {
        RouteKind::Local => local(client, journey, plan, told).await,
        RouteKind::Redirect => redirect(client, journey, &plan, told),
        RouteKind::Isthmus | RouteKind::Shed => refuse(client, journey, home, Reason::Unreachable, told),
    }
}

fn redirect(client: &Client, journey: Box<Journey>, plan: &Plan, told: Told) -> Response<ResponseBody> {
    let Decision { home, reason, .. } = plan.decision;
    let (status, location) = client.worker.with_policy(|policy, _| {
        let public_url = policy.regions[home].public_url.as_deref().unwrap_or_default();
        let from = policy.regions[policy.own].name.to_str().unwrap_or_default();
        (policy.redirect_status, target::location(public_url, path_and_query(&journey.head.uri), from))
    });
    let mut response = respond::redirect(status, &location, reason, journey.active);
    pins::write(client, &plan.arrival, home, &mut response);
    told.answered(client, Outcome { route: RouteKind::Redirect, reason, home }, response)
}

fn refuse(
    client: &Client,
    journey: Box<Journey>,
    home: RegionId,
    reason: Reason,
    told: Told,
) -> Response<ResponseBody> {
    client.worker.stats.shed(home, reason);
    let response = respond::refuse(reason, journey.present.wants, &client.worker.dice, journey.active);
    told.answered(client, Outcome { route: RouteKind::Shed, reason, home }, response)
}

/// Path and query as sent; `/` where the target is not a path.
pub(crate) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}
