//! Connections that keep a server waiting: heads that never end, bodies that stop, responses that nobody reads. Never more than one thread.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Longest time between two looks.
const TURN: Duration = Duration::from_millis(5);
/// Between two bytes of each slow head, or that a sipping reader takes.
const DRIP: Duration = Duration::from_millis(500);
/// How much less of the machine the crowd gets than those who are measured.
const NICE: i32 = 15;

/// From now on this thread, and those that it starts, come after all others: on few cores the server is to be measured, not its attacker.
/// Alone on its machine it takes only what nobody else wants (`SCHED_IDLE`); elsewhere it would come too seldom to attack anybody.
pub(crate) fn step_back(alone: bool) {
    let thread = rustix::thread::gettid().to_string();
    let is_idle = || Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    if !alone || !is_idle().is_ok_and(|status| status.success()) {
        _ = rustix::process::setpriority_process(None, NICE);
    }
}

/// How a connection keeps the server waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    /// A byte of the head now and then.
    Head,
    /// A body that stops.
    Body,
    /// Nothing at all.
    Silent,
    /// A large response that is not read.
    Reading,
    /// A large response of which a byte is read now and then, always before it is too late.
    Sipping,
    /// Not at all: a small response, which is read.
    Asking,
    /// Not at all: a large response, which is read as it comes.
    Taking,
}

impl Slow {
    /// Now and then a byte moves.
    fn drips(self) -> bool {
        matches!(self, Self::Head | Self::Sipping)
    }

    /// It waits for nothing.
    fn is_quick(self) -> bool {
        matches!(self, Self::Asking | Self::Taking)
    }

    /// It gets a response, and takes little of it.
    fn reads(self) -> bool {
        matches!(self, Self::Reading | Self::Sipping)
    }
}

/// All kinds among each other, as many of each as is said: when its turn is, as a part of the whole time.
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
pub(crate) fn mixed(kinds: &[(Slow, usize)]) -> Vec<(f64, Slow)> {
    let each = |(kind, count): &(Slow, usize)| {
        let (kind, count) = (*kind, *count);
        (0..count).map(move |at| (at as f64 / count as f64, kind))
    };
    let mut all: Vec<(f64, Slow)> = kinds.iter().flat_map(each).collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    all
}

/// One connection.
struct Held {
    kind: Slow,
    stream: TcpStream,
    began: Instant,
    /// Since when nothing moves: since the beginning, or since something of a response came last. Never later than that was.
    still_since: Instant,
    closed: Option<Instant>,
}

/// Many of them.
pub(crate) struct Crowd {
    held: Vec<Held>,
    /// Tells of each connection to which something was sent, or that was closed; looking costs nothing for the others.
    events: OwnedFd,
    /// How many the server has not closed.
    open: usize,
    /// From the first one's beginning until all had come.
    arriving: Range<Instant>,
    /// Whose next byte is due when, the soonest first: each has its own beat.
    drips: VecDeque<(Instant, usize)>,
    /// The longest time between two looks: so late the crowd may have noticed that it was let go.
    blind: Duration,
    looked: Instant,
    /// For what is read.
    room: Vec<u8>,
}

impl Crowd {
    /// Connects `count` of each kind, all kinds among each other, evenly over a time.
    pub(crate) fn connect(to: SocketAddr, kinds: &[(Slow, usize)], within: Duration) -> Result<Self> {
        let began = Instant::now();
        let mut crowd = Self {
            held: Vec::new(),
            events: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            open: 0,
            arriving: began..began,
            drips: VecDeque::new(),
            blind: Duration::ZERO,
            looked: began,
            room: vec![0; 65_536],
        };
        for (part, kind) in mixed(kinds) {
            while within.mul_f64(part) > began.elapsed() {
                crowd.turn()?;
            }
            crowd.add(begin(to, kind)?)?;
        }
        crowd.arriving.end = Instant::now();
        Ok(crowd)
    }

