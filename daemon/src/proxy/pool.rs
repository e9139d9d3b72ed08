//! One worker's idle connections to endpoints and edges. Never shared between workers, never waits for a busy connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::connect::{self, ConnectError, Http1Sender};
use super::topology::Endpoint;

/// Most idle connections kept for one endpoint; more are closed.
const MOST_IDLE: usize = 512;
/// Older idle connections are closed rather than used: shorter than what servers commonly keep.
const IDLE_NS: u64 = 55_000_000_000;

/// Idle connections by endpoint ([`Endpoint::id`]), last used first.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Http1Sender,
    since_ns: u64,
}

/// A connection in use by one request.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: Http1Sender,
    /// It has carried a request before: its peer may have closed it already.
    pub(crate) reused: bool,
    pool: Rc<Pool>,
    endpoint: u64,
}

impl Lease {
    /// The response has ended well: keeps the connection for the next request. Just dropping a lease closes it instead.
    pub(crate) fn give_back(self) {
        let Self { sender, pool, endpoint, .. } = self;
        if sender.is_closed() {
            return;
        }
        let mut idle = pool.idle.borrow_mut();
        let stack = stack(&mut idle, endpoint);
        if stack.len() < MOST_IDLE {
            stack.push(Idle { sender, since_ns: clock::now().0 });
        }
    }
}

fn stack(idle: &mut Vec<Vec<Idle>>, endpoint: u64) -> &mut Vec<Idle> {
    let at = usize::try_from(endpoint).unwrap_or(0);
    if idle.len() <= at {
        idle.resize_with(at + 1, Vec::new);
    }
    &mut idle[at]
}

impl Pool {
    /// An idle connection, if there is one that is still good.
    pub(crate) fn idle(self: &Rc<Self>, endpoint: &Endpoint) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let stack = stack(&mut idle, endpoint.id);
        while let Some(Idle { sender, .. }) = stack.pop() {
            if sender.is_ready() {
                return Some(Lease { sender, reused: true, pool: Rc::clone(self), endpoint: endpoint.id });
            }
        }
        None
    }

    /// A new connection.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        limit: Duration,
    ) -> Result<Lease, ConnectError> {
        let stream = connect::stream(endpoint, limit).await?;
        let mut sender = connect::http1(stream).await?;
        sender.ready().await?;
        Ok(Lease { sender, reused: false, pool: Rc::clone(self), endpoint: endpoint.id })
    }

    /// Closes what has been idle for too long.
    pub(crate) fn sweep(&self) {
        let now = clock::now().0;
        for stack in self.idle.borrow_mut().iter_mut() {
            stack.retain(|idle| !idle.sender.is_closed() && now.saturating_sub(idle.since_ns) < IDLE_NS);
            if stack.is_empty() {
                stack.shrink_to_fit();
            }
        }
    }
}
