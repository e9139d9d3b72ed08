//! Ceilings on requests: one decision over all that apply, which takes nothing when it refuses. Never reads a clock, never waits.

mod book;
mod pace;
mod rate;
mod slots;

use std::sync::Arc;

pub use book::Book;
pub use rate::{Rate, Tick};
pub use slots::Slots;

use super::adaptive::{Adaptive, Bounds, Outcome};
use super::priority::Load;
use super::reason::Reason;
use crate::config::types::Class;

/// One ceiling's limits and levels. Lives on across policies, by its name.
#[derive(Debug)]
pub struct Ceiling {
    /// Its name.
    pub name: String,
    /// Requests per second.
    pub rate: Rate,
    /// Requests in flight.
    pub slots: Slots,
    /// What the classes offer, where there are any.
    pub load: Load,
    /// Finds the limit on requests in flight, where it is to be found.
    pub adaptive: Adaptive,
}

impl Ceiling {
    /// Without limits.
    #[must_use]
    pub fn unlimited(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rate: Rate::unlimited(),
            slots: Slots::unlimited(),
            load: Load::default(),
            adaptive: Adaptive::new(Bounds::default()),
        }
    }

    /// The limit that leaves no room at all; for requests that are not `hurried`, also while the pace is kept.
    fn full(&self, hurried: bool, now: Tick) -> Option<Reason> {
        if !self.slots.has() {
            return Some(Reason::ConcurrentRequests);
        }
        (!self.rate.has(hurried, now)).then_some(Reason::RequestsPerSecond)
    }
}

/// The ceilings for clients of one home, in the order in which they refuse.
#[derive(Clone, Debug, Default)]
pub struct Applying(Arc<Vec<Applied>>);

/// One ceiling as it applies.
#[derive(Debug)]
pub struct Applied {
    /// Its limits and levels.
    pub ceiling: Arc<Ceiling>,
    /// Count, shed nothing.
    pub observe: bool,
    /// Requests in flight are limited, so each one is counted.
    pub counts: bool,
    /// The limit on requests in flight finds itself.
    pub adaptive: bool,
    /// There are `[[priority]]` tables: classes give way to each other as it fills.
    pub by_class: bool,
}

/// A bucket of fewer requests is always nearly empty or nearly full: its fill says nothing. With the default burst of 100 ms this is a
/// ceiling of 80 requests per second.
const DEEP: u64 = 8;
/// Share of the saved-up allowance that foreign traffic may use.
const FOREIGN_BURST: f64 = 0.5;

/// Who asks for admission.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The request's class.
    pub class: Class,
    /// Place of its user between 0 and 1 ([`super::priority::place`]): the same users go first for a while, not everyone now and then.
    pub user: f64,
    /// It came over the isthmus: it may not take what home users need.
    pub foreign: bool,
    /// On the allow list: counted, never refused.
    pub always: bool,
}

impl Asking {
    /// Critical requests take what is saved up whenever they come: no pace holds them back.
    fn is_hurried(self) -> bool {
        self.class == Class::Critical
    }
}

/// A request was refused. Nothing was taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The ceiling that refused.
    pub ceiling: &'a str,
    /// Which of its limits.
    pub reason: Reason,
}

/// What was admitted, and gives back its places in flight when dropped.
#[derive(Debug)]
pub struct Permit {
    applying: Option<Applying>,
    /// Others in flight under the adaptive ceiling when it was admitted.
    before: u64,
}

impl Permit {
    /// The request is over as far as adaptive ceilings may learn from it; their limits move here.
    pub fn over(&self, outcome: Outcome, now: Tick) {
        let counted = self.applying.iter().flat_map(|applying| applying.0.iter());
        for applied in counted.filter(|applied| applied.adaptive) {
            if let Some(limit) = applied.ceiling.adaptive.record(outcome, self.before, now) {
                applied.ceiling.slots.set(Some(limit));
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let counted = self.applying.iter().flat_map(|applying| applying.0.iter());
        for applied in counted.filter(|applied| applied.counts) {
            applied.ceiling.slots.leave();
        }
    }
}

/// The answer to [`Applying::admit`].
#[derive(Debug)]
pub struct Admitted<'a> {
    /// Holds the places in flight.
    pub permit: Permit,
    /// A ceiling that only observes would have refused.
    pub observed: Option<Refused<'a>>,
}

impl Applying {
    /// The ceilings, in the order in which they refuse.
    #[must_use]
    pub fn new(applied: Vec<Applied>) -> Self {
        Self(Arc::new(applied))
    }

    /// The ceilings, in the order in which they refuse.
    #[must_use]
    pub fn list(&self) -> &[Applied] {
        &self.0
    }

