//! A client's stream as the connection's driver watches it: when a head began, when writing stalls. Never parses a byte.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock;
use super::framed::Framed;
use super::lane::{Lane, Share};
use super::stream::Stream;
use crate::config::types::Limits;
use crate::decide::admission::Tick;
use crate::decide::flood::Flood;
use crate::decide::framing::Fault;

/// Nothing of the next request has arrived.
const IDLE: u8 = 0;
/// A head has begun.
const HEAD: u8 = 1;
/// A request is being handled, or the stream is a tunnel.
const BUSY: u8 = 2;
/// Nothing has arrived yet on a new connection.
const NEW: u8 = 3;
/// Who closed its end while it waits for an answer, and is not written to for this long, is taken to be gone: its request would be carried out for
/// nobody.
const HALF_CLOSED_NS: u64 = 1_000_000_000;

/// What the driver, the stream and the service know of one connection. Relaxed atomics on one thread: plain moves.
#[derive(Debug)]
pub(crate) struct Pace {
    phase: AtomicU8,
    multiplexed: AtomicBool,
    active: AtomicU64,
    fault: OnceLock<Fault>,
    read_by: AtomicU64,
    write_by: AtomicU64,
    /// Requests so far.
    requests: AtomicU64,
    /// The connection is to be reset rather than closed.
    abort: AtomicBool,
    head_ns: u64,
    idle_ns: u64,
    stall_ns: u64,
}

/// A connection kept us waiting for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// No request came within `idle_timeout`.
    Idle,
    /// Nothing came on a new connection within `header_timeout`, or no whole preface of HTTP/2.
    Silent,
    /// A head that has begun, over HTTP/1, was not complete within `header_timeout`.
    Head,
    /// The client took nothing for `body_idle_timeout` while there was something to write.
    Write,
    /// The client closed its end while it waited, and nothing could be written to it for [`HALF_CLOSED_NS`].
    Gone,
}

fn ns(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

impl Pace {
    /// A connection that was accepted then: its first head is due within `header_timeout`.
    pub(crate) fn new(limits: &Limits, accepted: Tick) -> Self {
        let head_ns = ns(limits.header_timeout);
        Self {
            phase: AtomicU8::new(NEW),
            multiplexed: AtomicBool::new(false),
            active: AtomicU64::new(0),
            fault: OnceLock::new(),
            read_by: AtomicU64::new(accepted.0.saturating_add(head_ns)),
            write_by: AtomicU64::new(u64::MAX),
            requests: AtomicU64::new(0),
            abort: AtomicBool::new(false),
            head_ns,
            idle_ns: ns(limits.idle_timeout),
            stall_ns: ns(limits.body_idle_timeout),
        }
    }

    /// HTTP/2: frames between requests (pings, window updates) are not the beginning of a head. What begins the connection is due like one.
    pub(crate) fn multiplex(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    /// HTTP/2: its preface is there, and its first frame has begun.
    fn has_begun(&self) {
        if self.phase.load(Relaxed) == NEW {
            self.phase.store(IDLE, Relaxed);
            self.read_by.store(clock::now().0.saturating_add(self.idle_ns), Relaxed);
        }
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.requests.store(self.requests.load(Relaxed) + 1, Relaxed);
        self.active.store(self.active.load(Relaxed) + 1, Relaxed);
        self.phase.store(BUSY, Relaxed);
        self.read_by.store(u64::MAX, Relaxed);
    }

    /// A response is complete, or given up.
    pub(crate) fn end(&self) {
        let active = self.active.load(Relaxed).saturating_sub(1);
        self.active.store(active, Relaxed);
        if active == 0 {
            self.phase.store(IDLE, Relaxed);
            self.read_by.store(clock::now().0.saturating_add(self.idle_ns), Relaxed);
        }
    }

    /// The client breaks HTTP/1: what it is told, and what is counted, is the first fault that was found. Returns that.
    pub(crate) fn refuse(&self, fault: Fault) -> Fault {
        *self.fault.get_or_init(|| fault)
    }

    /// What the client was refused for.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// The earliest instant at which something is late.
    pub(crate) fn deadline(&self) -> u64 {
        self.read_by.load(Relaxed).min(self.write_by.load(Relaxed))
    }

    /// What is late at `now`.
    pub(crate) fn late(&self, now: u64) -> Option<Late> {
        if self.write_by.load(Relaxed) <= now {
            Some(Late::Write)
        } else if self.read_by.load(Relaxed) > now {
            None
        } else {
            Some(match self.phase.load(Relaxed) {
                IDLE => Late::Idle,
                NEW => Late::Silent,
                BUSY => Late::Gone,
                _ => Late::Head,
            })
        }
    }

    /// The other side is not waited for any more.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Relaxed);
    }

    /// HTTP/2, which can be told to leave at any time.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    /// An HTTP/1.1 connection on which nothing of a request is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase.load(Relaxed) == IDLE
    }

    /// It is to be reset rather than closed.
    pub(crate) fn is_aborted(&self) -> bool {
        self.abort.load(Relaxed)
    }

    /// Something came in.
    pub(crate) fn has_read(&self) {
        if self.multiplexed.load(Relaxed) {
            return;
        }
        match self.phase.load(Relaxed) {
            IDLE => {
                self.phase.store(HEAD, Relaxed);
                self.read_by.store(clock::now().0.saturating_add(self.head_ns), Relaxed);
            }
            // The first head is due from when the connection was accepted.
            NEW => self.phase.store(HEAD, Relaxed),
            _ => {}
        }
    }

    /// The client has closed its end while a request is handled, or has just taken something after that: it has a little time again.
    pub(crate) fn half_closed(&self) {
        if self.phase.load(Relaxed) == BUSY {
            self.read_by.store(clock::now().0.saturating_add(HALF_CLOSED_NS), Relaxed);
        }
    }

    /// Something was written, or could not be.
    pub(crate) fn wrote<T>(&self, outcome: &Poll<T>) {
        match outcome {
            Poll::Ready(_) if self.write_by.load(Relaxed) != u64::MAX => {
                self.write_by.store(u64::MAX, Relaxed);
            }
            Poll::Pending if self.write_by.load(Relaxed) == u64::MAX => {
                self.write_by.store(clock::now().0.saturating_add(self.stall_ns), Relaxed);
            }
            _ => {}
        }
    }
}

