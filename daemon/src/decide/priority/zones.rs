//! How far each class may fill a ceiling. Never takes anything from it.

use crate::config::types::Class;

/// What each class may use of an allowance. The rest is kept for the classes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zones {
    /// No more is offered than the ceiling lets through: only the last part is kept.
    Calm,
    /// More is offered than the ceiling lets through: enough is kept that bunches of critical requests fit in.
    Overloaded,
}

impl Zones {
    /// Whether a class gives way when this share of the saved-up allowance is spent, 0 (none) to 1 (all).
    #[must_use]
    pub fn refuse(self, class: Class, spent: f64) -> bool {
        let most = match self {
            Self::Calm => [f64::INFINITY, 0.9, 0.85, 0.8],
            Self::Overloaded => [f64::INFINITY, 0.5, 0.4, 0.3],
        };
        spent >= most[super::rank(class)]
    }

    /// Share of a class's users that gives way when this share of the places in flight is taken, 0 to 1.
    #[must_use]
    pub fn crowded_out(class: Class, occupied: f64) -> f64 {
        let (from, to) = match class {
            Class::Critical => return 0.0,
            Class::Degraded => (0.90, 0.97),
            Class::BestEffort => (0.87, 0.94),
            Class::Bulk => (0.84, 0.91),
        };
        ((occupied - from) / (to - from)).clamp(0.0, 1.0).powi(3)
    }
}
