//! What was read of a stream and is not taken yet, with no more memory than it needs while nothing comes. Never looks at a byte.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::task::coop::{consume_budget, has_budget_remaining};

use super::stock::{ROOM, Stock};
use super::stream::Stream;

/// What has begun and is no larger than this waits in a buffer of its own size.
const SMALL: usize = 2 << 10;

/// Bytes of one stream.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Read, not yet taken.
    pub(crate) bytes: BytesMut,
    /// `bytes` is a buffer of the stock's; otherwise it has only what has begun.
    roomy: bool,
    /// Room for the next read: more for a stream that fills it.
    room: usize,
    most_room: usize,
    stock: Rc<Stock>,
}

impl Intake {
    /// Nothing was read yet; no read is for more than `most_room` bytes.
    pub(crate) fn new(stock: &Rc<Stock>, most_room: usize) -> Self {
        Self { bytes: BytesMut::new(), roomy: false, room: ROOM, most_room, stock: Rc::clone(stock) }
    }

    /// Reads more of `io`; 0 where the other side has closed its end.
    pub(crate) fn poll_fill(&mut self, io: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !has_budget_remaining() {
            // The turn is over, the stream is not: its buffer stays.
            ready!(pin!(consume_budget()).poll(cx));
        }
        if let (false, Stream::Plain(tcp)) = (self.roomy, &mut *io) {
            ready!(tcp.poll_read_ready(cx))?;
        }
        self.make_room();
        let room = self.bytes.capacity() - self.bytes.len();
        let Poll::Ready(count) = pin!(io.read_buf(&mut self.bytes)).poll(cx)? else {
            self.rest();
            return Poll::Pending;
        };
        if count >= room {
            self.room = (self.room * 2).min(self.most_room);
        }
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if !self.roomy {
            let begun = std::mem::replace(&mut self.bytes, self.stock.take_read());
            self.bytes.extend_from_slice(&begun);
            self.roomy = true;
        }
        // What was taken out of a buffer may be in use elsewhere; behind it is room for many more.
        if self.bytes.capacity() - self.bytes.len() < self.room / 4 {
            self.bytes.reserve(self.room);
        }
    }

    /// Nothing comes for now.
    pub(crate) fn rest(&mut self) {
        if self.roomy && self.bytes.len() <= SMALL {
            let begun = BytesMut::from(&self.bytes[..]);
            let buffer = std::mem::replace(&mut self.bytes, begun);
            if self.room == ROOM {
                self.stock.give_read(buffer);
            }
            (self.room, self.roomy) = (ROOM, false);
        }
    }
}
