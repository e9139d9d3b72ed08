//! Why the daemon could not start, and the exit status that goes with it. Handles nothing.

use std::io;

use crate::admin::{BindError, StoreError};
use crate::config::LoadError;
use crate::decide::policy::BadRegionName;
use crate::decide::sources::CompileError;
use crate::kernel;
use crate::proxy;

use super::geo::GeoError;
use super::hand_over::HandOverError;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration has faults or can't be read.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// A geofeed or the database can't be used.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The geo records make no table.
    #[error("geo records: {0}")]
    Tables(#[from] CompileError),
    /// A region's name can't travel.
    #[error(transparent)]
    Region(#[from] BadRegionName),
    /// The state folder can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The admin socket can't be opened.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// The proxy can't be started.
    #[error(transparent)]
    Proxy(#[from] proxy::StartError),
    /// The binary was built without the kernel program.
    #[error("[xdp].interfaces: {0}")]
    NoObject(#[from] kernel::NoObject),
    /// The NIC can't be opened.
    #[error("[xdp]: {0}")]
    NicOpen(#[from] kernel::OpenError),
    /// The program can't be loaded.
    #[error("[xdp]: {0}")]
    NicApply(#[from] kernel::ApplyError),
    /// The program can't be put on an interface.
    #[error("[xdp].interfaces: {0}")]
    NicAttach(kernel::AttachError),
    /// This host has more addresses than the program holds.
    #[error("[xdp]: {0}")]
    Locals(#[from] crate::decide::nic::LocalError),
    /// The relay can't be started.
    #[error("[relay]: {0}")]
    Relay(String),
    /// The running daemon does not hand over.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// No runtime.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl RunError {
    /// The exit status: 2 for the configuration, 4 for missing rights, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Config(_) | Self::Geo(_) | Self::Tables(_) | Self::Region(_) => 2,
            // What the file names and can't be used, as in a reload.
            Self::Proxy(proxy::StartError::Tls(_) | proxy::StartError::Pins(_)) => 2,
            Self::NicOpen(kernel::OpenError::Preflight(kernel::PreflightError::MissingCapabilities {
                ..
            })) => 4,
            Self::Store(StoreError::Io { error, .. })
            | Self::Admin(BindError::Socket { error, .. } | BindError::Metrics { error, .. })
                if denied(error) =>
            {
                4
            }
            Self::Proxy(proxy::StartError::Bind(bind)) if denied(&bind.source) => 4,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_tells_a_right_that_is_missing_from_a_port_that_is_taken_and_from_a_fault() {
        let bind = |kind: io::ErrorKind| {
            let address = ([127, 0, 0, 1], 443).into();
            proxy::StartError::Bind(proxy::BindError { name: "public".into(), address, source: kind.into() })
        };
        let pins = proxy::PinError::Unreadable { path: "key".into(), source: io::ErrorKind::NotFound.into() };
        for (error, status) in [
            (bind(io::ErrorKind::PermissionDenied), 4),
            (bind(io::ErrorKind::AddrInUse), 1),
            (proxy::StartError::Pins(pins), 2),
        ] {
            let error = RunError::Proxy(error);
            assert_eq!(error.exit_code(), status, "{error}");
        }
    }
}
