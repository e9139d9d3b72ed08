//! `[log]`. Never logs.

use super::super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar};
use crate::config::types::{AccessLog, Log, LogFormat};

pub(in crate::config) const KEYS: &[Key] = &[
    key::default(
        "level",
        "\"info\"",
        "\"error\", \"warn\", \"info\", \"debug\", \"trace\", or a filter such as \"info,tidegate::proxy=debug\"",
        "What is logged; RUST_LOG overrides it.",
    ),
    key::default(
        "format",
        "\"auto\"",
        "\"auto\", \"text\", \"json\"",
        "`auto`: journald under systemd, text on a terminal, else JSON.",
    ),
    key::default("access", "\"sampled\"", "\"off\", \"sampled\", \"all\"", "Which requests are logged."),
];

const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
const ACCESS: &[(&str, AccessLog)] =
    &[("off", AccessLog::Off), ("sampled", AccessLog::Sampled), ("all", AccessLog::All)];

pub(in crate::config) fn read(cursor: &Cursor<'_>) -> Option<Log> {
    let level = cursor.get("level", level);
    let format = cursor.get("format", scalar::choice(FORMATS));
    let access = cursor.get("access", scalar::choice(ACCESS));
    Some(Log { level: level?, format: format?, access: access? })
}

/// A bare word that is no level would silently mean a target named so: only words with `=` may name targets.
fn level(found: &node::Node) -> Result<String, Wrong> {
    let text = scalar::nonempty(found)?;
    let wrong = || Wrong::only(format!("{} is not a level", node::quote(&text)));
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim().to_ascii_lowercase();
        if !matches!(level.as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace") {
            return Err(wrong());
        }
    }
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text),
        Err(_) => Err(wrong()),
    }
}
