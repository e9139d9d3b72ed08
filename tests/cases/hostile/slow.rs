//! Connections that keep a server waiting: heads that never end, bodies that stop, responses that nobody reads. Never more than one thread.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Longest time between two looks.
const TURN: Duration = Duration::from_millis(20);
/// Between two bytes of each slow head, or that a sipping reader takes.
const DRIP: Duration = Duration::from_millis(500);
/// How much less of the machine the crowd gets than those who are measured.
const NICE: i32 = 15;

/// From now on this thread, and those that it starts, come after all others: on few cores the server is to be measured, not its attacker.
pub(crate) fn step_back() {
    _ = rustix::process::setpriority_process(None, NICE);
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
}

/// One connection.
struct Held {
    kind: Slow,
    stream: TcpStream,
    began: Instant,
    closed: Option<Duration>,
}

/// Many of them.
pub(crate) struct Crowd {
    held: Vec<Held>,
    /// The last byte of the slow heads.
    dripped: Instant,
    /// The longest time between two looks: so late the crowd may have noticed that it was let go.
    blind: Duration,
    looked: Instant,
}

impl Crowd {
    /// Connects `count` of each kind, evenly over a time.
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    pub(crate) fn connect(to: SocketAddr, kinds: &[(Slow, usize)], within: Duration) -> Result<Self> {
        let began = Instant::now();
        let mut crowd = Self { held: Vec::new(), dripped: began, blind: Duration::ZERO, looked: began };
        let all: usize = kinds.iter().map(|(_, count)| count).sum();
        for (kind, count) in kinds {
            for _ in 0..*count {
                let due = within.mul_f64(crowd.held.len() as f64 / all as f64);
                let early = due.saturating_sub(began.elapsed());
                if early > TURN {
                    crowd.drip();
                    // tidy: sleep because the crowd comes at an even pace.
                    std::thread::sleep(early);
                }
                crowd.held.push(begin(to, *kind)?);
            }
        }
        crowd.looked = Instant::now();
        Ok(crowd)
    }

    /// Another byte on each slow head, and from each sipped response, if it is time.
    fn drip(&mut self) {
        if self.dripped.elapsed() < DRIP {
            return;
        }
        self.dripped = Instant::now();
        for held in self.held.iter_mut().filter(|held| held.closed.is_none()) {
            let moved = match held.kind {
                Slow::Head => held.stream.write(b"x"),
                Slow::Sipping => held.stream.read(&mut [0]),
                _ => continue,
            };
            if moved.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                held.closed = Some(held.began.elapsed());
            }
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

    /// One look at all of them.
    pub(crate) fn turn(&mut self) -> Result<()> {
        self.drip();
        let open: Vec<usize> = (0..self.held.len()).filter(|at| self.held[*at].closed.is_none()).collect();
        let flags = PollFlags::RDHUP;
        let mut polled: Vec<PollFd<'_>> =
            open.iter().map(|at| PollFd::new(&self.held[*at].stream, flags)).collect();
        let nap = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TURN.as_nanos())? };
        poll(&mut polled, Some(&nap))?;
        let ended: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        for (at, _) in open.iter().zip(ended).filter(|(_, ended)| *ended) {
            self.held[*at].closed = Some(self.held[*at].began.elapsed());
        }
        self.blind = self.blind.max(self.looked.elapsed());
        self.looked = Instant::now();
        // tidy: sleep because poll returns at once while any connection has ended.
        std::thread::sleep(TURN);
        Ok(())
    }

    /// How many the server has not closed.
    pub(crate) fn open(&self) -> usize {
        self.held.iter().filter(|held| held.closed.is_none()).count()
    }

    /// So late a close may have been noticed.
    pub(crate) fn blind(&self) -> Duration {
        self.blind
    }

    /// How long the server bore those of a kind.
    pub(crate) fn borne(&self, kind: Slow) -> Vec<Duration> {
        let mut borne: Vec<Duration> =
            self.held.iter().filter(|held| held.kind == kind).filter_map(|held| held.closed).collect();
        borne.sort_unstable();
        borne
    }
}

fn begin(to: SocketAddr, kind: Slow) -> Result<Held> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if matches!(kind, Slow::Reading | Slow::Sipping) {
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
        Slow::Reading | Slow::Sipping => b"GET /big HTTP/1.1\r\nHost: slow\r\n\r\n",
    };
    stream.write_all(request)?;
    stream.set_nonblocking(true)?;
    Ok(Held { kind, stream, began, closed: None })
}
