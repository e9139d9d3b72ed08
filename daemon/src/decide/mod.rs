//! Decisions: pure functions of values and `now`. No socket, clock, map, lock, log or randomness in here.

pub mod adaptive;
pub mod admission;
pub mod client;
pub mod event;
pub mod flood;
pub mod framing;
pub mod geo;
pub mod hold;
pub mod home;
pub mod inforce;
pub mod measure;
pub(crate) mod nearest;
pub mod nic;
pub mod outlier;
#[doc(hidden)]
pub mod outside;
pub mod overrides;
pub mod pin;
pub mod policy;
pub mod pressure;
pub mod priority;
pub mod proxy_protocol;
pub mod ramps;
pub mod rates;
pub mod reason;
pub mod region;
pub mod relay;
pub mod report;
pub mod retry;
pub mod route;
pub mod sources;
pub mod target;
pub mod verb;
pub mod view;
pub mod watch;
pub mod wire;

#[cfg(test)]
mod sim;
