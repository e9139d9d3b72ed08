//! The configuration: the file as written, and the typed values that the rest of the daemon reads.
//! Never opens a socket and never changes the host.
//!
//! The way of a file: `load` finds the files, `node` parses and merges them into one tree that remembers places, `document`
//! and the readers in `read` turn tables into `types` by way of a `cursor`, which collects every fault instead of ending at the first.

mod claims;
pub(crate) mod cursor;
mod document;
mod fault;
mod files;
pub mod key;
mod load;
mod node;
mod read;
mod record;
pub mod reference;
mod scalar;
pub mod types;
pub mod units;

pub use fault::{Fault, Severity};
pub use load::{LoadError, Loaded, from_sources, from_text, instance, load};
pub use types::Config;
