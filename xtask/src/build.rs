//! Builds the kernel program for BPF, then the `tidegate` binary with it embedded.
//! Never lets the two builds share a target folder or flags.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::toolchain::{self, Compiler};
use crate::setup::{self, For, tools};
use crate::{paths, sh};

/// The target of the kernel program.
const TARGET: &str = "bpfel-unknown-none";

/// What the `tidegate` that is built, linted, tested and packed has beyond a plain `cargo build`: the relay's other transports.
pub(crate) const FEATURES: &str = "tidegate/nats,tidegate/sqs";

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Optimised `tidegate` (the kernel program always is).
    #[arg(long)]
    release: bool,
}

/// Runs `cargo xtask build`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let object = kernel()?;
    eprintln!("kernel program: {}", object.display());
    let binary = host(options.release)?;
    eprintln!("tidegate:       {}", binary.display());
    Ok(())
}

/// Builds the kernel program and returns its object.
///
/// # Errors
/// When the toolchain is missing and can't be installed, or the build fails.
pub(crate) fn kernel() -> Result<PathBuf> {
    setup::ensure(&[For::Build])?;
    sh::run(kernel_cargo("build").args(["--quiet"])).context("building the kernel program")?;
    let built = paths::kernel_target().join(TARGET).join("release").join("tidegate-xdp");
    let object = paths::kernel_object();
    copy_if_changed(&built, &object)?;
    Ok(object)
}

/// Builds the program that gives frames random sources when the kernel program is measured, beside the kernel program's object.
///
/// # Errors
/// When the build fails.
pub(crate) fn shuffle() -> Result<PathBuf> {
    let name = "tidegate-xdp-shuffle";
    sh::run(kernel_cargo("build").args(["--quiet", "--bin", name]))
        .context("building the measuring program")?;
    let built = paths::kernel_target().join(TARGET).join("release").join(name);
    let object = paths::kernel_object().with_file_name("tidegate-xdp-shuffle.o");
    copy_if_changed(&built, &object)?;
    Ok(object)
}

/// Builds the `tidegate` binary and returns its path.
///
/// # Errors
/// When the build fails.
pub(crate) fn host(release: bool) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--package", "tidegate", "--bin", "tidegate", "--features", FEATURES]);
    if release {
        cargo.arg("--release");
    }
    sh::run(&mut cargo).context("building tidegate")?;
    Ok(paths::tidegate(release))
}

/// Builds hyper's bare proxy, which benches measure beside the others, and returns its path.
///
/// # Errors
/// When the build fails.
pub(crate) fn bare_proxy() -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    let name = "bare_proxy";
    cargo.args(["build", "--release", "--package", "tidegate", "--example", name, "--features", FEATURES]);
    sh::run(&mut cargo).context("building hyper's bare proxy")?;
    Ok(paths::tidegate(true).with_file_name("examples").join(name))
}

/// `cargo VERB` for the kernel program, with its own compiler, flags and target folder.
pub(crate) fn kernel_cargo(verb: &str) -> Command {
    let mut cargo = match toolchain::compiler() {
        Compiler::Nightly => nightly_cargo(),
        Compiler::Debian => debian_cargo(),
    };
    cargo.current_dir(paths::root()).arg(verb);
    if toolchain::compiler() == Compiler::Nightly {
        cargo.args(["-Z", "build-std=core"]);
    }
    cargo
        .args(["--release", "--package", "tidegate-xdp", "--features", "kernel", "--bin", "tidegate-xdp"])
        .args(["--target", TARGET])
        .env("CARGO_TARGET_DIR", paths::kernel_target())
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags())
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER");
    // The workspace's profile is the host's; a kernel program is one unit without unwinding, with debug info for BTF.
    for (key, value) in
        [("PANIC", "abort"), ("LTO", "off"), ("CODEGEN_UNITS", "1"), ("DEBUG", "2"), ("OPT_LEVEL", "3")]
    {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    cargo
}

fn nightly_cargo() -> Command {
    let mut cargo = Command::new("rustup");
    cargo.args(["run", "nightly", "cargo"]);
    ["RUSTC", "RUSTUP_TOOLCHAIN", "CARGO"].iter().for_each(|name| {
        cargo.env_remove(name);
    });
    cargo
}

fn debian_cargo() -> Command {
    let mut cargo = sh::cargo();
    // BOOTSTRAP: the BPF entry points need unstable features, which a release compiler refuses otherwise.
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    cargo
}

fn rustflags() -> String {
    let linker = format!("linker={}", tools::bpf_linker().program().display());
    ["-C", "target-cpu=v3", "-C", &linker, "-C", "link-arg=--btf"].join("\x1f")
}

/// Keeps the old file's time when nothing changed, so that the daemon isn't built again for nothing.
fn copy_if_changed(from: &PathBuf, to: &PathBuf) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let fresh = to.with_extension("o.new");
    fs::write(&fresh, new).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("writing {}", to.display()))
}
