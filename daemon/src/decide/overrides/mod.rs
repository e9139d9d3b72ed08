//! What operators changed at run time: a state machine over values and `now`. Never stores itself and never touches what it changes.
//!
//! Every changeable thing is a [`Slot`]; what holds in it is a [`Stack`] over the file's value. [`Overrides::apply`] and
//! [`Overrides::expire`] return the next state, so that it can be stored durably before anything acts on it.

mod filed;
mod fit;
mod order;
mod slot;
mod stack;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use filed::NOT_IN_FILE;
pub use fit::{find_ceiling, fit, unknown};
pub use order::{Caller, Order, Refused};
pub use slot::{CeilingKey, ListKind, Setting, Slot};
pub use stack::{Held, Stack};

/// Most slots that may differ from the file, so that state stays small.
pub const MAX_SLOTS: usize = 50_000;
/// Longest `reason`, in characters.
pub const MAX_REASON: usize = 500;
/// Longest `--for`, `--over` and `--confirm`.
pub const MAX_TIME: Duration = Duration::from_secs(366 * 86_400);

/// Everything that differs from the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    #[serde(with = "slot::pairs")]
    slots: BTreeMap<Slot, Stack>,
    #[serde(default)]
    pending: Vec<Pending>,
}

/// Changes that are undone unless they are confirmed in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// When they are undone.
    pub deadline: Timestamp,
    /// Who made them.
    pub caller: Caller,
    /// What was in the touched slots before.
    #[serde(with = "slot::pairs")]
    before: BTreeMap<Slot, Stack>,
}

/// A slot whose setting in force changed, or how long it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Which.
    pub slot: Slot,
    /// Before; `None` is the file's.
    pub old: Option<Setting>,
    /// Now; `None` is the file's.
    pub new: Option<Setting>,
    /// Until when each of both was to hold, where nothing but this differs.
    pub untils: Option<[Option<Timestamp>; 2]>,
    /// The operator's words, where one was there.
    pub reason: Option<String>,
}

impl Pending {
    /// The slots that would be put back.
    pub fn touched(&self) -> impl Iterator<Item = &Slot> {
        self.before.keys()
    }
}

impl Overrides {
    /// What holds in a slot over the file's value.
    #[must_use]
    pub fn held(&self, slot: &Slot) -> Option<&Held> {
        self.slots.get(slot).and_then(Stack::top)
    }

    /// The setting in force in a slot; `None` is the file's.
    #[must_use]
    pub fn setting(&self, slot: &Slot) -> Option<&Setting> {
        self.held(slot).and_then(|held| held.setting.as_ref())
    }

    /// Every slot that differs from the file, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, &Held)> {
        self.slots.iter().filter_map(|(slot, stack)| stack.top().map(|held| (slot, held)))
    }

    /// What waits for a confirmation, earliest deadline first.
    #[must_use]
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// When [`Overrides::expire`] has something to do next.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let held = self.slots.values().filter_map(Stack::next_due);
        held.chain(self.pending.iter().map(|pending| pending.deadline)).min()
    }

    /// The state after an order, and what changed by it.
    ///
    /// # Errors
    /// The order asks for too much time, too many slots or too long a reason; nothing changed.
    pub fn apply(&self, order: &Order, now: Timestamp) -> Result<(Self, Vec<Changed>), Refused> {
        order.check()?;
        let mut next = self.clone();
        let until = order.valid_for.map(|time| later(now, time));
        let mut before = BTreeMap::new();
        for (slot, setting) in &order.changes {
            let stack = next.slots.entry(slot.clone()).or_default();
            before.entry(slot.clone()).or_insert_with(|| stack.clone());
            let setting = setting.clone().map(|setting| setting.starting_from(stack.limit_at(now), now));
            stack.set(Held { setting, since: now, until, reason: order.reason.clone(), by: order.caller });
        }
        next.slots.retain(|_, stack| !stack.is_empty());
        if next.slots.len() > MAX_SLOTS {
            return Err(Refused::TooManySlots);
        }
        next.remember(before, order, now);
        let changed = self.changed_to(&next, order.reason.as_ref());
        Ok((next, changed))
    }

    /// Keeps what was there before, for an order that wants a confirmation. An order without one settles the slots it touches: what
    /// waited there is no longer undone.
    fn remember(&mut self, mut before: BTreeMap<Slot, Stack>, order: &Order, now: Timestamp) {
        for pending in &mut self.pending {
            for (slot, first) in &mut before {
                if let Some(earlier) = pending.before.remove(slot) {
                    *first = earlier;
                }
            }
        }
        self.pending.retain(|pending| !pending.before.is_empty());
        if let Some(time) = order.confirm {
            self.pending.push(Pending { deadline: later(now, time), caller: order.caller, before });
            self.pending.sort_by_key(|pending| pending.deadline);
        }
    }

    /// The state in which everything that waited is kept, and how many orders that were.
    #[must_use]
    pub fn confirm(&self) -> (Self, usize) {
        (Self { slots: self.slots.clone(), pending: Vec::new() }, self.pending.len())
    }

    /// The state at `now`: without what has run out, and with what nobody confirmed undone.
    #[must_use]
    pub fn expire(&self, now: Timestamp) -> (Self, Vec<Changed>) {
        let mut next = self.clone();
        let (due, waiting) = next.pending.into_iter().partition(|pending| pending.deadline <= now);
        next.pending = waiting;
        let due: Vec<Pending> = due;
        for (slot, stack) in due.into_iter().rev().flat_map(|pending| pending.before) {
            next.slots.insert(slot, stack);
        }
        for stack in next.slots.values_mut() {
            stack.expire(now);
        }
        next.slots.retain(|_, stack| !stack.is_empty());
        let changed = self.changed_to(&next, None);
        (next, changed)
    }

    fn changed_to(&self, next: &Self, reason: Option<&String>) -> Vec<Changed> {
        let mut slots: Vec<&Slot> = self.slots.keys().chain(next.slots.keys()).collect();
        slots.sort();
        slots.dedup();
        let one = |slot: &Slot| {
            let (old, new) = (self.setting(slot), next.setting(slot));
            let untils = [self, next].map(|state| state.held(slot).and_then(|held| held.until));
            (old != new || untils[0] != untils[1]).then(|| Changed {
                slot: slot.clone(),
                old: old.cloned(),
                new: new.cloned(),
                untils: (old == new).then_some(untils),
                reason: reason.cloned(),
            })
        };
        slots.into_iter().filter_map(one).collect()
    }
}

/// `now + time`, at the end of time where that is beyond it.
fn later(now: Timestamp, time: Duration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}
