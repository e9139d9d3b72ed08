//! Whether the verifiers of this machine's kernel and of Debian's others take the NIC program, with what it costs them.
//! Never attaches anything, and boots machines that have neither disk nor network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{KERNELS, folder, image, machine};
use crate::setup::debian::is_root;
use crate::setup::{self, For};
use crate::test::stage::Outcome;
use crate::{build, paths, progress, sh};

/// Longest run of one machine, in seconds; on a quiet processor it takes ten.
const PATIENCE: &str = "900";
/// What the probe's lines begin with.
const SAID: &str = "verify: ";
/// What the probe says of a kernel that does not take a program.
const REFUSED: &str = "refuses";
/// How often a machine is started that says neither.
const BOOTS: u32 = 3;
/// Lines of a kernel that took the program: three programs without and with debug lines, and the packets they were tried with.
const LINES: usize = 7;
const OBJECT: &str = "tidegate-xdp.o";
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
TIDEGATE_KERNEL_OBJECT=/tidegate-xdp.o /bin/nic-probe verify >/dev/ttyS1 2>&1
/bin/busybox poweroff -f
";

/// Runs the stage.
///
/// # Errors
/// When a machine or the probe can't be made; a kernel that refuses is counted and told.
pub(crate) fn run() -> Result<Outcome> {
    if !is_root() {
        return Ok(Outcome::skipped("loading a kernel program needs root"));
    }
    setup::ensure(&[For::Build, For::Machine])?;
    let object = build::kernel()?;
    let probe = probe()?;
    let mut outcome = Outcome::empty();
    count(&mut outcome, "this machine", here(&probe, &object));
    for (series, pattern) in KERNELS {
        count(&mut outcome, series, elsewhere(series, pattern, &probe, &object));
    }
    Ok(outcome)
}

fn count(outcome: &mut Outcome, kernel: &str, said: Result<String>) {
    match said.and_then(|said| judged(&said)) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("  {line}"));
            outcome.passed += 1;
        }
        Err(why) => {
            eprintln!("  {kernel}: {why:#}");
            outcome.fail(format!("{kernel}: {why:#}"));
        }
    }
}

/// The probe's lines if the kernel took everything, else all that it said as an error.
fn judged(said: &str) -> Result<Vec<String>> {
    let lines: Vec<_> =
        said.lines().filter_map(|line| Some(line.trim_end().strip_prefix(SAID)?.to_owned())).collect();
    ensure!(lines.len() == LINES, "not every program was taken:\n{said}");
    Ok(lines)
}

fn probe() -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--quiet", "--package", "tidegate-tests", "--bin", "nic-probe"]);
    sh::run(&mut cargo).context("building nic-probe")?;
    Ok(paths::target().join("debug/nic-probe"))
}

fn here(probe: &Path, object: &Path) -> Result<String> {
    sh::output(Command::new(probe).arg("verify").env("TIDEGATE_KERNEL_OBJECT", object))
}

fn elsewhere(series: &str, pattern: &str, probe: &Path, object: &Path) -> Result<String> {
    let kernel = image::kernel(&folder(), pattern)?;
    let mut last = String::new();
    for boot in 1..=BOOTS {
        let work = folder().join(format!("verify-{series}-{}", std::process::id()));
        fs::create_dir_all(&work)?;
        let said = asked(&kernel, &work, probe, object);
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
        match said {
            Ok(said) if judged(&said).is_ok() || said.contains(REFUSED) => return Ok(said),
            Ok(said) => last = said,
            Err(error) => last = format!("{error:#}"),
        }
        eprintln!("  boot {boot} of {BOOTS} came to no verdict:\n{last}");
    }
    bail!("no verdict in {BOOTS} boots; the last said:\n{last}")
}

/// What the probe said on a line of its own; where that is nothing, what the console said.
fn asked(kernel: &image::Kernel, work: &Path, probe: &Path, object: &Path) -> Result<String> {
    let initrd = image::alone(work, probe, &[(object, OBJECT)], INIT)?;
    let (console, answer) = (work.join("console"), work.join("answer"));
    let mut qemu = machine(PATIENCE, &console);
    // Kernel messages would cut the probe's lines in two on the same one.
    qemu.arg("-serial").arg(format!("file:{}", answer.display()));
    qemu.arg("-kernel").arg(kernel.image()?).arg("-initrd").arg(initrd);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    progress::step(&format!("asking the verifier of {}", kernel.release), &mut qemu)?;
    let said = fs::read_to_string(answer)?;
    if said.trim().is_empty() {
        bail!("the probe said nothing; the console:\n{}", fs::read_to_string(console)?);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::judged;

    #[test]
    fn a_kernel_that_says_less_has_refused() {
        let whole = "boot\r\nverify: a\r\nverify: b\r\nverify: c\r\nverify: d\r\nverify: e\r\nverify: f\r\nverify: g\r\n";
        assert_eq!(judged(whole).unwrap_or_default(), ["a", "b", "c", "d", "e", "f", "g"]);
        assert!(judged("verify: a\nError: Linux 6.1 refuses tidegate").is_err());
        assert!(judged("").is_err());
    }
}
