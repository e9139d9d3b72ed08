//! IPv6 tables: nodes of 256 entries for each byte of the address, and leaves where only one longer prefix is left.
//! Holds the layout of [`tidegate_common::source`]; never looks anything up.

use tidegate_common::abi::{Leaf, Page};
use tidegate_common::source::{Entry, LEAVES_PER_PAGE, NODES_PER_PAGE, ROOT_NODES};
use zerocopy::IntoBytes;

use super::CompileError;
use super::classes::Classes;
use super::segments::Segment;

/// Most nodes: 256 MiB.
const MAX_NODES: usize = 1 << 18;
/// Most leaves: each prefix makes at most a few.
const MAX_LEAVES: usize = 1 << 20;

/// Pages of the IPv6 tables.
#[derive(Clone, Debug)]
pub(super) struct V6Tables {
    pub(super) nodes: Vec<Page>,
    pub(super) leaves: Vec<Page>,
    node_count: usize,
    leaf_count: usize,
}

impl V6Tables {
    /// Lays out `segments`.
    pub(super) fn build(segments: &[Segment<u128>], classes: &Classes) -> Result<Self, CompileError> {
        let mut builder = Builder {
            segments: segments.iter().map(|&(start, class)| (start, classes.number(class))).collect(),
            tables: Self { nodes: Vec::new(), leaves: Vec::new(), node_count: 0, leaf_count: 0 },
        };
        if segments.len() > 1 || builder.segments.first().is_some_and(|segment| segment.1 != 0) {
            builder.roots()?;
        }
        let mut tables = builder.tables;
        for pages in [&mut tables.nodes, &mut tables.leaves] {
            if pages.is_empty() {
                pages.push(Page::ZERO);
            }
        }
        Ok(tables)
    }

    /// Whether any IPv6 source differs from class 0.
    pub(super) fn is_used(&self) -> bool {
        self.node_count > 0
    }

    /// Nodes.
    pub(super) fn node_count(&self) -> usize {
        self.node_count
    }

    /// Leaves.
    pub(super) fn leaf_count(&self) -> usize {
        self.leaf_count
    }
}

struct Builder {
    segments: Vec<(u128, u8)>,
    tables: V6Tables,
}

impl Builder {
    fn roots(&mut self) -> Result<(), CompileError> {
        for _ in 0..ROOT_NODES {
            self.new_node()?;
        }
        let mut at = 0;
        for root in 0..ROOT_NODES {
            self.fill(root, u128::from(root) << 120, 8, &mut at)?;
        }
        Ok(())
    }

    /// Entries of `node`, which decides the 8 bits after the first `bits` of `low`. `at` is the segment that holds
    /// `low`, and then the one that holds the node's last address.
    fn fill(&mut self, node: u32, low: u128, bits: u32, at: &mut usize) -> Result<(), CompileError> {
        for byte in 0..256u32 {
            let start = low | u128::from(byte) << (120 - bits);
            while self.segments.get(*at + 1).is_some_and(|next| next.0 <= start) {
                *at += 1;
            }
            let entry = self.entry(start, bits + 8, at)?;
            self.set(node, byte, entry);
        }
        Ok(())
    }

    /// What stands for the addresses that share the first `bits` of `low`.
    fn entry(&mut self, low: u128, bits: u32, at: &mut usize) -> Result<Entry, CompileError> {
        let high = low | u128::MAX.checked_shr(bits).unwrap_or(0);
        let class = self.segments[*at].1;
        if self.segments.get(*at + 1).is_none_or(|next| next.0 > high) {
            return Ok(Entry::class(class));
        }
        if let Some(leaf) = self.leaf(low, high, *at) {
            return self.new_leaf(&leaf);
        }
        let node = self.new_node()?;
        self.fill(node, low, bits, at)?;
        Entry::node(node).ok_or_else(too_many_nodes)
    }

    /// The leaf that says it all from `low` to `high`, if one can. At least two segments lie there, the first is `at`.
    fn leaf(&self, low: u128, high: u128, at: usize) -> Option<Leaf> {
        let inside = |index: usize| self.segments.get(index).filter(|segment| segment.0 <= high);
        let outer = self.segments[at].1;
        let (middle, inner) = *inside(at + 1)?;
        match (inside(at + 2), inside(at + 3)) {
            (None, _) => block(middle, high, inner, outer).or_else(|| block(low, middle - 1, outer, inner)),
            (Some(&(end, again)), None) if again == outer => block(middle, end - 1, inner, outer),
            _ => None,
        }
    }

    fn new_node(&mut self) -> Result<u32, CompileError> {
        if self.tables.node_count == MAX_NODES {
            return Err(too_many_nodes());
        }
        if self.tables.node_count.is_multiple_of(NODES_PER_PAGE as usize) {
            self.tables.nodes.push(Page::ZERO);
        }
        self.tables.node_count += 1;
        Ok((self.tables.node_count - 1) as u32)
    }

    fn new_leaf(&mut self, leaf: &Leaf) -> Result<Entry, CompileError> {
        let (most, advice) = (MAX_LEAVES, "/48");
        let full = CompileError::Size { family: "IPv6", most, unit: "leaves", advice };
        let index = self.tables.leaf_count;
        if index == MAX_LEAVES {
            return Err(full);
        }
        if index.is_multiple_of(LEAVES_PER_PAGE as usize) {
            self.tables.leaves.push(Page::ZERO);
        }
        let start = index % LEAVES_PER_PAGE as usize * size_of::<Leaf>();
        let page = &mut self.tables.leaves[index / LEAVES_PER_PAGE as usize];
        page.bytes[start..start + size_of::<Leaf>()].copy_from_slice(leaf.as_bytes());
        self.tables.leaf_count += 1;
        Entry::leaf(index as u32).ok_or(full)
    }

    fn set(&mut self, node: u32, byte: u32, entry: Entry) {
        let start = (node % NODES_PER_PAGE * 256 + byte) as usize * 4;
        let page = &mut self.tables.nodes[(node / NODES_PER_PAGE) as usize];
        page.bytes[start..start + 4].copy_from_slice(&entry.0.to_ne_bytes());
    }
}

/// The leaf for `first` to `last`, if these are a prefix.
fn block(first: u128, last: u128, class: u8, miss: u8) -> Option<Leaf> {
    let host = last ^ first;
    let is_prefix = host & host.wrapping_add(1) == 0 && first & host == 0;
    is_prefix.then(|| Leaf {
        high: (first >> 64) as u64,
        low: first as u64,
        mask_high: (!host >> 64) as u64,
        mask_low: !host as u64,
        class: u32::from(class),
        miss: u32::from(miss),
        ..Leaf::default()
    })
}

fn too_many_nodes() -> CompileError {
    CompileError::Size { family: "IPv6", most: MAX_NODES, unit: "table nodes", advice: "/64" }
}
