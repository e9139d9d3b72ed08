//! What holds in one slot: a lasting setting, and settings for a time above it. Never looks at other slots.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Caller, Setting};

/// Most settings above each other; more is no operator's plan.
const MAX_DEPTH: usize = 8;

/// A setting, who made it, and how long it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The setting; `None` is the file's value, for a time.
    pub setting: Option<Setting>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` until somebody changes it.
    pub until: Option<Timestamp>,
    /// The operator's words.
    pub reason: Option<String>,
    /// Who.
    pub by: Caller,
}

/// Settings from the lasting one up; each holds for less long than the one below it, and the top one is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stack(Vec<Held>);

impl Stack {
    /// What is in force.
    #[must_use]
    pub fn top(&self) -> Option<&Held> {
        self.0.last()
    }

    /// Whether the file's value is in force, and will be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a setting in force. A lasting one replaces everything; one for a time replaces what ends before it does.
    pub(super) fn set(&mut self, held: Held) {
        match held.until {
            None if held.setting.is_none() => self.0.clear(),
            None => self.0 = vec![held],
            Some(until) => {
                self.0.retain(|below| below.until.is_none_or(|end| end > until));
                if self.0.len() >= MAX_DEPTH {
                    self.0.remove(1);
                }
                self.0.push(held);
            }
        }
        // The file's value for a time above nothing is nothing.
        if let [Held { setting: None, .. }] = self.0.as_slice() {
            self.0.clear();
        }
    }

    /// Takes off what has run out.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.0.retain(|held| held.until.is_none_or(|until| until > now));
        if let [Held { setting: None, .. }] = self.0.as_slice() {
            self.0.clear();
        }
    }

    /// When something runs out next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|held| held.until).min()
    }

    /// The limit in force at `now`, where the top is a limit.
    pub(super) fn limit_at(&self, now: Timestamp) -> Option<u64> {
        self.top().and_then(|held| held.setting.as_ref()).and_then(|setting| setting.limit_at(now)).flatten()
    }
}
