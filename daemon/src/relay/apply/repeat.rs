//! What is applied once more after a fixed while. Never grows past its bound: its owner takes nothing new while it is full.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::decide::relay::item::{Item, Items};

/// Most bytes that wait.
const MOST: usize = 64 * 1024 * 1024;
/// Most bytes taken at once.
const TAKE: usize = 256 * 1024;

/// Items in the order in which they are due.
pub(super) struct Later {
    after: Duration,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Later {
    /// Everything is due `after` it was pushed; zero keeps nothing.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Keeps items; read-backs are not repeated.
    pub(super) fn push(&mut self, items: &[u8]) {
        if self.after.is_zero() || items.is_empty() {
            return;
        }
        let verify = Items::new(items).any(|item| matches!(item, Item::Verify(..)));
        let kept = if verify {
            let mut kept = Vec::new();
            Items::new(items)
                .filter(|item| !matches!(item, Item::Verify(..)))
                .for_each(|item| item.write(&mut kept));
            kept
        } else {
            items.to_vec()
        };
        self.bytes += kept.len();
        self.waiting.push_back((Instant::now() + self.after, kept));
    }

    /// When the first is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }

    /// What is due now, not everything at once.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let now = Instant::now();
        let mut taken = Vec::new();
        while let Some((at, _)) = self.waiting.front() {
            if *at > now || taken.len() > TAKE {
                break;
            }
            if let Some((_, items)) = self.waiting.pop_front() {
                self.bytes -= items.len();
                taken.extend_from_slice(&items);
            }
        }
        taken
    }

    /// Whether the bound is reached.
    pub(super) fn full(&self) -> bool {
        self.bytes >= MOST
    }
}
