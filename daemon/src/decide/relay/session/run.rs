//! A stretch of request bytes that go to the same server. Never copies them.

use crate::decide::relay::io::Io;

/// Collects neighbours, so that many requests become one hand-over.
pub(super) struct Run<'a> {
    bytes: &'a [u8],
    start: usize,
    lane: usize,
}

impl<'a> Run<'a> {
    /// Over bytes whose first belong to `lane`: where the data block that goes on is sent.
    pub(super) fn new(bytes: &'a [u8], lane: usize) -> Self {
        Self { bytes, start: 0, lane }
    }

    /// The bytes from `from` on belong to `lane`.
    pub(super) fn turn(&mut self, from: usize, lane: usize, io: &mut impl Io) {
        if lane != self.lane {
            self.flush(from, io);
            self.lane = lane;
        }
    }

    /// Hands over everything before `end`.
    pub(super) fn flush(&mut self, end: usize, io: &mut impl Io) {
        if end > self.start {
            io.forward(self.lane, &self.bytes[self.start..end]);
        }
        self.start = self.start.max(end);
    }

    /// Hands over everything before `end`, and leaves out what lies between it and `next`.
    pub(super) fn cut(&mut self, end: usize, next: usize, io: &mut impl Io) {
        self.flush(end, io);
        self.start = next;
    }

    /// A part of the bytes.
    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        &self.bytes[start..end]
    }
}
