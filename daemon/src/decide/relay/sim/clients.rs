//! Applications: they read through the cache, refill it after a miss, and write the store before the cache. Never two writers of a key in
//! one region at once, nor a refill beside a writer there: that race is the application's own, relay or not.

use std::collections::BTreeMap;

/// What a client is about.
#[derive(Debug)]
pub(super) enum Task {
    Idle,
    /// Waits for a copy; a writer writes whatever comes.
    Get {
        key: usize,
        writes: bool,
    },
    /// Has read or written the store, and will send this.
    Think {
        key: usize,
        writes: bool,
        command: Vec<u8>,
    },
    /// Waits for the answer.
    Stored {
        key: usize,
        writes: bool,
    },
    /// The connection was lost; waits until nothing of it can be on its way. A writer then deletes, until somebody answers.
    Cool {
        key: usize,
        writes: bool,
        again: bool,
    },
}

pub(super) struct Client {
    pub(super) region: usize,
    pub(super) conn: Option<usize>,
    pub(super) task: Task,
    pub(super) heard: Vec<u8>,
}

/// Who is at a key in a region.
#[derive(Default)]
pub(super) struct Claims(BTreeMap<(usize, usize), (u32, bool)>);

impl Claims {
    /// Many readers, or one writer.
    pub(super) fn claim(&mut self, region: usize, key: usize, writes: bool) -> bool {
        let (readers, writer) = self.0.entry((region, key)).or_default();
        if *writer || (writes && *readers > 0) {
            return false;
        }
        *writer |= writes;
        *readers += u32::from(!writes);
        true
    }

    pub(super) fn release(&mut self, region: usize, key: usize, writes: bool) {
        let (readers, writer) = self.0.entry((region, key)).or_default();
        *writer &= !writes;
        *readers -= u32::from(!writes);
    }
}
