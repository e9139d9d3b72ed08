//! Events as `GET /v1/events` sends them, one JSON object per line. Never samples.

use serde_json::{Value, json};

use crate::config::Config;
use crate::decide::event::{Cause, Event, HealthTarget, Layer, RelayWhat, What};
use crate::decide::region::RegionId;

/// The line for one event.
#[must_use]
pub fn line(event: &Event, config: &Config) -> Value {
    let mut value = body(&event.what, config);
    if let Some(object) = value.as_object_mut() {
        object.insert("at".to_owned(), json!(event.at.to_string()));
        object.insert("kind".to_owned(), json!(event.what.kind()));
    }
    value
}

/// The line that tells a slow reader how many it missed.
#[must_use]
pub fn skipped(count: u64) -> Value {
    json!({"kind": "skipped", "count": count})
}

fn name(config: &Config, region: RegionId) -> Option<&str> {
    config.regions.get(region).map(|region| region.name.as_str())
}

fn body(what: &What, config: &Config) -> Value {
    let region = |region: Option<RegionId>| region.and_then(|region| name(config, region));
    match what {
        What::Shed(shed) => json!({
            "layer": match shed.layer { Layer::Nic => "nic", Layer::Proxy => "proxy" },
            "reason": shed.reason, "home": region(shed.home), "source": shed.source, "port": shed.port,
            "size": shed.size, "request": shed.request, "observed": shed.observed, "skipped": shed.skipped,
        }),
        What::Route(route) => json!({
            "route": route.route, "reason": route.reason, "home": region(route.home), "client": route.client,
            "method": route.method, "path": route.path, "status": route.status,
            "duration_us": route.duration_us, "skipped": route.skipped,
        }),
        What::Failover(failover) => json!({
            "region": name(config, failover.region), "on": failover.on, "cause": cause(failover.cause),
            "reason": failover.reason,
        }),
        What::Health(health) => match &health.target {
            HealthTarget::Edge(id) => json!({
                "region": name(config, *id), "edge": health.url, "up": health.up, "why": health.why,
            }),
            HealthTarget::Upstream(upstream) => json!({
                "upstream": upstream, "endpoint": health.url, "up": health.up, "why": health.why,
            }),
        },
        What::Ceiling(change) => json!({
            "ceiling": change.ceiling, "measure": change.measure.name(), "old": change.old, "new": change.new,
            "cause": cause(change.cause),
        }),
        What::Relay(relay) => {
            let (what, count, text) = relay_what(&relay.what);
            json!({"pool": relay.pool, "region": region(relay.region), "what": what, "count": count, "why": text})
        }
        What::Admin(admin) => json!({
            "uid": admin.uid, "pid": admin.pid, "what": admin.what, "old": admin.old, "new": admin.new,
            "cause": cause(admin.cause),
        }),
    }
}

fn relay_what(what: &RelayWhat) -> (&'static str, Option<u64>, Option<&str>) {
    match what {
        RelayWhat::LinkUp => ("link_up", None, None),
        RelayWhat::LinkDown(why) => ("link_down", None, Some(why)),
        RelayWhat::Flushed => ("flushed", None, None),
        RelayWhat::Converted(count) => ("converted", Some(*count), None),
        RelayWhat::Unknown(count) => ("unknown", Some(*count), None),
        RelayWhat::Stale(count) => ("stale", Some(*count), None),
        RelayWhat::PingPong(count) => ("ping_pong", Some(*count), None),
    }
}

/// The word for a cause.
#[must_use]
pub fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Operator => "operator",
        Cause::Automatic => "automatic",
        Cause::Expired => "expired",
        Cause::Reload => "reload",
        Cause::Clock => "clock",
        Cause::Pressure => "pressure",
    }
}
