//! Where things of this workspace live on disk.
//! Never creates or changes anything.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target/` under the root.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) if !folder.is_empty() => root().join(folder),
        _ => root().join("target"),
    }
}

/// The target folder of the kernel build, apart from the host's so that neither clears the other's cache.
pub(crate) fn kernel_target() -> PathBuf {
    target().join("kernel")
}

/// The kernel object that `daemon/build.rs` embeds.
pub(crate) fn kernel_object() -> PathBuf {
    kernel_target().join("tidegate-xdp.o")
}

/// The `tidegate` binary of a profile's folder (`debug` or `release`).
pub(crate) fn tidegate(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" }).join("tidegate")
}

/// Where tools built by `cargo install` are kept, one folder per tool and version.
pub(crate) fn tools() -> PathBuf {
    let cargo_home = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    cargo_home.or(home).unwrap_or_else(target).join("tidegate-tools")
}

/// The first executable of that name on `PATH`, or in the folders where Debian keeps administrators' programs.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
