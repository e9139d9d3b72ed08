//! The NIC: loading the program, pinning, adopting, attaching, its maps, counters and events. The only room that imports aya.
//! Never decides what is shed.
//!
//! [`Nic`] is the handle; everything behind it happens on one thread, one command after the other:
//!
//! ```text
//! open   preflight -> claim pins -> examine what is pinned -> renew its lease -> watch interfaces and addresses
//! apply  load off to the side -> limits (other bank, one flip) -> swap in the links -> pin -> leave what is unwanted
//! ```
//!
//! A process that ends between any two of these steps leaves a program that enforces, and pins that the next one takes over.

mod adopt;
mod attach;
mod detach;
mod error;
mod events;
mod homes;
mod lease;
mod lines;
mod load;
mod maps;
mod netlink;
mod nic;
mod object;
mod pins;
mod preflight;
mod report;
mod watch;
mod worker;

pub use adopt::AdoptError;
pub use attach::AttachError;
pub use detach::{DetachError, Detached, abandon, detach, pinned};
pub use error::{ApplyError, ApplyReport, ExplainError, LimitsError, LoadError, OpenError, ReportError};
pub use maps::SharedMapError;
pub use netlink::NetlinkError;
pub use nic::{Nic, NicGone, NicOptions, NicWish};
pub use object::{NoObject, object};
pub use pins::PinsError;
pub use preflight::PreflightError;
