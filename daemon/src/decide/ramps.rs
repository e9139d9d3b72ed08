//! The file's ramps and schedules: what share of a ceiling holds, and which limits the time of day asks for. Never starts a ramp by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::region::RegionId;
use crate::config::types::{Ceiling, Ramp, RampTrigger, ScheduleEntry};

/// Ramps that run, and since when the daemon is known to be there. Kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramps {
    /// When each ceiling's ramp was started last, by the ceiling's name.
    starts: BTreeMap<String, Timestamp>,
    /// When the daemon was there last.
    alive: Option<Timestamp>,
}

/// Something that starts ramps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon starts anew.
    Start,
    /// This region goes into failover, so that its clients come here.
    Failover(RegionId),
    /// A pool was flushed here: its cache is cold.
    CacheFlush,
}

impl Ramps {
    /// The ramps at the daemon's start, from what was kept by the last one.
    ///
    /// A restart is no new start: where the daemon was away for less than a ramp takes, the ramp goes on where it stood, as if the daemon had
    /// been there all the time. Otherwise ramps on `start` begin.
    #[must_use]
    pub fn at_start(kept: Option<Self>, ceilings: &[Ceiling], now: Timestamp) -> Self {
        let kept = kept.unwrap_or_default();
        let mut ramps = Self { starts: kept.starts, alive: Some(now) };
        ramps.tidy(ceilings, now);
        let away = kept.alive.map(|alive| passed(alive, now));
        let anew = |ceiling: &&Ceiling| {
            ceiling.ramp.as_ref().is_some_and(|ramp| away.is_none_or(|away| away >= ramp.over))
        };
        let anew: Vec<Ceiling> = ceilings.iter().filter(anew).cloned().collect();
        ramps.trigger(Trigger::Start, &anew, now);
        ramps
    }

    /// The daemon is there.
    pub fn is_alive(&mut self, now: Timestamp) {
        self.alive = Some(now);
    }

    /// Starts the ramps that `trigger` concerns; one that runs already starts anew.
    pub fn trigger(&mut self, trigger: Trigger, ceilings: &[Ceiling], now: Timestamp) {
        for ceiling in ceilings {
            if ceiling.ramp.as_ref().is_some_and(|ramp| concerns(trigger, ceiling, ramp)) {
                self.starts.insert(ceiling.name.clone(), now);
            }
        }
    }

    /// Forgets ceilings that are gone and ramps that are over.
    pub fn tidy(&mut self, ceilings: &[Ceiling], now: Timestamp) {
        self.starts.retain(|name, start| {
            let ramp = ceilings.iter().find(|ceiling| ceiling.name == *name).and_then(|c| c.ramp.as_ref());
            ramp.is_some_and(|ramp| passed(*start, now) < ramp.over)
        });
    }

    /// The share of the ceiling that holds at `now`, 0 to 1.
    #[must_use]
    pub fn share(&self, ceiling: &Ceiling, now: Timestamp) -> f64 {
        let (Some(ramp), Some(start)) = (&ceiling.ramp, self.starts.get(&ceiling.name)) else { return 1.0 };
        let done = passed(*start, now).as_secs_f64() / ramp.over.as_secs_f64();
        (ramp.from + (1.0 - ramp.from) * done).clamp(ramp.from, 1.0)
    }

    /// Whether a ramp moves a ceiling at this time.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.starts.is_empty()
    }
}

fn concerns(trigger: Trigger, ceiling: &Ceiling, ramp: &Ramp) -> bool {
    match trigger {
        Trigger::Start => ramp.on.contains(&RampTrigger::Start),
        Trigger::CacheFlush => ramp.on.contains(&RampTrigger::CacheFlush),
        Trigger::Failover(region) => {
            ramp.on.contains(&RampTrigger::Failover) && ceiling.home.is_none_or(|home| home == region)
        }
    }
}

/// Time since `start`; none where the clock was set back.
fn passed(start: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(start)).unwrap_or_default()
}

/// The entry of a schedule that holds at `now`: the first whose time of day it is.
#[must_use]
pub fn scheduled(ceiling: &Ceiling, now: Timestamp) -> Option<&ScheduleEntry> {
    ceiling.schedule.iter().find(|entry| {
        let time = now.to_zoned(entry.timezone.clone()).time();
        if entry.from < entry.to {
            entry.from <= time && time < entry.to
        } else {
            entry.from <= time || time < entry.to
        }
    })
}

