//! `simulate`: gathers the rates that the simulation is made from. The arithmetic is small enough to stand here.

use super::core::Core;
use crate::decide::measure::Measure;
use crate::decide::overrides;
use crate::decide::verb::{Refusal, RefusalKind, SimulatedCeiling, Simulation};

/// What the numbers rest on.
const BASIS: &str = "requests of that region's clients that reached this host in the last seconds and were redirected or carried elsewhere. \
    What its own edges serve today is not seen from here: ask them for their rates and add those.";

impl Core {
    /// Which ceilings would fill if `region` failed over here.
    pub(super) fn simulate(&self, region: &str) -> Result<Simulation, Refusal> {
        let names: Vec<&str> = self.config.regions.iter().map(|(_, region)| region.name.as_str()).collect();
        let found = self.config.regions.iter().find(|(_, known)| known.name == region);
        let (id, _) = found.ok_or_else(|| overrides::unknown("region", region, &names))?;
        if id == self.config.host.region {
            let text = "that is this host's own region: simulate another one's failover";
            return Err(Refusal::new(RefusalKind::Conflict, text));
        }
        let [_, isthmus, redirect, _] = self.rates.requests.get(&id).copied().unwrap_or_default();
        // What is carried by isthmus is charged to the ceilings already; redirected requests come on top.
        let added = redirect;
        let report = self.proxy.report();
        let limits =
            self.in_force.ceilings.iter().filter(|ceiling| ceiling.home.is_none_or(|home| home == id));
        let ceilings = limits
            .filter_map(|ceiling| {
                let limit = *ceiling.limits.get(&Measure::RequestsPerSecond)?;
                let used = report
                    .ceilings
                    .iter()
                    .find(|used| used.ceiling == ceiling.name && used.measure == Measure::RequestsPerSecond);
                #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
                let (now, high) = (used.map_or(0.0, |used| used.used as f64), limit as f64);
                Some(SimulatedCeiling {
                    ceiling: ceiling.name.clone(),
                    measure: Measure::RequestsPerSecond.name().to_owned(),
                    limit,
                    now,
                    after: now + added,
                    fills: now + added > high,
                })
            })
            .collect();
        let basis = BASIS.to_owned();
        Ok(Simulation { region: region.to_owned(), added_per_second: added + isthmus, ceilings, basis })
    }
}
