//! One worker's buffers that nobody needs at the moment: a connection that waits for its next request has none. Never grows beyond a few.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes that there is room for before a read, at first.
pub(crate) const ROOM: usize = 8 << 10;
/// Most buffers of each kind that are kept.
const MOST: usize = 32;
/// Larger ones are given back to the allocator.
const MOST_KEPT: usize = 16 << 10;

/// Empty buffers.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    read: RefCell<Vec<BytesMut>>,
    out: RefCell<Vec<Vec<u8>>>,
}

impl Stock {
    /// One to read into; perhaps without room.
    pub(crate) fn take_read(&self) -> BytesMut {
        self.read.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes one back, and forgets what is in it.
    pub(crate) fn give_read(&self, mut buffer: BytesMut) {
        let mut read = self.read.borrow_mut();
        if buffer.capacity() <= MOST_KEPT && read.len() < MOST {
            buffer.clear();
            read.push(buffer);
        }
    }

    /// One to write from.
    pub(crate) fn take_out(&self) -> Vec<u8> {
        self.out.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes one back, and forgets what is in it.
    pub(crate) fn give_out(&self, mut buffer: Vec<u8>) {
        let mut out = self.out.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= MOST_KEPT && out.len() < MOST {
            buffer.clear();
            out.push(buffer);
        }
    }
}