/// One request of a connection, from its head to the end of its response.
#[derive(Debug)]
pub(crate) struct Active(Arc<Pace>);

impl Active {
    pub(crate) fn new(pace: &Arc<Pace>) -> Self {
        pace.begin();
        Self(Arc::clone(pace))
    }

    /// Its connection carries several at once.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.0.multiplexed.load(Relaxed)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A client's HTTP/2 stream whose pace is kept, and whose frames are counted.
#[derive(Debug)]
pub(crate) struct Metered {
    inner: Framed<Stream>,
    pace: Arc<Pace>,
    flood: Box<Flood>,
    share: Share,
    /// Requests that `share` knows of.
    begun: u64,
}

impl Metered {
    pub(crate) fn new(inner: Framed<Stream>, pace: &Arc<Pace>, lane: &Rc<Lane>) -> Self {
        let flood = Box::new(Flood::new(clock::now().0));
        Self { inner, pace: Arc::clone(pace), flood, share: Share::new(lane), begun: 0 }
    }

    /// Ready when it is this connection's turn to write.
    fn poll_share(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let requests = self.pace.requests.load(Relaxed);
        if requests != self.begun {
            self.begun = requests;
            self.share.begin();
        }
        self.share.poll(cx)
    }

    /// Whether what was read last is no flood.
    fn allows(&mut self, bytes: &[u8]) -> bool {
        let frames = self.flood.count(bytes);
        if frames > 0 {
            // The first one is SETTINGS, which is counted.
            self.pace.has_begun();
        }
        frames == 0 || self.flood.allows(frames, self.pace.requests.load(Relaxed), clock::now().0)
    }

    fn wrote(&mut self, outcome: &Poll<io::Result<usize>>) {
        self.pace.wrote(outcome);
        if let Poll::Ready(Ok(bytes)) = outcome {
            self.flood.sent(*bytes);
            self.share.wrote(*bytes);
        }
    }
}

impl Drop for Metered {
    /// Who does not take what was written, or floods, is not waited for by the kernel either: what it holds for it is freed at once.
    fn drop(&mut self) {
        if self.pace.is_aborted() {
            _ = socket2::SockRef::from(self.inner.get_ref().tcp())
                .set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.has_read();
            if !self.allows(&buf.filled()[before..]) {
                self.pace.abort();
                return Poll::Ready(Err(io::Error::other("a flood of HTTP/2 frames that carry nothing")));
            }
        }
        outcome
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_share(cx));
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        ready!(self.poll_share(cx));
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
impl Pace {
    /// A connection under ordinary limits.
    pub(crate) fn of_defaults() -> Self {
        Self::with_pause(std::time::Duration::from_secs(30))
    }

    /// The same, but for how long a client may take nothing.
    pub(crate) fn with_pause(body_idle_timeout: std::time::Duration) -> Self {
        let seconds = std::time::Duration::from_secs;
        let limits = Limits {
            header_bytes: 65_536,
            headers: 100,
            header_timeout: seconds(10),
            idle_timeout: seconds(75),
            body_idle_timeout,
            max_connections: 10,
        };
        Self::new(&limits, clock::now())
    }
}
