//! `[xdp]`: the NIC. Never looks at an interface.

use std::collections::BTreeSet;

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    Context, HOUR, SECOND,
};
use crate::config::types::{Listener, Xdp, XdpMode};

pub(in crate::config) const KEYS: &[Key] = &[
    key::default(
        "interfaces",
        "[]",
        "an array of interface names",
        "Interfaces to attach to; empty: no XDP, the proxy alone enforces.",
    ),
    key::default(
        "mode",
        "\"auto\"",
        "\"auto\", \"native\", \"generic\"",
        "How to attach; `auto` is native where the driver has it.",
    ),
    key::optional(
        "ports",
        "an array of ports from 1 to 65535",
        "Only traffic to these local TCP/UDP ports is ever shed; the listeners' ports where left out.",
    ),
    key::default("allow", "[]", "an array of ADDRESS/LENGTH", "Never shed."),
    key::default("deny", "[]", "an array of ADDRESS/LENGTH", "Always shed, unless in `allow`."),
    key::default(
        "lease",
        "\"30s\"",
        "\"1s\" to \"1h\"",
        "No daemon for this long: the program lets everything pass (fail open).",
    ),
    key::default(
        "pressure",
        "true",
        "true or false",
        "While the proxy sheds, lower the NIC's connection rate for that region to match.",
    ),
];

const MODES: &[(&str, XdpMode)] =
    &[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];

pub(in crate::config) fn read(
    cursor: &Cursor<'_>,
    context: &Context<'_>,
    listeners: &[Listener],
) -> Option<Xdp> {
    let interfaces = cursor.list("interfaces", interface);
    for name in interfaces.iter().flatten() {
        context.claims.take("interface", name, cursor, "interfaces");
    }
    let mode = cursor.get("mode", scalar::choice(MODES));
    let ports = if cursor.has("ports") {
        cursor.list("ports", scalar::integer(1..=65_535))
    } else {
        Some(listeners.iter().map(|listener| listener.address.port()).filter(|port| *port != 0).collect())
    };
    // In the file's order: `explain` asks about the first.
    let ports = ports.map(|mut ports: Vec<u16>| {
        let mut seen = BTreeSet::new();
        ports.retain(|port| seen.insert(*port));
        ports
    });
    let allow = cursor.list("allow", scalar::prefix);
    let deny = cursor.list("deny", scalar::prefix);
    let lease = cursor.get("lease", scalar::duration(SECOND..=HOUR));
    let pressure = cursor.get("pressure", scalar::boolean);
    Some(Xdp {
        interfaces: interfaces?,
        mode: mode?,
        ports: ports?,
        allow: allow?,
        deny: deny?,
        lease: lease?,
        pressure: pressure?,
    })
}

/// IFNAMSIZ is 16 with the final zero; the kernel refuses `/`, spaces, "." and "..", and the name becomes part of a pin's.
fn interface(found: &node::Node) -> Result<String, Wrong> {
    let text = scalar::text(found)?;
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if (1..=15).contains(&text.len()) && plain && text != "." && text != ".." {
        return Ok(text);
    }
    Err(Wrong::new(
        format!("{} is not the name of an interface", node::quote(&text)),
        "1 to 15 printable characters, no /",
    ))
}
