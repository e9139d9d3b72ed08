//! Harness for cases on real traffic: namespaces, processes, daemons and origins that clean up behind themselves.
//! Never touches an interface, namespace, pin or process that it did not make.

pub mod browser;
#[cfg(feature = "daemon")]
pub mod certs;
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod edges;
pub mod http;
pub mod netns;
pub mod nginx;
pub mod origin;
#[cfg(feature = "daemon")]
pub mod packets;
pub mod process;
#[cfg(feature = "daemon")]
pub mod program;
pub mod raw;
pub mod recorder;
pub mod scratch;
pub mod sweep;
