//! The file's values of slots, in words: what an override stands above. Never says what is in force.

use super::{CeilingKey, ListKind, Setting, Slot};
use crate::config::Config;
use crate::config::types::Concurrency;
use crate::decide::inforce::CeilingInForce;
use crate::decide::measure::Measure;

/// Said of a slot whose region or ceiling is no longer in the file.
pub const NOT_IN_FILE: &str = "not in the file";

impl Slot {
    /// The file's value, in words.
    #[must_use]
    pub fn in_file(&self, config: &Config) -> String {
        match self {
            Self::Failover(region) => {
                let known = config.regions.iter().any(|(_, known)| known.name == *region);
                if known { "off" } else { NOT_IN_FILE }.to_owned()
            }
            Self::Misroute => config.misroute.mode.name().to_owned(),
            Self::Ceiling { name, key } => {
                let file = config.ceilings.iter().find(|ceiling| ceiling.name == *name);
                match (file, key) {
                    (None, _) => NOT_IN_FILE.to_owned(),
                    (Some(file), CeilingKey::Observe) => file.observe.to_string(),
                    (Some(file), CeilingKey::Limit(measure)) => {
                        let file_adapts = matches!(file.concurrent_requests, Some(Concurrency::Adaptive(_)));
                        if file_adapts && *measure == Measure::ConcurrentRequests {
                            return "adaptive".to_owned();
                        }
                        Setting::limit(CeilingInForce::of_file(file).limits.get(measure).copied()).to_string()
                    }
                }
            }
            Self::List { list, prefix } => {
                let listed = match list {
                    ListKind::Allow => &config.xdp.allow,
                    ListKind::Deny => &config.xdp.deny,
                };
                if listed.contains(prefix) { "listed" } else { "not listed" }.to_owned()
            }
        }
    }

    /// A setting of this slot in words; without one, the file's value with a note that it is the file's.
    #[must_use]
    pub fn shown(&self, setting: Option<&Setting>, config: &Config) -> String {
        match (setting, self.in_file(config)) {
            (Some(setting), _) => setting.to_string(),
            (None, nothing) if nothing == NOT_IN_FILE => nothing,
            (None, file) => format!("{file} (file)"),
        }
    }
}
