//! Against a naive model: the longest matching prefix of a list.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use tidegate_common::abi::{LIST_ALLOW, LIST_DENY, LIST_NONE};

use super::*;

fn region(index: usize) -> RegionId {
    RegionId::new(index).expect("a small number")
}

/// The naive model.
fn model(rules: &SourceRules<'_>, source: IpAddr) -> Class {
    let longest = rules
        .records
        .iter()
        .rev()
        .filter(|(prefix, _)| prefix.contains(&source))
        .max_by_key(|(prefix, _)| prefix.prefix_len());
    let home = longest.map_or(rules.default_region, |record| record.1).home();
    let on = |list: &[IpNet]| list.iter().any(|prefix| prefix.contains(&source));
    let list = if on(rules.allow) {
        LIST_ALLOW
    } else if on(rules.deny) {
        LIST_DENY
    } else {
        LIST_NONE
    };
    Class { home, list }
}

/// Prefixes that nest: addresses of few distinct bits, so that many share their start.
fn v4_prefix() -> impl Strategy<Value = IpNet> {
    (
        prop::sample::select(vec![0x0a00_0000u32, 0x0a01_0203, 0xc000_0201, 0xffff_ffff, 0]),
        any::<u32>(),
        0..=32u8,
    )
        .prop_map(|(base, noise, length)| {
            let bits = base ^ (noise & noise.rotate_left(7) & 0x0001_01ff);
            Ipv4Net::new(Ipv4Addr::from_bits(bits), length).expect("length").trunc().into()
        })
}

fn v6_prefix() -> impl Strategy<Value = IpNet> {
    let bases = vec![0x2001_0db8u128 << 96, (0x2001_0db8u128 << 96) | 0x0100_0002, u128::MAX, 0];
    (prop::sample::select(bases), any::<u128>(), 0..=128u8).prop_map(|(base, noise, length)| {
        let bits = base ^ (noise & noise.rotate_left(7) & (0xff_u128 << 80 | 0x1_0000_0000_01ff));
        Ipv6Net::new(Ipv6Addr::from_bits(bits), length).expect("length").trunc().into()
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![v4_prefix(), v6_prefix()]
}

/// Every address at which something may change, and its neighbours.
fn edges(prefixes: impl Iterator<Item = IpNet>) -> Vec<IpAddr> {
    prefixes
        .flat_map(|prefix| match prefix {
            IpNet::V4(prefix) => {
                let (low, high) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
                    .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
            }
            IpNet::V6(prefix) => {
                let (low, high) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
                    .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
            }
        })
        .filter(|address| address.to_canonical() == *address)
        .collect()
}

fn agree(rules: &SourceRules<'_>, sources: impl Iterator<Item = IpAddr>) {
    let tables = SourceTables::compile(rules).expect("within bounds");
    for source in sources {
        assert_eq!(tables.class(source), model(rules, source), "{source} in {rules:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_the_longest_match(
        records in prop::collection::vec((prefix(), (0usize..4).prop_map(region)), 0..40),
        allow in prop::collection::vec(prefix(), 0..6),
        deny in prop::collection::vec(prefix(), 0..6),
    ) {
        let rules = SourceRules { default_region: region(1), records: &records, allow: &allow, deny: &deny };
        let all = records.iter().map(|record| record.0).chain(allow.iter().copied()).chain(deny.iter().copied());
        agree(&rules, edges(all).into_iter());
    }
}

#[test]
fn nothing_but_the_default() {
    let rules = SourceRules { default_region: region(2), records: &[], allow: &[], deny: &[] };
    let tables = SourceTables::compile(&rules).expect("empty");
    assert_eq!(tables.home("192.0.2.1".parse().expect("address")), Some(region(2)));
    assert_eq!(tables.home("2001:db8::1".parse().expect("address")), Some(region(2)));
    assert_eq!(tables.stats(), SourceStats { classes: 1, ..SourceStats::default() });
    assert!(tables.pages().iter().all(|(_, pages)| !pages.is_empty()));
}

#[test]
fn every_region_with_both_lists_still_fits() {
    let prefix = |index: usize| -> IpNet { format!("10.{index}.0.0/16").parse().expect("prefix") };
    let half =
        |index: usize, part: usize| -> IpNet { format!("10.{index}.{part}.0/25").parse().expect("prefix") };
    let records: Vec<_> = (0..254).map(|index| (prefix(index), region(index))).collect();
    let allow: Vec<_> = (0..254).map(|index| half(index, 7)).collect();
    let mut deny: Vec<_> = (0..254).map(|index| half(index, 9)).collect();
    deny.push("2001:db8::/32".parse().expect("prefix"));
    let rules = SourceRules { default_region: region(0), records: &records, allow: &allow, deny: &deny };
    let tables = SourceTables::compile(&rules).expect("fits");
    assert_eq!(tables.stats().classes, 256);
    let class = |text: &str| tables.class(text.parse().expect("address"));
    assert_eq!(class("10.253.1.1"), Class { home: 254, list: LIST_NONE });
    assert_eq!(class("10.253.7.1").list, LIST_ALLOW);
    assert_eq!(class("10.253.9.1").list, LIST_DENY);
    assert_eq!(class("10.253.7.128"), Class { home: 254, list: LIST_NONE });
    assert_eq!(class("2001:db8::1").list, LIST_DENY);
    assert_eq!(class("::ffff:10.3.0.1"), Class { home: 4, list: LIST_NONE });
}

#[test]
fn whole_slash24s_of_the_last_class_need_no_group() {
    let records: Vec<_> = (0..254)
        .map(|index| (format!("10.{index}.0.0/16").parse().expect("prefix"), region(index)))
        .collect();
    let lists: [IpNet; 2] =
        ["192.0.2.0/24".parse().expect("prefix"), "198.51.100.0/24".parse().expect("prefix")];
    let rules =
        SourceRules { default_region: region(0), records: &records, allow: &lists[..1], deny: &lists[1..] };
    let tables = SourceTables::compile(&rules).expect("fits");
    assert_eq!((tables.stats().classes, tables.stats().groups), (256, 0));
    assert_eq!(tables.class("192.0.2.9".parse().expect("address")).list, LIST_ALLOW);
}

#[test]
fn bounds_are_errors() {
    let record = ("192.0.2.0/24".parse().expect("prefix"), region(0));
    let records = vec![record; MAX_V4_PREFIXES + 1];
    let rules = SourceRules { default_region: region(0), records: &records, allow: &[], deny: &[] };
    let error = SourceTables::compile(&rules).expect_err("too many");
    assert_eq!(error.to_string(), "1000001 IPv4 prefixes in geo records; at most 1000000 are allowed");
}
