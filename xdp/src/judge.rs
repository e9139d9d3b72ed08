//! The one judgement: flow, local address, port, lease, lists, home region, the region's ceilings, everyone's ceilings.
//! Never acts, counts or logs; a refusal takes nothing from any bucket.

use tidegate_common::abi::{Class, EVERYONE, LIST_ALLOW, LIST_DENY, MEASURES, SlotLimits};
use tidegate_common::ceiling::{MAX_NEED, Measure};
use tidegate_common::source::{self, Tables};
use tidegate_common::verdict::{Outcome, Reason};

use crate::frame::Frame;
use crate::parse::{Flow, Kind, parse, parse_common};

/// All that a judgement reads besides the frame.
pub trait Environment: Tables {
    /// See [`Tick`].
    type Tick: Tick;

    /// Whether this host has the IPv4 address.
    fn is_local4(&self, address: u32) -> bool;
    /// Whether this host has the IPv6 address.
    fn is_local6(&self, high: u64, low: u64) -> bool;
    /// Whether traffic to this port may be shed.
    fn is_listed(&self, port: u16) -> bool;
    /// What a class of sources means.
    fn class(&self, class: u32) -> Class;
    /// What holds at this tick of the timer; `None` is never the case in a loaded program.
    fn tick(&self) -> Option<Self::Tick>;
    /// [`ceilings`] at `tick`; the kernel puts a call between.
    fn ceilings(&self, tick: Self::Tick, home: u8, asked: Asked) -> Answer;
}

/// What holds for all packets of one tick of the timer.
pub trait Tick: Copy {
    /// See [`Slot`].
    type Slot: Slot;

    /// CLOCK_MONOTONIC as of that tick.
    fn coarse_ns(&self) -> u64;
    /// Whether the lease has ended.
    fn expired(&self) -> bool;
    /// Whether a slot has limits.
    fn is_limited(&self, slot: u32) -> bool;
    /// The limits of a slot; `None` where nothing is limited.
    fn slot(&self, slot: u32) -> Option<Self::Slot>;
}

/// One slot's limits and this CPU's credits under them.
pub trait Slot: Copy {
    /// The limits.
    fn limits(&self) -> &SlotLimits;
    /// Makes sure that `need` can be spent, without spending it.
    fn secure(&self, need: Need) -> bool;
    /// Spends what was made sure of.
    fn spend(&self, need: Need);
}

/// Units needed of one measure.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Of what.
    pub measure: Measure,
    /// How many.
    pub units: u32,
    /// Coarse CLOCK_MONOTONIC.
    pub coarse_ns: u64,
}

/// Judges a frame. One that is no concern of ceilings and lists, whatever its source, passes with the reason why.
#[inline(always)]
pub fn judge<F: Frame, E: Environment>(frame: &F, environment: &E) -> Outcome {
    let mut flow = Flow::NONE;
    if !parse_common(frame, &mut flow)
        && let Err(reason) = parse(frame, &mut flow)
    {
        return Outcome::plain(reason);
    }
    judge_flow(&flow, frame.bytes(), environment)
}

#[inline(always)]
fn judge_flow<E: Environment>(flow: &Flow, bytes: usize, environment: &E) -> Outcome {
    if let Err(reason) = concerned(flow, environment) {
        return Outcome::plain(reason);
    }
    match environment.tick().filter(|tick| !tick.expired()) {
        Some(tick) => judge_source(flow, bytes, environment, tick),
        None => Outcome::plain(Reason::LeaseExpired),
    }
}

/// Whether a flow could be shed, whatever its source.
#[inline(always)]
fn concerned<E: Environment>(flow: &Flow, environment: &E) -> Result<(), Reason> {
    let [high, low] = flow.destination;
    let local =
        if flow.version == 4 { environment.is_local4(low as u32) } else { environment.is_local6(high, low) };
    if !local {
        Err(Reason::NotLocal)
    } else if flow.kind == Kind::LaterFragment {
        Err(Reason::LaterFragment)
    } else if !environment.is_listed(flow.port) {
        Err(Reason::OtherPort)
    } else {
        Ok(())
    }
}

#[inline(always)]
fn judge_source<E: Environment>(flow: &Flow, bytes: usize, environment: &E, tick: E::Tick) -> Outcome {
    let [high, low] = flow.source;
    let class = if flow.version == 4 {
        source::class_of_v4(environment, low as u32)
    } else {
        source::class_of_v6(environment, high, low)
    };
    let Class { home, list } = environment.class(class);
    let plain = |reason| Outcome { reason, home, reset: false };
    match list {
        LIST_ALLOW => plain(Reason::Allowed),
        LIST_DENY => plain(Reason::Denied),
        _ => {
            let bytes = if bytes < MAX_NEED as usize { bytes as u32 } else { MAX_NEED };
            if !tick.is_limited(u32::from(home)) && !tick.is_limited(u32::from(EVERYONE)) {
                return plain(Reason::Within);
            }
            let answer = environment.ceilings(tick, home, Asked { kind: flow.kind, bytes });
            Outcome { reason: answer.reason, home, reset: answer.reset }
        }
    }
}

/// What is asked of the ceilings.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Whether it is a connection attempt.
    pub kind: Kind,
    /// Bytes of the frame, at most [`MAX_NEED`].
    pub bytes: u32,
}

