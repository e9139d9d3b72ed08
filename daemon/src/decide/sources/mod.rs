//! Geo prefixes, allow list and deny list compiled into flat tables for [`tidegate_common::source`]: what the kernel looks up
//! for each packet, and the proxy for each client. Never edited in place: a change compiles new tables.

mod classes;
mod segments;
mod v4;
mod v6;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use tidegate_common::abi::{Class, Leaf, Page, Rank};
use tidegate_common::source::{
    self, BLOCKS_PER_PAGE, GROUPS_PER_PAGE, LEAVES_PER_PAGE, NODES_PER_PAGE, RANKS_PER_PAGE, Tables,
};
use zerocopy::FromBytes;

use crate::decide::region::RegionId;

/// Most IPv4 prefixes of geo records.
pub const MAX_V4_PREFIXES: usize = 1_000_000;
/// Most IPv6 prefixes of geo records.
pub const MAX_V6_PREFIXES: usize = 200_000;

/// What is compiled.
#[derive(Clone, Copy, Debug)]
pub struct SourceRules<'a> {
    /// Home of a source that no record matches.
    pub default_region: RegionId,
    /// Longest match wins; of equal prefixes the first.
    pub records: &'a [(IpNet, RegionId)],
    /// Never shed, whatever else matches.
    pub allow: &'a [IpNet],
    /// Always shed, unless allowed.
    pub deny: &'a [IpNet],
}

/// Why rules can't be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Too many prefixes.
    #[error("{found} {family} prefixes in geo records; at most {most} are allowed")]
    Prefixes {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// Tables would grow past their bound.
    #[error("the {family} prefixes need more than {most} {unit}; use fewer prefixes longer than {advice}")]
    Size {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Bound.
        most: usize,
        /// What is bounded.
        unit: &'static str,
        /// Which prefixes cost most.
        advice: &'static str,
    },
}

/// Numbers of a compilation, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// IPv4 prefixes in records.
    pub v4_prefixes: usize,
    /// IPv6 prefixes in records.
    pub v6_prefixes: usize,
    /// Classes in use.
    pub classes: usize,
    /// /16s with longer prefixes.
    pub blocks: usize,
    /// /24s with longer prefixes.
    pub groups: usize,
    /// IPv6 nodes.
    pub nodes: usize,
    /// IPv6 leaves.
    pub leaves: usize,
}

/// Compiled tables.
#[derive(Clone, Debug)]
pub struct SourceTables {
    classes: Box<[Class; 256]>,
    v4: v4::V4Tables,
    v6: v6::V6Tables,
    stats: SourceStats,
}

impl SourceTables {
    /// Compiles rules.
    ///
    /// # Errors
    /// When there are more prefixes, or they need larger tables, than is allowed.
    pub fn compile(rules: &SourceRules<'_>) -> Result<Self, CompileError> {
        let v4 = segments::of_v4(rules);
        let v6 = segments::of_v6(rules);
        let stats = count(rules)?;
        let used = v4.iter().map(|segment| segment.1).chain(v6.iter().map(|segment| segment.1));
        let classes = classes::Classes::allocate(segments::default_of(rules), used);
        let v4 = v4::V4Tables::build(&v4, &classes)?;
        let v6 = v6::V6Tables::build(&v6, &classes)?;
        let stats = SourceStats {
            classes: classes.len(),
            blocks: v4.block_count(),
            groups: v4.group_count(),
            nodes: v6.node_count(),
            leaves: v6.leaf_count(),
            ..stats
        };
        Ok(Self { classes: classes.table(), v4, v6, stats })
    }

    /// Home and list of a source. An IPv4-mapped IPv6 address counts as the IPv4 address.
    #[must_use]
    pub fn class(&self, source: IpAddr) -> Class {
        let class = match source.to_canonical() {
            IpAddr::V4(address) => source::class_of_v4(self, address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                source::class_of_v6(self, (bits >> 64) as u64, bits as u64)
            }
        };
        self.classes[class as usize & 255]
    }

    /// Home region of a source; `None` only where a list decides and there are too many regions to tell.
    #[must_use]
    pub fn home(&self, source: IpAddr) -> Option<RegionId> {
        RegionId::from_home(self.class(source).home)
    }

    /// Meaning of the classes.
    #[must_use]
    pub fn classes(&self) -> &[Class; 256] {
        &self.classes
    }

    /// The IPv4 table's root, a word for each /16.
    #[must_use]
    pub fn root4(&self) -> &[u32] {
        &self.v4.root
    }

    /// Numbers of the compilation.
    #[must_use]
    pub fn stats(&self) -> SourceStats {
        self.stats
    }

    /// Pages of the kernel's tables, by map name; each has at least one page.
    #[must_use]
    pub fn pages(&self) -> [(&'static str, &[Page]); 5] {
        use tidegate_common::names::{BLOCKS, GROUPS, LEAVES, NODES, RANKS};
        [
            (BLOCKS, &self.v4.blocks),
            (RANKS, &self.v4.ranks),
            (GROUPS, &self.v4.groups),
            (NODES, &self.v6.nodes),
            (LEAVES, &self.v6.leaves),
        ]
    }
}

fn count(rules: &SourceRules<'_>) -> Result<SourceStats, CompileError> {
    let v4_prefixes = rules.records.iter().filter(|(prefix, _)| matches!(prefix, IpNet::V4(_))).count();
    let v6_prefixes = rules.records.len() - v4_prefixes;
    let check = |family, found, most| {
        if found > most { Err(CompileError::Prefixes { family, found, most }) } else { Ok(()) }
    };
    check("IPv4", v4_prefixes, MAX_V4_PREFIXES)?;
    check("IPv6", v6_prefixes, MAX_V6_PREFIXES)?;
    Ok(SourceStats { v4_prefixes, v6_prefixes, ..SourceStats::default() })
}

/// The value of type `T` at `index` of a table whose pages hold `per_page` of them.
fn read<T: FromBytes>(pages: &[Page], index: u32, per_page: u32) -> Option<T> {
    let page = pages.get((index / per_page) as usize)?;
    let start = (index % per_page) as usize * size_of::<T>();
    T::read_from_bytes(page.bytes.get(start..start + size_of::<T>())?).ok()
}

impl Tables for SourceTables {
    fn has_groups(&self) -> bool {
        self.v4.group_count() > 0
    }

    fn has_v6(&self) -> bool {
        self.v6.is_used()
    }

    fn slash16(&self, index: u32) -> u32 {
        self.v4.root.get(index as usize).copied().unwrap_or_default()
    }

    fn block(&self, block: u32, third: u32) -> u32 {
        read::<u8>(&self.v4.blocks, block * 256 + third, BLOCKS_PER_PAGE * 256).map_or(0, u32::from)
    }

    fn rank(&self, index: u32) -> Rank {
        read(&self.v4.ranks, index, RANKS_PER_PAGE).unwrap_or_default()
    }

    fn group(&self, group: u32, low: u32) -> u32 {
        read::<u8>(&self.v4.groups, group * 256 + low, GROUPS_PER_PAGE * 256).map_or(0, u32::from)
    }

    fn node(&self, node: u32, byte: u32) -> u32 {
        read(&self.v6.nodes, node * 256 + byte, NODES_PER_PAGE * 256).unwrap_or_default()
    }

    fn leaf(&self, index: u32) -> Leaf {
        read(&self.v6.leaves, index, LEAVES_PER_PAGE).unwrap_or_default()
    }
}
