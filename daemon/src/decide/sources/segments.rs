//! Nested prefixes flattened to adjacent segments, each with the home and the list that hold from its start to the next.
//! Never keeps a prefix: what two neighbours have in common is merged.

use ipnet::IpNet;
use tidegate_common::abi::{Class, LIST_ALLOW, LIST_DENY, LIST_NONE};

use super::SourceRules;

/// Start of a segment and what holds from there on. The first starts at zero; the last ends at the highest address.
pub(super) type Segment<P> = (P, Class);

/// An address as a number.
pub(super) trait Point: Copy + Ord {
    /// The lowest.
    const MIN: Self;
    /// The highest.
    const MAX: Self;
    /// The next higher.
    fn next(self) -> Option<Self>;
}

impl Point for u32 {
    const MIN: Self = 0;
    const MAX: Self = Self::MAX;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Point for u128 {
    const MIN: Self = 0;
    const MAX: Self = Self::MAX;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// First and last address of a prefix of one family.
type Bounds<P> = fn(&IpNet) -> Option<(P, P)>;

/// What holds where no rule matches.
pub(super) fn default_of(rules: &SourceRules<'_>) -> Class {
    Class { home: rules.default_region.home(), list: LIST_NONE }
}

/// Segments of the IPv4 addresses.
pub(super) fn of_v4(rules: &SourceRules<'_>) -> Vec<Segment<u32>> {
    compile(rules, |prefix| match prefix {
        IpNet::V4(prefix) => Some((prefix.network().to_bits(), prefix.broadcast().to_bits())),
        IpNet::V6(_) => None,
    })
}

/// Segments of the IPv6 addresses.
pub(super) fn of_v6(rules: &SourceRules<'_>) -> Vec<Segment<u128>> {
    compile(rules, |prefix| match prefix {
        IpNet::V6(prefix) => Some((prefix.network().to_bits(), prefix.broadcast().to_bits())),
        IpNet::V4(_) => None,
    })
}

fn compile<P: Point>(rules: &SourceRules<'_>, bounds: Bounds<P>) -> Vec<Segment<P>> {
    let records = rules.records.iter().filter_map(|(prefix, region)| {
        let (first, last) = bounds(prefix)?;
        Some((first, last, region.home()))
    });
    let homes = flatten(records.collect(), rules.default_region.home());
    let allow = flatten(listed(rules.allow, bounds), false);
    let deny = flatten(listed(rules.deny, bounds), false);
    merge(&homes, &allow, &deny)
}

fn listed<P: Point>(prefixes: &[IpNet], bounds: Bounds<P>) -> Vec<(P, P, bool)> {
    prefixes.iter().filter_map(bounds).map(|(first, last)| (first, last, true)).collect()
}

/// Flattens nested ranges; the innermost holds, and of equal ranges the first.
fn flatten<P: Point, V: Copy + Eq>(mut ranges: Vec<(P, P, V)>, base: V) -> Vec<(P, V)> {
    ranges.sort_by_key(|&(first, last, _)| (first, std::cmp::Reverse(last)));
    ranges.dedup_by(|next, kept| next.0 == kept.0 && next.1 == kept.1);
    let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
    segments.push((P::MIN, base));
    let mut open = vec![(P::MAX, base)];
    for (first, last, value) in ranges {
        close(&mut segments, &mut open, Some(first));
        emit(&mut segments, first, value);
        open.push((last, value));
    }
    close(&mut segments, &mut open, None);
    segments
}

/// Ends the open ranges that lie before `until` (all, if there is none).
fn close<P: Point, V: Copy + Eq>(segments: &mut Vec<(P, V)>, open: &mut Vec<(P, V)>, until: Option<P>) {
    while let Some(&(last, _)) = open.last()
        && until.is_none_or(|until| last < until)
    {
        open.pop();
        if let (Some(next), Some(&(_, outer))) = (last.next(), open.last()) {
            emit(segments, next, outer);
        }
    }
}

/// From `start` on, `value` holds.
fn emit<P: Point, V: Copy + Eq>(segments: &mut Vec<(P, V)>, start: P, value: V) {
    if segments.last().is_some_and(|last| last.0 == start) {
        segments.pop();
    }
    if segments.last().is_none_or(|last| last.1 != value) {
        segments.push((start, value));
    }
}

/// Lays lists over homes: allow before deny before home.
fn merge<P: Point>(homes: &[(P, u8)], allow: &[(P, bool)], deny: &[(P, bool)]) -> Vec<Segment<P>> {
    let mut segments = Vec::with_capacity(homes.len() + allow.len() + deny.len());
    let (mut home, mut allowed, mut denied) = (Cursor::new(homes), Cursor::new(allow), Cursor::new(deny));
    let mut start = Some(P::MIN);
    while let Some(at) = start {
        let list = match (allowed.at(at), denied.at(at)) {
            (Some(true), _) => LIST_ALLOW,
            (_, Some(true)) => LIST_DENY,
            _ => LIST_NONE,
        };
        let class = Class { home: home.at(at).unwrap_or_default(), list };
        emit(&mut segments, at, class);
        start = [home.next(), allowed.next(), denied.next()].into_iter().flatten().min();
    }
    segments
}

/// Walks segments in ascending order.
struct Cursor<'a, P, V> {
    rest: &'a [(P, V)],
}

impl<'a, P: Point, V: Copy> Cursor<'a, P, V> {
    fn new(segments: &'a [(P, V)]) -> Self {
        Self { rest: segments }
    }

    /// What holds at `point`; points only rise.
    fn at(&mut self, point: P) -> Option<V> {
        while self.next().is_some_and(|next| next <= point) {
            self.rest = &self.rest[1..];
        }
        self.rest.first().map(|segment| segment.1)
    }

    /// Where the next segment starts.
    fn next(&self) -> Option<P> {
        self.rest.get(1).map(|segment| segment.0)
    }
}
