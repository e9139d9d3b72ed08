//! Where a client's HTTP/1 messages (and HTTP/2 frames, in [`Frames`]) begin and end, judged more strictly than RFC 9112 asks for: what two
//! readers could take for different requests goes no further. Never keeps a byte; [`super::wire`] makes requests of what passes.

mod chunks;
mod fault;
mod frames;
mod head;
mod host;
mod walk;

pub use fault::Fault;
pub use frames::Frames;
pub use head::is_token;
pub use host::{is_host, is_same_host};
pub use walk::Walk;

pub(crate) use chunks::{Chunks, Step};
pub(crate) use head::{Body, end, fault_so_far, is_field, is_first_line, judge};
