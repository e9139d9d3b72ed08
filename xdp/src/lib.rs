//! Parses a frame and judges it, for the host and for the kernel. Never reads a clock, a map or memory of its own.
#![no_std]
