//! What the NIC is to do, as values that the kernel side only has to write: tables and globals of one program, and limits.
//! Never talks to the kernel. A change of sources, addresses or ports is a new program; a change of limits is a flip of banks.

mod limits;
mod locals;

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_common::abi::{Page, Settings};
use tidegate_common::names;
use zerocopy::IntoBytes;

pub use limits::{LimitRow, Limits};
pub use locals::{LocalError, Locals};

use super::sources::SourceTables;

/// One loaded program's worth of decisions.
#[derive(Clone, Debug)]
pub struct NicPlan {
    sources: Arc<SourceTables>,
    locals: Locals,
    ports: Box<[u64; 1024]>,
    settings: Settings,
}

impl NicPlan {
    /// Joins what was decided: compiled sources, the addresses of this host, and the ports that may be shed.
    ///
    /// # Errors
    /// When there are more local addresses than the program holds.
    pub fn new(
        sources: Arc<SourceTables>,
        addresses: impl IntoIterator<Item = IpAddr>,
        ports: &[u16],
    ) -> Result<Self, LocalError> {
        let locals = Locals::new(addresses)?;
        let stats = sources.stats();
        let settings = Settings {
            groups: u32::from(stats.groups > 0),
            v6: u32::from(stats.nodes > 0),
            ..locals.settings()
        };
        Ok(Self { sources, locals, ports: port_bits(ports), settings })
    }

    /// The compiled sources.
    #[must_use]
    pub fn sources(&self) -> &Arc<SourceTables> {
        &self.sources
    }

    /// Values of the program's globals, by symbol name.
    #[must_use]
    pub fn globals(&self) -> [(&'static str, &[u8]); 7] {
        let [local4, local6_slots, local6] = self.locals.globals();
        [
            (names::SETTINGS, self.settings.as_bytes()),
            (names::CLASSES, self.sources.classes().as_bytes()),
            (names::ROOT4, self.sources.root4().as_bytes()),
            (names::PORTS, self.ports.as_bytes()),
            (names::LOCAL4, local4),
            (names::LOCAL6_SLOTS, local6_slots),
            (names::LOCAL6, local6),
        ]
    }

    /// Pages of the program's own table maps, by map name: entry `n` of the map is page `n`, `max_entries` is the slice's length.
    #[must_use]
    pub fn tables(&self) -> [(&'static str, &[Page]); 5] {
        self.sources.pages()
    }

    /// Whether the program takes `address` for an address of this host.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.locals.contains(address)
    }

    /// Whether traffic to `port` may be shed.
    #[must_use]
    pub fn is_listed(&self, port: u16) -> bool {
        self.ports[usize::from(port >> 6)] >> (port & 63) & 1 == 1
    }

    /// Whether `other` makes the same program: then nothing needs to be loaded.
    #[must_use]
    pub fn is_same_program(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.sources, &other.sources) && self.locals == other.locals && self.ports == other.ports
    }
}

/// One bit for each port; port 0 is never listed.
fn port_bits(ports: &[u16]) -> Box<[u64; 1024]> {
    let mut bits = Box::new([0; 1024]);
    for &port in ports.iter().filter(|&&port| port != 0) {
        bits[usize::from(port >> 6)] |= 1 << (port & 63);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::region::RegionId;
    use crate::decide::sources::SourceRules;

    #[test]
    fn globals_have_the_sizes_that_the_program_declares() {
        let default_region = RegionId::new(0).expect("first");
        let rules = SourceRules { default_region, records: &[], allow: &[], deny: &[] };
        let sources = Arc::new(SourceTables::compile(&rules).expect("empty"));
        let plan =
            NicPlan::new(sources, ["192.0.2.1".parse().expect("address")], &[443, 65_535]).expect("plan");
        let sizes = plan.globals().map(|(name, bytes)| (name, bytes.len()));
        let expected = [
            (names::SETTINGS, 32),
            (names::CLASSES, 512),
            (names::ROOT4, 262_144),
            (names::PORTS, 8_192),
            (names::LOCAL4, 262_144),
            (names::LOCAL6_SLOTS, 131_072),
            (names::LOCAL6, 16_384),
        ];
        assert_eq!(sizes, expected);
        assert_eq!(plan.ports[6], 1 << (443 & 63));
        assert_eq!(plan.ports[1023], 1 << 63);
        assert!(plan.is_same_program(&plan.clone()));
    }
}
