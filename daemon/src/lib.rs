//! The tidegate daemon and command line, as a library that the binary and the tests use.

pub mod admin;
pub mod app;
pub mod config;
pub mod decide;
pub mod kernel;
pub mod link;
pub mod proxy;
pub mod relay;
