//! The NIC's metrics.

use std::collections::BTreeMap;

use super::exposition::{Exposition, Kind};
use super::home;
use crate::decide::view::View;

/// Writes them.
pub(super) fn render(view: &View, out: &mut Exposition) {
    let counts = view.nic.as_ref().map(|nic| nic.counts.as_slice()).unwrap_or_default();
    out.family(
        "tidegate_nic_packets_total",
        Kind::Counter,
        "Packets that the program on the interface judged.",
    );
    let mut bytes: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for count in counts {
        let home = home(view, count.home);
        let labels = [("verdict", count.verdict), ("reason", count.reason), ("home", home.as_str())];
        out.whole("", &labels, count.packets);
        *bytes.entry((count.verdict, home)).or_default() += count.bytes;
    }
    out.family("tidegate_nic_bytes_total", Kind::Counter, "Bytes of these packets, whole frames.");
    for ((verdict, home), bytes) in bytes {
        out.whole("", &[("verdict", verdict), ("home", &home)], bytes);
    }
}
