//! `[misroute]` and `[[misroute.rule]]`: what happens to a mis-routed request. Never routes one.

use super::super::{cursor::Cursor, fault::Wrong, key, key::Key, scalar};
use crate::config::types::{Misroute, MisrouteMode, MisrouteRule, WhenUnreachable};

pub(in crate::config) const KEYS: &[Key] = &[
    key::default(
        "mode",
        "\"isthmus\"",
        "\"isthmus\", \"redirect\", \"local\"",
        "Proxy to the home region, redirect the client there, or handle the request here.",
    ),
    key::default("redirect_status", "307", "302, 307 or 308", "Status of a redirect."),
    key::default(
        "when_unreachable",
        "\"local\"",
        "\"local\", \"redirect\", \"shed\"",
        "What happens when the home region has no edge that is up.",
    ),
    key::default(
        "max_hops",
        "1",
        "a whole number from 1 to 16",
        "More region-to-region hops than this are answered 508.",
    ),
    key::default(
        "automatic_failover",
        "true",
        "true or false",
        "A region with no edge up is treated as in failover until one is up again.",
    ),
    key::optional(
        "rule",
        "[[misroute.rule]]",
        "The first rule that matches decides; without a match, `mode`.",
    ),
];

pub(in crate::config) const RULE: &[Key] = &[
    key::optional("path_prefix", "a path that begins with /", "Matches the start of the path."),
    key::default("methods", "[]", "an array of HTTP methods", "Matches any of these; empty matches all."),
    key::required("mode", "\"isthmus\", \"redirect\", \"local\"", "What a match does."),
];

const MODES: &[(&str, MisrouteMode)] = &[
    ("isthmus", MisrouteMode::Isthmus),
    ("redirect", MisrouteMode::Redirect),
    ("local", MisrouteMode::Local),
];

const WHEN: &[(&str, WhenUnreachable)] = &[
    ("local", WhenUnreachable::Local),
    ("redirect", WhenUnreachable::Redirect),
    ("shed", WhenUnreachable::Shed),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>) -> Option<Misroute> {
    let mode = cursor.get("mode", scalar::choice(MODES));
    let redirect_status = cursor.get("redirect_status", |node| {
        let status = scalar::integer::<u16>(300..=399)(node).map_err(|wrong| Wrong::only(wrong.problem))?;
        if matches!(status, 302 | 307 | 308) {
            return Ok(status);
        }
        Err(Wrong::only(format!("{status} is not a status that keeps a redirect temporary or its method")))
    });
    let when_unreachable = cursor.get("when_unreachable", scalar::choice(WHEN));
    let max_hops = cursor.get("max_hops", scalar::integer(1..=16));
    let automatic_failover = cursor.get("automatic_failover", scalar::boolean);
    let tables = cursor.tables("rule", RULE);
    let rules: Vec<_> = tables.iter().map(read_rule).collect();
    let rules = rules.into_iter().collect::<Option<Vec<_>>>();
    Some(Misroute {
        mode: mode?,
        redirect_status: redirect_status?,
        when_unreachable: when_unreachable?,
        max_hops: max_hops?,
        automatic_failover: automatic_failover?,
        rules: rules?,
    })
}

fn read_rule(cursor: &Cursor<'_>) -> Option<MisrouteRule> {
    let path_prefix = cursor.get("path_prefix", scalar::url_path);
    let methods = cursor.list("methods", scalar::method);
    let mode = cursor.get("mode", scalar::choice(MODES));
    Some(MisrouteRule { path_prefix, methods: methods?, mode: mode? })
}
