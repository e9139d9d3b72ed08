//! Links between regions, transport `direct`. Never lets an invalidation leave the spool before the other region said that it was applied.
//!
//! [`outgoing`] keeps one connection to one edge of a region and sends it the spool's rows; [`inbound`] takes what peers open on this
//! host's peer listeners, and applies it.

pub(super) mod dial;
pub(super) mod door;
pub(super) mod frames;
pub(super) mod inbound;
pub(super) mod lanes;
pub(super) mod outgoing;
#[cfg(test)]
mod tests;
mod ways;
