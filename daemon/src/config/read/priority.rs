//! `[[priority]]`: which requests matter more. Never classifies one.

use super::super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar};
use crate::config::types::{Class, Priority};

pub(in crate::config) const KEYS: &[Key] = &[
    key::required(
        "class",
        "\"critical\", \"degraded\", \"best_effort\", \"bulk\"",
        "What a match is; as a ceiling fills, bulk is shed first, critical last.",
    ),
    key::optional("path_prefix", "a path that begins with /", "Matches the start of the path."),
    key::default("methods", "[]", "an array of HTTP methods", "Matches any of these; empty matches all."),
    key::optional("header", "{ name = NAME, value = TEXT }", "Matches a header's exact value."),
];

pub(in crate::config) const HEADER: &[Key] = &[
    key::required("name", "the name of a header", "The header."),
    key::required("value", "text", "Its exact value."),
];

const CLASSES: &[(&str, Class)] = &[
    ("critical", Class::Critical),
    ("degraded", Class::Degraded),
    ("best_effort", Class::BestEffort),
    ("bulk", Class::Bulk),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>) -> Option<Priority> {
    let class = cursor.get("class", scalar::choice(CLASSES));
    let path_prefix = cursor.get("path_prefix", scalar::url_path);
    let methods = cursor.list("methods", scalar::method);
    let header = cursor.table("header", HEADER).and_then(|table| read_header(&table));
    Some(Priority { class: class?, path_prefix, methods: methods?, header })
}

fn read_header(cursor: &Cursor<'_>) -> Option<(http::HeaderName, String)> {
    let name = cursor.get("name", |found| {
        let text = scalar::text(found)?;
        http::HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Wrong::only(format!("{} is not the name of a header", node::quote(&text))))
    });
    let value = cursor.get("value", scalar::text);
    Some((name?, value?))
}
