//! How many connections the process's descriptors are enough for, shared out between clients and upstreams so that the admin socket, files
//! and probes always find one. Never closes a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Kept for everything that is no connection of a client or to an upstream.
const RESERVE: usize = 96;
/// Fewest connections on either side, whatever the limit.
const LEAST: usize = 16;

/// One side's connections.
#[derive(Debug)]
pub(crate) struct Places {
    open: AtomicUsize,
    most: usize,
}

/// One connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most })
    }

    /// A place, unless there are as many connections as descriptors allow.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let add = |open: usize| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, add).ok().map(|_| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Both sides.
#[derive(Clone, Debug)]
pub(crate) struct Descriptors {
    /// Connections of clients and peers.
    pub(crate) clients: Arc<Places>,
    /// Connections to endpoints and edges.
    pub(crate) upstreams: Arc<Places>,
}

impl Descriptors {
    /// Halves what the limit on open files leaves beside `sockets` that listen; raises the limit as far as the process may.
    pub(crate) fn new(sockets: usize) -> Self {
        let most = limit().saturating_sub(RESERVE + 2 * sockets) / 2;
        let most = most.max(LEAST);
        Self { clients: Places::new(most), upstreams: Places::new(most) }
    }

    /// Most connections of clients.
    pub(crate) fn most(&self) -> usize {
        self.clients.most
    }
}

/// `RLIMIT_NOFILE`, after the soft limit was raised to the hard one.
fn limit() -> usize {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    // A sandbox may forbid it: the limit is as it is then.
    _ = setrlimit(Resource::Nofile, limits);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let places = Places::new(2);
        let (one, two) = (places.take(), places.take());
        assert!(one.is_some() && two.is_some() && places.take().is_none());
        drop(one);
        assert!(places.take().is_some());
    }
}
