//! Where an instance's objects are pinned: bpffs, its folders and names, and who holds the folder. Never loads or attaches anything.
//!
//! ```text
//! /sys/fs/bpf/tidegate/INSTANCE/program        the program now on the interfaces
//!                               link-IFNAME    keeps it attached while no daemon runs
//!                               maps/NAME      what survives a change of program
//! ```

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use aya::programs::ProgramInfo;
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};
use tidegate_common::names::PIN_ROOT;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Longest instance name; it is a folder's name.
const MAX_INSTANCE: usize = 64;
const LINK_PREFIX: &str = "link-";

/// Why an instance's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The name cannot be a folder on bpffs.
    #[error(
        "instance \"{0}\" cannot name a pin folder: 1 to 64 letters, digits, '-' or '_' are allowed (bpffs reserves dots)"
    )]
    InstanceName(String),
    /// bpffs is not mounted and cannot be.
    #[error(
        "bpffs is not mounted on {} and mounting it failed: {why}; as root: mount -t bpf bpf {}", path.display(), path.display()
    )]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A folder cannot be made or read.
    #[error("pin folder {}: {why}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// Another daemon of the same instance.
    #[error(
        "another tidegate daemon holds {}: one daemon per instance; give this one another [host] instance", path.display()
    )]
    Held {
        /// The instance's folder.
        path: PathBuf,
    },
}

/// Names of an instance's pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// The names of `instance`'s pins; touches nothing.
    pub(crate) fn of(instance: &str) -> Result<Self, PinsError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if instance.is_empty() || instance.len() > MAX_INSTANCE || !instance.chars().all(fine) {
            return Err(PinsError::InstanceName(instance.to_owned()));
        }
        Ok(Self { folder: Path::new(PIN_ROOT).join(instance) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("program")
    }

    /// Where a new program is pinned before it takes [`Self::program`]'s place.
    pub(crate) fn next_program(&self) -> PathBuf {
        self.folder.join("program-next")
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.folder.join("maps")
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(crate) fn link(&self, interface: &str) -> PathBuf {
        self.folder.join(format!("{LINK_PREFIX}{}", encode(interface)))
    }

    /// Interfaces that have a link pinned, with the pins' paths; none if the folder is missing.
    pub(crate) fn links(&self) -> Result<Vec<(String, PathBuf)>, PinsError> {
        let names = self.names(&self.folder)?;
        let link = |name: &String| Some((decode(name.strip_prefix(LINK_PREFIX)?), self.folder.join(name)));
        Ok(names.iter().filter_map(link).collect())
    }

    /// Names of the pinned maps; none if the folder is missing.
    pub(crate) fn map_names(&self) -> Result<Vec<String>, PinsError> {
        self.names(&self.maps())
    }

    /// Another instance whose pinned program has this id.
    pub(crate) fn instance_of_program(&self, id: u32) -> Option<String> {
        let instances = self.names(Path::new(PIN_ROOT)).ok()?;
        instances.into_iter().find(|instance| {
            let pin = Path::new(PIN_ROOT).join(instance).join("program");
            ProgramInfo::from_pin(pin).is_ok_and(|program| program.id() == id)
        })
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, PinsError> {
        let failed = |why| PinsError::Folder { path: folder.to_owned(), why };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Mounts bpffs where it is missing, makes the folders (mode 0700), and takes the instance for this process.
    pub(crate) fn claim(&self) -> Result<Claim, PinsError> {
        ensure_bpffs()?;
        for path in [&self.folder, &self.maps()] {
            make_folder(path)?;
        }
        let failed = |why| PinsError::Folder { path: self.folder.clone(), why };
        let folder = File::open(&self.folder).map_err(failed)?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if same_folder(&folder, &self.folder) => Ok(Claim { folder }),
            Ok(()) => Err(failed(io::Error::other("was removed just now; try again"))),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(PinsError::Held { path: self.folder.clone() }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// The right to change an instance's pins; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: File,
}

impl Claim {
    /// Whether `pins` still have the claimed folder: `detach` may have removed it.
    pub(crate) fn holds(&self, pins: &Pins) -> bool {
        same_folder(&self.folder, &pins.folder)
    }
}

/// `detach` may have removed the folder between its opening and its locking.
fn same_folder(open: &File, path: &Path) -> bool {
    let number = |found: std::fs::Metadata| found.ino();
    matches!((open.metadata().map(number), path.metadata().map(number)), (Ok(a), Ok(b)) if a == b)
}

/// Whether bpffs would only live as long as this mount namespace: then a stopped daemon cannot leave the program attached.
fn in_private_mount_namespace() -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    matches!((of("self"), of("1")), (Some(own), Some(first)) if own != first)
}

fn make_folder(path: &Path) -> Result<(), PinsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|why| PinsError::Folder { path: path.to_owned(), why })
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|magic| magic == BPF_FS_MAGIC))
}

/// Mounts bpffs if neither the root of our pins nor its parent is one. A lock on the mount point keeps two daemons from
/// mounting over each other, which would hide the first one's pins.
fn ensure_bpffs() -> Result<(), PinsError> {
    let root = Path::new(PIN_ROOT);
    let mount_point = root.parent().unwrap_or(root);
    if is_bpffs(root) || is_bpffs(mount_point) {
        return Ok(());
    }
    let failed = |why| PinsError::Mount { path: mount_point.to_owned(), why };
    let lock = File::open(mount_point).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    if is_bpffs(mount_point) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", mount_point, "bpf", flags, c"mode=0700").map_err(|error| failed(error.into()))?;
    if in_private_mount_namespace() {
        tracing::warn!(
            "bpffs is mounted in a mount namespace of this process's own: the program leaves the interfaces when the last \
             process in it ends. Mount bpffs on the host first (mount -t bpf bpf {})",
            mount_point.display()
        );
    }
    Ok(())
}

/// bpffs refuses dots in names, and VLAN interfaces have them: a dot becomes `%2e`, a percent sign `%25`.
fn encode(interface: &str) -> String {
    interface.replace('%', "%25").replace('.', "%2e")
}

fn decode(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_contracts() {
        let pins = Pins::of("main").unwrap();
        assert_eq!(pins.program(), Path::new("/sys/fs/bpf/tidegate/main/program"));
        assert_eq!(pins.link("eth0"), Path::new("/sys/fs/bpf/tidegate/main/link-eth0"));
        assert_eq!(pins.map("COUNTERS"), Path::new("/sys/fs/bpf/tidegate/main/maps/COUNTERS"));
    }

    #[test]
    fn interfaces_with_dots_have_a_name_without() {
        for interface in ["eth0.100", "a%2eb", "plain", "%", "..x"] {
            let name = encode(interface);
            assert!(!name.contains('.'), "{name}");
            assert_eq!(decode(&name), interface);
        }
    }

    #[test]
    fn instances_that_could_leave_the_folder_are_refused() {
        for name in ["", ".", "..", "a/b", "a.b", "é", &"x".repeat(65)] {
            assert!(Pins::of(name).is_err(), "{name}");
        }
        assert!(Pins::of(&"x".repeat(64)).is_ok());
    }
}
