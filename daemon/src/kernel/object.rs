//! The kernel program's object file, embedded at build time. Never reads a file at run time.

include!(concat!(env!("OUT_DIR"), "/object.rs"));

/// The binary was built without the kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this tidegate was built without the NIC program: build it with `cargo xtask build`, or set [xdp] interfaces = [] to run the proxy alone"
)]
pub struct NoObject;

/// The embedded object.
///
/// # Errors
/// [`NoObject`] after a plain `cargo build`.
pub fn object() -> Result<&'static [u8], NoObject> {
    OBJECT.ok_or(NoObject)
}
