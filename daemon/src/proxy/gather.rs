//! Small pieces of a body put together before HTTP/2 frames each of them. Never waits for one.
//!
//! A receiver ends a connection with too many small frames that nobody has taken yet (`ENHANCE_YOUR_CALM`), and with it all other requests on it:
//! what one client sends in chunks of a byte must not become frames of a byte on a connection that others share.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::turn;

/// Smaller pieces are put together.
const SMALL: usize = 1 << 10;
/// Up to so many bytes, and what the last piece has.
const MOST: usize = 8 << 10;

/// A body whose pieces are put together.
#[derive(Debug)]
pub(crate) struct Gathered<B: Body> {
    body: B,
    /// What came behind the pieces that were handed over last.
    next: Option<Option<Result<Frame<Bytes>, B::Error>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Gathered<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, next: None }
    }

    /// The body, of which nothing was asked yet.
    pub(crate) fn into_inner(self) -> B {
        self.body
    }

    /// The first piece with those behind it that are there; what is no piece waits for the next call.
    fn gather(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut all = BytesMut::new();
        let mut last = first;
        while all.len() + last.len() < MOST && self.next.is_none() && !self.body.is_end_stream() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    all.extend_from_slice(&std::mem::replace(&mut last, data));
                }
                Some(Ok(Err(other))) => self.next = Some(Some(Ok(other))),
                Some(Err(error)) => self.next = Some(Some(Err(error))),
                None => self.next = Some(None),
            }
        }
        if all.is_empty() {
            return last;
        }
        all.extend_from_slice(&last);
        all.freeze()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Gathered<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = loop {
            let frame = match this.next.take() {
                Some(next) => next,
                None => ready!(Pin::new(&mut this.body).poll_frame(cx)),
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.len() < SMALL => {
                    let data = this.gather(data, cx);
                    if !data.is_empty() {
                        break Some(Ok(Frame::data(data)));
                    }
                }
                Some(Ok(Ok(data))) => break Some(Ok(Frame::data(data))),
                Some(Ok(Err(other))) => break Some(Ok(other)),
                Some(Err(error)) => break Some(Err(error)),
                None => break None,
            }
        };
        // Whatever was asked behind it.
        turn::given();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.next {
            Some(next) => next.is_none(),
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    use http::HeaderMap;

    use super::*;

    /// Frames, and pauses between them.
    struct Pieces(VecDeque<Option<Frame<Bytes>>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(None) => Poll::Pending,
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                None => Poll::Ready(None),
            }
        }
    }

    /// What comes out: the pieces' sizes, a pause, trailers, or the end.
    fn out(pieces: Vec<Option<Frame<Bytes>>>) -> Vec<String> {
        let mut body = Gathered::new(Pieces(pieces.into()));
        let mut out = Vec::new();
        loop {
            let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
            out.push(match frame.map(|frame| frame.map(|frame| frame.map(Frame::into_data))) {
                Poll::Pending => "pause".to_owned(),
                Poll::Ready(Some(Ok(Ok(data)))) => data.len().to_string(),
                Poll::Ready(Some(Ok(Err(_)))) => "trailers".to_owned(),
                Poll::Ready(None) => return out,
            });
        }
    }

    #[test]
    fn small_pieces_that_are_there_become_one() {
        let piece = |length: usize| Some(Frame::data(Bytes::from(vec![b'x'; length])));
        let trailers = Some(Frame::trailers(HeaderMap::new()));
        assert_eq!(out((0..5_000).map(|_| piece(1)).collect()), ["5000"]);
        assert_eq!(
            out(vec![piece(1), piece(2), None, None, piece(3), trailers]),
            ["3", "pause", "3", "trailers"]
        );
        assert_eq!(out(vec![piece(20_000), piece(20_000)]), ["20000", "20000"], "these are large");
        // A pause that is found while pieces are put together ends with what is there.
        assert_eq!(out(vec![piece(0), piece(1), None, piece(0), None, None]), ["1", "pause"]);
        let long = out((0..50_000).map(|_| piece(1)).collect());
        let lengths: Vec<usize> = long.iter().map(|piece| piece.parse().expect("a size")).collect();
        assert!(lengths.iter().all(|length| *length <= MOST), "{lengths:?}");
        let sum: usize = lengths.iter().sum();
        assert_eq!(sum, 50_000);
    }
}
