//! Bodies on their way through: request bodies that may not pause for too long, response bodies that hold what the request holds. Never
//! buffers a body: a frame is asked for only when the other side takes one.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason as H2Reason;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::clock;
use super::headers;
use super::http1;
use super::meter::Active;
use super::pool::Lease;
use super::serve::ClientBody;
use super::topology::InFlight;
use super::turn;
use crate::decide::admission::Permit;

const PROTOCOL_ERROR: H2Reason = H2Reason::PROTOCOL_ERROR;

/// A request's body waits for its client: its response can't be late.
pub(crate) const CLIENTS_TURN: u64 = u64::MAX;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The other side broke off, over HTTP/2.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// A client over HTTP/1 did.
    #[error(transparent)]
    Client(#[from] io::Error),
    /// An upstream over HTTP/1.1 did.
    #[error(transparent)]
    Upstream(#[from] http1::Broken),
    /// It paused for longer than `body_idle_timeout`.
    #[error("no data for {0:?} (body_idle_timeout)")]
    Paused(Duration),
    /// The answer to a malformed request ends with the stream's reset.
    #[error("the request is malformed")]
    Malformed(#[source] h2::Error),
}

/// Reports a pause that is too long. Its timer exists only once there was a pause, and is moved only when it fires.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, until: None, timer: None }
    }

    /// Data came.
    fn renew(&mut self) {
        self.until = None;
    }

    /// No data yet: whether that has lasted for too long.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.limit;
        let until = *self.until.get_or_insert_with(|| Instant::now() + limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if Instant::now() >= until {
                return true;
            }
            timer.as_mut().reset(until);
        }
    }
}

/// A client's body on its way to an upstream or edge.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Nothing to send.
    Empty,
    /// As it comes in.
    Stream {
        /// From the client.
        incoming: Source,
        /// Longest pause.
        patience: Patient,
        /// When data came last, or [`CLIENTS_TURN`].
        progress: Rc<Cell<u64>>,
    },
}

/// Where a request's body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    Http2(Incoming),
    Http1(ClientBody),
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Self::Http1(body) => body.poll_frame(cx).map_err(BodyError::from),
        }
    }
}

/// Keeps [`Patience`] private to this file.
#[derive(Debug)]
pub(crate) struct Patient(Patience);

impl RequestBody {
    /// Passes `incoming` on; a pause of more than `longest_pause` ends it with an error.
    pub(crate) fn new(incoming: Incoming, longest_pause: Duration) -> Self {
        if incoming.is_end_stream() { Self::Empty } else { Self::of(Source::Http2(incoming), longest_pause) }
    }

    /// The same for one over HTTP/1.
    pub(crate) fn from_client(incoming: ClientBody, longest_pause: Duration) -> Self {
        Self::of(Source::Http1(incoming), longest_pause)
    }

    fn of(incoming: Source, longest_pause: Duration) -> Self {
        Self::Stream { incoming, patience: Patient(Patience::new(longest_pause)), progress: Rc::default() }
    }

    /// When data came last, in nanoseconds on the proxy's clock; `None` for a request without a body.
    pub(crate) fn progress(&self) -> Option<Rc<Cell<u64>>> {
        match self {
            Self::Empty => None,
            Self::Stream { progress, .. } => Some(Rc::clone(progress)),
        }
    }

    /// It is not read yet, and the client waits to be asked for it: its response can't be late.
    pub(crate) fn is_clients_turn(&self) {
        if let Self::Stream { progress, .. } = self {
            progress.set(CLIENTS_TURN);
        }
    }

    /// There is nothing to send, so the request can be sent again.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Stream { incoming, patience, progress } = self.get_mut() else { return Poll::Ready(None) };
        match incoming.poll_frame(cx) {
            Poll::Ready(frame) => {
                patience.0.renew();
                progress.set(clock::now().0);
                Poll::Ready(frame.map(|frame| frame.map(cleaned)))
            }
            Poll::Pending if patience.0.is_over(cx) => {
                Poll::Ready(Some(Err(BodyError::Paused(patience.0.limit))))
            }
            Poll::Pending => {
                progress.set(CLIENTS_TURN);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { incoming: Source::Http2(body), .. } => body.is_end_stream(),
            Self::Stream { incoming: Source::Http1(body), .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { incoming: Source::Http2(body), .. } => body.size_hint(),
            Self::Stream { incoming: Source::Http1(body), .. } => body.size_hint(),
        }
    }
}

/// Trailers say nothing that a head has to say.
fn cleaned(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::strip_trailers(trailers);
    }
    frame
}

