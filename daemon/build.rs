//! Embeds the kernel program that `cargo xtask build` made, if there is one. Never builds it: a plain build needs no BPF toolchain.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A path here replaces the one below the target folder.
const OVERRIDE: &str = "TIDEGATE_KERNEL_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-env-changed={OVERRIDE}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?);
    let given = env::var_os(OVERRIDE).map(PathBuf::from);
    let object = given.clone().unwrap_or_else(|| below_target(&out));
    let code = if fs::metadata(&object).is_ok_and(|found| found.len() > 0) {
        println!("cargo:rerun-if-changed={}", object.display());
        fs::copy(&object, out.join("tidegate-xdp.o"))?;
        "Some(aya::include_bytes_aligned!(concat!(env!(\"OUT_DIR\"), \"/tidegate-xdp.o\")))"
    } else {
        match given {
            // Its folder is somebody else's, and may be as large as the whole disk.
            Some(missing) => {
                println!("cargo:warning={OVERRIDE} names {}, which is not there", missing.display());
            }
            None => watch_for(&object)?,
        }
        println!("cargo:warning=built without the NIC program; `cargo xtask build` makes and embeds it");
        "None"
    };
    fs::write(out.join("object.rs"), format!("const OBJECT: Option<&[u8]> = {code};\n"))
}

/// `kernel/tidegate-xdp.o` in the folder that cargo tags as the target folder.
fn below_target(out: &Path) -> PathBuf {
    let tagged = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let fallback = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    tagged.map_or(fallback, Path::to_path_buf).join("kernel/tidegate-xdp.o")
}

/// A missing file would make cargo run this each time; its (empty) folder tells as well when the object comes.
fn watch_for(object: &Path) -> io::Result<()> {
    if let Some(folder) = object.parent() {
        fs::create_dir_all(folder)?;
        println!("cargo:rerun-if-changed={}", folder.display());
    }
    Ok(())
}