    /// Admits one request under all ceilings, or refuses it and takes nothing from any.
    ///
    /// First every ceiling is asked; only then is each charged. Where another thread was faster in between, what was charged is given
    /// back in full.
    ///
    /// # Errors
    /// Names the first ceiling that refuses, and why.
    pub fn admit(&self, asking: Asking, now: Tick) -> Result<Admitted<'_>, Refused<'_>> {
        let mut observed = None;
        if !asking.always {
            for applied in self.0.iter() {
                match applied.refuses(asking, now) {
                    Some(reason) if applied.observe => {
                        observed.get_or_insert(Refused { ceiling: &applied.ceiling.name, reason });
                    }
                    Some(reason) => return Err(Refused { ceiling: &applied.ceiling.name, reason }),
                    None => {}
                }
            }
        }
        self.charge(asking, now)?;
        Ok(Admitted { permit: self.permit(), observed })
    }

    /// The ceiling that at this instant refuses every request, of whatever class; takes nothing and learns nothing.
    #[must_use]
    pub fn full(&self, now: Tick) -> Option<Refused<'_>> {
        self.0.iter().filter(|applied| !applied.observe).find_map(|applied| {
            let reason = applied.ceiling.full(true, now)?;
            Some(Refused { ceiling: &applied.ceiling.name, reason })
        })
    }

    fn permit(&self) -> Permit {
        let counts = self.0.iter().any(|applied| applied.counts);
        let adaptive = self.0.iter().find(|applied| applied.adaptive);
        let before = adaptive.map_or(0, |applied| applied.ceiling.slots.used().saturating_sub(1));
        Permit { applying: counts.then(|| self.clone()), before }
    }

    fn charge(&self, asking: Asking, now: Tick) -> Result<(), Refused<'_>> {
        for (at, applied) in self.0.iter().enumerate() {
            if let Err(reason) = applied.charge(asking, now) {
                self.0[..at].iter().for_each(Applied::give_back);
                return Err(Refused { ceiling: &applied.ceiling.name, reason });
            }
        }
        Ok(())
    }
}

impl Applied {
    fn refuses(&self, asking: Asking, now: Tick) -> Option<Reason> {
        let ceiling = &self.ceiling;
        if self.by_class {
            ceiling.load.offer(asking.class, asking.user, ceiling.rate.per_second(), now);
        }
        if let Some(reason) = ceiling.full(asking.is_hurried(), now) {
            if self.adaptive && reason == Reason::ConcurrentRequests {
                ceiling.adaptive.refused();
            }
            return Some(reason);
        }
        if asking.foreign && self.is_for_home_users(now) {
            return Some(Reason::ForeignShare);
        }
        (self.by_class && self.gives_way(asking, now)).then_some(Reason::Priority)
    }

    /// Whether what is left of the ceiling is kept for users who came here by themselves. Foreign traffic alone still gets the whole ceiling:
    /// its allowance comes back at the ceiling's rate, only less of it may be saved up.
    fn is_for_home_users(&self, now: Tick) -> bool {
        let Ceiling { rate, slots, .. } = &*self.ceiling;
        let spent = rate.depth() >= DEEP && rate.fill(now) > FOREIGN_BURST;
        spent || slots.limit().is_some_and(|limit| limit >= 16 && slots.used() >= limit - limit / 8)
    }

    /// Whether a request of this class and user gives way to more important ones.
    #[expect(clippy::cast_precision_loss, reason = "a share, not an amount")]
    fn gives_way(&self, asking: Asking, now: Tick) -> bool {
        let Ceiling { rate, slots, load, .. } = &*self.ceiling;
        let occupied = slots.limit().map_or(0.0, |limit| slots.used() as f64 / limit.max(1) as f64);
        load.refuses(asking.class, asking.user, rate.fill(now), occupied)
    }

    /// Takes from both limits or from neither. What is never refused is charged as far as the limits go.
    fn charge(&self, asking: Asking, now: Tick) -> Result<(), Reason> {
        let (ceiling, always) = (&self.ceiling, asking.always || self.observe);
        if self.counts {
            if always {
                ceiling.slots.enter_always();
            } else if !ceiling.slots.enter() {
                return Err(Reason::ConcurrentRequests);
            }
        }
        if always {
            ceiling.rate.spend(now);
            return Ok(());
        }
        if ceiling.rate.take(asking.is_hurried(), now) {
            return Ok(());
        }
        if self.counts {
            ceiling.slots.leave();
        }
        Err(Reason::RequestsPerSecond)
    }

    fn give_back(&self) {
        self.ceiling.rate.give_back();
        if self.counts {
            self.ceiling.slots.leave();
        }
    }
}

#[cfg(test)]
mod tests;
