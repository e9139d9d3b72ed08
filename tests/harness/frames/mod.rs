//! Abuse of HTTP/2 as data: a client's frames, byte by byte of our own making, and what must come of them. Never opens a connection.

mod blocks;
pub mod ear;
mod fields;
mod order;
mod pseudo;

/// What comes of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin sees it: method and target, body. The client gets 200.
    Seen(String, String),
    /// The origin sees nothing; the client gets this status, and other streams of the connection go on.
    Refused(u16),
    /// The origin sees nothing: a malformed request (RFC 9113, 8.1.1), answered by the end of its stream with `PROTOCOL_ERROR`, before that
    /// perhaps by 400, or by the end of the connection with the same code (5.4.1).
    Malformed,
    /// The origin sees this upgrade and answers it as if it were none: 502.
    Unswitched(String),
    /// The origin sees nothing; the connection ends with `GOAWAY` and one of these codes.
    Ended(&'static [u32]),
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tried.
    pub name: String,
    /// Frames behind the preface and the settings. What is tried is on [`STREAM`].
    pub bytes: Vec<u8>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Fields that the origin sees, with all their values.
    pub fields: Vec<(&'static str, Vec<&'static str>)>,
}

/// The stream that is tried.
pub const STREAM: u32 = 1;
/// A stream behind it, for a request that says whether the connection goes on.
pub const NEXT: u32 = 101;

/// Kinds of frames (RFC 9113, 6).
pub const DATA: u8 = 0;
/// Opens a stream.
pub const HEADERS: u8 = 1;
/// Deprecated.
pub const PRIORITY: u8 = 2;
/// Ends a stream.
pub const RST_STREAM: u8 = 3;
/// Terms.
pub const SETTINGS: u8 = 4;
/// A server's alone.
pub const PUSH_PROMISE: u8 = 5;
/// Is anybody there?
pub const PING: u8 = 6;
/// Ends a connection.
pub const GOAWAY: u8 = 7;
/// Credit.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a header block.
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
/// The header block is whole.
pub const END_HEADERS: u8 = 4;
/// A byte says how many at the end mean nothing.
pub const PADDED: u8 = 8;
/// Five bytes say what the stream depends on.
pub const PRIORITIZED: u8 = 0x20;
/// Both ends in one.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Codes (RFC 9113, 7).
pub const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = pseudo::cases();
    cases.extend(fields::cases());
    cases.extend(blocks::cases());
    cases.extend(order::cases());
    cases
}

/// One frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// A header block without Huffman codes and without the dynamic table: names and values as they are.
#[must_use]
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// RFC 7541, 5.1, with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    let low = |number: usize| u8::try_from(number & 0x7f).unwrap_or(0);
    if length < 127 {
        return bytes.push(low(length));
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(low(rest) | 0x80);
        rest >>= 7;
    }
    bytes.push(low(rest));
}

/// A plain request for a path.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "h")])
}

/// A plain request with a body.
fn post() -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "h")])
}

fn case(name: impl Into<String>, bytes: Vec<u8>, outcome: Outcome) -> Case {
    Case { name: name.into(), bytes, outcome, fields: Vec::new() }
}

fn seen(line: &str, body: &str) -> Outcome {
    Outcome::Seen(line.to_owned(), body.to_owned())
}
