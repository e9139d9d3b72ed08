//! Why the relay does not start. Never a failure that it can live with.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::spool::StoreError;

/// Why the relay does not start.
#[derive(Debug, Error)]
pub enum RelayError {
    /// A front's address cannot be had.
    #[error("relay pool {pool}: {address}: {source}")]
    Listen {
        /// The pool's name.
        pool: String,
        /// Its `listen` or `refill_listen`.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder for the spool cannot be made.
    #[error("relay spool folder {path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The spool cannot be used.
    #[error("relay spool {path}: {source}")]
    Spool {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A thread cannot be started.
    #[error("relay thread: {0}")]
    Thread(io::Error),
    /// This transport was not built in.
    #[error("[relay] transport = {0:?} is not in this build (cargo feature {0:?}); \"direct\" is")]
    Transport(&'static str),
}
