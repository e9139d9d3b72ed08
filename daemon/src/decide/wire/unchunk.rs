//! A chunked body's data and trailers, without their coding. Never keeps data.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::reply::MOST_FIELDS;
use crate::decide::framing::{Chunks, Fault, Step};

/// Takes the coding off one body.
#[derive(Debug)]
pub(crate) struct Unchunker {
    chunks: Chunks,
    trailers: Vec<u8>,
}

/// What comes next of a body.
#[derive(Debug)]
pub enum Next {
    /// Data.
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// It has ended, perhaps with trailers.
    End(Option<HeaderMap>),
}

impl Unchunker {
    /// Before the first chunk; trailers may have so many bytes together.
    pub(crate) fn new(most_trailer_bytes: usize) -> Self {
        Self { chunks: Chunks::new(most_trailer_bytes), trailers: Vec::new() }
    }

    /// Takes from `bytes` what comes next.
    ///
    /// # Errors
    /// When the coding is broken.
    pub(crate) fn next(&mut self, bytes: &mut BytesMut) -> Result<Next, Fault> {
        let mut at = 0;
        loop {
            let here = self.chunks.data(bytes.len() - at);
            if here > 0 {
                _ = bytes.split_to(at);
                return Ok(Next::Data(bytes.split_to(here).freeze()));
            }
            let Some(byte) = bytes.get(at) else {
                bytes.clear();
                return Ok(Next::More);
            };
            at += 1;
            match self.chunks.step(*byte)? {
                Step::On => {}
                Step::Trailer => self.trailers.push(*byte),
                Step::End => {
                    _ = bytes.split_to(at);
                    return self.trailers().map(Next::End);
                }
            }
        }
    }

    fn trailers(&mut self) -> Result<Option<HeaderMap>, Fault> {
        if self.trailers.is_empty() {
            return Ok(None);
        }
        self.trailers.extend_from_slice(b"\r\n");
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let httparse::Status::Complete((_, fields)) =
            httparse::parse_headers(&self.trailers, &mut fields).map_err(|_| Fault::Trailer)?
        else {
            return Err(Fault::Trailer);
        };
        let mut trailers = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Fault::Trailer)?;
            trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Fault::Trailer)?);
        }
        Ok(Some(trailers))
    }
}
