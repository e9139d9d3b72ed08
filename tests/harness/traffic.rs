//! Paced, numbered datagrams and who counts them, for cases where not one may be lost or pass. Never floods: loss must be the tested program's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Sends until it is stopped.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

/// What a stream came to.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Datagrams.
    pub datagrams: u64,
    /// Tenths of a second in which there were at least 20 of them: on a busy machine a stream has pauses.
    pub busy_tenths: u64,
}

/// How long [`Sent::busy_tenths`] are, and what makes one busy.
const TENTH: Duration = Duration::from_millis(100);
const BUSY: u64 = 20;

impl Stream {
    /// One datagram of `socket` to `target`, then `pause`, and so on.
    #[must_use]
    pub fn start(socket: UdpSocket, target: SocketAddr, pause: Duration) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let (mut began, mut before, mut busy) = (Instant::now(), 0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                // What the sending side itself refuses was not sent.
                if socket.send_to(&number.to_be_bytes(), target).is_ok() {
                    count.store(number + 1, Ordering::Relaxed);
                }
                if began.elapsed() >= TENTH {
                    busy += u64::from(number - before >= BUSY);
                    (began, before) = (Instant::now(), number);
                }
                // tidy: sleep because it paces the datagrams.
                std::thread::sleep(pause);
            }
            busy
        });
        Self { stop, sent, thread }
    }

    /// How many were sent until now.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops; how many were sent in all.
    ///
    /// # Errors
    /// The thread panicked.
    pub fn stop(self) -> Result<u64> {
        Ok(self.end()?.datagrams)
    }

    /// Stops; what it came to.
    ///
    /// # Errors
    /// The thread panicked.
    pub fn end(self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let busy_tenths = self.thread.join().map_err(|_| anyhow!("a sending thread panicked"))?;
        Ok(Sent { datagrams: self.sent.load(Ordering::Relaxed), busy_tenths })
    }
}

/// Counts what arrives, by source.
#[derive(Debug)]
pub struct Tally {
    stop: Arc<AtomicBool>,
    counts: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
    thread: JoinHandle<()>,
}

impl Tally {
    /// Reads `socket` until it is stopped; its buffer is enlarged, so that a busy machine loses nothing.
    ///
    /// # Errors
    /// Socket errors.
    pub fn start(socket: UdpSocket) -> Result<Self> {
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (stopped, counting) = (Arc::clone(&stop), Arc::<Mutex<BTreeMap<IpAddr, u64>>>::clone(&counts));
        let thread = std::thread::spawn(move || {
            let mut last_round = false;
            // After the word to stop, it reads on until nothing has come for a while.
            loop {
                match socket.recv_from(&mut [0; 64]) {
                    Ok((_, from)) => {
                        let mut counts = counting.lock().unwrap_or_else(PoisonError::into_inner);
                        *counts.entry(from.ip()).or_default() += 1;
                    }
                    Err(_) if last_round => return,
                    Err(_) => last_round = stopped.load(Ordering::Relaxed),
                }
            }
        });
        Ok(Self { stop, counts, thread })
    }

    /// How many came from `source` until now.
    #[must_use]
    pub fn of(&self, source: impl Into<IpAddr>) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&source.into()).copied().unwrap_or(0)
    }

    /// Waits for the last ones; how many came, by source.
    ///
    /// # Errors
    /// The thread panicked.
    pub fn stop(self) -> Result<BTreeMap<IpAddr, u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the counting thread panicked"))?;
        Ok(self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
