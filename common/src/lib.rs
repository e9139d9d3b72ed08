//! What the kernel program and the daemon share: map layouts, names, ceiling arithmetic, source lookup and verdicts.
//!
//! No allocation, no I/O, no clock: `now` is always an argument.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod ceiling;
pub mod local;
pub mod names;
pub mod source;
pub mod verdict;
