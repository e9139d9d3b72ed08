//! What time does: settings run out, ramps and schedules move, counters become rates, failover starts ramps. Decides none of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::core::Core;
use super::nic::NicPart;
use super::ramp_file;
use crate::decide::event::Cause;
use crate::decide::pressure;
use crate::decide::ramps::Trigger;
use crate::decide::rates::Totals;

/// Seconds after which the ramps are written down again.
const RAMPS_KEPT_EVERY_S: u64 = 5;

impl Core {
    /// Several times per second.
    pub(super) async fn tick(&mut self) {
        let now = Timestamp::now();
        self.expire(now).await;
        self.roll_back(now).await;
        self.notice_failover(now);
        if self.moves(now) {
            self.follow_clock(now).await;
        }
    }

    /// Once per second.
    pub(super) async fn sample(&mut self) {
        let nic = NicPart::report(self.nic.handle(), self.nic.failure()).await;
        let proxy = self.proxy.report();
        self.pressure.step(pressure::seen(&proxy));
        let totals = Totals::of(nic.as_ref(), Some(&proxy));
        self.last_nic = nic;
        self.meter.sample(self.steady_ms(), totals);
        self.rates = Arc::new(self.meter.rates());
        if (self.steady_ms() / 1_000).is_multiple_of(RAMPS_KEPT_EVERY_S) {
            self.keep_ramps().await;
        }
    }

    /// Writes down where ramps stand, so that a restart goes on there.
    async fn keep_ramps(&mut self) {
        if self.config.ceilings.iter().all(|ceiling| ceiling.ramp.is_none()) {
            return;
        }
        self.ramps.is_alive(Timestamp::now());
        let (store, ramps) = (Arc::clone(&self.store), self.ramps.clone());
        _ = tokio::task::spawn_blocking(move || ramp_file::save(store.folder(), &ramps)).await;
    }

    /// A pool was flushed here.
    pub(super) fn cache_flushed(&mut self) {
        self.ramps.trigger(Trigger::CacheFlush, &self.config.ceilings, Timestamp::now());
    }

    /// Whether anything depends on the clock at this time.
    fn moves(&self, now: Timestamp) -> bool {
        let ramps = !self.ramps.is_idle();
        let schedules = self.config.ceilings.iter().any(|ceiling| !ceiling.schedule.is_empty());
        let moving = || {
            let settings = self.overrides.iter().filter_map(|(_, held)| held.setting.as_ref());
            let last = now.saturating_sub(jiff::SignedDuration::from_secs(2)).unwrap_or(now);
            settings.into_iter().any(|setting| setting.moves(last))
        };
        let pressed = !self.pressure.is_idle() || self.in_force.ceilings.iter().any(|c| c.pressure < 1.0);
        ramps || schedules || (self.config.xdp.pressure && pressed) || moving()
    }

    async fn follow_clock(&mut self, now: Timestamp) {
        let in_force = self.in_force_at(&self.config, &self.overrides, now);
        // Only now: the last step of a ramp is its end.
        self.ramps.tidy(&self.config.ceilings, now);
        if in_force == *self.in_force {
            return;
        }
        match self.prepare(in_force).await {
            Ok(prepared) => {
                let before = Arc::clone(&self.in_force);
                self.put_in_force(prepared, &before, Cause::Clock, now).await;
            }
            Err(error) => tracing::error!(%error, "ramps and schedules stand still"),
        }
    }

    /// A region that goes into failover, by whatever cause, starts the ramps of those who take its clients.
    fn notice_failover(&mut self, now: Timestamp) {
        let live = self.proxy.live();
        let edges = |region| live.edges_up.get(region).copied().unwrap_or(0);
        let automatic = self.config.misroute.automatic_failover;
        let own = self.config.host.region;
        let here = self.config.regions.map(|(id, region)| {
            let by_operator = self.in_force.failover.get(id).copied().unwrap_or(false);
            let by_peers = live.peer_failover.get(id).copied().unwrap_or(false);
            let by_health = automatic && id != own && !region.edges.is_empty() && edges(id) == 0;
            by_operator || by_peers || by_health
        });
        let began: Vec<_> = here
            .iter()
            .filter(|(id, on)| **on && self.failover.get(*id) != Some(&true))
            .map(|(id, _)| id)
            .collect();
        for region in began {
            self.ramps.trigger(Trigger::Failover(region), &self.config.ceilings, now);
        }
        self.failover = here;
    }
}
