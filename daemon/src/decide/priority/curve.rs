//! Which share of each class gives way at which pressure. Never counts.
//!
//! Cubic, as Netflix's prioritised load shedding: little of a class is cut until things are bad. Classes overlap, so that the next one starts to
//! give way before the last one is all gone; critical traffic gives way only when all others have.

use super::CLASSES;
use crate::config::types::Class;

/// Pressure at which a class begins to give way, and at which all of it has. From 1 on only critical traffic is left.
fn range(class: Class) -> (f64, f64) {
    match class {
        Class::Critical => (1.0, 2.0),
        Class::Degraded => (0.5, 1.0),
        Class::BestEffort => (0.25, 0.75),
        Class::Bulk => (0.0, 0.5),
    }
}

/// Share of a class, 0 to 1, that is shed at a pressure from 0 to 2.
#[must_use]
pub fn shed_share(class: Class, pressure: f64) -> f64 {
    let (from, to) = range(class);
    ((pressure - from) / (to - from)).clamp(0.0, 1.0).powi(3)
}

/// The least pressure at which no more than `allowed` is left of what the classes offer (most important first, per second). Zero where
/// all of it is allowed.
#[must_use]
pub fn pressure_for(offered: [f64; 4], allowed: f64) -> f64 {
    let left = |pressure: f64| -> f64 {
        CLASSES.iter().zip(offered).map(|(class, rate)| rate * (1.0 - shed_share(*class, pressure))).sum()
    };
    if left(0.0) <= allowed {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 2.0);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if left(middle) > allowed {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}
