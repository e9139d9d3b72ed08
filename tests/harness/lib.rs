//! Harness for cases on real traffic: namespaces, processes, daemons and origins that clean up behind themselves.
//! Never touches an interface, namespace, pin or process that it did not make.

pub mod browser;
pub mod cable;
#[cfg(feature = "certs")]
pub mod certs;
pub mod chance;
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod edges;
#[cfg(feature = "daemon")]
pub mod foreign;
pub mod http;
pub mod lab;
pub mod manager;
pub mod memcached;
pub mod netns;
pub mod nginx;
#[cfg(feature = "daemon")]
pub mod nic_daemon;
#[cfg(feature = "daemon")]
pub mod nic_plan;
pub mod origin;
#[cfg(feature = "daemon")]
pub mod packets;
pub mod process;
#[cfg(feature = "daemon")]
pub mod program;
pub mod raw;
pub mod recorder;
pub mod relay_map;
pub mod relocate;
pub mod replica;
pub mod scratch;
pub mod sweep;
pub mod tools;
pub mod traffic;
