//! `[relay]` and `[[relay.pool]]`: cache invalidation between regions. Never opens the spool.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    Context, DAY, HOUR,
};
use crate::config::types::{Capture, Pool, Refills, Relay, SpoolSync, Transport, WhenUnknown};
use crate::decide::region::RegionId;

pub(in crate::config) const KEYS: &[Key] = &[
    key::default(
        "transport",
        "\"direct\"",
        "\"direct\", \"nats\", \"sqs\"",
        "How invalidations reach the other regions.",
    ),
    key::optional("spool", "{ bytes, sync }", "Where they wait."),
    key::optional(
        "nats",
        "a table",
        "For `transport = \"nats\"`: JetStream, one stream, a durable consumer per region.",
    ),
    key::optional("sqs", "a table", "For `transport = \"sqs\"`: one queue per region."),
    key::optional("pool", "[[relay.pool]]", "Memcached pools whose keys other regions must forget."),
];

pub(in crate::config) const SPOOL: &[Key] = &[
    key::default("bytes", "\"1GiB\"", "\"1MiB\" to \"1TiB\"", "Most bytes on disk."),
    key::default(
        "sync",
        "\"group\"",
        "\"group\", \"os\"",
        "`group`: fsync before a write is acknowledged, many at once; `os`: acknowledged at once.",
    ),
];

pub(in crate::config) const NATS: &[Key] =
    &[key::required("servers", "an array of nats:// or tls:// URLs, at least one", "NATS servers.")];

pub(in crate::config) const SQS: &[Key] = &[
    key::optional("endpoint", "an http:// or https:// URL", "Omit for AWS itself."),
    key::required("queues", "a table of REGION = \"queue name\"", "The queue of each region."),
];

pub(in crate::config) const POOL: &[Key] = &[
    key::required(
        "name",
        "1 to 63 letters, digits, \"-\", \"_\" or \".\"",
        "The pool's name, the same in every region.",
    ),
    key::required("listen", "IP:PORT", "The front: applications use it instead of memcached."),
    key::required(
        "servers",
        "an array of IP:PORT, at least one",
        "Local memcached servers; several: keys spread by ketama.",
    ),
    key::required(
        "regions",
        "an array of names of other [[region]]s",
        "Who must forget a key that is written here.",
    ),
    key::default("capture", "\"writes\"", "\"writes\", \"deletes\"", "What is captured."),
    key::default(
        "refills",
        "\"compare\"",
        "\"compare\", \"skip\"",
        "`compare`: forget only what differs; `skip`: the first set after a miss is not captured.",
    ),
    key::optional("refill_listen", "IP:PORT", "What is set through this port is never captured."),
    key::default(
        "repeat_after",
        "\"2s\"",
        "\"0s\" to \"1h\"",
        "Apply once more, after the store's replication lag; \"0s\" is once.",
    ),
    key::default(
        "expire_after",
        "\"24h\"",
        "\"1s\" to \"365d\"",
        "Older than any cached copy can be: no longer worth sending.",
    ),
    key::default(
        "when_unknown",
        "\"flush\"",
        "\"flush\", \"count\"",
        "After a crash with `sync = \"os\"`, or a damaged spool.",
    ),
    key::default(
        "verify",
        "0",
        "a whole number from 0 to 1_000_000_000",
        "Read back one in N applied keys; 0 is off.",
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Direct,
    Nats,
    Sqs,
}

const KINDS: &[(&str, Kind)] = &[("direct", Kind::Direct), ("nats", Kind::Nats), ("sqs", Kind::Sqs)];

pub(in crate::config) fn read(
    cursor: &Cursor<'_>,
    context: &Context<'_>,
    own: Option<RegionId>,
) -> Option<Relay> {
    let kind = cursor.get("transport", scalar::choice(KINDS));
    let spool = cursor.table_or_default("spool", SPOOL).and_then(|table| {
        let bytes = table.get("bytes", scalar::bytes(1 << 20..=1 << 40));
        let sync = table.get("sync", scalar::choice(&[("group", SpoolSync::Group), ("os", SpoolSync::Os)]));
        Some((bytes?, sync?))
    });
    let nats = cursor.table("nats", NATS).and_then(|table| read_nats(&table));
    let sqs = cursor.table("sqs", SQS).map(|table| (read_sqs(&table, context), table));
    let tables = cursor.tables("pool", POOL);
    let pools: Vec<_> = tables.iter().map(|table| read_pool(table, context, own)).collect();
    let pools: Vec<Pool> = pools.into_iter().collect::<Option<_>>()?;
    let transport = match kind? {
        Kind::Direct => Transport::Direct,
        Kind::Nats => {
            if !cursor.has("nats") {
                cursor.missing("nats", " (transport = \"nats\")");
            }
            Transport::Nats { servers: nats? }
        }
        Kind::Sqs => {
            let Some((queues, table)) = sqs else {
                cursor.missing("sqs", " (transport = \"sqs\")");
                return None;
            };
            let (endpoint, mut queues) = queues?;
            check_queues(&table, &pools, &queues, context);
            if let Some(own) = own {
                own_queue(&table, &mut queues, own, context);
            }
            Transport::Sqs { endpoint, queues }
        }
    };
    let (spool_bytes, spool_sync) = spool?;
    Some(Relay { transport, spool_bytes, spool_sync, pools })
}

fn read_nats(cursor: &Cursor<'_>) -> Option<Vec<String>> {
    let servers = cursor.list("servers", |found| {
        let text = scalar::text(found)?;
        let uri: Option<http::Uri> = text.parse().ok();
        let known =
            uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("nats" | "tls")) && uri.host().is_some());
        if known {
            Ok(text)
        } else {
            Err(Wrong::only(format!("{} is not the URL of a NATS server", node::quote(&text))))
        }
    })?;
    if servers.is_empty() {
        cursor.error("servers", Wrong::new("is empty", "at least one URL"));
    }
    Some(servers)
}

