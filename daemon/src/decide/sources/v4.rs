//! IPv4 tables: a word for each /16, blocks of 256 bytes for those with longer prefixes, groups of 256 bytes for the /24s of these
//! with still longer ones, and the ranks that find the groups. Holds the layout of [`tidegate_common::source`]; never looks anything up.

use tidegate_common::abi::{Page, Rank};
use tidegate_common::source::{BLOCKS_PER_PAGE, FIRST_BLOCK, GROUPS_PER_PAGE, MARKER, RANKS_PER_PAGE};
use zerocopy::IntoBytes;

use super::CompileError;
use super::classes::Classes;
use super::segments::Segment;

/// Most /24s with longer prefixes: 256 MiB of groups.
const MAX_GROUPS: usize = 1 << 20;
/// Rank words: one for 64 /24s.
const RANK_WORDS: usize = 1 << 18;

/// The IPv4 tables.
#[derive(Clone, Debug)]
pub(super) struct V4Tables {
    pub(super) root: Vec<u32>,
    pub(super) blocks: Vec<Page>,
    pub(super) ranks: Vec<Page>,
    pub(super) groups: Vec<Page>,
    block_count: usize,
    group_count: usize,
}

impl V4Tables {
    /// Lays out `segments`.
    pub(super) fn build(segments: &[Segment<u32>], classes: &Classes) -> Result<Self, CompileError> {
        let mut builder = Builder {
            root: vec![0; 1 << 16],
            blocks: Rows::default(),
            groups: Rows::default(),
            open_block: None,
            open_group: None,
            bits: Vec::new(),
        };
        for (index, &(first, class)) in segments.iter().enumerate() {
            let last = segments.get(index + 1).map_or(u32::MAX, |next| next.0 - 1);
            builder.segment(first, last, classes.number(class))?;
        }
        Ok(builder.finish())
    }

    /// /16s with longer prefixes.
    pub(super) fn block_count(&self) -> usize {
        self.block_count
    }

    /// /24s with longer prefixes.
    pub(super) fn group_count(&self) -> usize {
        self.group_count
    }
}

/// Rows of 256 classes, packed into pages.
#[derive(Default)]
struct Rows {
    pages: Vec<Page>,
    count: usize,
}

const ROWS_PER_PAGE: usize = GROUPS_PER_PAGE as usize;
const _: () = assert!(GROUPS_PER_PAGE == BLOCKS_PER_PAGE);

impl Rows {
    /// One more row; its number.
    fn push(&mut self) -> usize {
        if self.count.is_multiple_of(ROWS_PER_PAGE) {
            self.pages.push(Page::ZERO);
        }
        self.count += 1;
        self.count - 1
    }

    /// `class` from `first` to `last` of the newest row.
    fn fill(&mut self, first: u32, last: u32, class: u8) {
        let row = self.count - 1;
        let start = row % ROWS_PER_PAGE * 256;
        let page = &mut self.pages[row / ROWS_PER_PAGE];
        page.bytes[start + first as usize..=start + last as usize].fill(class);
    }

    /// At least one page.
    fn finish(mut self) -> Vec<Page> {
        if self.pages.is_empty() {
            self.pages.push(Page::ZERO);
        }
        self.pages
    }
}

struct Builder {
    root: Vec<u32>,
    blocks: Rows,
    groups: Rows,
    /// The /16 whose block is being filled.
    open_block: Option<u32>,
    /// The /24 whose group is being filled.
    open_group: Option<u32>,
    /// Marker bits, by rank word; empty until there is a group.
    bits: Vec<u64>,
}

/// Cuts `first..=last` into the part of the first unit of `2^bits`, whole units, and the part of the last unit.
fn cut(first: u32, last: u32, bits: u32) -> [Option<(u32, u32)>; 3] {
    let mask = (1 << bits) - 1;
    let (whole_head, whole_tail) = (first & mask == 0, last & mask == mask);
    if first >> bits == last >> bits && !(whole_head && whole_tail) {
        return [Some((first, last)), None, None];
    }
    let from = if whole_head { Some(first) } else { (first | mask).checked_add(1) };
    let to = if whole_tail { Some(last) } else { (last & !mask).checked_sub(1) };
    let head = (!whole_head).then_some((first, first | mask));
    let tail = (!whole_tail).then_some((last & !mask, last));
    let middle = from.zip(to).filter(|(from, to)| from <= to);
    [head, middle, tail]
}

impl Builder {
    /// `class` from `first` to `last`; segments come in ascending order and leave no gap.
    fn segment(&mut self, first: u32, last: u32, class: u8) -> Result<(), CompileError> {
        let [head, middle, tail] = cut(first, last, 16);
        if let Some((first, last)) = head {
            self.in_block(first, last, class)?;
        }
        if let Some((first, last)) = middle {
            self.root[first as usize >> 16..=last as usize >> 16].fill(u32::from(class));
        }
        if let Some((first, last)) = tail {
            self.in_block(first, last, class)?;
        }
        Ok(())
    }

    /// `class` for a part of a /16.
    fn in_block(&mut self, first: u32, last: u32, class: u8) -> Result<(), CompileError> {
        let slash16 = first >> 16;
        if self.open_block != Some(slash16) {
            self.root[slash16 as usize] = FIRST_BLOCK + self.blocks.push() as u32;
            self.open_block = Some(slash16);
        }
        let [head, middle, tail] = cut(first, last, 8);
        if let Some((first, last)) = head {
            self.in_group(first, last, class)?;
        }
        if let Some((first, last)) = middle {
            self.blocks.fill(first >> 8 & 255, last >> 8 & 255, class);
        }
        if let Some((first, last)) = tail {
            self.in_group(first, last, class)?;
        }
        Ok(())
    }

    /// `class` for a part of a /24.
    fn in_group(&mut self, first: u32, last: u32, class: u8) -> Result<(), CompileError> {
        let slash24 = first >> 8;
        if self.open_group != Some(slash24) {
            if self.groups.count == MAX_GROUPS {
                let (unit, advice) = ("/24s with longer prefixes", "/24");
                return Err(CompileError::Size { family: "IPv4", most: MAX_GROUPS, unit, advice });
            }
            self.bits.resize(RANK_WORDS, 0);
            self.bits[slash24 as usize >> 6] |= 1 << (slash24 & 63);
            self.blocks.fill(slash24 & 255, slash24 & 255, MARKER as u8);
            self.groups.push();
            self.open_group = Some(slash24);
        }
        self.groups.fill(first & 255, last & 255, class);
        Ok(())
    }

    fn finish(self) -> V4Tables {
        V4Tables {
            ranks: ranks(&self.bits),
            block_count: self.blocks.count,
            group_count: self.groups.count,
            root: self.root,
            blocks: self.blocks.finish(),
            groups: self.groups.finish(),
        }
    }
}

/// Marker bits with the number of groups before each word.
fn ranks(bits: &[u64]) -> Vec<Page> {
    let per_page = RANKS_PER_PAGE as usize;
    let mut pages = vec![Page::ZERO; bits.len().div_ceil(per_page).max(1)];
    let mut base = 0;
    for (index, &bits) in bits.iter().enumerate() {
        let start = index % per_page * size_of::<Rank>();
        let rank = Rank { bits, base };
        pages[index / per_page].bytes[start..start + size_of::<Rank>()].copy_from_slice(rank.as_bytes());
        base += u64::from(bits.count_ones());
    }
    pages
}
