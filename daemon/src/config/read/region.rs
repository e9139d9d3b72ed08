//! `[[region]]` and `[region.health]`: places with a full copy of the service. Never resolves a name.

use super::{
    super::{cursor::Cursor, key, key::Key, scalar},
    Context, HOUR, MINUTE, ms,
};
use crate::config::types::{Region, RegionHealth};

pub(in crate::config) const KEYS: &[Key] = &[
    key::required("name", "1 to 63 letters, digits, \"-\", \"_\" or \".\"", "The region's name."),
    key::optional(
        "public_url",
        "http:// or https:// and a host, e.g. \"https://eu.example.com\"",
        "Where a redirect sends clients whose home is this region.",
    ),
    key::default(
        "edges",
        "[]",
        "an array of http:// or https:// URLs without path",
        "Where other regions' edges hand over mis-routed requests (isthmus).",
    ),
    key::optional("health", "a table", "How this host watches that region's edges."),
];

pub(in crate::config) const HEALTH: &[Key] = &[
    key::default(
        "path",
        "\"/.well-known/tidegate/health\"",
        "the path of a URL",
        "What is asked of each edge.",
    ),
    key::default("interval", "\"1s\"", "\"100ms\" to \"1h\"", "Time between two probes of one edge."),
    key::default("timeout", "\"500ms\"", "\"10ms\" to \"1m\"", "Longest wait for an answer."),
    key::default(
        "fall",
        "3",
        "a whole number from 1 to 100",
        "Failures in a row until an edge counts as down.",
    ),
    key::default(
        "rise",
        "5",
        "a whole number from 1 to 100",
        "Successes in a row until it counts as up again.",
    ),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<Region> {
    let name = cursor.get("name", scalar::name);
    if let Some(name) = &name {
        context.claims.take("region", name, cursor, "name");
    }
    let public_url = cursor.get("public_url", scalar::origin);
    let edges = cursor.list("edges", scalar::origin);
    super::each_once(cursor, "edges", edges.as_deref());
    let health = cursor.table_or_default("health", HEALTH).and_then(|table| read_health(&table));
    Some(Region { name: name?, public_url, edges: edges?, health: health? })
}

fn read_health(cursor: &Cursor<'_>) -> Option<RegionHealth> {
    let path = cursor.get("path", scalar::url_path);
    let interval = cursor.get("interval", scalar::duration(ms(100)..=HOUR));
    let timeout = cursor.get("timeout", scalar::duration(ms(10)..=MINUTE));
    let fall = cursor.get("fall", scalar::integer(1..=100));
    let rise = cursor.get("rise", scalar::integer(1..=100));
    Some(RegionHealth { path: path?, interval: interval?, timeout: timeout?, fall: fall?, rise: rise? })
}
