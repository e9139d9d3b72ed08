//! Makes the Debian package, has lintian judge it, and on request tries it in a root of its own.
//! Never installs it on this machine and never starts a service.

mod trial;

pub(crate) use trial::mirror;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{self, For, tools};
use crate::{build, paths, progress, sh};

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install, upgrade, remove and purge the package in a fresh Debian root (needs root and a Debian mirror).
    #[arg(long = "try")]
    trial: bool,
    /// Pack the unoptimised build: quicker, for trying the packaging alone.
    #[arg(long)]
    dev: bool,
}

/// Runs `cargo xtask package`.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(&[For::Build, For::Package])?;
    build::kernel()?;
    stage(&build::host(!options.dev)?)?;
    let package = make("1", options.dev)?;
    judge(&package)?;
    if options.trial {
        let upgrade = make("2", options.dev)?;
        trial::run(&package, &upgrade)?;
    }
    println!("{}", package.display());
    Ok(())
}

/// The package at two revisions, for trying an upgrade.
///
/// # Errors
/// When it can't be built or packed.
pub(crate) fn both(dev: bool) -> Result<[PathBuf; 2]> {
    build::kernel()?;
    stage(&build::host(!dev)?)?;
    Ok([make("1", dev)?, make("2", dev)?])
}

/// Where manual pages, completions and packages are put; `daemon/Cargo.toml` names it.
fn folder() -> PathBuf {
    paths::root().join("target").join("package")
}

/// Has the binary write its manual pages and completions.
fn stage(binary: &Path) -> Result<()> {
    let (man, completions) = (folder().join("man"), folder().join("completions"));
    for fresh in [&man, &completions] {
        if fresh.exists() {
            fs::remove_dir_all(fresh).with_context(|| format!("clearing {}", fresh.display()))?;
        }
        fs::create_dir_all(fresh).with_context(|| format!("making {}", fresh.display()))?;
    }
    sh::run(Command::new(binary).arg("man").arg(&man))?;
    for (shell, file) in [("bash", "tidegate.bash"), ("zsh", "_tidegate"), ("fish", "tidegate.fish")] {
        let script = sh::output(Command::new(binary).args(["completions", shell]))?;
        let path = completions.join(file);
        fs::write(&path, script + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Packs what was built and staged; `revision` is Debian's.
fn make(revision: &str, dev: bool) -> Result<PathBuf> {
    let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
    let package = folder().join(format!("tidegate_{version}_{}.deb", architecture()?));
    let mut cargo_deb = Command::new(tools::cargo_deb().program());
    cargo_deb.current_dir(paths::root()).args([
        "--package",
        "tidegate",
        "--no-build",
        "--strip",
        "--no-dbgsym",
    ]);
    cargo_deb.args(["--profile", if dev { "dev" } else { "release" }]);
    cargo_deb.args(["--deb-version", &version, "--output"]).arg(&package);
    progress::step(&format!("packing {version}"), &mut cargo_deb)?;
    ensure!(package.is_file(), "cargo-deb left no {}", package.display());
    Ok(package)
}

fn architecture() -> Result<String> {
    sh::output(Command::new("dpkg").arg("--print-architecture"))
}

/// Shows everything that lintian has to say and fails on its errors.
fn judge(package: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error", "--display-info", "--show-overrides", "--allow-root"]).arg(package);
    let done = lintian.output().context("cannot start lintian")?;
    let told = String::from_utf8_lossy(&done.stdout);
    let count = |kind: &str| told.lines().filter(|line| line.starts_with(kind)).count();
    told.lines().filter(|line| !line.starts_with("N:")).for_each(|line| eprintln!("    {line}"));
    eprintln!("  lintian: {} errors, {} warnings, {} remarks", count("E:"), count("W:"), count("I:"));
    if !done.status.success() {
        bail!("lintian finds errors in {}: {}", package.display(), String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}
