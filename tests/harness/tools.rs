//! Where the programs are that `cargo xtask setup` keeps apart, and Debian's that tests run. Never installs anything.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

/// Debian's Python 3: its modules (python3-grpcio, ...) are for this one.
pub const PYTHON: &str = "/usr/bin/python3";

/// The folder of a tool or environment of exact version: `tidegate-tools/NAME` under cargo's home.
///
/// # Errors
/// When it isn't there; the error says how to get it.
pub fn folder(name: &str) -> Result<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let path = cargo_home.or(home).unwrap_or_default().join("tidegate-tools").join(name);
    ensure!(path.is_dir(), "there is no {}: `cargo xtask setup` installs it", path.display());
    Ok(path)
}

/// Whether a tool of [`folder`] is not there; says that the test is skipped then, which fails the whole where nothing may be.
#[must_use]
pub fn lacks(name: &str) -> bool {
    let missing = folder(name).err();
    if let Some(why) = &missing {
        println!("skipped: {why}");
    }
    missing.is_some()
}

/// Whether Debian's Python 3 has a module.
#[must_use]
pub fn has_module(module: &str) -> bool {
    let tried = Command::new(PYTHON).args(["-c", &format!("import {module}")]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Whether a program can be started.
#[must_use]
pub fn has_program(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok()
}

/// A Python 2.7 that can be run, if there is one: `python2.7` on `PATH`, or one of pyenv's.
#[must_use]
pub fn python2() -> Option<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let versions = pyenv.or(home).map(|root| root.join("versions"));
    let versions = versions.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    let found = versions.flatten().map(|version| version.path().join("bin/python2.7"));
    found.chain([PathBuf::from("python2.7")]).find(|python| {
        Command::new(python).args(["-c", "import ssl"]).output().is_ok_and(|tried| tried.status.success())
    })
}
