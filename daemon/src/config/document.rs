//! The whole document: top-level tables in the order in which they need each other, and rules across tables. Opens no file.

use super::claims::Claims;
use super::cursor::Cursor;
use super::fault::{Faults, Source, Wrong};
use super::key::{self, Key};
use super::node::{Node, Table, Value};
use super::read::{self, Context};
use super::record::Record;
use super::types::{Config, Listener, ListenerKind, Misroute, MisrouteMode, Region, WhenUnreachable};
use crate::decide::region::{MAX_REGIONS, RegionId, Regions};

pub(super) const KEYS: &[Key] = &[
    key::optional("host", "a table", "This host."),
    key::required("region", "[[region]]", "Places with a full copy of the service."),
    key::optional("geo", "a table", "Who belongs where."),
    key::optional("misroute", "a table", "What happens to a mis-routed request."),
    key::optional(
        "session",
        "a table",
        "Keeps one device's session in one region, even when its address changes; omit it to pin nothing.",
    ),
    key::optional("listener", "[[listener]]", "Traffic in."),
    key::optional("upstream", "[[upstream]]", "The service itself."),
    key::optional("identity", "a table", "This host towards other regions: isthmus and relay links."),
    key::optional("ceiling", "[[ceiling]]", "The most traffic that is let through."),
    key::optional(
        "priority",
        "[[priority]]",
        "Which requests matter more; the first match decides, without one \"degraded\".",
    ),
    key::optional("xdp", "a table", "The NIC."),
    key::optional("relay", "a table", "Cache invalidation relay."),
    key::optional("admin", "a table", "Operators."),
    key::optional("log", "a table", "Logs."),
];

/// Reads the merged document. `None` where a fault left something out.
pub(super) fn read(root: &Table, sources: &[Source], faults: &Faults) -> Option<Config> {
    let record = Record::default();
    let top = Cursor::top(faults, &record, root, KEYS);
    if !top.has("region") {
        top.missing("region", "");
    }
    let context = Context {
        claims: Claims::new(sources),
        regions: names(root.get("region")),
        upstreams: names(root.get("upstream")),
    };
    let host = top.table_or_default("host", read::host::KEYS).and_then(|t| read::host::read(&t, &context));
    let own = host.as_ref().map(|host| host.region);
    let region_tables = top.tables("region", read::region::KEYS);
    let regions = all(&region_tables, |t| read::region::read(t, &context));
    if region_tables.len() > MAX_REGIONS {
        top.error("region", Wrong::new(format!("{} regions", region_tables.len()), "at most 254"));
    }
    let geo = top.table_or_default("geo", read::geo::KEYS).and_then(|t| read::geo::read(&t, &context, own));
    let misroute_table = top.table_or_default("misroute", read::misroute::KEYS);
    let misroute = misroute_table.as_ref().and_then(read::misroute::read);
    let session = top.table("session", read::session::KEYS).map(|t| read::session::read(&t));
    let upstreams = all(&top.tables("upstream", read::upstream::KEYS), |t| read::upstream::read(t, &context));
    let identity = top.table("identity", read::identity::KEYS).map(|t| read::identity::read(&t));
    let listener_tables = top.tables("listener", read::listener::KEYS);
    let listeners = all(&listener_tables, |t| read::listener::read(t, &context, top.has("identity")));
    let ceilings = all(&top.tables("ceiling", read::ceiling::KEYS), |t| read::ceiling::read(t, &context));
    let priorities = all(&top.tables("priority", read::priority::KEYS), read::priority::read);
    let xdp = top
        .table_or_default("xdp", read::xdp::KEYS)
        .and_then(|t| read::xdp::read(&t, &context, listeners.as_deref().unwrap_or_default()));
    let relay =
        top.table_or_default("relay", read::relay::KEYS).and_then(|t| read::relay::read(&t, &context, own));
    let instance = host.as_ref().map_or("main", |host| host.instance.as_str());
    let admin = top
        .table_or_default("admin", read::admin::KEYS)
        .and_then(|t| read::admin::read(&t, &context, instance));
    let log = top.table_or_default("log", read::log::KEYS).and_then(|t| read::log::read(&t));
    if let (Some(regions), Some(misroute), Some(table)) = (&regions, &misroute, &misroute_table) {
        check_redirects(&region_tables, regions, misroute, table, own);
    }
    if let (Some(regions), None) = (&regions, &identity) {
        warn_without_identity(&region_tables, regions, own);
    }
    if let Some(listeners) = &listeners {
        warn_proxy_protocol(&listener_tables, listeners);
    }
    Some(Config {
        document: record.finish(),
        host: host?,
        regions: Regions::new(regions?)?,
        geo: geo?,
        misroute: misroute?,
        session: session.map_or(Some(None), |read| read.map(Some))?,
        listeners: listeners?,
        upstreams: upstreams?,
        identity: identity.map_or(Some(None), |read| read.map(Some))?,
        ceilings: ceilings?,
        priorities: priorities?,
        xdp: xdp?,
        relay: relay?,
        admin: admin?,
        log: log?,
    })
}

/// Reads every table, also after a faulty one.
fn all<T>(tables: &[Cursor<'_>], mut one: impl FnMut(&Cursor<'_>) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = tables.iter().map(&mut one).collect();
    read.into_iter().collect()
}

/// The names in an array of tables; places without one stay, so that numbers agree.
fn names(node: Option<&Node>) -> Vec<String> {
    let Some(Node { value: Value::Array(items), .. }) = node else { return Vec::new() };
    let name = |item: &Node| match &item.value {
        Value::Table(table) => match table.get("name").map(|node| &node.value) {
            Some(Value::String(name)) => name.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    items.iter().map(name).collect()
}

fn check_redirects(
    tables: &[Cursor<'_>],
    regions: &[Region],
    misroute: &Misroute,
    table: &Cursor<'_>,
    own: Option<RegionId>,
) {
    let asked = misroute.mode == MisrouteMode::Redirect
        || misroute.when_unreachable == WhenUnreachable::Redirect
        || misroute.rules.iter().any(|rule| rule.mode == MisrouteMode::Redirect);
    let without = |(index, region): &(usize, &Region)| {
        region.public_url.is_none() && own.is_some_and(|own| own.index() != *index)
    };
    for (index, _) in regions.iter().enumerate().filter(without) {
        if asked && let Some(cursor) = tables.get(index) {
            let problem = format!("missing, though [{}] redirects", table.path);
            cursor.error("public_url", Wrong::new(problem, "http:// or https:// and a host"));
        }
    }
}

fn warn_without_identity(tables: &[Cursor<'_>], regions: &[Region], own: Option<RegionId>) {
    for (index, region) in regions.iter().enumerate() {
        let https = region.edges.iter().any(|edge| edge.scheme_str() == Some("https"));
        if https
            && own.is_some_and(|own| own.index() != index)
            && let Some(cursor) = tables.get(index)
        {
            cursor.warning(
                "edges",
                Wrong::new(
                    "https:// edges ask for this host's certificate, and there is no [identity]",
                    "[identity], or http:// edges over a private link",
                ),
            );
        }
    }
}

fn warn_proxy_protocol(tables: &[Cursor<'_>], listeners: &[Listener]) {
    for (cursor, listener) in tables.iter().zip(listeners) {
        if listener.kind == ListenerKind::Peer && listener.proxy_protocol {
            cursor.warning(
                "proxy_protocol",
                Wrong::new("peers send no PROXY protocol header", "\"off\" on a peer listener"),
            );
        }
    }
}
