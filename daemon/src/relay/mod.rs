//! The relay: memcached fronts, the spool, links to other regions, applying. Never decides what is captured; see `decide::relay`.

mod apply;
mod error;
mod front;
mod hub;
mod link;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "nats", feature = "sqs"))]
mod post;
mod setup;
pub mod spool;
#[cfg(feature = "sqs")]
mod sqs;
mod threads;
mod workers;

pub use self::error::RelayError;
pub use self::hub::{InvalidateError, MAX_BATCH, Relay};
pub use self::setup::{Links, start};
