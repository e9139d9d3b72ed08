//! Kernels, root folders, disks and initial file systems of virtual machines. Never boots one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::quiet;
use crate::setup::debian::refresh;
use crate::{package, progress, sh};

const INIT: &str = include_str!("init");
const GUEST: &str = include_str!("guest.sh");
const INCLUDE: &str = "--include=systemd,systemd-sysv,dbus,iproute2,procps,libgcc-s1,kmod,jq";
/// What the disk driver needs, in the order in which it must be loaded; what is built in is not there.
const DRIVERS: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];
/// Units that only cost time in emulation.
const MASKED: [&str; 10] = [
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-logind.service",
    "getty.target",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
];
const UNIT: &str = "[Unit]\nDescription=The package on this kernel\nAfter=basic.target\n\n[Service]\nType=oneshot\n\
    ExecStart=/bin/bash -c 'modprobe veth; /guest.sh; sync; systemctl poweroff -ff'\n\
    StandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n";

/// An unpacked kernel package.
pub(super) struct Kernel {
    folder: PathBuf,
    /// As `uname -r` says.
    pub(super) release: String,
}

impl Kernel {
    /// The bootable image.
    pub(super) fn image(&self) -> Result<PathBuf> {
        let image = self.folder.join("boot").join(format!("vmlinuz-{}", self.release));
        ensure!(image.is_file(), "no {}", image.display());
        Ok(image)
    }

    fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// A module's file, compressed or not; `None` where it is built in.
    fn module(&self, name: &str) -> Result<Option<PathBuf>> {
        let mut find = Command::new("find");
        find.arg(self.modules()).args(["-name", &format!("{name}.ko*")]);
        let found = sh::output(&mut find)?;
        Ok(found.lines().next().map(PathBuf::from))
    }
}

/// The newest package of that pattern, unpacked once.
pub(super) fn kernel(folder: &Path, pattern: &str) -> Result<Kernel> {
    let kernel = unpacked_newest(folder, pattern).or_else(|_| {
        refresh()?;
        unpacked_newest(folder, pattern)
    })?;
    let release = entry(&kernel.join("lib/modules"), "")?;
    Ok(Kernel { folder: kernel, release })
}

fn unpacked_newest(folder: &Path, pattern: &str) -> Result<PathBuf> {
    unpacked(folder, &newest(pattern)?)
}

fn newest(pattern: &str) -> Result<String> {
    let listed = sh::output(Command::new("apt-cache").args(["search", "--names-only", pattern]))?;
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    let name = names.max_by_key(|name| numbers(name));
    Ok(name.with_context(|| format!("apt knows no package {pattern}"))?.to_owned())
}

/// The package's contents; a folder that is whole has its name, whatever ended an earlier try.
fn unpacked(folder: &Path, name: &str) -> Result<PathBuf> {
    let kernel = folder.join(name);
    if kernel.is_dir() {
        return Ok(kernel);
    }
    let fresh = folder.join(format!("{name}.{}", std::process::id()));
    fs::create_dir_all(&fresh)?;
    progress::insist(
        &format!("fetching {name}"),
        Command::new("apt-get").args(["-q", "download", name]).current_dir(&fresh),
    )?;
    let package = fresh.join(entry(&fresh, ".deb")?);
    quiet(Command::new("dpkg").arg("-x").arg(&package).arg(&fresh))?;
    fs::remove_file(package)?;
    fs::rename(&fresh, &kernel).with_context(|| format!("making {}", kernel.display()))?;
    Ok(kernel)
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn entry(folder: &Path, ending: &str) -> Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.ends_with(ending))
        .max()
        .with_context(|| format!("nothing in {}", folder.display()))
}

