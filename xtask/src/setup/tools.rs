//! Tools that are built from their crates by `cargo install`, each in a folder of its own version.
//! Never on `PATH`, never shared with what the developer has installed.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{paths, progress, sh};

/// One tool at one version.
pub(crate) struct Tool {
    /// Crate.
    pub(crate) name: &'static str,
    program: &'static str,
    /// Exact version.
    pub(crate) version: &'static str,
    features: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
    cost: &'static str,
}

/// Links the kernel program; against the LLVM that made the bitcode or a later one.
pub(crate) fn bpf_linker() -> Tool {
    Tool {
        name: "bpf-linker",
        program: "bpf-linker",
        version: "0.13.0",
        features: Some("llvm-22"),
        environment: &[("LLVM_PREFIX", "/usr/lib/llvm-22")],
        cost: "about 90 s of CPU",
    }
}

/// Checks licences, sources, bans and advisories of dependencies.
pub(crate) fn cargo_deny() -> Tool {
    Tool {
        name: "cargo-deny",
        program: "cargo-deny",
        version: "0.20.2",
        features: None,
        environment: &[],
        cost: "about 5 min of CPU",
    }
}

/// Packs the Debian package.
pub(crate) fn cargo_deb() -> Tool {
    Tool {
        name: "cargo-deb",
        program: "cargo-deb",
        version: "3.8.0",
        features: None,
        environment: &[],
        cost: "about 2 min of CPU",
    }
}

/// Judges HTTP/2 (`tests/cases/judge_httpwg.rs`).
pub(crate) fn httpwg() -> Tool {
    Tool {
        name: "httpwg-cli",
        program: "httpwg",
        version: "0.2.5",
        features: None,
        environment: &[],
        cost: "about 1 min of CPU",
    }
}

impl Tool {
    fn folder(&self) -> PathBuf {
        let features = self.features.map(|features| format!("-{features}")).unwrap_or_default();
        paths::tools().join(format!("{}-{}{features}", self.name, self.version))
    }

    /// The program.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder().join("bin").join(self.program)
    }

    /// Whether it was built before.
    pub(crate) fn is_there(&self) -> bool {
        self.program().is_file()
    }

    /// Builds it.
    ///
    /// # Errors
    /// When cargo can't fetch or build it.
    pub(crate) fn install(&self) -> Result<()> {
        let mut cargo = sh::cargo();
        cargo
            .args(["install", "--locked", "--version", self.version, self.name, "--root"])
            .arg(self.folder());
        if let Some(features) = self.features {
            cargo.args(["--no-default-features", "--features", features]);
        }
        cargo.envs(self.environment.iter().copied()).env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
        eprintln!("setup: {} {}", self.name, self.version);
        progress::insist(&format!("building it, once ({})", self.cost), &mut cargo)?;
        ensure!(self.is_there(), "cargo install left no {}", self.program().display());
        Ok(())
    }
}
