//! `[host]`: this host. Never looks at the host itself.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    Context,
};
use crate::config::types::Host;

pub(in crate::config) const KEYS: &[Key] = &[
    key::optional(
        "region",
        "the name of a [[region]]",
        "The region this host stands in; may be left out where there is only one region.",
    ),
    key::default(
        "instance",
        "\"main\"",
        "1 to 32 letters, digits, \"-\" or \"_\"",
        "Names the pins, the socket and the state folder, so that several instances can share one kernel.",
    ),
    key::default(
        "state_dir",
        "\"/var/lib/tidegate\"",
        "an absolute path",
        "What operators changed at run time, and the relay's spool.",
    ),
    key::default("workers", "0", "a whole number from 0 to 1024", "Proxy threads; 0 is one per core."),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<Host> {
    let region = match context.regions.len() {
        1 if !cursor.has("region") => crate::decide::region::RegionId::new(0),
        _ if !cursor.has("region") => {
            cursor.missing("region", "");
            None
        }
        _ => cursor.get("region", context.region()),
    };
    let instance = cursor.get("instance", instance);
    let state_dir = cursor.get("state_dir", scalar::path);
    let workers = cursor.get("workers", scalar::integer(0..=1024));
    Some(Host { region: region?, instance: instance?, state_dir: state_dir?, workers: workers? })
}

/// bpffs takes no dots in names, and the name is part of paths.
fn instance(found: &node::Node) -> Result<String, Wrong> {
    let text = scalar::text(found)?;
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if plain && (1..=32).contains(&text.len()) {
        return Ok(text);
    }
    Err(Wrong::only(format!("{} is not a name for an instance", node::quote(&text))))
}
