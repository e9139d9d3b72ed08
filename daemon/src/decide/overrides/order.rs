//! An order to change something, and why one is refused. Never applies itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MAX_REASON, MAX_TIME, Setting, Slot};

/// Who asked, as the kernel tells it (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Process; 0 where the kernel names none.
    pub pid: i32,
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Slots and their new settings; `None` goes back to the file.
    pub changes: Vec<(Slot, Option<Setting>)>,
    /// `--for`: afterwards, what was there before holds again.
    pub valid_for: Option<Duration>,
    /// `--confirm`: undone unless confirmed within this time.
    pub confirm: Option<Duration>,
    /// The operator's words.
    pub reason: Option<String>,
    /// Who asked.
    pub caller: Caller,
}

/// Why an order was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A time is zero or beyond [`MAX_TIME`].
    #[error("{0}: allowed are times from 1s to 366d")]
    Time(&'static str),
    /// The reason is too long.
    #[error("reason: at most 500 characters")]
    Reason,
    /// Too many slots differ from the file.
    #[error(
        "more than 50000 things would differ from the file: take some back first, or write them into the file"
    )]
    TooManySlots,
}

impl Order {
    /// Whether its times and words are within bounds.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let allowed = Duration::from_secs(1)..=MAX_TIME;
        for (name, time) in [("for", self.valid_for), ("confirm", self.confirm)] {
            if time.is_some_and(|time| !allowed.contains(&time)) {
                return Err(Refused::Time(name));
            }
        }
        if self.reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Refused::Reason);
        }
        Ok(())
    }
}
