//! HTTP/1.1 as it is written to upstreams and read from them: heads, and where bodies end. Never reads or writes a socket.
//!
//! What an upstream says is judged more strictly than RFC 9112 asks for: an answer that two readers could frame differently is no answer.

mod reply;
mod request;
#[cfg(test)]
mod tests;
mod unchunk;

pub(crate) use reply::{Ends, Unclear, end_of_head, parse};
pub(crate) use request::{Sends, chunk_begins, end_head, field, fields, last_chunk, request_line};
pub(crate) use unchunk::{Next, Unchunker};
