//! What is told about a request: counters always, events and access log for a sample. Never the query, a header or a body.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use jiff::Timestamp;

use super::body::ResponseBody;
use super::clock;
use super::conn::Client;
use super::enter::NotEntered;
use super::respond;
use super::shared::Worker;
use crate::config::types::AccessLog;
use crate::decide::admission::Tick;
use crate::decide::event::{Event, Layer, Route, Shed, What};
use crate::decide::framing::Fault;
use crate::decide::reason::{Reason, RouteKind};
use crate::decide::region::RegionId;

/// What is kept of a request until its response's head is there.
pub(crate) struct Told {
    began: Tick,
    source: IpAddr,
    sample: Option<Box<Sample>>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) route: RouteKind,
    pub(crate) reason: Reason,
    pub(crate) home: RegionId,
}

struct Sample {
    method: String,
    path: String,
    skipped: u64,
    event: bool,
    log: bool,
}

impl Told {
    /// Notes when a request began, and its method and path if it is among the sample.
    pub(crate) fn new(client: &Client, source: IpAddr, head: &Parts, began: Tick, refused: bool) -> Self {
        let worker = &client.worker;
        let access = worker.shared.access;
        let listened = worker.shared.events.receiver_count() > 0;
        if access == AccessLog::Off && !listened {
            return Self { began, source, sample: None };
        }
        let sampled = if refused { worker.sampler.shed(began) } else { worker.sampler.served(began) };
        let log = access == AccessLog::All || (access == AccessLog::Sampled && sampled.is_some());
        let event = listened && sampled.is_some();
        let sample = (log || event).then(|| {
            Box::new(Sample {
                method: head.method.as_str().to_owned(),
                path: head.uri.path().to_owned(),
                skipped: sampled.unwrap_or(0),
                event,
                log,
            })
        });
        Self { began, source, sample }
    }

    /// The response's head is there: counts it, and tells about it if it is among the sample.
    pub(crate) fn answered(
        self,
        client: &Client,
        outcome: Outcome,
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        // Read when the upstream's answer came, or when the request did that was refused.
        let took_ns = clock::recently().0.saturating_sub(self.began.0);
        client.worker.stats.answered(outcome.home, outcome.route, took_ns);
        if let Some(sample) = self.sample {
            let status = response.status().as_u16();
            sample.tell(client, self.source, outcome, status, took_ns / 1_000);
        }
        response
    }
}

impl Sample {
    fn tell(self, client: &Client, source: IpAddr, outcome: Outcome, status: u16, duration_us: u64) {
        let Outcome { route, reason, home } = outcome;
        if self.log {
            let region = client.worker.with_policy(|policy, _| policy.regions[home].name.clone());
            tracing::info!(
                target: "tidegate::access",
                client = %source, method = self.method, path = self.path, status, route = route.name(), reason = reason.name(),
                home = region.to_str().unwrap_or_default(), duration_us, skipped = self.skipped,
            );
        }
        if !self.event {
            return;
        }
        let Self { method, path, skipped, .. } = self;
        let what = if route == RouteKind::Shed {
            let request = Some(format!("{method} {path}"));
            What::Shed(Shed { request, skipped, ..shed(source, home, reason, false) })
        } else {
            let (route, reason) = (route.name(), reason.name());
            What::Route(Route {
                route,
                reason,
                home: Some(home),
                client: source,
                method,
                path,
                status,
                duration_us,
                skipped,
            })
        };
        _ = client.worker.shared.events.send(Arc::new(Event { at: Timestamp::now(), what }));
    }
}

/// A connection does not come to speak HTTP.
pub(crate) fn not_entered(worker: &Worker, client: IpAddr, error: &NotEntered) {
    if let Some(why) = error.counts_as() {
        worker.stats.rejected(why);
    }
    tracing::debug!(%client, %error, "connection not entered");
}

/// A client broke HTTP/1 so that no request came of it. A faulty body is told with its request instead.
pub(crate) fn broken(client: &Client, fault: Fault) {
    if fault.is_in_body() {
        return;
    }
    let home = client.worker.with_policy(|policy, _| policy.own);
    client.worker.stats.shed(home, fault.reason());
    let reason = fault.reason().name();
    tracing::debug!(client = %client.address, reason, %fault, "not a request");
    if client.worker.shared.access == AccessLog::All {
        tracing::info!(
            target: "tidegate::access",
            client = %client.address, method = "-", path = "-", status = respond::status(fault.reason()).as_u16(),
            route = RouteKind::Shed.name(), reason, %fault,
        );
    }
}

/// A ceiling that only observes would have refused.
pub(crate) fn observed(client: &Client, source: IpAddr, home: RegionId, reason: Reason, now: Tick) {
    if client.worker.shared.events.receiver_count() == 0 {
        return;
    }
    if let Some(skipped) = client.worker.sampler.shed(now) {
        let what = What::Shed(Shed { skipped, ..shed(source, home, reason, true) });
        _ = client.worker.shared.events.send(Arc::new(Event { at: Timestamp::now(), what }));
    }
}

fn shed(source: IpAddr, home: RegionId, reason: Reason, observed: bool) -> Shed {
    Shed {
        layer: Layer::Proxy,
        reason: reason.name(),
        home: Some(home),
        source: Some(source),
        port: None,
        size: None,
        request: None,
        observed,
        skipped: 0,
    }
}

/// A user's number: the address, or the /64 of an IPv6 address.
pub(crate) fn hash_of(client: IpAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    match client {
        IpAddr::V4(address) => address.hash(&mut hasher),
        IpAddr::V6(address) => address.segments()[..4].hash(&mut hasher),
    }
    hasher.finish()
}
