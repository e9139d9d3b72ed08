//! Which region a client belongs to, by its address. Never looks at a request: pins are `pin`'s.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_common::abi::{LIST_ALLOW, LIST_DENY};

use super::region::RegionId;
use super::sources::SourceTables;

/// The operators' lists; where an address is on both, the allow list wins (contract, "On the wire: NIC").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// On neither list.
    #[default]
    None,
    /// Never shed.
    Allow,
    /// Always shed.
    Deny,
}

/// What an address says about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Home region by the longest matching record, or the default region.
    pub home: RegionId,
    /// The list it is on.
    pub list: List,
}

/// Looks addresses up; implemented by the compiled tables that the NIC uses, too.
pub trait Homes: Send + Sync + fmt::Debug {
    /// Home and list of `address`. IPv4-mapped IPv6 addresses are looked up as IPv4.
    fn look_up(&self, address: IpAddr) -> Source;
}

/// The NIC's own tables: proxy and NIC see the same home and list for an address.
impl Homes for SourceTables {
    fn look_up(&self, address: IpAddr) -> Source {
        let class = self.class(address);
        // Class 0 is the default region's; a class without a home only decides by its list.
        let home = RegionId::from_home(class.home).or_else(|| RegionId::from_home(self.classes()[0].home));
        let list = match class.list {
            LIST_ALLOW => List::Allow,
            LIST_DENY => List::Deny,
            _ => List::None,
        };
        Source { home: home.unwrap_or_default(), list }
    }
}

/// Plain prefix sets: one hash map per prefix length. The model that faster tables are tested against.
#[derive(Clone, Debug)]
pub struct PrefixHomes {
    default: RegionId,
    homes: PrefixMap<RegionId>,
    lists: [PrefixMap<()>; 2],
}

impl PrefixHomes {
    /// Builds the sets. A prefix given twice keeps the first region (file order).
    pub fn new(
        default: RegionId,
        records: impl IntoIterator<Item = (IpNet, RegionId)>,
        allow: &[IpNet],
        deny: &[IpNet],
    ) -> Self {
        let set = |list: &[IpNet]| PrefixMap::new(list.iter().map(|net| (*net, ())));
        Self { default, homes: PrefixMap::new(records), lists: [set(allow), set(deny)] }
    }
}

impl Homes for PrefixHomes {
    fn look_up(&self, address: IpAddr) -> Source {
        let address = address.to_canonical();
        let list = match &self.lists {
            [allow, _] if allow.longest(address).is_some() => List::Allow,
            [_, deny] if deny.longest(address).is_some() => List::Deny,
            _ => List::None,
        };
        Source { home: self.homes.longest(address).copied().unwrap_or(self.default), list }
    }
}

/// Longest-prefix match by trying each used length, longest first.
#[derive(Clone, Debug)]
struct PrefixMap<T> {
    v4: Vec<(u8, HashMap<u128, T>)>,
    v6: Vec<(u8, HashMap<u128, T>)>,
}

impl<T> PrefixMap<T> {
    fn new(entries: impl IntoIterator<Item = (IpNet, T)>) -> Self {
        let mut map = Self { v4: Vec::new(), v6: Vec::new() };
        for (net, value) in entries {
            let (lengths, bits) = match net {
                IpNet::V4(net) => (&mut map.v4, u128::from(net.network().to_bits())),
                IpNet::V6(net) => (&mut map.v6, net.network().to_bits()),
            };
            let length = net.prefix_len();
            let at = lengths.partition_point(|(other, _)| *other > length);
            if lengths.get(at).is_none_or(|(other, _)| *other != length) {
                lengths.insert(at, (length, HashMap::new()));
            }
            lengths[at].1.entry(bits).or_insert(value);
        }
        map
    }

    fn longest(&self, address: IpAddr) -> Option<&T> {
        let (lengths, bits, width) = match address {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits()), 32_u32),
            IpAddr::V6(address) => (&self.v6, address.to_bits(), 128),
        };
        lengths.iter().find_map(|(length, map)| {
            let host_bits = width - u32::from(*length);
            let network = bits.checked_shr(host_bits).unwrap_or(0).checked_shl(host_bits).unwrap_or(0);
            map.get(&network)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(index: usize) -> RegionId {
        RegionId::new(index).expect("small")
    }

    fn homes() -> PrefixHomes {
        let net = |text: &str| text.parse::<IpNet>().expect("prefix");
        PrefixHomes::new(
            region(0),
            [
                (net("198.51.100.0/24"), region(1)),
                (net("198.51.100.128/25"), region(2)),
                (net("2001:db8::/32"), region(1)),
                (net("2001:db8:1::1/128"), region(2)),
            ],
            &[net("203.0.113.7/32")],
            &[net("203.0.113.0/24"), net("::/0")],
        )
    }

    #[test]
    fn the_longest_prefix_gives_the_home_and_allow_beats_deny() {
        let cases = [
            ("198.51.100.1", 1, List::None),
            ("198.51.100.200", 2, List::None),
            ("192.0.2.1", 0, List::None),
            ("::ffff:198.51.100.200", 2, List::None),
            ("203.0.113.7", 0, List::Allow),
            ("203.0.113.8", 0, List::Deny),
            ("2001:db8:2::1", 1, List::Deny),
            ("2001:db8:1::1", 2, List::Deny),
        ];
        for (address, home, list) in cases {
            let found = homes().look_up(address.parse().expect("address"));
            assert_eq!(found, Source { home: region(home), list }, "{address}");
        }
    }

    #[test]
    fn the_nics_tables_say_the_same() {
        use crate::decide::sources::SourceRules;

        let net = |text: &str| text.parse::<IpNet>().expect("prefix");
        let records = [
            (net("198.51.100.0/24"), region(1)),
            (net("198.51.100.128/25"), region(2)),
            (net("2001:db8::/32"), region(1)),
            (net("2001:db8:1::1/128"), region(2)),
        ];
        let (allow, deny) = ([net("203.0.113.7/32")], [net("203.0.113.0/24"), net("::/0")]);
        let rules = SourceRules { default_region: region(0), records: &records, allow: &allow, deny: &deny };
        let tables = SourceTables::compile(&rules).expect("small");
        for address in [
            "198.51.100.1",
            "198.51.100.200",
            "192.0.2.1",
            "203.0.113.7",
            "203.0.113.8",
            "2001:db8:2::1",
            "2001:db8:1::1",
        ] {
            let address = address.parse().expect("address");
            assert_eq!(tables.look_up(address), homes().look_up(address), "{address}");
        }
    }
}
