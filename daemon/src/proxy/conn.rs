//! One client's or peer's connection, from accept to close: its pace, its HTTP, its end. Never decides about a request.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

use super::breather::Breather;
use super::clock;
use super::enter::{self, Entered};
use super::framed::Framed;
use super::gather::Gathered;
use super::headers;
use super::leaving::Moment;
use super::meter::{Late, Metered, Pace};
use super::relay;
use super::serve::{self, Line};
use super::service::{self, Asked};
use super::shared::{Arrived, Door, Open, Worker};
use super::stream::Stream;
use super::tell;
use super::turn;
use crate::config::types::Limits;
use crate::decide::framing::{Fault, Walk};
use crate::decide::region::RegionId;
use crate::decide::report::proxy::Rejected;
use crate::link::{self, RelayStream};

/// Who is at the other end, for all requests of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<Door>,
    /// Its place under `max_connections`; whoever takes the stream over keeps it.
    pub(crate) open: Arc<Open>,
    pub(crate) pace: Arc<Pace>,
    /// Connected from here.
    pub(crate) address: IpAddr,
    /// The same in `X-Forwarded-For`.
    pub(crate) forwarded_for: HeaderValue,
    /// The connection is TLS.
    pub(crate) tls: bool,
    /// On a peer listener: it is known to be an edge of another region.
    pub(crate) trusted: bool,
    /// The region that its certificate speaks for.
    pub(crate) region: Option<RegionId>,
}

