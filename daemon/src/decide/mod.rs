//! Decisions: pure functions of values and `now`. No socket, clock, map, lock, log or randomness in here.

pub mod event;
pub mod inforce;
pub mod measure;
pub mod region;
pub mod report;
