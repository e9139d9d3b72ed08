//! `simulate`: gathers the rates that the simulation is made from. The arithmetic is small enough to stand here.

use super::core::Core;
use crate::decide::measure::Measure;
use crate::decide::overrides;
use crate::decide::region::RegionId;
use crate::decide::verb::{Refusal, RefusalKind, SimulatedCeiling, Simulation};

/// What the numbers rest on.
const BASIS: &str = "the last minute's requests of that region's clients that reached this host and were redirected or carried elsewhere. \
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
        let minute = self.meter.minute();
        let [_, isthmus, redirect, _] = minute.requests.get(&id).copied().unwrap_or_default();
        // What is carried by isthmus is charged to the ceilings already; redirected requests come on top.
        let added = redirect;
        let charged = |home: Option<RegionId>| -> f64 {
            let of_home = minute.requests.iter().filter(|(of, _)| home.is_none_or(|home| home == **of));
            of_home.map(|(_, [local, isthmus, ..])| local + isthmus).sum()
        };
        let limits =
            self.in_force.ceilings.iter().filter(|ceiling| ceiling.home.is_none_or(|home| home == id));
        let ceilings = limits
            .filter_map(|ceiling| {
                let limit = *ceiling.limits.get(&Measure::RequestsPerSecond)?;
                #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
                let high = limit as f64;
                let now = charged(ceiling.home);
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
