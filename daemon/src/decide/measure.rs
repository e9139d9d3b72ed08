//! What a ceiling can count, with the names that the file, the command line and the metrics use. Counts nothing itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One limit of a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Proxy: requests per second.
    RequestsPerSecond,
    /// Proxy: requests in flight.
    ConcurrentRequests,
    /// NIC: TCP SYNs per second.
    ConnectionsPerSecond,
    /// NIC: packets per second.
    PacketsPerSecond,
    /// NIC: bits per second.
    BitsPerSecond,
}

/// The text names no measure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such limit as \"{0}\"")]
pub struct UnknownMeasure(pub String);

impl Measure {
    /// Every measure, in the order in which tables show them.
    pub const ALL: [Self; 5] = [
        Self::RequestsPerSecond,
        Self::ConcurrentRequests,
        Self::ConnectionsPerSecond,
        Self::PacketsPerSecond,
        Self::BitsPerSecond,
    ];

    /// The key in the configuration, the command line's `KEY=`, and the metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::ConcurrentRequests => "concurrent_requests",
            Self::ConnectionsPerSecond => "connections_per_second",
            Self::PacketsPerSecond => "packets_per_second",
            Self::BitsPerSecond => "bits_per_second",
        }
    }

    /// Whether the NIC enforces it; the proxy does otherwise.
    #[must_use]
    pub fn on_nic(self) -> bool {
        !matches!(self, Self::RequestsPerSecond | Self::ConcurrentRequests)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Measure {
    type Err = UnknownMeasure;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|measure| measure.name() == text)
            .ok_or_else(|| UnknownMeasure(text.to_owned()))
    }
}
