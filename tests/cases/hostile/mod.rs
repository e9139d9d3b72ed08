//! What hostile clients send, and an origin that bears it. Never judges what comes of it.

pub(crate) mod baseline;
pub(crate) mod flood;
pub(crate) mod origin;
pub(crate) mod sink;
pub(crate) mod slow;
pub(crate) mod strain;
