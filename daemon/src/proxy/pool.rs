//! One worker's connections to endpoints and edges. Never shared between workers, never waits for a busy connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;

use super::body::RequestBody;
use super::clock;
use super::connect::{self, ConnectError, Http2Sender, Need, Spoken};
use super::descriptors::Places;
use super::gather::Gathered;
use super::headers::Added;
use super::http1;
use super::serve::Interim;
use super::stock::Stock;
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
    stock: Rc<Stock>,
    idle: RefCell<Vec<Vec<Idle>>>,
    shared: RefCell<HashMap<u64, Vec<Shared>>>,
}

/// An HTTP/1.1 connection that waits for a request.
#[derive(Debug)]
struct Idle {
    connection: Box<http1::Connection>,
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

/// Why a request that was to be sent has no answer.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// Nothing of it was sent.
    Back,
    /// Something was, over HTTP/1.1.
    Http1(http1::Broken),
    /// Something was, over HTTP/2.
    Http2(hyper::Error),
}

#[derive(Debug)]
enum Line {
    Http1(Box<http1::Connection>),
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
    /// Sends a request, which is whole afterwards where nothing of it was sent or it may be sent again (`keeps`). The body of an answer over
    /// HTTP/1.1 is read from [`Self::http1`]. Interim answers over HTTP/1.1 go to `interim`.
    pub(crate) async fn send(
        &mut self,
        head: &mut Parts,
        (added, interim): (Option<&Added>, Option<&Interim>),
        body: &mut RequestBody,
        keeps: bool,
    ) -> Result<Response<Option<Incoming>>, NotSent> {
        match &mut self.line {
            Line::Http1(connection) => match connection.exchange(head, added, interim, body).await {
                Ok(answer) => Ok(answer.map(|()| None)),
                Err(http1::NotSent::Back) => Err(NotSent::Back),
                Err(http1::NotSent::Broken(error)) => Err(NotSent::Http1(error)),
            },
            // In a box of its own: it is larger, and most requests never go this way.
            Line::Http2(sender, _) => Box::pin(send_http2(sender, head, added, body, keeps)).await,
        }
    }

    /// The connection, where it is HTTP/1.1.
    pub(crate) fn http1(&mut self) -> Option<&mut http1::Connection> {
        match &mut self.line {
            Line::Http1(connection) => Some(connection),
            Line::Http2(..) => None,
        }
    }

    /// The same, to look at.
    pub(crate) fn as_http1(&self) -> Option<&http1::Connection> {
        match &self.line {
            Line::Http1(connection) => Some(connection),
            Line::Http2(..) => None,
        }
    }

    /// The stream of an HTTP/1.1 connection that has switched to another protocol.
    pub(crate) fn into_tunnel(self) -> Option<http1::Tunnel> {
        match self.line {
            Line::Http1(connection) => Some(connection.into_tunnel()),
            Line::Http2(..) => None,
        }
    }

    /// Requests are written as HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.line, Line::Http2(..))
    }

    /// The response has ended well: keeps the connection for the next request. Just dropping an HTTP/1.1 lease closes it instead.
    pub(crate) fn give_back(self) {
        let Self { line, pool, endpoint, .. } = self;
        let Line::Http1(mut connection) = line else { return };
        if connection.is_clean() {
            pool.keep(endpoint, connection);
        } else if connection.is_sending() {
            // The answer came before all of the request: the rest goes after it.
            tokio::task::spawn_local(async move {
                if connection.finish_sending().await {
                    pool.keep(endpoint, connection);
                }
            });
        }
    }
}

async fn send_http2(
    sender: &mut Http2Sender,
    head: &mut Parts,
    added: Option<&Added>,
    body: &mut RequestBody,
    keeps: bool,
) -> Result<Response<Option<Incoming>>, NotSent> {
    let mut request = Request::new(Gathered::new(std::mem::replace(body, RequestBody::Empty)));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.headers_mut() = if keeps { head.headers.clone() } else { std::mem::take(&mut head.headers) };
    if let Some(added) = added {
        added.put_into(request.headers_mut());
    }
    let mut error = match sender.try_send_request(request).await {
        Ok(answer) => return Ok(answer.map(Some)),
        Err(error) => error,
    };
    match error.take_message() {
        Some(request) => {
            let (mut returned, unsent) = request.into_parts();
            *body = unsent.into_inner();
            if !keeps {
                // What was added stands beside the head: the next one adds it again, or not.
                added.inspect(|added| added.take_out_of(&mut returned.headers));
                head.headers = returned.headers;
            }
            Err(NotSent::Back)
        }
        None => Err(NotSent::Http2(error.into_error())),
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
    pub(crate) fn new(identities: Arc<Identities>, places: Arc<Places>, stock: Rc<Stock>) -> Rc<Self> {
        Rc::new(Self { identities, places, stock, idle: RefCell::default(), shared: RefCell::default() })
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
        while let Some(Idle { mut connection, .. }) = stack.pop() {
            if !connection.is_over() {
                return Some(Line::Http1(connection));
            }
        }
        None
    }

    fn keep(&self, endpoint: u64, mut connection: Box<http1::Connection>) {
        let mut idle = self.idle.borrow_mut();
        let stack = stack(&mut idle, endpoint);
        if stack.len() < MOST_IDLE {
            connection.rest();
            stack.push(Idle { connection, since_ns: clock::recently().0 });
        }
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
        let line = match connect::connect(&self.identities, endpoint, need, limit, place, &self.stock).await?
        {
            Spoken::Http1(connection) => Line::Http1(connection),
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
            stack
                .retain_mut(|idle| now.saturating_sub(idle.since_ns) < IDLE_NS && !idle.connection.is_over());
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::VIA;
    use hyper::client::conn::http2;
    use hyper_util::rt::TokioIo;

    use super::super::headers::{Origin, Present, Vias};
    use super::*;

    /// Runs nothing.
    #[derive(Clone)]
    struct Nowhere;

    impl<F> hyper::rt::Executor<F> for Nowhere {
        fn execute(&self, _: F) {}
    }

    /// A sender whose connection has ended.
    async fn ended() -> hyper::Result<Http2Sender> {
        let (near, _far) = tokio::io::duplex(1024);
        let (sender, connection) = http2::handshake(Nowhere, TokioIo::new(near)).await?;
        drop(connection);
        Ok(sender)
    }

    #[tokio::test]
    async fn a_request_that_comes_back_is_as_it_was() -> hyper::Result<()> {
        for keeps in [false, true] {
            let mut head = Request::new(()).into_parts().0;
            head.headers.insert("x-own", HeaderValue::from_static("1"));
            head.headers.insert(VIA, HeaderValue::from_static("1.1 before"));
            let vias = Vias::of("eu.main");
            let peer = HeaderValue::from_static("192.0.2.1");
            let origin =
                Origin { peer: &peer, believed: false, proto: "http", host: None, via: &vias.http11 };
            let present = Present::scan(&head.headers);
            let mut added = Added::new(&mut head.headers, &present, &origin, HeaderValue::from_static("eu"));
            added.peers = Some((HeaderValue::from_static("1"), peer.clone()));
            let own = head.headers.clone();
            let (mut sender, mut body) = (ended().await?, RequestBody::Empty);
            let sent = send_http2(&mut sender, &mut head, Some(&added), &mut body, keeps).await;
            assert!(matches!(sent, Err(NotSent::Back)), "nothing can be sent: {sent:?}");
            assert_eq!((own.len(), &head.headers), (1, &own), "keeps: {keeps}");
        }
        Ok(())
    }
}
