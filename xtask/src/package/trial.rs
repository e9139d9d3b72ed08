//! Installs, upgrades, removes and purges the package in a Debian root of its own, and looks at what is left each time.
//! Never touches this machine's packages, pins or services: the root has neither /sys nor a running init.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::debian;
use crate::{paths, progress, sh};

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
const CONFIGURATION: &str = "etc/tidegate/tidegate.toml";
const CHANGED: &str = "\n# changed by an operator\n";

/// Tries both packages one after the other.
pub(super) fn run(package: &Path, upgrade: &Path) -> Result<()> {
    ensure!(debian::is_root(), "trying the package needs root (for chroot)");
    let root = Root::fresh()?;
    root.installs(package)?;
    root.upgrades(upgrade)?;
    root.removes()?;
    root.purges()?;
    eprintln!("  the package installs, upgrades, is removed and purged, and leaves what it should");
    Ok(())
}

/// A copy of a Debian root, gone when dropped.
struct Root(PathBuf);

impl Root {
    fn fresh() -> Result<Self> {
        let base = base()?;
        let folder = paths::target().join("package-trial").join(format!("root-{}", std::process::id()));
        let root = Self(folder);
        sh::run(Command::new("mkdir").arg("-p").arg(&root.0))?;
        sh::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(base.join(".")).arg(&root.0))?;
        Ok(root)
    }

    fn dpkg(&self, arguments: &[&str]) -> Result<String> {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.0).args([
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        sh::output(chroot.arg("dpkg").args(arguments))
    }

    fn install(&self, package: &Path) -> Result<()> {
        fs::copy(package, self.0.join("tmp/tidegate.deb")).context("copying the package")?;
        let told = self.dpkg(&["--force-confold", "-i", "/tmp/tidegate.deb"])?;
        ensure!(!told.contains("warning"), "dpkg warns: {told}");
        Ok(())
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside)
    }

    fn has(&self, inside: &str, wanted: bool) -> Result<()> {
        let found = self.path(inside).symlink_metadata().is_ok();
        ensure!(found == wanted, "/{inside} {}", if wanted { "is missing" } else { "is left behind" });
        Ok(())
    }

    fn installs(&self, package: &Path) -> Result<()> {
        self.install(package)?;
        for file in [
            "usr/bin/tidegate",
            CONFIGURATION,
            "usr/lib/sysusers.d/tidegate.conf",
            "usr/lib/tmpfiles.d/tidegate.conf",
            "usr/share/man/man1/tidegate.1.gz",
            "usr/share/bash-completion/completions/tidegate",
            "usr/share/doc/tidegate/copyright",
            "usr/share/doc/tidegate/changelog.Debian.gz",
            "usr/share/doc/tidegate/examples/edge-eu.toml",
            "etc/systemd/system/multi-user.target.wants/tidegate.service",
        ] {
            self.has(file, true)?;
        }
        for name in ["tidegate:", "tidegate-admin:"] {
            let groups = fs::read_to_string(self.path("etc/group"))?;
            ensure!(groups.lines().any(|line| line.starts_with(name)), "no group {name}");
        }
        let keys = self.path("etc/tidegate/keys").metadata().context("/etc/tidegate/keys")?;
        ensure!(keys.mode() & 0o7777 == 0o700 && keys.uid() == 0, "/etc/tidegate/keys is not root's alone");
        let mut check = Command::new("chroot");
        sh::run(check.arg(&self.0).args(["/usr/bin/tidegate", "check"]))
            .context("the installed configuration")
    }

    fn upgrades(&self, upgrade: &Path) -> Result<()> {
        let configuration = self.path(CONFIGURATION);
        let changed = fs::read_to_string(&configuration)? + CHANGED;
        fs::write(&configuration, &changed)?;
        fs::create_dir_all(self.path("var/lib/tidegate/main"))?;
        fs::write(self.path("var/lib/tidegate/main/kept"), "")?;
        self.install(upgrade)?;
        ensure!(
            fs::read_to_string(&configuration)? == changed,
            "the upgrade changed the operator's configuration"
        );
        self.has("var/lib/tidegate/main/kept", true)?;
        let shown = self.dpkg(&["-s", "tidegate"])?;
        ensure!(shown.contains("-2\n"), "not upgraded: {shown}");
        Ok(())
    }

    fn removes(&self) -> Result<()> {
        self.dpkg(&["-r", "tidegate"])?;
        self.has("usr/bin/tidegate", false)?;
        self.has(CONFIGURATION, true)?;
        self.has("var/lib/tidegate/main/kept", true)
    }

    fn purges(&self) -> Result<()> {
        self.dpkg(&["-P", "tidegate"])?;
        for gone in ["etc/tidegate", "var/lib/tidegate", "usr/share/doc/tidegate"] {
            self.has(gone, false)?;
        }
        self.has("etc/systemd/system/multi-user.target.wants/tidegate.service", false)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("  {} could not be removed: {error}", self.0.display());
        }
    }
}

/// A minimal Debian, made once.
fn base() -> Result<PathBuf> {
    let folder = paths::target().join("package-trial").join(format!("{SUITE}-base"));
    if folder.join("etc/debian_version").is_file() && folder.join("made").is_file() {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "--include=systemd,libgcc-s1", SUITE]).arg(&folder).arg(mirror());
    if let Err(error) = progress::step("making a minimal Debian, once", &mut debootstrap) {
        bail!("{error:#}; a Debian mirror must be reachable");
    }
    fs::write(folder.join("made"), "")?;
    Ok(folder)
}

/// The first mirror of this machine's apt, else Debian's own.
pub(crate) fn mirror() -> String {
    let printed = sh::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]));
    let first = printed.ok().and_then(|list| list.lines().next().map(str::to_owned));
    first.filter(|uri| !uri.is_empty()).unwrap_or_else(|| MIRROR.to_owned())
}
