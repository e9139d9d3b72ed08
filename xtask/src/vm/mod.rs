//! Debian's kernels in virtual machines by software emulation: the package under a real systemd (`cargo xtask test --vm`), and whether
//! each kernel's verifier takes the program ([`verifier`], one of the default tests).
//! Never uses this machine's kernel, services or network.

mod image;
pub(crate) mod verifier;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::debian::is_root;
use crate::setup::{self, For};
use crate::{package, paths, progress, sh};

/// Debian's cloud kernels that are tried: the series, and the pattern of its packages' names.
const KERNELS: [(&str, &str); 2] = [
    ("6.1", r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64$"),
    ("6.12", r"^linux-image-6\.12\.[0-9]+.*-cloud-amd64$"),
];
/// Longest run of one machine; emulation is slow.
const PATIENCE: &str = "1500";
/// What the guest says when it came to its end.
const END: &str = "vm: end";

/// Makes the package (twice, for the upgrade), boots each kernel, and shows what the guest found.
///
/// # Errors
/// When something can't be made, or a machine finds a failure or does not come to its end.
pub(crate) fn run() -> Result<()> {
    ensure!(is_root(), "images of virtual machines are made as root");
    setup::ensure(&[For::Build, For::Package, For::Machine])?;
    let packages = package::both(true)?;
    let root = image::debian(&folder())?;
    let mut failed = Vec::new();
    for (series, pattern) in KERNELS {
        let kernel = image::kernel(&folder(), pattern)?;
        if let Err(error) = one(series, &kernel, &root, &packages) {
            failed.push(format!("{series}: {error:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

fn folder() -> PathBuf {
    paths::target().join("vm")
}

fn one(series: &str, kernel: &image::Kernel, root: &Path, packages: &[PathBuf; 2]) -> Result<()> {
    let work = folder().join(format!("run-{series}-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let done = boot(series, kernel, root, packages, &work);
    let serial = fs::read_to_string(work.join("serial")).unwrap_or_default();
    let kept = folder().join(format!("serial-{series}.log"));
    fs::write(&kept, &serial)?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    done?;
    let found: Vec<_> = serial.lines().filter(|line| line.starts_with("vm: ")).map(str::trim_end).collect();
    found.iter().for_each(|line| println!("{series:<5} {}", &line[4..]));
    ensure!(found.last() == Some(&END), "the machine did not come to its end; see {}", kept.display());
    let failures = found.iter().filter(|line| line.starts_with("vm: FAIL")).count();
    ensure!(failures == 0, "{failures} failures; see {}", kept.display());
    Ok(())
}

fn boot(
    series: &str,
    kernel: &image::Kernel,
    root: &Path,
    packages: &[PathBuf; 2],
    work: &Path,
) -> Result<()> {
    let disk = image::disk(work, root, kernel, packages)?;
    let initrd = image::initrd(work, kernel)?;
    let mut qemu = machine(PATIENCE, &work.join("serial"));
    qemu.arg("-kernel").arg(kernel.image()?).arg("-initrd").arg(initrd);
    qemu.args(["-append", "console=ttyS0 quiet systemd.show_status=false panic=-1"]);
    qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw", disk.display()));
    progress::step(&format!("booting {series} ({})", kernel.release), &mut qemu)
}

/// An emulated machine without disk, kernel and network, whose console is that file; it is ended after so many seconds.
fn machine(patience: &str, serial: &Path) -> Command {
    let mut qemu = Command::new("timeout");
    qemu.args([patience, "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max"]);
    qemu.args(["-smp", "2", "-m", "1024", "-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.arg("-serial").arg(format!("file:{}", serial.display()));
    qemu
}

/// Runs a command and forgets what it says unless it fails.
fn quiet(command: &mut Command) -> Result<()> {
    sh::output(command).map(drop)
}
