//! What can be wrong with a message's framing, and what each fault means to its sender. Never decides whether it is there.

use super::super::reason::Reason;

/// Why a client's bytes are refused. Two readers could take them for different requests, or a bound is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// RFC 9112, 2.2 allows a recipient to take LF alone; not all do.
    #[error("a line ends without CR")]
    BareLf,
    /// RFC 9112, 3: `METHOD SP TARGET SP HTTP/1.1`.
    #[error("the request line is not `METHOD TARGET HTTP/1.1`")]
    RequestLine,
    /// RFC 9112, 3.2; a fragment never belongs to a target.
    #[error("the target has a character that targets can't have")]
    Target,
    /// The request line alone exceeds `header_bytes`.
    #[error("the target is longer than header_bytes allows")]
    TargetTooLong,
    /// The head exceeds `header_bytes`.
    #[error("the head is larger than header_bytes allows")]
    HeadTooLarge,
    /// RFC 9110, 15.5.9: it has begun, and was not complete within `header_timeout`.
    #[error("the head did not come within header_timeout")]
    HeadLate,
    /// Neither 1.0 nor 1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken in this form")]
    Version,
    /// What follows a `CONNECT` may be meant for somebody else.
    #[error("CONNECT is not carried")]
    Connect,
    /// RFC 9112, 5.2: obsolete line folding.
    #[error("a header line begins with white space (obsolete folding)")]
    Folded,
    /// RFC 9112, 5.1: no name, or white space before the colon; or a byte that a head can't have.
    #[error("a header line is not `name: value`")]
    HeaderLine,
    /// RFC 9112, 6.3, whether or not they agree.
    #[error("more than one Content-Length")]
    TwoLengths,
    /// RFC 9110, 8.6: digits only. Leading zeros are octal to some.
    #[error("Content-Length is not a plain number")]
    Length,
    /// RFC 9112, 6.3: somebody on the way may have believed the other field.
    #[error("Content-Length beside Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112, 6.1: where the last coding is not `chunked`, nobody knows where the body ends.
    #[error("Transfer-Encoding is not `chunked`")]
    Coding,
    /// A coding that is known to HTTP but not undone here.
    #[error("a transfer coding other than `chunked` is not carried")]
    CodingUnknown,
    /// RFC 9112, 6.1.
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingOld,
    /// RFC 9112, 7.1: one to sixteen hexadecimal digits.
    #[error("a chunk's size is not a plain hexadecimal number")]
    ChunkSize,
    /// RFC 9112, 7.1.1: control characters, or more bytes of extensions than anybody needs.
    #[error("a chunk's extension has control characters or is too long")]
    ChunkExtension,
    /// RFC 9112, 7.1: exactly CRLF behind a chunk's data.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// RFC 9112, 7.1.2: folded, without CR, or larger than a head may be.
    #[error("a trailer is not `name: value`, or trailers are larger than header_bytes")]
    Trailer,
    /// RFC 9113, 4.2: a frame whose kind has another length.
    #[error("an HTTP/2 frame does not have its kind's length")]
    FrameSize,
    /// RFC 9113, 6.6 and 6.10: a promise from a client, or anything but its continuation within a header block.
    #[error("an HTTP/2 frame where it can't be")]
    FrameOrder,
    /// RFC 9113, 6.5.2.
    #[error("an HTTP/2 flow-control window beyond 2^31-1")]
    FlowControl,
    /// RFC 9113, 5.1.
    #[error("an HTTP/2 frame on a stream that its sender has ended")]
    StreamClosed,
}

impl Fault {
    /// The reason that the client is told, and that is counted.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::TargetTooLong => Reason::TargetTooLong,
            Self::HeadTooLarge => Reason::HeadTooLarge,
            Self::HeadLate => Reason::RequestTimeout,
            Self::Version => Reason::VersionNotSupported,
            Self::Connect | Self::CodingUnknown => Reason::NotImplemented,
            _ => Reason::BadRequest,
        }
    }

    /// The code in `GOAWAY` (RFC 9113, 7).
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::FlowControl => 3,
            Self::StreamClosed => 5,
            Self::FrameSize => 6,
            _ => 1,
        }
    }

    /// It is found in a request's body: the request itself is known.
    #[must_use]
    pub fn is_in_body(self) -> bool {
        matches!(self, Self::ChunkSize | Self::ChunkExtension | Self::ChunkEnd | Self::Trailer)
    }
}
