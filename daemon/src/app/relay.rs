//! The relay's place in the daemon. Never forwards a byte itself.

use crate::decide::report::relay::RelayReport;

/// The relay, or that there is none.
#[derive(Default)]
pub(super) struct RelayPart;

/// A handle for questions.
#[derive(Clone)]
pub(super) struct RelayHandle;

impl RelayPart {
    /// A handle.
    pub(super) fn handle(&self) -> RelayHandle {
        RelayHandle
    }
}

impl RelayHandle {
    /// What the relay tells of itself; `None` without pools.
    pub(super) fn report(&self) -> Option<RelayReport> {
        None
    }

    /// Has keys forgotten in the pool's other regions.
    pub(super) async fn invalidate(&self, _pool: &str, _keys: Vec<Vec<u8>>) -> Result<(), String> {
        Err("the relay is not running".to_owned())
    }
}
