//! The configuration: the file as written, and the typed values that the rest of the daemon reads.
//! Never opens a socket and never changes the host.

pub mod types;

pub use types::Config;
