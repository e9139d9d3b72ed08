//! Who gives way as a ceiling fills: classes in order, and within a class the same users for a while. Never looks at a request.
//!
//! Two layers, so that cutting is fair and the ceiling exact. The slow one ([`Load`]) measures what each class offers and cuts as much of
//! the least important classes as is too much, by users: nothing while no more is offered than the ceiling lets through. The fast one ([`Zones`])
//! looks at how much of the ceiling's allowance is spent and keeps the rest of it for more important classes; it holds what the slow one
//! has not seen yet. What neither refuses, the ceiling itself judges.

mod curve;
mod cut;
mod load;
mod zones;

pub use curve::{pressure_for, shed_share};
pub use load::Load;
pub use zones::Zones;

use crate::config::types::Class;

/// Every class, most important first.
pub const CLASSES: [Class; 4] = [Class::Critical, Class::Degraded, Class::BestEffort, Class::Bulk];

/// Place of a class in [`CLASSES`].
#[must_use]
pub fn rank(class: Class) -> usize {
    class as usize
}

/// Place of a user among all, 0 to 1, by a hash of who it is. The order in which places give way turns slowly ([`Load`]).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a place, not an amount")]
pub fn place(user: u64) -> f64 {
    // The low bits of a hash may be poor: mixed as in splitmix64 (Steele, Lea, Flood 2014).
    let mut mixed = user.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