    fn add(&mut self, held: Held) -> Result<()> {
        let number = epoll::EventData::new_u64(self.held.len() as u64);
        let of = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.events, &held.stream, number, of)?;
        if held.kind.drips() {
            self.drips.push_back((held.began + DRIP, self.held.len()));
        }
        self.held.push(held);
        self.open += 1;
        Ok(())
    }

    fn is_closed(&mut self, at: usize) {
        let held = &mut self.held[at];
        if held.closed.is_none() {
            held.closed = Some(Instant::now());
            self.open -= 1;
        }
    }

    /// Reads what has come.
    fn take(&mut self, at: usize) {
        while self.held[at].stream.read(&mut self.room).is_ok_and(|count| count > 0) {}
    }

    /// Another byte on each slow head, and from each sipped response, whose time it is.
    fn drip(&mut self) {
        let now = Instant::now();
        while let Some((_, at)) = self.drips.pop_front_if(|(due, _)| *due <= now) {
            let held = &mut self.held[at];
            if held.closed.is_some() {
                continue;
            }
            let sips = held.kind == Slow::Sipping;
            let moved = if sips { held.stream.read(&mut [0]) } else { held.stream.write(b"x") };
            if moved.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                self.is_closed(at);
            }
            self.drips.push_back((now + DRIP, at));
        }
    }

    /// Keeps the server waiting until it has closed all of them, or for `bound`.
    pub(crate) fn endure(&mut self, bound: Duration) -> Result<()> {
        let until = Instant::now() + bound;
        while self.open() > 0 && Instant::now() < until {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits a little, and notes who was let go.
    pub(crate) fn turn(&mut self) -> Result<()> {
        self.drip();
        let nap = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TURN.as_nanos())? };
        let mut events = Vec::with_capacity(256);
        epoll::wait(&self.events, spare_capacity(&mut events), Some(&nap))?;
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        for event in events {
            let (at, flags) = (usize::try_from(event.data.u64())?, event.flags);
            if self.held[at].kind.is_quick() {
                self.take(at);
            }
            if flags.intersects(ends) {
                self.is_closed(at);
            } else if self.held[at].kind.reads() {
                // It came after the last look.
                self.held[at].still_since = self.looked.max(self.held[at].began);
            }
        }
        self.blind = self.blind.max(self.looked.elapsed());
        self.looked = Instant::now();
        Ok(())
    }

    /// How many the server has not closed.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// So late a close may have been noticed.
    pub(crate) fn blind(&self) -> Duration {
        self.blind
    }

    /// While the crowd came, while all of it was there, and from the first that was let go to the last.
    pub(crate) fn phases(&self) -> [(&'static str, Range<Instant>); 3] {
        let came = self.arriving.end;
        let ends = self.held.iter().filter_map(|held| held.closed);
        let first = ends.clone().min().unwrap_or(self.looked).max(came);
        let last = ends.max().unwrap_or(self.looked).max(first);
        [("arriving", self.arriving.clone()), ("holding", came..first), ("closing", first..last)]
    }

    /// How long the server bore those of a kind that it closed, the shortest first: since their beginning, and since nothing moved.
    pub(crate) fn borne(&self, kind: Slow) -> [Vec<Duration>; 2] {
        let of_kind = || self.held.iter().filter(|held| held.kind == kind);
        let mut borne = [
            of_kind().filter_map(|held| Some(held.closed? - held.began)).collect::<Vec<_>>(),
            of_kind().filter_map(|held| Some(held.closed? - held.still_since)).collect(),
        ];
        borne.iter_mut().for_each(|times| times.sort_unstable());
        borne
    }
}

fn begin(to: SocketAddr, kind: Slow) -> Result<Held> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if kind.reads() {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 65_536)?;
    }
    // Before the server can know of it: what it bears is never taken for less than it was.
    let began = Instant::now();
    rustix::net::connect(&socket, &to)?;
    let mut stream = TcpStream::from(socket);
    let request: &[u8] = match kind {
        Slow::Head => b"GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ",
        Slow::Body => b"POST / HTTP/1.1\r\nHost: slow\r\nContent-Length: 100000\r\n\r\nabc",
        Slow::Silent => b"",
        Slow::Asking => b"GET / HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n",
        Slow::Taking => b"GET /big HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n",
        Slow::Reading | Slow::Sipping => b"GET /big HTTP/1.1\r\nHost: slow\r\n\r\n",
    };
    stream.write_all(request)?;
    stream.set_nonblocking(true)?;
    Ok(Held { kind, stream, began, still_since: began, closed: None })
}
