//! Debian packages: which file shows that one is there, and how they are installed.
//! Never installs as anyone but root, and never lets a package start its service.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{paths, progress};

/// A package, and what shows that it (or another source of the same thing) is there.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    /// Debian's name.
    pub(crate) package: &'static str,
    /// What tidegate does with it.
    pub(crate) why: &'static str,
    sign: Sign,
}

#[derive(Clone, Copy)]
enum Sign {
    /// A program of that name can be run.
    Program(&'static str),
    /// That file or folder exists.
    File(&'static str),
    /// Debian's Python 3 can import that module.
    Module(&'static str),
}

impl Need {
    const fn program(package: &'static str, program: &'static str, why: &'static str) -> Self {
        Self { package, why, sign: Sign::Program(program) }
    }

    const fn file(package: &'static str, file: &'static str, why: &'static str) -> Self {
        Self { package, why, sign: Sign::File(file) }
    }

    const fn module(package: &'static str, module: &'static str, why: &'static str) -> Self {
        Self { package, why, sign: Sign::Module(module) }
    }

    /// Whether nothing needs to be installed for it.
    pub(crate) fn is_there(&self) -> bool {
        match self.sign {
            Sign::Program(name) => paths::program(name).is_some(),
            Sign::File(file) => Path::new(file).exists(),
            Sign::Module(module) => imports(module),
        }
    }
}

fn imports(module: &str) -> bool {
    let tried = Command::new(super::pypi::PYTHON).args(["-c", &format!("import {module}")]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// A rustc with a prebuilt `core` for BPF, for where no nightly with `rust-src` is at hand.
pub(crate) const DEBIAN_RUSTC: [Need; 3] = [
    Need::file("rustc-web", "/usr/bin/rustc", "compiles the kernel program"),
    Need::file("libstd-rust-web-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none/lib", "core for BPF"),
    Need::file("rust-web-clippy", "/usr/bin/clippy-driver", "lints the kernel program"),
];

/// What building bpf-linker needs.
pub(crate) const LINKER_BUILD: [Need; 5] = [
    Need::file("llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config", "bpf-linker is built against it"),
    Need::file("libpolly-22-dev", "/usr/lib/llvm-22/lib/libPolly.a", "bpf-linker is built against it"),
    Need::file("libzstd-dev", "/usr/include/zstd.h", "bpf-linker is built against it"),
    Need::file("zlib1g-dev", "/usr/include/zlib.h", "bpf-linker is built against it"),
    Need::program("g++", "c++", "links bpf-linker"),
];

/// What running bpf-linker needs.
pub(crate) const LINKER_RUN: [Need; 1] =
    [Need::file("llvm-22-dev", "/usr/lib/llvm-22/lib/libLLVM.so.22.1", "bpf-linker runs on it")];

/// Programs that tests, benches and the demo send traffic with.
pub(crate) const TRAFFIC: &[Need] = &[
    Need::program("iproute2", "ip", "namespaces, links, routes"),
    Need::program("bpftool", "bpftool", "puts wrong maps where the NIC's own should be"),
    Need::program("ethtool", "ethtool", "switches offloads of test links off"),
    Need::program("nginx-light", "nginx", "a real origin"),
    Need::program("curl", "curl", "a real client"),
    Need::program("netsniff-ng", "trafgen", "packet floods"),
    Need::program("xdp-tools", "xdp-filter", "the bench's baseline"),
    Need::program("memcached", "memcached", "the relay's store"),
    Need::program("libmemcached-tools", "memccapable", "an outside judge of the relay's front"),
    Need::program("mariadb-server", "mariadbd", "the demo's stores"),
    Need::program("nats-server", "nats-server", "a broker for the relay"),
    Need::program("wrk", "wrk", "HTTP load"),
    Need::program("tcpdump", "tcpdump", "says when a proxy let requests through"),
    Need::program("nghttp2-client", "h2load", "HTTP/2 load"),
    Need::program("nutcracker", "nutcracker", "the relay bench's baseline"),
    Need::program("haproxy", "haproxy", "the bench's baseline"),
    Need::program("systemd", "systemd-analyze", "judges the unit"),
    Need::program("strace", "strace", "makes system calls fail"),
    Need::program("prometheus", "promtool", "tests the alert rules"),
    Need::program("chromium", "chromium", "shows the live page"),
];

/// What makes, judges and tries the Debian package.
pub(crate) const PACKAGE: [Need; 3] = [
    Need::program("dpkg-dev", "dpkg-shlibdeps", "finds the libraries that the package depends on"),
    Need::program("lintian", "lintian", "judges the package"),
    Need::program("debootstrap", "debootstrap", "a root to try the package in"),
];

/// Clients that people use, and what other people's suites run on.
pub(crate) const JUDGES: [Need; 10] = [
    Need::program("default-jdk-headless", "javac", "runs clients written in Java"),
    Need::file(
        "libspymemcached-java",
        "/usr/share/java/spymemcached.jar",
        "a memcached client of many applications",
    ),
    Need::file("python3", "/usr/bin/python3", "clients and judges written in Python"),
    Need::module("python3-venv", "ensurepip", "keeps PyPI's packages apart"),
    Need::module("python3-httpx", "httpx", "an HTTP client"),
    Need::module("python3-h2", "h2", "HTTP/2 for that client"),
    Need::module("python3-grpcio", "grpc", "a gRPC client and server"),
    Need::program("nodejs", "node", "HTTP clients"),
    Need::program("golang-go", "go", "HTTP clients"),
    Need::program("nghttp2-client", "h2load", "HTTP/2 load"),
];

/// What building the fuzzer needs.
pub(crate) const FUZZ: [Need; 1] = [Need::program("g++", "c++", "compiles libFuzzer")];

/// Virtual machines by software emulation.
pub(crate) const MACHINE: [Need; 6] = [
    Need::program("qemu-system-x86", "qemu-system-x86_64", "emulates the machine"),
    Need::file("busybox-static", "/bin/busybox", "its first process"),
    Need::program("cpio", "cpio", "packs its initial file system"),
    Need::program("e2fsprogs", "mkfs.ext4", "makes its disk"),
    Need::program("kmod", "depmod", "lists its modules"),
    Need::program("xz-utils", "xz", "unpacks its modules"),
];

/// Installs the packages.
///
/// # Errors
/// When this isn't root on Debian (the error carries the command to run), or apt-get fails.
pub(crate) fn install(needs: &[Need]) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = needs.iter().map(|need| need.package).collect();
    if !is_root() || paths::program("apt-get").is_none() {
        let list =
            needs.iter().map(|need| format!("\n  {:<26} {}", need.package, need.why)).collect::<String>();
        bail!(
            "missing:{list}\nrun as root (names are Debian's):\n  apt-get update && apt-get install -y --no-install-recommends {}",
            names.join(" ")
        );
    }
    eprintln!("setup: installing {}", names.join(" "));
    if apt_get(&names).arg("--simulate").output().is_ok_and(|tried| !tried.status.success()) {
        refresh()?;
    }
    let _guard = ServiceGuard::set();
    match progress::step("installing packages", &mut apt_get(&names)) {
        Ok(()) => Ok(()),
        Err(_) => {
            refresh()?;
            progress::insist("installing packages", &mut apt_get(&names))
        }
    }
}

/// Fetches the lists of packages anew: old ones name files that the mirror has replaced.
///
/// # Errors
/// When apt-get fails.
pub(crate) fn refresh() -> Result<()> {
    progress::insist("refreshing the list of packages", quiet_apt().arg("update"))
}

fn apt_get(names: &[&str]) -> Command {
    let mut command = quiet_apt();
    command.args(["install", "--yes", "--no-install-recommends"]).args(names);
    command
}

fn quiet_apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::Retries=3",
    ]);
    command
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Keeps freshly installed servers from being started, for as long as it lives.
struct ServiceGuard(Option<&'static Path>);

impl ServiceGuard {
    /// Writes a policy that forbids starts (see invoke-rc.d(8)), unless there is one already.
    fn set() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() || std::fs::write(policy, "#!/bin/sh\nexit 101\n").is_err() {
            return Self(None);
        }
        let _ = std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o755));
        Self(Some(policy))
    }
}

impl Drop for ServiceGuard {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            let _ = std::fs::remove_file(policy);
        }
    }
}