type Queues = (Option<String>, Vec<(RegionId, String)>);

fn read_sqs(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<Queues> {
    let endpoint = cursor.get("endpoint", |found| {
        scalar::origin(found).map(|uri| uri.to_string().trim_end_matches('/').to_owned())
    });
    let Some(node) = cursor.raw("queues") else {
        cursor.missing("queues", "");
        return None;
    };
    let node::Value::Table(table) = &node.value else {
        cursor.error(
            "queues",
            Wrong::new(format!("{} is not a table", node::describe(node)), "{ REGION = QUEUE, … }"),
        );
        return None;
    };
    let mut queues = Vec::new();
    for entry in &table.0 {
        let key = format!("queues.{}", entry.key);
        let name = node::Node { at: entry.at, value: node::Value::String(entry.key.clone()) };
        match (context.region()(&name), scalar::nonempty(&entry.node)) {
            (Ok(region), Ok(queue)) => queues.push((region, queue)),
            (Err(wrong), _) | (_, Err(wrong)) => {
                cursor.faults.error(entry.at, &node::join(&cursor.path, &key), wrong);
            }
        }
    }
    Some((endpoint, queues))
}

fn check_queues(cursor: &Cursor<'_>, pools: &[Pool], queues: &[(RegionId, String)], context: &Context<'_>) {
    let mut without: Vec<RegionId> = pools.iter().flat_map(|pool| pool.regions.iter().copied()).collect();
    without.sort_unstable();
    without.dedup();
    without.retain(|region| !queues.iter().any(|(known, _)| known == region));
    for region in without {
        let name = context.regions.get(region.index()).map_or("", String::as_str);
        cursor.error(
            "queues",
            Wrong::new(
                format!("has no queue for region {name}, which a pool names"),
                "one queue for each region of each pool",
            ),
        );
    }
}

/// This host's own queue, where it is not named: as another region's, whose name has its region in it.
fn own_queue(
    cursor: &Cursor<'_>,
    queues: &mut Vec<(RegionId, String)>,
    own: RegionId,
    context: &Context<'_>,
) {
    if queues.is_empty() || queues.iter().any(|(region, _)| *region == own) {
        return;
    }
    let name = |region: RegionId| context.regions.get(region.index()).map_or("", String::as_str);
    let like = queues.iter().find(|(region, queue)| queue.contains(name(*region)));
    match like.map(|(region, queue)| queue.replacen(name(*region), name(own), 1)) {
        Some(queue) => queues.push((own, queue)),
        None => cursor.error(
            "queues",
            Wrong::new(
                format!(
                    "has no queue for {}, this host's own region, where letters and answers arrive",
                    name(own)
                ),
                "its queue, or names that have their region's name in them",
            ),
        ),
    }
}

fn read_pool(cursor: &Cursor<'_>, context: &Context<'_>, own: Option<RegionId>) -> Option<Pool> {
    let name = cursor.get("name", scalar::name);
    if let Some(name) = &name {
        context.claims.take("pool", name, cursor, "name");
    }
    let listen = cursor.get("listen", scalar::socket);
    let refill_listen = cursor.get("refill_listen", scalar::socket);
    for (key, address) in [("listen", listen), ("refill_listen", refill_listen)] {
        if let Some(address) = address.filter(|address| address.port() != 0) {
            context.claims.take("address", &address.to_string(), cursor, key);
        }
    }
    let servers = cursor.list("servers", scalar::socket);
    if servers.as_ref().is_some_and(Vec::is_empty) {
        cursor.error("servers", Wrong::new("is empty", "at least one IP:PORT"));
    }
    for server in servers.iter().flatten().filter(|server| Some(**server) == listen) {
        cursor.error(
            "servers",
            Wrong::new(format!("{server} is this pool's own front"), "addresses of memcached"),
        );
    }
    let regions = cursor.list("regions", |found| {
        let region = context.region()(found)?;
        if Some(region) == own { Err(Wrong::only("is this host's own region")) } else { Ok(region) }
    });
    let capture =
        cursor.get("capture", scalar::choice(&[("writes", Capture::Writes), ("deletes", Capture::Deletes)]));
    let refills =
        cursor.get("refills", scalar::choice(&[("compare", Refills::Compare), ("skip", Refills::Skip)]));
    let repeat_after = cursor.get("repeat_after", scalar::duration(super::ms(0)..=HOUR));
    let expire_after = cursor.get("expire_after", scalar::duration(super::SECOND..=DAY * 365));
    let when_unknown = cursor
        .get("when_unknown", scalar::choice(&[("flush", WhenUnknown::Flush), ("count", WhenUnknown::Count)]));
    let verify = cursor.get("verify", scalar::integer(0..=1_000_000_000));
    Some(Pool {
        name: name?,
        listen: listen?,
        servers: servers?,
        regions: regions?,
        capture: capture?,
        refills: refills?,
        refill_listen,
        repeat_after: repeat_after?,
        expire_after: expire_after?,
        when_unknown: when_unknown?,
        verify: verify?,
    })
}