/// What a carried request holds until its response's body has ended or was given up.
#[derive(Debug)]
pub(crate) struct Held {
    /// Places under the ceilings.
    pub(crate) permit: Option<Permit>,
    /// One in flight to the endpoint.
    pub(crate) in_flight: InFlight,
    /// One in progress on the client's connection.
    pub(crate) active: Active,
    /// The connection to the endpoint, to be used again when the body has ended well.
    pub(crate) lease: Lease,
}

/// Tells whose turn it is after this.
fn turn<T>(polled: Poll<T>) -> Poll<T> {
    match polled {
        Poll::Ready(_) => turn::given(),
        Poll::Pending => turn::asked(),
    }
    polled
}

/// A response's body on its way to the client.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// tidegate's own.
    Own {
        /// All of it, until it is taken.
        text: Option<Bytes>,
        /// One in progress on the client's connection.
        active: Option<Active>,
        /// Behind the text, HTTP/2 resets the stream (RFC 9113, 8.1.1).
        reset: bool,
    },
    /// As it comes in.
    Stream {
        /// From an upstream or edge over HTTP/2; over HTTP/1.1 it is read from the lease's connection.
        incoming: Option<Incoming>,
        /// Given back at the end.
        held: Option<Held>,
    },
}

impl ResponseBody {
    /// tidegate's own words.
    pub(crate) fn own(text: Bytes, active: Active) -> Self {
        Self::Own { text: (!text.is_empty()).then_some(text), active: Some(active), reset: false }
    }

    /// The same for a request that is malformed.
    pub(crate) fn own_with_reset(text: Bytes, active: Active) -> Self {
        Self::Own { text: (!text.is_empty()).then_some(text), active: Some(active), reset: true }
    }

    /// What the upstream or edge sends. `held` is given back as soon as the body has ended.
    pub(crate) fn stream(incoming: Option<Incoming>, held: Held) -> Self {
        let mut body = Self::Stream { incoming, held: Some(held) };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        if let Self::Stream { held, .. } = self
            && let Some(Held { lease, permit, in_flight, active }) = held.take()
        {
            lease.give_back();
            drop((permit, in_flight, active));
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Own { text, active, reset } => {
                active.take();
                let frame = text.take().map(|text| Ok(Frame::data(text)));
                let end = frame.is_none() && std::mem::take(reset);
                Poll::Ready(if end { Some(Err(BodyError::Malformed(PROTOCOL_ERROR.into()))) } else { frame })
            }
            Self::Stream { incoming: Some(incoming), .. } => {
                let frame = ready!(turn(Pin::new(&mut *incoming).poll_frame(cx)));
                let last = match &frame {
                    None => true,
                    Some(Ok(frame)) => frame.is_trailers() || incoming.is_end_stream(),
                    Some(Err(_)) => false,
                };
                if last {
                    this.finish();
                }
                Poll::Ready(frame.map(|frame| frame.map(cleaned).map_err(BodyError::from)))
            }
            Self::Stream { incoming: None, held } => {
                let Some(connection) = held.as_mut().and_then(|held| held.lease.http1()) else {
                    return Poll::Ready(None);
                };
                let frame = ready!(turn(connection.poll_frame(cx)));
                if !matches!(frame, Some(Err(_))) && connection.has_ended() {
                    this.finish();
                }
                Poll::Ready(frame.map(|frame| frame.map(cleaned).map_err(BodyError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { text, reset, .. } => text.is_none() && !reset,
            Self::Stream { incoming: Some(incoming), .. } => incoming.is_end_stream(),
            Self::Stream { incoming: None, held } => {
                held.as_ref().and_then(|held| held.lease.as_http1()).is_none_or(http1::Connection::has_ended)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { text, .. } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Stream { incoming: Some(incoming), .. } => incoming.size_hint(),
            Self::Stream { incoming: None, held } => {
                let connection = held.as_ref().and_then(|held| held.lease.as_http1());
                connection.map_or(SizeHint::with_exact(0), http1::Connection::size_hint)
            }
        }
    }
}
