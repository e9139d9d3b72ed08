//! Which compiler builds the kernel program.
//! Never installs one.

use std::path::Path;
use std::process::Command;

use crate::sh;

/// The newest LLVM that bpf-linker is built against here; it reads bitcode of this and older versions.
pub(crate) const LLVM: u32 = 22;

/// The compiler of the kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly with `rust-src`: `core` is built along.
    Nightly,
    /// Debian's rustc with a prebuilt `core` for BPF.
    Debian,
}

/// The nightly if it has `rust-src` and an LLVM that bpf-linker can read, else Debian's.
pub(crate) fn compiler() -> Compiler {
    nightly_with_source().unwrap_or(Compiler::Debian)
}

/// [`Compiler::Nightly`] if it can be used.
pub(crate) fn nightly_with_source() -> Option<Compiler> {
    let sysroot = sh::output(nightly().args(["--print", "sysroot"])).ok()?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
    if !source.is_dir() {
        return None;
    }
    let version = sh::output(nightly().arg("-vV")).ok()?;
    (llvm_major(&version)? <= LLVM).then_some(Compiler::Nightly)
}

fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.env("RUSTUP_AUTO_INSTALL", "0").args(["run", "nightly", "rustc"]);
    command
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::llvm_major;

    #[test]
    fn reads_the_major_version_of_llvm() {
        assert_eq!(llvm_major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }
}
