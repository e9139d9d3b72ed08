//! What the kernel program and the daemon share: map layouts, names, ceiling arithmetic and verdicts.
//!
//! No allocation, no I/O, no clock: `now` is always an argument.
#![no_std]

pub mod names;
