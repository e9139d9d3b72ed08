//! The kernel's maps and clock as plain values: the judgement's environment on the host.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate::decide::nic::{Limits, NicPlan};
use tidegate_common::abi::{Class, Leaf, MEASURES, Rank, SLOTS, SlotLimits, Stash};
use tidegate_common::ceiling::Held;
use tidegate_common::source::Tables;
use tidegate_common::verdict::{Outcome, Verdict};
use tidegate_xdp::buckets::{self, Level};
use tidegate_xdp::frame::{Bytes, Frame as _};
use tidegate_xdp::judge::{self, Answer, Asked, Environment, Need, Slot, Tick};
use tidegate_xdp::parse::{Flow, parse};
use tidegate_xdp::reset::{self, Syn};

/// A host with one CPU.
pub struct Model<'a> {
    plan: &'a NicPlan,
    limits: Limits,
    state: RefCell<State>,
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub now_ns: u64,
    /// When the lease ends.
    pub deadline_ns: u64,
}

#[derive(Clone)]
struct State {
    stash: Vec<[Stash; MEASURES]>,
    tat_ns: Vec<[u64; MEASURES]>,
}

impl<'a> Model<'a> {
    /// Full buckets, a lease without end.
    #[must_use]
    pub fn new(plan: &'a NicPlan, limits: Limits) -> Self {
        let state =
            State { stash: vec![[Stash::default(); MEASURES]; SLOTS], tat_ns: vec![[0; MEASURES]; SLOTS] };
        Self { plan, limits, state: RefCell::new(state), now_ns: 1 << 40, deadline_ns: u64::MAX }
    }

    /// Judges a frame.
    #[must_use]
    pub fn judge(&self, frame: &[u8]) -> Outcome {
        judge::judge(&Bytes(frame), &self)
    }
}

/// What the program does with a frame of this outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// XDP_PASS, the frame untouched.
    Pass,
    /// XDP_DROP
    Drop,
    /// XDP_TX of this frame.
    Answer(Vec<u8>),
}

impl Action {
    /// Number of the action.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self {
            Self::Drop => 1,
            Self::Pass => 2,
            Self::Answer(_) => 3,
        }
    }

    /// The action that follows from an outcome.
    #[must_use]
    pub fn of(outcome: Outcome, frame: &[u8]) -> Self {
        match outcome.verdict() {
            Verdict::Pass => Self::Pass,
            Verdict::Shed if outcome.reset => answer(frame).map_or(Self::Drop, Self::Answer),
            Verdict::Shed => Self::Drop,
        }
    }
}

/// The answer to a SYN: its link-layer header turned round, then fresh headers.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let mut flow = Flow::NONE;
    parse(&Bytes(frame), &mut flow).ok().filter(|()| reset::may_answer(&flow))?;
    let syn = Syn::read(Bytes(frame).window::<20>(flow.transport as usize)?, &flow);
    let mut out = [&frame[6..12], &frame[..6], &frame[12..flow.network as usize]].concat();
    let words: Vec<u32> = if flow.version == 4 {
        reset::answer_v4(&flow, syn).to_vec()
    } else {
        reset::answer_v6(&flow, syn).to_vec()
    };
    out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    Some(out)
}

impl Tables for &Model<'_> {
    fn has_groups(&self) -> bool {
        self.plan.sources().has_groups()
    }
    fn has_v6(&self) -> bool {
        self.plan.sources().has_v6()
    }
    fn slash16(&self, index: u32) -> u32 {
        self.plan.sources().slash16(index)
    }
    fn block(&self, block: u32, third: u32) -> u32 {
        self.plan.sources().block(block, third)
    }
    fn rank(&self, index: u32) -> Rank {
        self.plan.sources().rank(index)
    }
    fn group(&self, group: u32, low: u32) -> u32 {
        self.plan.sources().group(group, low)
    }
    fn node(&self, node: u32, byte: u32) -> u32 {
        self.plan.sources().node(node, byte)
    }
    fn leaf(&self, index: u32) -> Leaf {
        self.plan.sources().leaf(index)
    }
}

impl<'a> Environment for &'a Model<'_> {
    type Tick = Moment<'a>;

    fn is_local4(&self, address: u32) -> bool {
        self.plan.is_local(IpAddr::V4(Ipv4Addr::from_bits(address)))
    }

    fn is_local6(&self, high: u64, low: u64) -> bool {
        self.plan.is_local(IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))))
    }

    fn is_listed(&self, port: u16) -> bool {
        self.plan.is_listed(port)
    }

    fn class(&self, class: u32) -> Class {
        self.plan.sources().classes()[class as usize]
    }

    fn tick(&self) -> Option<Moment<'a>> {
        Some(Moment(Part { limits: &self.limits, state: &self.state, now_ns: self.now_ns }, self.deadline_ns))
    }

    fn ceilings(&self, tick: Moment<'a>, home: u8, asked: Asked) -> Answer {
        judge::ceilings(tick, home, asked)
    }
}

/// The model at one instant, and when its lease ends.
#[derive(Clone, Copy)]
pub struct Moment<'a>(Part<'a>, u64);

#[derive(Clone, Copy)]
struct Part<'a> {
    limits: &'a Limits,
    state: &'a RefCell<State>,
    now_ns: u64,
}

impl<'a> Tick for Moment<'a> {
    type Slot = Account<'a>;

    fn coarse_ns(&self) -> u64 {
        self.0.now_ns
    }

    fn expired(&self) -> bool {
        self.0.now_ns >= self.1
    }

    fn is_limited(&self, slot: u32) -> bool {
        self.0.limits.limited()[slot as usize >> 6] >> (slot & 63) & 1 == 1
    }

    fn slot(&self, slot: u32) -> Option<Account<'a>> {
        self.is_limited(slot).then_some(Account(self.0, slot as usize))
    }
}

/// One slot of the model.
#[derive(Clone, Copy)]
pub struct Account<'a>(Part<'a>, usize);

impl Slot for Account<'_> {
    fn limits(&self) -> &SlotLimits {
        &self.0.limits.slots()[self.1]
    }

    fn secure(&self, need: Need) -> bool {
        let measure = need.measure.index();
        let limit = self.limits().limits[measure];
        let stash = self.0.state.borrow().stash[self.1][measure];
        match stash.holds(&limit, need.coarse_ns, need.units) {
            Held::Enough => true,
            Held::Empty => false,
            Held::Short => {
                let level = Bucket(self.0.state, self.1, measure);
                let credits = stash.credits_under(&limit);
                let stash =
                    buckets::lease(&level, &limit, need.units, credits, self.0.now_ns, need.coarse_ns);
                self.0.state.borrow_mut().stash[self.1][measure] = stash;
                stash.credits >= need.units
            }
        }
    }

    fn spend(&self, need: Need) {
        let stash = &mut self.0.state.borrow_mut().stash[self.1][need.measure.index()];
        stash.credits = stash.credits.saturating_sub(need.units);
    }
}

struct Bucket<'a>(&'a RefCell<State>, usize, usize);

impl Level for Bucket<'_> {
    fn tat_ns(&self) -> u64 {
        self.0.borrow().tat_ns[self.1][self.2]
    }

    fn swap(&self, old: u64, new: u64) -> bool {
        let level = &mut self.0.borrow_mut().tat_ns[self.1][self.2];
        let unchanged = *level == old;
        if unchanged {
            *level = new;
        }
        unchanged
    }
}
