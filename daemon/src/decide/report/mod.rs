//! What the parts report of themselves, as plain values that `status` and the metrics are made from. Never asks anybody.
//!
//! One file per part: `nic` (by `kernel`), `proxy` and `relay`. Counters only grow while the daemon runs; the NIC's also across restarts.

pub mod nic;
pub mod proxy;
pub mod relay;
