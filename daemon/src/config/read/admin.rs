//! `[admin]`: the socket and the scrape address. Never binds them.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    Context,
};
use crate::config::types::Admin;

pub(in crate::config) const KEYS: &[Key] = &[
    key::optional(
        "socket",
        "an absolute path of at most 107 bytes",
        "HTTP+JSON; rights by the caller's uid and gid (SO_PEERCRED); /run/tidegate/INSTANCE.sock where left out.",
    ),
    key::default(
        "write_group",
        "\"tidegate-admin\"",
        "the name of a group",
        "Root and this group may change things, every other local user may read; where there is no such group, root alone.",
    ),
    key::optional("metrics", "IP:PORT", "Prometheus scrape address; omit for the socket only."),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>, context: &Context<'_>, instance: &str) -> Option<Admin> {
    let socket = if cursor.has("socket") {
        cursor.get("socket", socket)
    } else {
        Some(format!("/run/tidegate/{instance}.sock").into())
    };
    let write_group = cursor.get("write_group", scalar::nonempty);
    let metrics = cursor.get("metrics", scalar::socket);
    if let Some(metrics) = metrics.filter(|metrics| metrics.port() != 0) {
        context.claims.take("address", &metrics.to_string(), cursor, "metrics");
    }
    Some(Admin { socket: socket?, write_group, metrics })
}

/// `sun_path` holds 108 bytes with the final zero (unix(7)).
fn socket(found: &node::Node) -> Result<std::path::PathBuf, Wrong> {
    let path = scalar::path(found)?;
    if path.as_os_str().len() <= 107 {
        return Ok(path);
    }
    Err(Wrong::only("is too long for a unix socket"))
}