impl Client {
    /// The connection is to end as soon as nothing is under way on it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.worker.draining.get() || self.listener.leaving.get()
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(arrived: Arrived, listener: Rc<Door>, tcp: TcpStream, peer: SocketAddr) {
    let (worker, accepted) = (Rc::clone(&arrived.worker), clock::now());
    let peer = peer.ip().to_canonical();
    let limits = listener.spec.limits;
    // In a box: it is over when the connection's long life begins.
    let entering = Box::pin(enter::enter(&listener, tcp, peer, limits.header_timeout));
    let Entered { stream, address, multiplexed, trusted, region } = match entering.await {
        Ok(entered) => entered,
        Err(error) => return tell::not_entered(&worker, peer, &error),
    };
    arrived.entered();
    if stream.alpn() == Some(link::ALPN_RELAY) {
        return relay::hand_over(&worker, RelayStream { region, io: Box::new(stream) });
    }
    let pace = Arc::new(Pace::new(&limits, accepted));
    let tls = matches!(stream, Stream::Tls(_));
    let forwarded_for = headers::text(address.to_string());
    let open = Arc::clone(&arrived.open);
    let client =
        Rc::new(Client { worker, listener, open, pace, address, forwarded_for, tls, trusted, region });
    if multiplexed { Box::pin(http2(client, stream, &limits)).await } else { http1(client, stream).await }
}

async fn http1(client: Rc<Client>, stream: Stream) {
    let line = Rc::new(RefCell::new(Line::new(&client, stream)));
    {
        let mut connection = pin!(serve::http1(&client, &line));
        drive(&client, connection.as_mut(), |_| line.borrow_mut().leave()).await;
    }
    if client.pace.fault() == Some(Fault::HeadLate) {
        serve::too_late(&line).await;
    }
    line.borrow_mut().cut();
}

/// Requests in flight that one HTTP/2 connection may have.
const MOST_STREAMS: u32 = 128;
/// Bytes of bodies that a client may have on their way to us. The library bears small frames for half as many: those that wait for a slow
/// upstream, each counted as 256 bytes.
const WINDOW: u32 = 4 << 20;
/// The same for another region's edge, which carries many clients' requests: as many as it lets us.
const PEERS_WINDOW: u32 = 8 << 20;

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

async fn http2(client: Rc<Client>, stream: Stream, limits: &Limits) {
    client.pace.multiplex();
    let framed = Framed::new(stream, Arc::clone(&client.pace));
    let metered = Metered::new(framed, &client.pace, &client.worker.lane);
    let io = TokioIo::new(Breather::new(metered, Walk::behind_preface()));
    let mut builder = http2::Builder::new(turn::Streams { longest_pause: limits.body_idle_timeout });
    builder.timer(TokioTimer::new()).enable_connect_protocol().max_concurrent_streams(MOST_STREAMS);
    builder.initial_connection_window_size(if client.trusted { PEERS_WINDOW } else { WINDOW });
    builder.max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    builder.keep_alive_interval(Some(limits.body_idle_timeout)).keep_alive_timeout(limits.header_timeout);
    let handler = Rc::clone(&client);
    // In a box: the library moves it about.
    let service = service_fn(move |request| {
        let asked = Asked::over_http2(&handler, request);
        let answer = service::handle(Rc::clone(&handler), asked);
        Box::pin(async move {
            let answer = answer.await;
            turn::given();
            Ok::<_, Infallible>(answer.map(Gathered::new))
        })
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    drive(&client, connection.as_mut(), |connection| connection.graceful_shutdown()).await;
}

/// Runs a connection, ends it when the other side keeps us waiting, and lets it finish when it is to leave.
async fn drive<C, E>(client: &Client, mut connection: Pin<&mut C>, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = Result<(), E>>,
    E: Debug,
{
    let slot = Cell::new(None);
    let mut alarm = pin!(Alarm::new());
    let (mut finishing, mut moment) = (false, Moment::default());
    let ended = std::future::poll_fn(|cx| {
        if slot.get().is_none() {
            slot.set(Some(client.worker.connections.borrow_mut().insert(cx.waker().clone())));
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(Ended::Broken));
            }
            if finishing || !may_finish(client, &mut moment, cx) {
                break;
            }
            finishing = true;
            finish(connection.as_mut());
        }
        alarm.as_mut().poll(&client.pace, cx).map(|late| Err(Ended::Late(late)))
    });
    if let Err(ended) = ended.await {
        match ended {
            Ended::Late(Late::Write) => client.pace.abort(),
            Ended::Late(Late::Head) => _ = client.pace.refuse(Fault::HeadLate),
            Ended::Late(Late::Silent) => client.worker.stats.rejected(Rejected::Late),
            Ended::Late(Late::Idle | Late::Gone) | Ended::Broken(_) => {}
        }
        tracing::debug!(client = %client.address, ?ended, "connection ended");
    }
    if let Some(fault) = client.pace.fault() {
        tell::broken(client, fault);
    }
    if let Some(slot) = slot.get() {
        client.worker.connections.borrow_mut().remove(slot);
    }
}

/// A request that has begun is answered first; HTTP/2 says itself which ones it still takes.
fn may_finish(client: &Client, moment: &mut Moment, cx: &mut Context<'_>) -> bool {
    let multiplexed = client.pace.is_multiplexed();
    client.is_leaving()
        && moment.has_come(cx, multiplexed, &client.worker.dice)
        && (multiplexed || client.pace.is_idle())
}

/// Why a connection did not end well.
#[derive(Debug)]
enum Ended<E> {
    /// HTTP was violated, or the other side went away.
    Broken(E),
    /// It kept us waiting.
    Late(Late),
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
            let moved = deadline < self.set_for;
            if moved {
                self.move_to(deadline);
            }
            let running = self.set_for != u64::MAX;
            let Some(sleep) = self.sleep.as_mut().filter(|_| running) else { return Poll::Pending };
            // It wakes the connection's own task, always the same: nothing to tell it until it has passed.
            if !moved && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            // Whatever is left of the turn: without it the timer would not be set, and nobody asks again.
            if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[tokio::test]
    async fn an_alarm_set_at_the_end_of_a_turn_goes_off() {
        let pace = Pace::with_pause(Duration::from_millis(20));
        pace.wrote(&Poll::<()>::Pending);
        let mut alarm = pin!(Alarm::new());
        let late = poll_fn(|cx| {
            while has_budget_remaining() {
                _ = pin!(consume_budget()).poll(cx);
            }
            alarm.as_mut().poll(&pace, cx)
        });
        let late = tokio::time::timeout(Duration::from_secs(60), late).await;
        assert_eq!(late.ok(), Some(Late::Write), "it was never set");
    }
}
