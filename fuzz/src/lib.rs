//! What any bytes may be put into: one target for each reader of bytes that come from outside, with what must hold of them whatever they are.
//! Never opens a socket, a file or a clock: a target is a function of its input, so that an input says everything.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer, guided by coverage; `cargo test -p tidegate-fuzz` puts in the inputs that are kept in
//! `corpus/`, the tests' tables and what once was wrong, with any compiler.

pub mod cut;
mod model;
mod targets;

/// Something that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As `cargo xtask fuzz` calls it; its folder in `corpus/` too.
    pub name: &'static str,
    /// Puts the bytes in; panics where something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, from tables that the tests have.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something there.
    pub words: &'static [&'static [u8]],
    /// Most bytes of an input.
    pub most_bytes: usize,
}

/// All targets.
#[must_use]
pub fn all() -> Vec<Target> {
    targets::all()
}

/// The target of that name.
#[must_use]
pub fn named(name: &str) -> Option<Target> {
    all().into_iter().find(|target| target.name == name)
}
