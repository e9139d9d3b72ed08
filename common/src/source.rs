//! From a source address to its class, over flat tables: the same lookup for the kernel program and for the daemon.
//! Never allocates and never walks more than sixteen steps; the tables are compiled by the daemon.
//!
//! IPv4: one word for each /16, either its class or the number of a block with one byte for each of its /24s. [`MARKER`] there says
//! that the /24 may have longer prefixes: then its bit in the [`Rank`]s leads to a group of 256 classes; without a bit, the marker is
//! an ordinary class.
//! IPv6: nodes of 256 entries, one for each byte of the address; nodes 0 to 255 are the second level, so that the first 16 bits
//! are one look. An entry is a class, a further node, or a [`Leaf`] where only one longer prefix is left.

use crate::abi::{Leaf, Rank};

/// Class number that the IPv4 table also uses as a marker.
pub const MARKER: u32 = 255;
/// Words of the IPv4 root, one for each /16: a class below this number, else this and the number of a block.
pub const FIRST_BLOCK: u32 = 256;
/// Blocks of 256 /24s on one page.
pub const BLOCKS_PER_PAGE: u32 = 256;
/// Groups of 256 classes on one page.
pub const GROUPS_PER_PAGE: u32 = 256;
/// Nodes of 256 entries on one page.
pub const NODES_PER_PAGE: u32 = 64;
/// Leaves on one page.
pub const LEAVES_PER_PAGE: u32 = 1_024;
/// Ranks on one page.
pub const RANKS_PER_PAGE: u32 = 4_096;
/// Nodes that every IPv6 table starts with.
pub const ROOT_NODES: u32 = 256;

/// An entry of an IPv6 node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub u32);

const KIND: u32 = 3 << 30;
const NODE: u32 = 1 << 30;
const LEAF: u32 = 2 << 30;

impl Entry {
    /// A class.
    #[must_use]
    pub const fn class(class: u8) -> Self {
        Self(class as u32)
    }

    /// A further node; `None` past 2^30.
    #[must_use]
    pub const fn node(node: u32) -> Option<Self> {
        if node & KIND == 0 { Some(Self(node | NODE)) } else { None }
    }

    /// A leaf; `None` past 2^30.
    #[must_use]
    pub const fn leaf(leaf: u32) -> Option<Self> {
        if leaf & KIND == 0 { Some(Self(leaf | LEAF)) } else { None }
    }
}

/// Reads of the compiled tables. An index past a table's end reads as zeroes (class 0): the tables never hold such an index.
pub trait Tables {
    /// Whether any /24 has longer prefixes.
    fn has_groups(&self) -> bool;
    /// Whether there are IPv6 prefixes.
    fn has_v6(&self) -> bool;
    /// Class or block of a /16, by its top 16 bits.
    fn slash16(&self, index: u32) -> u32;
    /// Class or marker of a block's /24 by its third byte.
    fn block(&self, block: u32, third: u32) -> u32;
    /// Rank word `index`.
    fn rank(&self, index: u32) -> Rank;
    /// Class of the address with last byte `low` in `group`.
    fn group(&self, group: u32, low: u32) -> u32;
    /// Entry `byte` of `node`.
    fn node(&self, node: u32, byte: u32) -> u32;
    /// Leaf `index`.
    fn leaf(&self, index: u32) -> Leaf;
}

/// Class of an IPv4 source (host byte order).
#[must_use]
#[inline(always)]
pub fn class_of_v4<T: Tables>(tables: &T, address: u32) -> u32 {
    let entry = tables.slash16(address >> 16);
    if entry < FIRST_BLOCK {
        return entry;
    }
    let slash24 = address >> 8;
    let class = tables.block(entry - FIRST_BLOCK, slash24 & 255);
    if class != MARKER || !tables.has_groups() {
        return class;
    }
    let rank = tables.rank(slash24 >> 6);
    let bit = slash24 & 63;
    if (rank.bits >> bit) & 1 == 0 {
        return MARKER;
    }
    let before = rank.bits & ((1u64 << bit) - 1);
    tables.group(rank.base as u32 + before.count_ones(), address & 255)
}

/// Class of an IPv6 source (halves in host byte order).
#[must_use]
#[inline(always)]
pub fn class_of_v6<T: Tables>(tables: &T, high: u64, low: u64) -> u32 {
    if !tables.has_v6() {
        return 0;
    }
    let mut node = (high >> 56) as u32;
    let mut rest = high << 8;
    for depth in 1..16 {
        if depth == 8 {
            rest = low;
        }
        let entry = tables.node(node, (rest >> 56) as u32);
        match entry & KIND {
            NODE => node = entry & !KIND,
            LEAF => return class_of_leaf(&tables.leaf(entry & !KIND), high, low),
            _ => return entry & 255,
        }
        rest <<= 8;
    }
    0
}

#[inline(always)]
fn class_of_leaf(leaf: &Leaf, high: u64, low: u64) -> u32 {
    let differs = ((high ^ leaf.high) & leaf.mask_high) | ((low ^ leaf.low) & leaf.mask_low);
    (if differs == 0 { leaf.class } else { leaf.miss }) & 255
}