/// `limit * share`, never below one where the limit is not zero.
#[must_use]
pub fn scaled(limit: u64, share: f64) -> u64 {
    if share >= 1.0 || limit == 0 {
        return limit;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limits are below 2^53 and shares between 0 and 1"
    )]
    let part = (limit as f64 * share).round() as u64;
    part.clamp(1, limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn ceilings(table: &str) -> Vec<Ceiling> {
        let text = format!(
            "[host]\nregion = \"a\"\n[[region]]\nname = \"a\"\n[[region]]\nname = \"b\"\n[[ceiling]]\nname = \"c\"\n{table}"
        );
        config::from_text(std::path::Path::new("test"), &text).expect("no fault").config.ceilings
    }

    fn utc(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn a_ramp_grows_linearly_from_its_share_and_ends_at_the_whole() {
        let ceilings = ceilings("ramp = { on = [\"failover\"], from = 0.2, over = \"100s\" }\nhome = \"b\"");
        let start = utc("2026-01-01T00:00:00Z");
        let mut ramps = Ramps::default();
        for (trigger, share) in [
            (Trigger::Start, 1.0),
            (Trigger::CacheFlush, 1.0),
            (Trigger::Failover(RegionId::new(0).expect("region")), 1.0),
            (Trigger::Failover(RegionId::new(1).expect("region")), 0.2),
        ] {
            ramps.trigger(trigger, &ceilings, start);
            assert_eq!(ramps.share(&ceilings[0], start), share, "{trigger:?}");
        }
        for (second, limit) in [(0, 200), (25, 400), (50, 600), (100, 1000), (900, 1000), (-50, 200)] {
            let now = start + Duration::from_secs(1000) + jiff::SignedDuration::from_secs(second - 1000);
            assert_eq!(scaled(1000, ramps.share(&ceilings[0], now)), limit, "after {second} s");
        }
        ramps.tidy(&ceilings, start + Duration::from_secs(100));
        assert!(ramps.is_idle());
    }

    #[test]
    fn a_restart_goes_on_where_the_ramp_stood_and_a_new_start_begins_it() {
        let ceilings = ceilings("ramp = { on = [\"start\"], from = 0.2, over = \"100s\" }");
        let start = utc("2026-01-01T00:00:00Z");
        let after = |seconds| start + Duration::from_secs(seconds);
        let share = |ramps: &Ramps, seconds| (ramps.share(&ceilings[0], after(seconds)) * 100.0).round();
        let mut ramps = Ramps::at_start(None, &ceilings, start);
        assert_eq!(share(&ramps, 0), 20.0);
        ramps.is_alive(after(50));
        let kept = serde_json::to_string(&ramps).expect("text");
        let again = |seconds| {
            let kept = serde_json::from_str(&kept).expect("ramps");
            Ramps::at_start(Some(kept), &ceilings, after(seconds))
        };
        assert_eq!(share(&again(50), 50), 60.0, "as it stood");
        assert_eq!(share(&again(75), 75), 80.0, "as if it had gone on");
        assert_eq!(share(&again(120), 120), 100.0, "it would be over by now");
        assert_eq!(share(&again(150), 150), 20.0, "away for as long as it takes: everything is cold");
        let backwards = Ramps::at_start(Some(ramps), &ceilings, after(0));
        assert_eq!(share(&backwards, 0), 20.0, "a clock that was set back breaks nothing");
    }

    #[test]
    fn a_small_limit_never_becomes_nothing_and_nothing_stays_nothing() {
        assert_eq!((scaled(1, 0.01), scaled(0, 0.5), scaled(10, 0.5)), (1, 0, 5));
    }

    #[test]
    fn schedules_follow_the_clock_of_their_zone_also_past_midnight() {
        let day = ceilings(
            "schedule = [{ from = \"18:00\", to = \"23:30\", timezone = \"Europe/Paris\", requests_per_second = 8 }]",
        );
        for (now, holds) in [
            ("2026-07-01T16:00:00Z", true),
            ("2026-07-01T15:59:59Z", false),
            ("2026-07-01T21:30:00Z", false),
            ("2026-01-01T17:00:00Z", true),
            ("2026-01-01T16:59:59Z", false),
        ] {
            assert_eq!(scheduled(&day[0], utc(now)).is_some(), holds, "{now}");
        }
        let night = ceilings("schedule = [{ from = \"22:00\", to = \"06:00\", requests_per_second = 8 }]");
        for (now, holds) in
            [("2026-07-01T22:00:00Z", true), ("2026-07-01T05:59:59Z", true), ("2026-07-01T06:00:00Z", false)]
        {
            assert_eq!(scheduled(&night[0], utc(now)).is_some(), holds, "{now}");
        }
    }

    #[test]
    fn a_time_of_day_that_is_left_out_never_comes_and_one_that_comes_twice_holds_twice() {
        let table = |from: &str, to: &str| {
            format!(
                "schedule = [{{ from = {from:?}, to = {to:?}, timezone = \"Europe/Paris\", requests_per_second = 8 }}]"
            )
        };
        let minutes = |ceilings: &[Ceiling], midnight: &str| {
            let start = utc(midnight);
            let at =
                |minute: u64| scheduled(&ceilings[0], start + Duration::from_secs(minute * 60)).is_some();
            (0..24 * 60).filter(|minute| at(*minute)).count()
        };
        let (half, around) = (ceilings(&table("02:15", "02:45")), ceilings(&table("01:30", "03:30")));
        // Whole days of Paris; clocks go from 02:00 to 03:00 in March and from 03:00 to 02:00 in October.
        assert_eq!(
            (minutes(&half, "2026-03-28T23:00:00Z"), minutes(&around, "2026-03-28T23:00:00Z")),
            (0, 60)
        );
        assert_eq!(
            (minutes(&half, "2026-10-24T22:00:00Z"), minutes(&around, "2026-10-24T22:00:00Z")),
            (60, 180)
        );
        assert_eq!(
            (minutes(&half, "2026-07-01T22:00:00Z"), minutes(&around, "2026-07-01T22:00:00Z")),
            (30, 120)
        );
    }
}
