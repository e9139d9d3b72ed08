//! Things that operators can change, and the values they can take. Never says which of them exist in a configuration.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::types::MisrouteMode;
use crate::config::units::show_duration;
use crate::decide::measure::Measure;

/// One changeable thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// A region's failover, by its name.
    Failover(String),
    /// The mode for mis-routed requests that no rule matches.
    Misroute,
    /// A limit or flag of a ceiling.
    Ceiling {
        /// The ceiling's name.
        name: String,
        /// Which of its values.
        key: CeilingKey,
    },
    /// A prefix on one of the lists.
    List {
        /// Which list.
        list: ListKind,
        /// The prefix.
        prefix: IpNet,
    },
}

/// A value of a ceiling that can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CeilingKey {
    /// A limit.
    Limit(Measure),
    /// Count, shed nothing.
    Observe,
}

/// The allow list or the deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    /// Never shed.
    Allow,
    /// Always shed.
    Deny,
}

/// A value in a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// In failover, or not.
    Failover(bool),
    /// A mode.
    Misroute(MisrouteMode),
    /// A limit that moves linearly from `from` to `to` within `over_ms` after `start`; `to = None` is no limit.
    Limit {
        /// Where the move begins; `None` begins at `to`.
        from: Option<u64>,
        /// Where it ends.
        to: Option<u64>,
        /// When it begins.
        start: Option<Timestamp>,
        /// How long it takes, in milliseconds.
        over_ms: u64,
    },
    /// Count only, or not.
    Observe(bool),
    /// On the list, or taken off it.
    Listed(bool),
}

impl Setting {
    /// A limit at once.
    #[must_use]
    pub fn limit(to: Option<u64>) -> Self {
        Self::Limit { from: None, to, start: None, over_ms: 0 }
    }

    /// A limit, reached linearly from `from`, the value in force now.
    #[must_use]
    pub fn ramp(from: u64, to: u64, over: Duration) -> Self {
        let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        Self::Limit { from: Some(from), to: Some(to), start: None, over_ms }
    }

    /// The setting as it is put in force at `now`: a move begins where an earlier one stands.
    pub(super) fn starting_from(self, standing: Option<u64>, now: Timestamp) -> Self {
        match self {
            Self::Limit { from: Some(from), to, over_ms, .. } => {
                Self::Limit { from: Some(standing.unwrap_or(from)), to, start: Some(now), over_ms }
            }
            other => other,
        }
    }

    /// The limit at `now`; the outer `None` where this is no limit, the inner one for "no limit".
    #[must_use]
    pub fn limit_at(&self, now: Timestamp) -> Option<Option<u64>> {
        let Self::Limit { from, to, start, over_ms } = self else { return None };
        let (Some(from), Some(to), Some(start)) = (from, to, start) else { return Some(*to) };
        let passed = u64::try_from(now.as_millisecond() - start.as_millisecond()).unwrap_or(0);
        if passed >= *over_ms {
            return Some(Some(*to));
        }
        let (low, high) = (i128::from(*from), i128::from(*to));
        let at = low + (high - low) * i128::from(passed) / i128::from(*over_ms);
        Some(u64::try_from(at).ok())
    }

    /// Whether it still moves at `now`.
    #[must_use]
    pub fn moves(&self, now: Timestamp) -> bool {
        let Self::Limit { start: Some(start), over_ms, .. } = self else { return false };
        u64::try_from(now.as_millisecond() - start.as_millisecond()).unwrap_or(0) < *over_ms
    }
}

impl fmt::Display for CeilingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(measure) => measure.fmt(f),
            Self::Observe => f.write_str("observe"),
        }
    }
}

impl ListKind {
    /// The word in the command line and the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failover(region) => write!(f, "failover {region}"),
            Self::Misroute => f.write_str("misroute"),
            Self::Ceiling { name, key } => write!(f, "ceiling {name} {key}"),
            Self::List { list, prefix } => write!(f, "{} {prefix}", list.name()),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failover(on) => f.write_str(if *on { "on" } else { "off" }),
            Self::Misroute(mode) => f.write_str(mode.name()),
            Self::Limit { to: None, .. } => f.write_str("off"),
            Self::Limit { from: Some(from), to: Some(to), over_ms, .. } => {
                write!(f, "{to} (from {from} over {})", show_duration(Duration::from_millis(*over_ms)))
            }
            Self::Limit { to: Some(to), .. } => to.fmt(f),
            Self::Observe(on) => on.fmt(f),
            Self::Listed(on) => f.write_str(if *on { "listed" } else { "taken off" }),
        }
    }
}

/// A map as a list of pairs: JSON's keys are text, a slot is not.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::{Slot, Stack};

    pub(in super::super) fn serialize<S: Serializer>(
        map: &BTreeMap<Slot, Stack>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Slot, Stack>, D::Error> {
        Ok(Vec::<(Slot, Stack)>::deserialize(deserializer)?.into_iter().collect())
    }
}
