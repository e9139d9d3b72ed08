//! What the classes offer to one ceiling, and how much of each is cut for it. Never reads a clock; `now` comes in.
//!
//! Many threads count without a lock; whichever finds that a window is over takes stock of it, at most ten times per second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::cut::{BINS, Cut, bin};
use super::{CLASSES, Zones, pressure_for, rank, shed_share};
use crate::config::types::Class;
use crate::decide::admission::Tick;

/// Time constant of what is remembered.
const MEMORY_S: f64 = 2.0;
/// Requests of a ceiling that a window should have room for, so that chance doesn't rule it.
const WINDOW_REQUESTS: f64 = 50.0;
/// Shortest and longest window.
const WINDOW_S: (f64, f64) = (0.1, 1.0);
/// Whoever gives way first changes by one bin after this time; all get round in an hour.
const TURN_NS: u64 = 3_600_000_000_000 / BINS as u64;

/// Offered traffic by class and user, and the cuts that follow.
#[derive(Debug, Default)]
pub struct Load {
    counts: [[AtomicU32; BINS]; 4],
    ends_ns: AtomicU64,
    overloaded: AtomicBool,
    cuts: [Cut; 4],
    past: Mutex<Past>,
}

/// What is remembered of windows that are over.
#[derive(Debug, Default)]
struct Past {
    began_ns: u64,
    /// Requests per second by class and bin.
    rates: [[f64; BINS]; 4],
    /// Requests per second in the last windows.
    recent: [f64; 4],
    seeded: bool,
}

impl Load {
    /// Counts one request that is about to be judged. `place` is its user's ([`super::place`]), `limit` the ceiling's requests per second now.
    pub fn offer(&self, class: Class, place: f64, limit: Option<f64>, now: Tick) {
        self.counts[rank(class)][bin(place)].fetch_add(1, Relaxed);
        if now.0 >= self.ends_ns.load(Relaxed) {
            self.take_stock(limit, now);
        }
    }

    /// Whether a request of this class and user gives way, where this share of the saved-up allowance is spent and this share of the places in
    /// flight is taken.
    #[must_use]
    pub fn refuses(&self, class: Class, place: f64, spent: f64, occupied: f64) -> bool {
        let zones = if self.overloaded.load(Relaxed) { Zones::Overloaded } else { Zones::Calm };
        self.cuts[rank(class)].takes(bin(place))
            || zones.refuse(class, spent)
            || place < Zones::crowded_out(class, occupied)
    }

    /// Whether more was offered lately than the ceiling lets through.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.overloaded.load(Relaxed)
    }

    fn take_stock(&self, limit: Option<f64>, now: Tick) {
        let Ok(mut past) = self.past.try_lock() else { return };
        if now.0 < self.ends_ns.load(Relaxed) {
            return;
        }
        self.ends_ns.store(now.0.saturating_add(window_ns(limit)), Relaxed);
        let passed_s = std::time::Duration::from_nanos(now.0.saturating_sub(past.began_ns)).as_secs_f64();
        let begun = past.began_ns != 0;
        past.began_ns = now.0.max(1);
        if begun && passed_s > 0.0 {
            past.remember(&self.counts, passed_s);
            self.cut(&past, limit, now);
        }
    }

    fn cut(&self, past: &Past, limit: Option<f64>, now: Tick) {
        let offered = past.offered();
        let total = offered.iter().sum::<f64>();
        let limit = limit.unwrap_or(f64::INFINITY);
        self.overloaded.store(total > limit, Relaxed);
        let pressure = pressure_for(offered, limit * margin(limit));
        let first = (now.0 / TURN_NS % BINS as u64) as usize;
        for (at, class) in CLASSES.iter().enumerate() {
            self.cuts[at].set(shed_share(*class, pressure), first, &past.rates[at]);
        }
    }
}

impl Past {
    fn remember(&mut self, counts: &[[AtomicU32; BINS]; 4], passed_s: f64) {
        let weight = if self.seeded { 1.0 - (-passed_s / MEMORY_S).exp() } else { 1.0 };
        let mut total = 0.0;
        for (rates, counts) in self.rates.iter_mut().zip(counts) {
            for (rate, count) in rates.iter_mut().zip(counts) {
                let seen = f64::from(count.swap(0, Relaxed)) / passed_s;
                total += seen;
                *rate += weight * (seen - *rate);
            }
        }
        if !self.seeded {
            self.recent = [total; 4];
        }
        self.seeded = true;
        self.recent.rotate_left(1);
        self.recent[3] = total;
    }

    /// Offered per second by class. Rises as slowly as memory and falls as fast as the last windows: too little is made up for by the
    /// zones at once, too much would shed what the ceiling lets through.
    fn offered(&self) -> [f64; 4] {
        let remembered: [f64; 4] = std::array::from_fn(|class| self.rates[class].iter().sum());
        let total = remembered.iter().sum::<f64>();
        let recent = self.recent.iter().sum::<f64>() / 4.0;
        let scale = if total > recent { recent / total } else { 1.0 };
        remembered.map(|rate| rate * scale)
    }
}

/// How much more than the ceiling is let through to the ceiling itself, so that chance never leaves it idle: one per cent, and three
/// standard deviations of what is remembered.
fn margin(limit: f64) -> f64 {
    1.01 + 3.0 / (limit * MEMORY_S).max(1.0).sqrt()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a second")]
fn window_ns(limit: Option<f64>) -> u64 {
    let (shortest, longest) = WINDOW_S;
    let wanted = limit.map_or(shortest, |limit| WINDOW_REQUESTS / limit.max(1e-9));
    (wanted.clamp(shortest, longest) * 1e9) as u64
}
