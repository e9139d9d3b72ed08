//! Parses a frame and judges it, for the host and for the kernel. Never reads a clock, a map or memory of its own: all that comes
//! through the traits [`frame::Frame`] and [`judge::Environment`].
#![no_std]

#[cfg(test)]
extern crate std;

pub mod buckets;
pub mod frame;
pub mod judge;
pub mod parse;
pub mod reset;
