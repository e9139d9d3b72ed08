//! Everything a change must pass, stage by stage, with times and one closing line.
//! Never skips a stage silently: a skip says why, and counts as a failure for root and in CI.

mod cases;
pub(crate) mod stage;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::setup::debian::is_root;
use crate::setup::toolchain::{self, Compiler};
use crate::setup::{self, For, tools};
use crate::{build, paths, sh, tidy, vm};
use stage::{Outcome, Stages};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run the demo at the end, as CI does.
    #[arg(long)]
    demo: bool,
    /// Only: the package under systemd on Debian's kernels, in virtual machines (tens of minutes, root).
    #[arg(long)]
    vm: bool,
    /// Only the stages of these names (see the announcements).
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.vm {
        return vm::run();
    }
    let strict = is_root() || std::env::var_os("CI").is_some();
    let mut stages = Stages::new(&options.only, strict);
    stages.run("setup", || {
        setup::ensure(&[For::Build, For::Traffic, For::Lint, For::Judges]).map(Outcome::from)
    });
    stages.run("fmt", || sh::run(sh::cargo().args(["fmt", "--all", "--check"])).map(Outcome::from));
    stages.run("kernel", || build::kernel().map(Outcome::from));
    stages.run("clippy", || clippy().map(Outcome::from));
    stages.run("clippy-kernel", clippy_kernel);
    stages.run("doc", || doc().map(Outcome::from));
    stages.run("build", || build::host(false).map(Outcome::from));
    stages.run("verifier", vm::verifier::run);
    stages.run("tests", || cases::run(strict));
    stages.run("deny", deny);
    stages.run("tidy", || tidy::run().map(Outcome::from));
    if options.demo {
        stages.run("demo", demo);
    }
    if !stages.close() {
        bail!("not everything passed");
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args(["clippy", "--quiet", "--workspace", "--features", build::FEATURES, "--all-targets"]);
    sh::run(cargo.args(["--", "-D", "warnings"]))
}

fn clippy_kernel() -> Result<Outcome> {
    let driver = match toolchain::compiler() {
        Compiler::Debian => Some("/usr/bin/clippy-driver".to_owned()),
        Compiler::Nightly => {
            sh::output(Command::new("rustup").args(["which", "--toolchain", "nightly", "clippy-driver"])).ok()
        }
    };
    let driver = driver.filter(|driver| Path::new(driver).exists());
    let Some(driver) = driver else {
        return Ok(Outcome::skipped("the kernel compiler has no clippy-driver"));
    };
    let mut cargo = build::kernel_cargo("check");
    cargo
        .arg("--quiet")
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings");
    sh::run(&mut cargo).map(Outcome::from)
}

fn doc() -> Result<()> {
    let mut cargo = sh::cargo();
    cargo
        .args(["doc", "--quiet", "--workspace", "--features", build::FEATURES, "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    sh::run(&mut cargo)
}

/// Licences, bans and sources always; advisories where their database can be fetched.
fn deny() -> Result<Outcome> {
    let deny = |what: &[&str]| {
        let mut command = Command::new(tools::cargo_deny().program());
        command
            .current_dir(paths::root())
            .args(["--log-level", "error", "check", "--hide-inclusion-graph"])
            .args(what);
        command
    };
    sh::run(&mut deny(&["licenses", "bans", "sources"]))?;
    let advisories = deny(&["advisories"]).stdin(std::process::Stdio::null()).output()?;
    if advisories.status.success() {
        return Ok(Outcome::passed());
    }
    let said = String::from_utf8_lossy(&advisories.stderr);
    if said.contains("failed to fetch advisory database") {
        eprintln!("  advisories were not checked: their database can't be fetched from here");
        return Ok(Outcome::passed());
    }
    bail!("{}", said.trim());
}

/// Plays the demo; a second time if something in it did not come out, which a loaded machine can cause as well.
fn demo() -> Result<Outcome> {
    let play = || crate::demo::play(&crate::demo::Options::default());
    match play() {
        Ok((passed, 0)) => Ok(Outcome { passed, ..Outcome::empty() }),
        first => {
            if let Err(error) = first {
                eprintln!("{error:#}");
            }
            eprintln!("  second try: the demo");
            let (passed, failed) = play()?;
            let unsteady = if failed == 0 { vec!["the demo".to_owned()] } else { Vec::new() };
            Ok(Outcome { passed, failed, unsteady, ..Outcome::empty() })
        }
    }
}
