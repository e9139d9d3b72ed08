//! Which share of a class gives way as a ceiling fills. Never looks at a request.
//!
//! A smooth, cubic curve per class, as in Netflix's prioritised load shedding: little is cut until things are bad, the least important class is all
//! gone before the next one loses much, and critical traffic gives way only to a ceiling that is full.

use crate::config::types::Class;

/// Fill at which a class begins to give way, and fill at which all of it has.
fn range(class: Class) -> Option<(f64, f64)> {
    match class {
        Class::Critical => None,
        Class::Degraded => Some((0.65, 0.95)),
        Class::BestEffort => Some((0.45, 0.75)),
        Class::Bulk => Some((0.25, 0.55)),
    }
}

/// Share of a class's users, 0 to 1, that is shed at this fill (0 empty, 1 full).
#[must_use]
pub fn shed_share(class: Class, fill: f64) -> f64 {
    let Some((from, to)) = range(class) else { return 0.0 };
    ((fill - from) / (to - from)).clamp(0.0, 1.0).powi(3)
}

/// Place of a user between 0 and 1, which moves round once per `period_ns`: whoever is shed now is served later.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a place, not an amount")]
pub fn place(user: u64, now_ns: u64, period_ns: u64) -> f64 {
    let start = user as f64 / u64::MAX as f64;
    let turned = (now_ns % period_ns.max(1)) as f64 / period_ns.max(1) as f64;
    (start + turned).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_important_class_always_gives_way_first() {
        let classes = [Class::Critical, Class::Degraded, Class::BestEffort, Class::Bulk];
        for step in 0..=100 {
            let fill = f64::from(step) / 100.0;
            let shares = classes.map(|class| shed_share(class, fill));
            assert!(shares.is_sorted(), "{fill}: {shares:?}");
            assert!(shares[0] == 0.0, "critical gives way only to a full ceiling");
        }
    }

    #[test]
    fn the_curve_is_cubic_and_complete() {
        assert!(shed_share(Class::Bulk, 0.25) == 0.0);
        assert!((shed_share(Class::Bulk, 0.40) - 0.125).abs() < 1e-9);
        assert!(shed_share(Class::Bulk, 0.55) > 0.999_999);
    }

    #[test]
    fn every_user_gets_round() {
        let shed = |user: u64| (0..100).filter(|step| place(user, step * 10, 1_000) < 0.2).count();
        for user in [0, u64::MAX / 3, u64::MAX - 1] {
            assert!((19..=21).contains(&shed(user)), "{user}: {}", shed(user));
        }
    }
}
