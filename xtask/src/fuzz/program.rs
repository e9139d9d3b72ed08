//! The fuzzer's own build, with coverage in every crate, and what it says of its targets. Never shares objects with other builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{self, For};
use crate::{paths, sh};

/// What the sanitizers' compiler would be told. The pass itself is in every rustc; only sanitizers need a nightly one.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// A target of the fuzzer.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) most_bytes: usize,
    /// Its seeds, words and finds.
    pub(super) folder: PathBuf,
}

/// Builds the fuzzer; a few minutes the first time.
///
/// # Errors
/// When there is no C++ compiler and none can be installed, or the build fails.
pub(super) fn build() -> Result<PathBuf> {
    setup::ensure(&[For::Fuzz])?;
    let host = host()?;
    let mut cargo = sh::cargo();
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "tidegate-fuzz",
            "--features",
            "libfuzzer",
            "--bin",
            "tidegate-fuzz",
        ])
        .args(["--profile", "fuzz", "--target", &host])
        .env("RUSTFLAGS", COVERAGE)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    eprintln!("building the fuzzer");
    sh::run(&mut cargo)?;
    Ok(paths::target().join(host).join("fuzz/tidegate-fuzz"))
}

/// Flags hold for a named target alone, and so neither for build scripts nor for macros.
fn host() -> Result<String> {
    let said = sh::output(Command::new("rustc").args(["--version", "--verbose"]).current_dir(paths::root()))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// Has the program write each target's seeds and words below `folder`.
///
/// # Errors
/// When it can't.
pub(super) fn targets(program: &Path, folder: &Path) -> Result<Vec<Target>> {
    let said = sh::output(Command::new(program).env("TIDEGATE_FUZZ_TABLES", folder))?;
    let target = |line: &str| {
        let (name, most_bytes) = line.split_once(' ')?;
        let (name, most_bytes) = (name.to_owned(), most_bytes.parse().ok()?);
        Some(Target { folder: folder.join(&name), name, most_bytes })
    };
    said.lines().map(|line| target(line).with_context(|| format!("the fuzzer says {line:?}"))).collect()
}
