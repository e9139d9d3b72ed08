//! HTTP/1.1 as it is read and written, from and to clients and upstreams: heads, and where bodies end. Never reads or writes a socket.
//!
//! What either side says is judged more strictly than RFC 9112 asks for: what two readers could frame differently is no
//! request and no answer.

mod ask;
mod inbound;
#[cfg(test)]
mod inbound_tests;
mod reply;
mod request;
mod says;
#[cfg(test)]
mod tests;
mod unchunk;

pub use ask::{Ask, Bounds};
pub use inbound::Inbound;
pub use unchunk::Next;

pub(crate) use reply::{Ends, Unclear, end_of_head, parse};
pub(crate) use request::{Sends, chunk_begins, end_head, field, fields, last_chunk, request_line};
pub(crate) use says::{Frames, Says};
pub(crate) use unchunk::Unchunker;
