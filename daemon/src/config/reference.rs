//! The reference of every key, made from the same descriptions that the reader uses. Reads no configuration.

use super::key::{Key, Presence, TableDoc};
use super::{document, read};

/// Every table, in the order of the reference.
pub const TABLES: [TableDoc; 28] = [
    table("[host]", "This host.", read::host::KEYS),
    table("[[region]]", "Places with a full copy of the service.", read::region::KEYS),
    table(
        "[region.health]",
        "How this host watches that region's edges; stands below its `[[region]]`.",
        read::region::HEALTH,
    ),
    table("[geo]", "Geo directional records: who belongs where.", read::geo::KEYS),
    table(
        "[[geo.record]]",
        "One record. The most specific kind wins: prefix, subdivision, country, continent, default.",
        read::geo::RECORD,
    ),
    table("[misroute]", "What happens to a mis-routed request.", read::misroute::KEYS),
    table(
        "[[misroute.rule]]",
        "The first rule that matches decides; without a match, `mode`.",
        read::misroute::RULE,
    ),
    table(
        "[session]",
        "Keeps one device's session in one region, even when its address changes; omit the table to pin nothing.",
        read::session::KEYS,
    ),
    table("[[listener]]", "Where traffic comes in.", read::listener::KEYS),
    table("[[listener]] tls", "Certificate and key of a listener.", read::listener::TLS),
    table("[[listener]] limits", "Bounds of each connection.", read::listener::LIMITS),
    table("[[upstream]]", "The service itself.", read::upstream::KEYS),
    table(
        "[[upstream]] retries",
        "Only requests that are safe to repeat, never beyond the budget.",
        read::upstream::RETRIES,
    ),
    table("[[upstream]] health", "Probes of the endpoints.", read::upstream::HEALTH),
    table("[identity]", "This host towards other regions: isthmus and relay links.", read::identity::KEYS),
    table(
        "[[ceiling]]",
        "The most traffic that is let through. One home may have each NIC limit once.",
        read::ceiling::KEYS,
    ),
    table(
        "[[ceiling]] schedule",
        "Other limits for a part of the day; the first entry whose time it is holds.",
        read::ceiling::SCHEDULE,
    ),
    table("[[ceiling]] ramp", "Start low and grow linearly to the ceiling.", read::ceiling::RAMP),
    table(
        "[[priority]]",
        "Which requests matter more; the first match decides, without one `degraded`.",
        read::priority::KEYS,
    ),
    table("[[priority]] header", "A header to match.", read::priority::HEADER),
    table("[xdp]", "The NIC.", read::xdp::KEYS),
    table("[relay]", "Cache invalidation relay.", read::relay::KEYS),
    table("[relay] spool", "Where invalidations wait.", read::relay::SPOOL),
    table("[relay.nats]", "For `transport = \"nats\"`.", read::relay::NATS),
    table("[relay.sqs]", "For `transport = \"sqs\"`.", read::relay::SQS),
    table("[[relay.pool]]", "A memcached pool whose keys other regions must forget.", read::relay::POOL),
    table("[admin]", "Operators.", read::admin::KEYS),
    table("[log]", "Logs.", read::log::KEYS),
];

const fn table(header: &'static str, about: &'static str, keys: &'static [Key]) -> TableDoc {
    TableDoc { header, about, keys }
}

const HEAD: &str = "# Configuration

One TOML file (`/etc/tidegate/tidegate.toml`) and `conf.d/*.toml` beside it, merged in lexical order: tables merge, arrays of tables
append, and a key or name given twice is an error. Unknown keys are errors. `tidegate check` tells every fault at once, with its place
and what is allowed; files that a key names and that can't be opened are warnings there.

Durations are text with a unit: `250ms`, `30s`, `10m`, `2h`, `1d`, also `1h30m`. Rates are whole numbers, `_` allowed; rates of bits also
`4Gbit` or `500Mbit`. Sizes are bytes, or text such as `1GiB`.

A configuration can be short:

```toml
[[region]]
name = \"eu-west-1\"

[[listener]]
name = \"public\"
address = \"0.0.0.0:8080\"

[[upstream]]
name = \"origin\"
endpoints = [\"http://127.0.0.1:8081\"]
```

`tidegate reload` (or SIGHUP) puts a changed file into force as a whole, or changes nothing: where the list of regions or their order, `[host]`,
`[identity]`, `[relay]`, `[log]` or `[admin]`'s addresses differ, it is refused, names them, and a restart takes them in.
`GET /v1/config` on the admin socket shows what is in force, key by key, with defaults filled in.

This page is made from the reader's own descriptions; a test fails when it differs.
";

/// docs/CONFIGURATION.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for table in TABLES {
        text.push_str(&format!(
            "\n## `{}`\n\n{}\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n",
            table.header, table.about
        ));
        for key in table.keys {
            text.push_str(&line(key));
        }
    }
    text
}

fn line(key: &Key) -> String {
    let default = match key.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "-".to_owned(),
        Presence::Default(text) => format!("`{text}`"),
    };
    let clean = |text: &str| text.replace('|', "\\|");
    format!("| `{}` | {} | {} | {} |\n", key.name, clean(&default), clean(key.allowed), clean(key.about))
}

/// Names of the tables that the file itself has, for tests.
#[must_use]
pub fn top_level() -> Vec<&'static str> {
    document::KEYS.iter().map(|key| key.name).collect()
}
