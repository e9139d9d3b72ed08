//! `tidegate top`: the daemon live on a terminal. Never changes anything without a confirmation, and never draws what a client sent
//! without taking its control bytes out.
//!
//! `picture` is what there is to see, `screen` what the operator has selected and typed, `view` a pure function of both.

pub mod follow;
pub mod picture;
#[cfg(test)]
mod sample;
pub mod screen;
pub mod text;
pub mod told;
pub mod view;
