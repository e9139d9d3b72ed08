//! IPv4 tables: a byte for each /24, groups of 256 bytes for those with longer prefixes, and the ranks that find them.
//! Holds the layout of [`tidegate_common::source`]; never looks anything up.

use tidegate_common::abi::{Page, Rank};
use tidegate_common::source::{GROUPS_PER_PAGE, MARKER, RANKS_PER_PAGE};
use zerocopy::IntoBytes;

use super::CompileError;
use super::classes::Classes;
use super::segments::Segment;

/// Most /24s with longer prefixes: 256 MiB of groups.
const MAX_GROUPS: usize = 1 << 20;
/// Rank words: one for 64 /24s.
const RANK_WORDS: usize = 1 << 18;

/// Pages of the IPv4 tables.
#[derive(Clone, Debug)]
pub(super) struct V4Tables {
    pub(super) slash24s: Vec<Page>,
    pub(super) ranks: Vec<Page>,
    pub(super) groups: Vec<Page>,
    group_count: usize,
}

impl V4Tables {
    /// Lays out `segments`.
    pub(super) fn build(segments: &[Segment<u32>], classes: &Classes) -> Result<Self, CompileError> {
        let mut builder = Builder {
            slash24s: vec![Page::ZERO; 256],
            groups: Vec::new(),
            group_count: 0,
            open: None,
            bits: Vec::new(),
        };
        for (index, &(first, class)) in segments.iter().enumerate() {
            let last = segments.get(index + 1).map_or(u32::MAX, |next| next.0 - 1);
            builder.segment(first, last, classes.number(class))?;
        }
        Ok(builder.finish())
    }

    /// /24s with longer prefixes.
    pub(super) fn group_count(&self) -> usize {
        self.group_count
    }
}

struct Builder {
    slash24s: Vec<Page>,
    groups: Vec<Page>,
    group_count: usize,
    /// The /24 whose group is being filled.
    open: Option<u32>,
    /// Marker bits, by rank word; empty until there is a group.
    bits: Vec<u64>,
}

impl Builder {
    /// `class` from `first` to `last`; segments come in ascending order and leave no gap.
    fn segment(&mut self, first: u32, last: u32, class: u8) -> Result<(), CompileError> {
        let (head, tail) = (first >> 8, last >> 8);
        let whole_head = first & 255 == 0;
        let whole_tail = last & 255 == 255;
        if head == tail && !(whole_head && whole_tail) {
            return self.part(head, first & 255, last & 255, class);
        }
        let from = if whole_head { head } else { head + 1 };
        let to = if whole_tail { tail } else { tail.wrapping_sub(1) };
        if !whole_head {
            self.part(head, first & 255, 255, class)?;
        }
        self.fill(from, to, class);
        if !whole_tail {
            self.part(tail, 0, last & 255, class)?;
        }
        Ok(())
    }

    /// `class` for whole /24s.
    fn fill(&mut self, from: u32, to: u32, class: u8) {
        let mut at = from as usize;
        let end = to as usize + 1;
        while at < end && from <= to {
            let (page, start) = (at >> 16, at & 65_535);
            let stop = (end - (page << 16)).min(65_536);
            self.slash24s[page].bytes[start..stop].fill(class);
            at = (page << 16) + stop;
        }
    }

    /// `class` for a part of a /24.
    fn part(&mut self, slash24: u32, low: u32, high: u32, class: u8) -> Result<(), CompileError> {
        if self.open != Some(slash24) {
            self.open_group(slash24)?;
        }
        let group = self.group_count - 1;
        let start = group % GROUPS_PER_PAGE as usize * 256;
        let page = &mut self.groups[group / GROUPS_PER_PAGE as usize];
        page.bytes[start + low as usize..=start + high as usize].fill(class);
        Ok(())
    }

    fn open_group(&mut self, slash24: u32) -> Result<(), CompileError> {
        if self.group_count == MAX_GROUPS {
            let (unit, advice) = ("/24s with longer prefixes", "/24");
            return Err(CompileError::Size { family: "IPv4", most: MAX_GROUPS, unit, advice });
        }
        if self.group_count.is_multiple_of(GROUPS_PER_PAGE as usize) {
            self.groups.push(Page::ZERO);
        }
        self.bits.resize(RANK_WORDS, 0);
        self.bits[slash24 as usize >> 6] |= 1 << (slash24 & 63);
        self.fill(slash24, slash24, MARKER as u8);
        self.group_count += 1;
        self.open = Some(slash24);
        Ok(())
    }

    fn finish(mut self) -> V4Tables {
        let pages = self.bits.len().div_ceil(RANKS_PER_PAGE as usize).max(1);
        let mut ranks = vec![Page::ZERO; pages];
        let mut base = 0;
        for (index, &bits) in self.bits.iter().enumerate() {
            let start = index % RANKS_PER_PAGE as usize * size_of::<Rank>();
            let rank = Rank { bits, base };
            let page = &mut ranks[index / RANKS_PER_PAGE as usize];
            page.bytes[start..start + size_of::<Rank>()].copy_from_slice(rank.as_bytes());
            base += u64::from(bits.count_ones());
        }
        if self.groups.is_empty() {
            self.groups.push(Page::ZERO);
        }
        V4Tables { slash24s: self.slash24s, ranks, groups: self.groups, group_count: self.group_count }
    }
}
