//! What travels over the admin socket, as serde sees it: the keys are stable and documented. Holds no state.

pub mod change;
pub mod event;
pub mod problem;
pub mod status;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

/// A time as the wire has it: RFC 3339, whole seconds, UTC.
#[must_use]
pub fn time_text(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// A list with its name, so that keys can be added beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regions {
    /// Every region.
    pub regions: Vec<status::Region>,
}

/// `GET /v1/ceilings`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Every ceiling.
    pub ceilings: Vec<status::Ceiling>,
}

/// `GET /v1/deny` and `GET /v1/allow`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// `deny` or `allow`.
    pub list: String,
    /// Its prefixes, the file's first.
    pub prefixes: Vec<ListEntry>,
}

/// One prefix of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListEntry {
    /// The prefix.
    pub prefix: String,
    /// `file` or `operator`.
    pub by: String,
    /// Until when, where it is for a time.
    pub until: Option<String>,
    /// The operator's words.
    pub reason: Option<String>,
}
