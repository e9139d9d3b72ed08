//! A client's request as its head says it. Never guesses: what two readers could frame differently is a [`Fault`].

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::decide::framing::{self, Body, Fault};

/// Longest target that [`Uri`] holds.
const MOST_TARGET: usize = u16::MAX as usize - 1;

/// What a client's heads and trailers may have.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a head, and of trailers.
    pub header_bytes: usize,
    /// Fields of a head.
    pub headers: usize,
}

/// A request's head.
#[derive(Debug)]
pub struct Ask {
    /// Method (any but `CONNECT`), target and fields as they were sent. In a box: it goes through many hands.
    pub head: Box<Parts>,
    /// What follows.
    pub(crate) body: Body,
    /// It asks for another protocol: what follows may not be HTTP.
    pub upgrade: bool,
    /// Another request may follow on this connection.
    pub keeps: bool,
    /// The client waits for `100 Continue` before it sends its body.
    pub expects: bool,
}

impl Ask {
    /// HTTP/1.0.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.head.version == Version::HTTP_10
    }

    /// How large the body is, where that is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self.body {
            Body::None => Some(0),
            Body::Length(length) => Some(length),
            Body::Chunks => None,
        }
    }

    /// Reads a whole head, end and all.
    ///
    /// # Errors
    /// When it breaks the grammar, could be framed in more than one way, or exceeds a bound.
    pub fn parse(head: &Bytes, bounds: &Bounds) -> Result<Self, Fault> {
        let mut headers = HeaderMap::with_capacity(16);
        let judged = framing::judge(head, |name, value| {
            if headers.len() >= bounds.headers {
                return Err(Fault::HeadTooLarge);
            }
            let name = HeaderName::from_bytes(name).map_err(|_| Fault::HeaderLine)?;
            let value =
                HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| Fault::HeaderLine)?;
            headers.append(name, value);
            Ok(())
        })?;
        let judged = judged.ok_or(Fault::RequestLine)?;
        let line = judged.line;
        if line.target.len() > MOST_TARGET {
            return Err(Fault::TargetTooLong);
        }
        let mut parts = Box::new(Request::new(()).into_parts().0);
        parts.method = Method::from_bytes(line.method).map_err(|_| Fault::RequestLine)?;
        parts.uri = Uri::from_maybe_shared(head.slice_ref(line.target)).map_err(|_| Fault::Target)?;
        parts.version = if line.old { Version::HTTP_10 } else { Version::HTTP_11 };
        parts.headers = headers;
        Ok(Self {
            head: parts,
            body: judged.body,
            upgrade: judged.upgrade,
            keeps: judged.keeps,
            expects: judged.expects,
        })
    }
}
