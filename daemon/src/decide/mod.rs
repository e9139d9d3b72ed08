//! Decisions: pure functions of values and `now`. No socket, clock, map, lock, log or randomness in here.

pub mod region;
