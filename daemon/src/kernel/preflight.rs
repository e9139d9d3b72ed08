//! What the kernel and this process must have before anything is loaded: version and capabilities. Changes nothing.

use rustix::thread::CapabilitySet;

/// Atomics that return a value (compare-and-swap, fetch) came to BPF with Linux 5.12.
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// Why this machine or process cannot load the program.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PreflightError {
    /// The kernel is too old.
    #[error(
        "kernel {found} is too old for the NIC program: it needs 5.12 or later (BPF atomics that return a value); set [xdp] interfaces = [] to run the proxy alone"
    )]
    KernelTooOld {
        /// What `uname` says.
        found: String,
    },
    /// Capabilities are missing.
    #[error(
        "missing capabilities: {}; run as root, or give them in the service unit (AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON)",
        missing.join(", ")
    )]
    MissingCapabilities {
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// The process's capabilities could not be read.
    #[error("cannot read this process's capabilities: {0}")]
    Unreadable(String),
}

/// Checks kernel version and capabilities.
pub(crate) fn check() -> Result<(), PreflightError> {
    check_kernel(&rustix::system::uname().release().to_string_lossy())?;
    let sets = rustix::thread::capabilities(None).map_err(|e| PreflightError::Unreadable(e.to_string()))?;
    check_capabilities(sets.effective)
}

fn check_kernel(release: &str) -> Result<(), PreflightError> {
    match version(release) {
        Some(found) if found < OLDEST_KERNEL => {
            Err(PreflightError::KernelTooOld { found: release.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Major and minor of a release such as `6.1.0-18-amd64`; `None` if it does not look like one.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `CAP_SYS_ADMIN` stands for `CAP_BPF` and `CAP_PERFMON` (capability.h), never for `CAP_NET_ADMIN`.
fn check_capabilities(has: CapabilitySet) -> Result<(), PreflightError> {
    let admin = has.contains(CapabilitySet::SYS_ADMIN);
    let wanted = [
        ("CAP_BPF", admin || has.contains(CapabilitySet::BPF)),
        ("CAP_NET_ADMIN", has.contains(CapabilitySet::NET_ADMIN)),
        ("CAP_PERFMON", admin || has.contains(CapabilitySet::PERFMON)),
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|(_, present)| !present).map(|(name, _)| name).collect();
    if missing.is_empty() { Ok(()) } else { Err(PreflightError::MissingCapabilities { missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_12_are_refused() {
        assert!(check_kernel("5.10.0-28-amd64").is_err());
        assert!(check_kernel("4.19.0").is_err());
        for release in ["5.12.0", "5.15-generic", "6.1.0-18-amd64", "7.0-rc1", "strange"] {
            assert_eq!(check_kernel(release), Ok(()), "{release}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        let missing = |has| match check_capabilities(has) {
            Err(PreflightError::MissingCapabilities { missing }) => missing,
            _ => Vec::new(),
        };
        assert_eq!(missing(CapabilitySet::empty()), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(missing(CapabilitySet::SYS_ADMIN), ["CAP_NET_ADMIN"]);
        let unit = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
        assert!(missing(unit).is_empty());
    }
}