/// A Debian with systemd, made once.
pub(super) fn debian(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.join("made").is_file() {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", INCLUDE, "bookworm"]).arg(&root).arg(package::mirror());
    progress::step("making a Debian with systemd, once", &mut debootstrap)?;
    fs::write(root.join("made"), "")?;
    Ok(root)
}

/// A disk with that root, the kernel's veth module, both packages and the guest's script.
pub(super) fn disk(work: &Path, debian: &Path, kernel: &Kernel, packages: &[PathBuf; 2]) -> Result<PathBuf> {
    let root = work.join("root");
    quiet(Command::new("cp").args(["-a", "--reflink=auto"]).arg(debian).arg(&root))?;
    // Into the merged /usr: unpacking the package itself would replace the link at /lib.
    let modules = root.join("usr/lib/modules").join(&kernel.release);
    fs::create_dir_all(&modules)?;
    if let Some(veth) = kernel.module("veth")? {
        fs::copy(&veth, modules.join(veth.file_name().context("a name")?))?;
    }
    quiet(Command::new("depmod").arg("-b").arg(&root).arg(&kernel.release))?;
    fs::create_dir_all(root.join("pkg"))?;
    for (package, name) in packages.iter().zip(["pkg/1.deb", "pkg/2.deb"]) {
        fs::copy(package, root.join(name))?;
    }
    executable(&root.join("guest.sh"), GUEST)?;
    units(&root.join("etc/systemd/system"))?;
    let disk = work.join("disk");
    quiet(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&root).arg(&disk).arg("900M"))?;
    fs::remove_dir_all(root)?;
    Ok(disk)
}

fn units(folder: &Path) -> Result<()> {
    let wants = folder.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(folder.join("guest.service"), UNIT)?;
    symlink("../guest.service", wants.join("guest.service"))?;
    for unit in MASKED {
        let _ = fs::remove_file(folder.join(unit));
        symlink("/dev/null", folder.join(unit))?;
    }
    Ok(())
}

/// Loads the disk's driver and hands over to systemd.
pub(super) fn initrd(work: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let folder = work.join("initrd.d");
    fs::create_dir_all(folder.join("m"))?;
    fs::create_dir_all(folder.join("bin"))?;
    let mut list = String::new();
    for driver in DRIVERS {
        let Some(module) = kernel.module(driver)? else { continue };
        let name = format!("{driver}.ko");
        uncompressed(&module, &folder.join("m").join(&name))?;
        list.push_str(&name);
        list.push('\n');
    }
    fs::write(folder.join("modules.list"), list)?;
    fs::copy("/bin/busybox", folder.join("bin/busybox"))
        .context("busybox (Debian package busybox-static)")?;
    executable(&folder.join("init"), INIT)?;
    pack(&folder, &work.join("initrd"))
}

/// An initial file system that runs `program` with its libraries beside `files`, by the script `init`.
pub(super) fn alone(work: &Path, program: &Path, files: &[(&Path, &str)], init: &str) -> Result<PathBuf> {
    let folder = work.join("alone.d");
    for name in ["bin", "proc", "sys", "dev", "tmp", "run"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::copy("/bin/busybox", folder.join("bin/busybox"))
        .context("busybox (Debian package busybox-static)")?;
    let name = program.file_name().context("a program has a name")?;
    quiet(Command::new("strip").arg("-o").arg(folder.join("bin").join(name)).arg(program))?;
    // Lines as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
    let libraries = sh::output(Command::new("ldd").arg(program))?;
    for library in libraries.split_whitespace().filter_map(|word| word.strip_prefix('/')) {
        let to = folder.join(library);
        fs::create_dir_all(to.parent().context("a library lies in a folder")?)?;
        fs::copy(Path::new("/").join(library), to).with_context(|| format!("copying /{library}"))?;
    }
    for (file, name) in files {
        fs::copy(file, folder.join(name)).with_context(|| format!("copying {}", file.display()))?;
    }
    executable(&folder.join("init"), init)?;
    pack(&folder, &work.join("alone"))
}

fn pack(folder: &Path, archive: &Path) -> Result<PathBuf> {
    let pack = format!("find . | cpio -o -H newc --quiet > '{}'", archive.display());
    quiet(Command::new("sh").args(["-c", &pack]).current_dir(folder))?;
    Ok(archive.to_owned())
}

fn uncompressed(module: &Path, to: &Path) -> Result<()> {
    if module.extension().is_some_and(|ending| ending == "xz") {
        let unpacked = Command::new("xz").arg("-dc").arg(module).output().context("xz")?;
        ensure!(unpacked.status.success(), "xz -dc {} failed", module.display());
        return Ok(fs::write(to, unpacked.stdout)?);
    }
    fs::copy(module, to).map(drop).with_context(|| format!("copying {}", module.display()))
}

fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
