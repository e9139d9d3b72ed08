//! The keys of requests that wait for their answers, oldest first, in one buffer. Never allocates while it is warm.

use super::effect::MAX_KEY;

/// A queue of keys, each at most [`MAX_KEY`] bytes.
#[derive(Debug, Default)]
pub(super) struct KeyQueue {
    bytes: Vec<u8>,
    head: usize,
    /// Bytes that are no longer in the buffer: places count on.
    gone: u64,
}

impl KeyQueue {
    /// Appends `key`; keys that memcached would refuse are cut short, which keeps the count right.
    pub(super) fn push(&mut self, key: &[u8]) {
        let key = &key[..key.len().min(MAX_KEY)];
        self.bytes.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(key);
    }

    /// The oldest key.
    pub(super) fn front(&self) -> &[u8] {
        self.at(self.head)
    }

    /// Removes the oldest key.
    pub(super) fn pop(&mut self) {
        let len = self.front().len();
        if self.head < self.bytes.len() {
            self.head += 1 + len;
        }
        if self.head == self.bytes.len() {
            self.clear();
        } else if self.head > 64 * 1024 {
            self.gone += self.head as u64;
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// Where the next key will be, for [`Self::key`].
    pub(super) fn end(&self) -> u64 {
        self.gone + self.bytes.len() as u64
    }

    /// The key at a place that [`Self::end`] told before it was pushed; empty once it was popped.
    pub(super) fn key(&self, place: u64) -> &[u8] {
        let place = place.checked_sub(self.gone).and_then(|place| usize::try_from(place).ok());
        place.filter(|&place| place >= self.head).map_or(&[], |place| self.at(place))
    }

    /// Bytes held.
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.gone += self.bytes.len() as u64;
        self.bytes.clear();
        self.head = 0;
    }

    fn at(&self, place: usize) -> &[u8] {
        let Some(&len) = self.bytes.get(place) else { return &[] };
        self.bytes.get(place + 1..place + 1 + usize::from(len)).unwrap_or(&[])
    }
}
