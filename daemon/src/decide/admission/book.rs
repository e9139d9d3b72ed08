//! The ceilings of this host by name: levels stay when limits, policies and the file change. Never decides about a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Applied, Applying, Ceiling};
use crate::config::Config;
use crate::config::types::Concurrency;
use crate::decide::adaptive::Bounds;
use crate::decide::inforce::{CeilingInForce, InForce};
use crate::decide::measure::Measure;
use crate::decide::region::Regions;

/// All ceilings that the proxy enforces.
#[derive(Debug, Default)]
pub struct Book {
    ceilings: HashMap<String, Arc<Ceiling>>,
}

impl Book {
    /// The ceiling with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Ceiling>> {
        self.ceilings.get(name)
    }

    /// Puts the limits in force into the ceilings, forgets ceilings that are gone, and says which apply to each home.
    pub fn enforce(&mut self, config: &Config, in_force: &InForce) -> Regions<Applying> {
        self.ceilings.retain(|name, _| in_force.ceilings.iter().any(|ceiling| ceiling.name == *name));
        for ceiling in &in_force.ceilings {
            let configured = config.ceilings.iter().find(|configured| configured.name == ceiling.name);
            let burst = configured.map_or(Duration::from_millis(100), |configured| configured.burst);
            self.set(ceiling, burst);
            if let Some(Concurrency::Adaptive(bounds)) =
                configured.and_then(|found| found.concurrent_requests)
            {
                self.bound(ceiling, bounds);
            }
        }
        config.regions.map(|(home, _)| {
            let own = in_force.ceilings.iter().filter(|ceiling| ceiling.home == Some(home));
            let everyone = in_force.ceilings.iter().filter(|ceiling| ceiling.home.is_none());
            let applied = own.chain(everyone).filter_map(|ceiling| self.applied(ceiling, config));
            Applying::new(applied.collect())
        })
    }

    /// Moves one ceiling's limits.
    fn set(&mut self, in_force: &CeilingInForce, burst: Duration) {
        let new = || Ceiling::unlimited(&in_force.name);
        let ceiling = self.ceilings.entry(in_force.name.clone()).or_insert_with(|| Arc::new(new()));
        #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
        let per_second = in_force.limits.get(&Measure::RequestsPerSecond).map(|rate| *rate as f64);
        ceiling.rate.set(per_second, burst);
        if !in_force.adaptive {
            ceiling.slots.set(in_force.limits.get(&Measure::ConcurrentRequests).copied());
        }
    }

    /// Moves the bounds of a limit that finds itself, which counts while it is in force.
    fn bound(&self, in_force: &CeilingInForce, bounds: Bounds) {
        let Some(ceiling) = self.ceilings.get(&in_force.name) else { return };
        ceiling.adaptive.bound(bounds);
        if in_force.adaptive {
            ceiling.slots.set(Some(ceiling.adaptive.limit()));
        }
    }

    fn applied(&self, in_force: &CeilingInForce, config: &Config) -> Option<Applied> {
        let counts = in_force.adaptive || in_force.limits.contains_key(&Measure::ConcurrentRequests);
        let limits = counts || in_force.limits.contains_key(&Measure::RequestsPerSecond);
        let ceiling = Arc::clone(self.ceilings.get(&in_force.name)?);
        let by_class = !config.priorities.is_empty();
        limits.then_some(Applied {
            ceiling,
            observe: in_force.observe,
            counts,
            adaptive: in_force.adaptive,
            by_class,
        })
    }
}
