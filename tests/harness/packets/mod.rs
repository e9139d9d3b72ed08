//! Frames for the NIC's judgement: a builder, named cases with what is expected of them, and a model of the kernel's maps on the
//! host. Never sends anything.

pub mod build;
pub mod cases;
mod cases_by_hand;
pub mod model;
pub mod noise;
