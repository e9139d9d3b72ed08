//! One error per thing that can be asked of the NIC. Never a catch-all.

use std::io;

use aya::EbpfError;
use aya::programs::ProgramError;

use super::adopt::AdoptError;
use super::attach::AttachError;
use super::detach::DetachError;
use super::maps::SharedMapError;
use super::netlink::NetlinkError;
use super::nic::NicGone;
use super::pins::PinsError;
use super::preflight::PreflightError;
use crate::decide::report::nic::ApplyTimes;

/// Why the NIC cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Kernel or rights.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The pins' folder.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// Pinned maps that do not fit.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// Old maps could not be cleared away.
    #[error(transparent)]
    Replace(#[from] DetachError),
    /// Interfaces or addresses cannot be seen.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A pinned map cannot be read or written.
    #[error(transparent)]
    Map(#[from] SharedMapError),
    /// No thread.
    #[error("no thread for the NIC: {0}")]
    Thread(io::Error),
    /// The thread ended.
    #[error(transparent)]
    Gone(#[from] NicGone),
}

impl OpenError {
    /// Another daemon of the instance holds the pins, perhaps only for a moment more.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Pins(PinsError::Held { .. }))
    }
}

/// Why a program cannot be loaded. Nothing was changed on any interface.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("loading the NIC program: {0}")]
    Object(EbpfError),
    /// The kernel's verifier or the kernel refused it.
    #[error("the kernel refuses the NIC program {name}: {why}")]
    Program {
        /// Its name.
        name: &'static str,
        /// What the kernel said, and the end of the verifier's log.
        why: String,
    },
    /// The object lacks something; it was made by another version.
    #[error("the NIC program's object has no {0}: it was built by another version (cargo xtask build)")]
    Lacks(&'static str),
    /// A table could not be filled.
    #[error("filling the NIC program's table {table}: {why}")]
    Table {
        /// Its name.
        table: &'static str,
        /// What the kernel said.
        why: aya::maps::MapError,
    },
}

/// Why a change was not applied. The program before goes on.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Loading.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The pins' folder.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// Interfaces cannot be seen.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A shared map cannot be read or written.
    #[error(transparent)]
    Map(#[from] SharedMapError),
    /// The program is on the interfaces, but its pin could not be renewed.
    #[error("pinning the NIC program: {0}")]
    Pin(io::Error),
    /// An interface that is no longer wanted keeps the program.
    #[error("detaching interface {interface}: {why}")]
    Leave {
        /// Its name.
        interface: String,
        /// Why not.
        why: io::Error,
    },
    /// No thread for the events.
    #[error("no thread for the NIC's events: {0}")]
    Thread(io::Error),
    /// The thread ended.
    #[error(transparent)]
    Gone(#[from] NicGone),
}

/// What a change did.
#[derive(Debug)]
pub struct ApplyReport {
    /// How long it took.
    pub times: ApplyTimes,
    /// Counters and bucket levels are an earlier daemon's.
    pub adopted: bool,
    /// Interfaces that do not have the new program, and why.
    pub failures: Vec<AttachError>,
    /// The program was detached by hand and stayed off: what was asked for waits for [`super::Nic::apply`].
    pub stays_off: bool,
}

/// Why limits were not changed; the ones before hold.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// No program yet.
    #[error("no NIC program is loaded")]
    NotLoaded,
    /// The maps.
    #[error(transparent)]
    Map(#[from] SharedMapError),
    /// The thread ended.
    #[error(transparent)]
    Gone(#[from] NicGone),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The maps.
    #[error(transparent)]
    Map(#[from] SharedMapError),
    /// The thread ended.
    #[error(transparent)]
    Gone(#[from] NicGone),
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No program yet.
    #[error("no NIC program is loaded")]
    NotLoaded,
    /// Its pin is gone.
    #[error(
        "nothing is attached: `detach` took the NIC program off, so that every packet passes; a reload or a restart attaches it again (explain --url asks the proxy)"
    )]
    Detached,
    /// The kernel does not run it.
    #[error("running the NIC program on a frame: {0}")]
    Run(ProgramError),
    /// Not even an Ethernet header.
    #[error("a frame of {0} bytes is too short: an Ethernet header has 14")]
    TooShort(usize),
    /// The answer is none of ours.
    #[error("the loaded NIC program answered {0:#x}, which is no verdict")]
    Answer(u32),
    /// The thread ended.
    #[error(transparent)]
    Gone(#[from] NicGone),
}
