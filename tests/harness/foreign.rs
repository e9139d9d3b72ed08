//! A program that is not tidegate's: two instructions that pass everything, as an object file that iproute2 attaches. Never loaded by tidegate.

use anyhow::{Context, Result};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::netns::Netns;
use crate::scratch::Folder;

/// Its name in the kernel.
pub const NAME: &str = "somebody_elses";

/// `r0 = XDP_PASS; exit`, as of the kernel's instruction set document.
const PASS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

fn object() -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let section = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    object.append_section_data(section, &PASS, 8);
    object.add_symbol(Symbol {
        name: NAME.as_bytes().to_vec(),
        value: 0,
        size: PASS.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    object.write().context("writing the object")
}

/// Attaches it to `interface` in `namespace` with iproute2, in the mode of `how` (`xdpdrv`, `xdpgeneric`).
///
/// # Errors
/// What `ip` says.
pub fn attach(namespace: &Netns, interface: &str, how: &str) -> Result<()> {
    let folder = Folder::new("foreign")?;
    let path = folder.file("foreign.o");
    std::fs::write(&path, object()?)?;
    let arguments = ["link", "set", "dev", interface, how, "obj", &path.to_string_lossy(), "sec", "xdp"];
    namespace.ip(&arguments).map(drop)
}
