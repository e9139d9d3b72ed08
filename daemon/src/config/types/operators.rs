//! What `[admin]` and `[log]` say. Holds no rule.

use std::net::SocketAddr;
use std::path::PathBuf;

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Unix socket.
    pub socket: PathBuf,
    /// Who besides root may change things.
    pub write_group: Option<String>,
    /// Prometheus scrape address.
    pub metrics: Option<SocketAddr>,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// A level or a tracing filter.
    pub level: String,
    /// Shape of the lines.
    pub format: LogFormat,
    /// Which requests are logged.
    pub access: AccessLog,
}

/// `format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// journald under systemd, text on a terminal, else JSON.
    Auto,
    /// Text.
    Text,
    /// JSON.
    Json,
}

/// `access`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// A bounded sample.
    Sampled,
    /// Every response.
    All,
}
