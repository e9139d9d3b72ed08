//! One client's or peer's connection, from accept to close: its pace, its HTTP, its end. Never decides about a request.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::clock;
use super::meter::{Late, Metered, Pace};
use super::service;
use super::shared::{Door, Open, Worker};
use super::stream::Stream;
use crate::config::types::{Limits, ListenerKind};
use crate::decide::client;

/// Who is at the other end, for all requests of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<Door>,
    pub(crate) pace: Arc<Pace>,
    /// Connected from here.
    pub(crate) address: IpAddr,
    /// The connection is TLS.
    pub(crate) tls: bool,
    /// On a peer listener: it is known to be an edge of another region.
    pub(crate) trusted: bool,
}

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Serves a connection until it ends.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Rc<Door>,
    tcp: TcpStream,
    peer: SocketAddr,
    open: Open,
) {
    let _open = open;
    let address = peer.ip().to_canonical();
    let limits = listener.spec.limits;
    let Some(multiplexed) = begins_with_preface(&tcp, limits.header_timeout).await else { return };
    let trusted =
        listener.spec.kind == ListenerKind::Peer && client::is_in(&listener.spec.trusted_peers, address);
    let pace = Arc::new(Pace::new(&limits));
    let io = TokioIo::new(Metered { inner: Stream::Plain(tcp), pace: Arc::clone(&pace) });
    let client = Rc::new(Client { worker, listener, pace, address, tls: false, trusted });
    if multiplexed { http2(client, io, &limits).await } else { http1(client, io, &limits).await }
}

/// Whether the client speaks HTTP/2 at once; `None` when it says nothing in time.
async fn begins_with_preface(tcp: &TcpStream, limit: Duration) -> Option<bool> {
    let peek = async {
        let mut first = [0; PREFACE.len()];
        loop {
            let count = tcp.peek(&mut first).await.ok()?;
            let matches = first[..count] == PREFACE[..count];
            if count == 0 {
                return None;
            }
            if !matches || count == PREFACE.len() {
                return Some(matches);
            }
            // A part of the preface: nothing wakes us when the rest arrives behind bytes that were left unread.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(limit, peek).await.ok().flatten()
}

type Io = TokioIo<Metered<Stream>>;

async fn http1(client: Rc<Client>, io: Io, limits: &Limits) {
    let mut builder = http1::Builder::new();
    // The pace is kept by `drive`: hyper's own timer would also run while the connection is idle.
    builder.timer(TokioTimer::new()).header_read_timeout(None).half_close(false);
    builder.max_buf_size(limits.header_bytes.max(65_536)).max_header_size(limits.header_bytes);
    if limits.headers != 100 {
        builder.max_headers(limits.headers);
    }
    let handler = Rc::clone(&client);
    let service = service_fn(move |request| service::handle(Rc::clone(&handler), request));
    let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
    drive(&client, connection.as_mut(), |connection| connection.graceful_shutdown()).await;
}

/// Spawns onto the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnThisThread;

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn http2(client: Rc<Client>, io: Io, limits: &Limits) {
    client.pace.multiplex();
    let mut builder = http2::Builder::new(OnThisThread);
    builder.timer(TokioTimer::new()).max_concurrent_streams(128);
    builder.max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    builder.keep_alive_interval(Some(limits.body_idle_timeout)).keep_alive_timeout(limits.header_timeout);
    let handler = Rc::clone(&client);
    let service = service_fn(move |request| service::handle(Rc::clone(&handler), request));
    let mut connection = pin!(builder.serve_connection(io, service));
    drive(&client, connection.as_mut(), |connection| connection.graceful_shutdown()).await;
}

/// Runs a connection, ends it when the other side keeps us waiting, and lets it finish when the worker drains.
async fn drive<C>(client: &Client, mut connection: Pin<&mut C>, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let slot = std::cell::Cell::new(None);
    let mut alarm = pin!(Alarm::new());
    let mut finishing = false;
    let ended = std::future::poll_fn(|cx| {
        if slot.get().is_none() {
            slot.set(Some(client.worker.connections.borrow_mut().insert(cx.waker().clone())));
        }
        if client.worker.draining.get() && !finishing {
            finishing = true;
            finish(connection.as_mut());
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(Ended::Http));
        }
        alarm.as_mut().poll(&client.pace, cx).map(|late| Err(Ended::Late(late)))
    });
    if let Err(ended) = ended.await {
        tracing::debug!(client = %client.address, ?ended, "connection ended");
    }
    if let Some(slot) = slot.get() {
        client.worker.connections.borrow_mut().remove(slot);
    }
}

/// Why a connection did not end well.
#[derive(Debug)]
enum Ended {
    /// HTTP was violated, or the other side went away.
    Http(#[expect(dead_code, reason = "shown by Debug")] hyper::Error),
    /// It kept us waiting.
    Late(#[expect(dead_code, reason = "shown by Debug")] Late),
}

/// A timer that is moved only when the deadline comes nearer or when it fires: most requests never touch it.
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set_for: u64,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: None, set_for: u64::MAX }
    }

    fn poll(mut self: Pin<&mut Self>, pace: &Pace, cx: &mut Context<'_>) -> Poll<Late> {
        loop {
            let deadline = pace.deadline();
            if deadline < self.set_for {
                self.move_to(deadline);
            }
            let running = self.set_for != u64::MAX;
            let Some(sleep) = self.sleep.as_mut().filter(|_| running) else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(late) = pace.late(clock::now().0) {
                return Poll::Ready(late);
            }
            self.set_for = u64::MAX;
        }
    }

    fn move_to(&mut self, deadline: u64) {
        let from_now =
            Duration::from_nanos(deadline.saturating_sub(clock::now().0)) + Duration::from_millis(1);
        let at = Instant::now() + from_now;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            none => *none = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        self.set_for = deadline;
    }
}
