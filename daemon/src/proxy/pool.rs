//! One worker's connections to endpoints and edges. Never shared between workers, never waits for a busy connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::body::RequestBody;
use super::clock;
use super::connect::{self, ConnectError, Http1Sender, Http2Sender, Need, Spoken};
use super::descriptors::Places;
use super::tls::Identities;
use super::topology::Endpoint;

/// Most idle HTTP/1.1 connections kept for one endpoint; more are closed.
const MOST_IDLE: usize = 512;
/// Older idle connections are closed rather than used: shorter than what servers commonly keep.
const IDLE_NS: u64 = 55_000_000_000;
/// Requests in flight over one HTTP/2 connection before another one is opened.
const MOST_STREAMS: usize = 100;

/// Connections by endpoint ([`Endpoint::id`]).
#[derive(Debug)]
pub(crate) struct Pool {
    identities: Arc<Identities>,
    places: Arc<Places>,
    idle: RefCell<Vec<Vec<Idle>>>,
    shared: RefCell<HashMap<u64, Vec<Shared>>>,
}

/// An HTTP/1.1 connection that waits for a request.
#[derive(Debug)]
struct Idle {
    sender: Http1Sender,
    since_ns: u64,
}

/// An HTTP/2 connection.
#[derive(Clone, Debug)]
struct Shared {
    sender: Http2Sender,
    streams: Rc<Cell<usize>>,
    last_ns: Rc<Cell<u64>>,
}

/// A connection in use by one request.
#[derive(Debug)]
pub(crate) struct Lease {
    line: Line,
    /// It has carried a request before: its peer may have closed it already.
    pub(crate) reused: bool,
    pool: Rc<Pool>,
    endpoint: u64,
}

#[derive(Debug)]
enum Line {
    Http1(Http1Sender),
    Http2(Http2Sender, #[expect(dead_code, reason = "held for its drop")] Stream),
}

/// One request in flight over an HTTP/2 connection.
#[derive(Debug)]
struct Stream(Rc<Cell<usize>>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Shared {
    fn lease(&self) -> Line {
        self.streams.set(self.streams.get() + 1);
        self.last_ns.set(clock::recently().0);
        Line::Http2(self.sender.clone(), Stream(Rc::clone(&self.streams)))
    }
}

impl Lease {
    /// Sends a request; where nothing of it was sent, the error has it back.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut self.line {
            Line::Http1(sender) => sender.try_send_request(request).await,
            Line::Http2(sender, _) => sender.try_send_request(request).await,
        }
    }

    /// Requests are written as HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.line, Line::Http2(..))
    }

    /// The response has ended well: keeps the connection for the next request. Just dropping an HTTP/1.1 lease closes it instead.
    pub(crate) fn give_back(self) {
        let Self { line, pool, endpoint, .. } = self;
        let Line::Http1(sender) = line else { return };
        if sender.is_closed() {
            return;
        }
        let mut idle = pool.idle.borrow_mut();
        let stack = stack(&mut idle, endpoint);
        if stack.len() < MOST_IDLE {
            stack.push(Idle { sender, since_ns: clock::recently().0 });
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
    pub(crate) fn new(identities: Arc<Identities>, places: Arc<Places>) -> Rc<Self> {
        Rc::new(Self { identities, places, idle: RefCell::default(), shared: RefCell::default() })
    }

    /// A connection that is there already, if there is one that is still good.
    pub(crate) fn ready(self: &Rc<Self>, endpoint: &Endpoint, need: Need) -> Option<Lease> {
        let line = match need {
            Need::Http1 => self.idle(endpoint),
            Need::Http2 => self.shared(endpoint),
            Need::Any => self.idle(endpoint).or_else(|| self.shared(endpoint)),
        };
        line.map(|line| Lease { line, reused: true, pool: Rc::clone(self), endpoint: endpoint.id })
    }

    fn idle(&self, endpoint: &Endpoint) -> Option<Line> {
        let mut idle = self.idle.borrow_mut();
        let stack = stack(&mut idle, endpoint.id);
        while let Some(Idle { sender, .. }) = stack.pop() {
            if sender.is_ready() {
                return Some(Line::Http1(sender));
            }
        }
        None
    }

    fn shared(&self, endpoint: &Endpoint) -> Option<Line> {
        let shared = self.shared.borrow();
        let fit = |line: &&Shared| {
            !line.sender.is_closed() && line.sender.is_ready() && line.streams.get() < MOST_STREAMS
        };
        shared.get(&endpoint.id)?.iter().find(fit).map(Shared::lease)
    }

    /// A new connection.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        need: Need,
        limit: Duration,
    ) -> Result<Lease, ConnectError> {
        let place = self.places.take().ok_or(ConnectError::NoDescriptor)?;
        let line = match connect::connect(&self.identities, endpoint, need, limit, place).await? {
            Spoken::Http1(sender) => Line::Http1(sender),
            Spoken::Http2(sender) => self.add(endpoint, sender),
        };
        Ok(Lease { line, reused: false, pool: Rc::clone(self), endpoint: endpoint.id })
    }

    fn add(&self, endpoint: &Endpoint, sender: Http2Sender) -> Line {
        let shared = Shared { sender, streams: Rc::default(), last_ns: Rc::default() };
        let line = shared.lease();
        self.shared.borrow_mut().entry(endpoint.id).or_default().push(shared);
        line
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
        self.shared.borrow_mut().retain(|_, lines| {
            lines.retain(|line| {
                let idle = line.streams.get() == 0 && now.saturating_sub(line.last_ns.get()) >= IDLE_NS;
                !line.sender.is_closed() && !idle
            });
            !lines.is_empty()
        });
    }
}
