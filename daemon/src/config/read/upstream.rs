//! `[[upstream]]`: the service itself. Never connects to it.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, scalar},
    Context, HOUR, MINUTE, ms,
};
use crate::config::types::{Balance, Retries, Upstream, UpstreamHealth};

pub(in crate::config) const KEYS: &[Key] = &[
    key::required("name", "1 to 63 letters, digits, \"-\", \"_\" or \".\"", "The upstream's name."),
    key::required(
        "endpoints",
        "an array of http:// or https:// URLs without path, at least one",
        "Its servers.",
    ),
    key::default(
        "balance",
        "\"least_of_two\"",
        "\"least_of_two\"",
        "Power of two choices by requests in flight.",
    ),
    key::default("connect_timeout", "\"1s\"", "\"1ms\" to \"1m\"", "Longest wait for a connection."),
    key::default("response_timeout", "\"30s\"", "\"1ms\" to \"1h\"", "Longest wait for a response's head."),
    key::optional("retries", "a table", "Further attempts for requests that are safe to repeat."),
    key::optional("health", "a table", "Probes; without it every endpoint counts as up."),
];

pub(in crate::config) const RETRIES: &[Key] = &[
    key::default("attempts", "1", "a whole number from 0 to 10", "Further attempts per request."),
    key::default("budget", "0.2", "a number from 0 to 1", "Most retries as a share of requests."),
];

pub(in crate::config) const HEALTH: &[Key] = &[
    key::default("path", "\"/healthz\"", "the path of a URL", "What is asked of each endpoint."),
    key::default("interval", "\"2s\"", "\"100ms\" to \"1h\"", "Time between two probes of one endpoint."),
    key::default("timeout", "\"1s\"", "\"10ms\" to \"1m\"", "Longest wait for an answer."),
    key::default(
        "fall",
        "3",
        "a whole number from 1 to 100",
        "Failures in a row until an endpoint counts as down.",
    ),
    key::default(
        "rise",
        "2",
        "a whole number from 1 to 100",
        "Successes in a row until it counts as up again.",
    ),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<Upstream> {
    let name = cursor.get("name", scalar::name);
    if let Some(name) = &name {
        context.claims.take("upstream", name, cursor, "name");
    }
    let endpoints = cursor.list("endpoints", scalar::origin);
    if endpoints.as_ref().is_some_and(Vec::is_empty) {
        cursor.error("endpoints", Wrong::new("is empty", "at least one URL"));
    }
    super::each_once(cursor, "endpoints", endpoints.as_deref());
    let balance = cursor.get("balance", scalar::choice(&[("least_of_two", Balance::LeastOfTwo)]));
    let connect_timeout = cursor.get("connect_timeout", scalar::duration(ms(1)..=MINUTE));
    let response_timeout = cursor.get("response_timeout", scalar::duration(ms(1)..=HOUR));
    let retries = cursor.table_or_default("retries", RETRIES).and_then(|table| read_retries(&table));
    let health = cursor.has("health").then(|| cursor.table("health", HEALTH).and_then(|t| read_health(&t)));
    Some(Upstream {
        name: name?,
        endpoints: endpoints?,
        balance: balance?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        retries: retries?,
        health: health.flatten(),
    })
}

fn read_retries(cursor: &Cursor<'_>) -> Option<Retries> {
    let attempts = cursor.get("attempts", scalar::integer(0..=10));
    let budget = cursor.get("budget", scalar::share(0.0, true, 1.0));
    Some(Retries { attempts: attempts?, budget: budget? })
}

fn read_health(cursor: &Cursor<'_>) -> Option<UpstreamHealth> {
    let path = cursor.get("path", scalar::url_path);
    let interval = cursor.get("interval", scalar::duration(ms(100)..=HOUR));
    let timeout = cursor.get("timeout", scalar::duration(ms(10)..=MINUTE));
    let fall = cursor.get("fall", scalar::integer(1..=100));
    let rise = cursor.get("rise", scalar::integer(1..=100));
    Some(UpstreamHealth { path: path?, interval: interval?, timeout: timeout?, fall: fall?, rise: rise? })
}