/// What the ceilings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Why it passes or not.
    pub reason: Reason,
    /// Whether the refused SYN is to be answered.
    pub reset: bool,
}

impl Asked {
    #[inline(always)]
    fn need(&self, measure: Measure, coarse_ns: u64) -> Need {
        let units = if matches!(measure, Measure::Bytes) { self.bytes } else { 1 };
        Need { measure, units, coarse_ns }
    }

    #[inline(always)]
    fn concerns(&self, measure: Measure) -> bool {
        !matches!(measure, Measure::Connections) || self.kind != Kind::Ongoing
    }
}

/// What the ceilings of one slot say.
#[derive(Clone, Copy)]
struct Part {
    /// Measures to spend.
    spend: u32,
    /// First measure that refused and only observes.
    observed: Option<Measure>,
    /// Measure that refused.
    refused: Option<Measure>,
    /// Whether a refused SYN is to be answered.
    reset: u32,
}

impl Part {
    const NONE: Self = Self { spend: 0, observed: None, refused: None, reset: 0 };
}

/// The ceilings of the home region, then those for everyone; spends only if all admit.
#[inline(always)]
pub fn ceilings<T: Tick>(tick: T, home: u8, asked: Asked) -> Answer {
    let coarse_ns = tick.coarse_ns();
    let region_slot = tick.slot(u32::from(home));
    let region = ask(region_slot, asked, coarse_ns);
    if let Some(measure) = region.refused {
        return refusal(Reason::RegionConnections, measure, region.reset, asked.kind);
    }
    let everyone_slot = tick.slot(u32::from(EVERYONE));
    let everyone = ask(everyone_slot, asked, coarse_ns);
    if let Some(measure) = everyone.refused {
        return refusal(Reason::EveryoneConnections, measure, everyone.reset, asked.kind);
    }
    pay(region_slot, region.spend, asked, coarse_ns);
    pay(everyone_slot, everyone.spend, asked, coarse_ns);
    let reason = match (region.observed, everyone.observed) {
        (Some(measure), _) => nth(Reason::ObservedRegionConnections, measure),
        (None, Some(measure)) => nth(Reason::ObservedEveryoneConnections, measure),
        (None, None) => Reason::Within,
    };
    Answer { reason, reset: false }
}

/// Asks the ceilings of one slot, without spending. Not a loop: each measure's place is a constant for the verifier.
#[inline(always)]
fn ask<S: Slot>(slot: Option<S>, asked: Asked, coarse_ns: u64) -> Part {
    let mut part = Part::NONE;
    if let Some(slot) = slot {
        part.add(slot, Measure::Connections, asked, coarse_ns);
        part.add(slot, Measure::Packets, asked, coarse_ns);
        part.add(slot, Measure::Bytes, asked, coarse_ns);
    }
    part
}

impl Part {
    #[inline(always)]
    fn add<S: Slot>(&mut self, slot: S, measure: Measure, asked: Asked, coarse_ns: u64) {
        let bit = measure.bit();
        let limits = slot.limits();
        if self.refused.is_some() || limits.limited & bit == 0 || !asked.concerns(measure) {
            return;
        }
        if slot.secure(asked.need(measure, coarse_ns)) {
            self.spend |= bit;
        } else if limits.observed & bit == 0 {
            self.refused = Some(measure);
            self.reset = limits.reset & bit;
        } else if self.observed.is_none() {
            self.observed = Some(measure);
        }
    }
}

#[inline(always)]
fn pay<S: Slot>(slot: Option<S>, spend: u32, asked: Asked, coarse_ns: u64) {
    if let Some(slot) = slot {
        pay_one(slot, Measure::Connections, spend, asked, coarse_ns);
        pay_one(slot, Measure::Packets, spend, asked, coarse_ns);
        pay_one(slot, Measure::Bytes, spend, asked, coarse_ns);
    }
}

#[inline(always)]
fn pay_one<S: Slot>(slot: S, measure: Measure, spend: u32, asked: Asked, coarse_ns: u64) {
    if spend & measure.bit() != 0 {
        slot.spend(asked.need(measure, coarse_ns));
    }
}

#[inline(always)]
fn refusal(first: Reason, measure: Measure, reset: u32, kind: Kind) -> Answer {
    Answer { reason: nth(first, measure), reset: reset != 0 && kind == Kind::Open }
}

/// The reason for `measure` in the row of three that starts with `first`.
#[inline(always)]
fn nth(first: Reason, measure: Measure) -> Reason {
    let row = match first {
        Reason::RegionConnections => [Reason::RegionConnections, Reason::RegionPackets, Reason::RegionBits],
        Reason::EveryoneConnections => {
            [Reason::EveryoneConnections, Reason::EveryonePackets, Reason::EveryoneBits]
        }
        Reason::ObservedRegionConnections => {
            [Reason::ObservedRegionConnections, Reason::ObservedRegionPackets, Reason::ObservedRegionBits]
        }
        _ => [
            Reason::ObservedEveryoneConnections,
            Reason::ObservedEveryonePackets,
            Reason::ObservedEveryoneBits,
        ],
    };
    match measure {
        Measure::Connections => row[0],
        Measure::Packets => row[1],
        Measure::Bytes => row[2],
    }
}

const _: () = assert!(MEASURES == Measure::ALL.len());
