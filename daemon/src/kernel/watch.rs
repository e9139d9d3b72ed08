//! Tells when interfaces or addresses may have changed: by rtnetlink's notices, and every second in case one was lost.
//! Never says what changed; who is told looks for itself.

use std::io;
use std::time::Duration;

use netlink_sys::Socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Without any notice, look this often.
const REGULARLY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Notices come in bursts (an interface, its addresses, its routes): one look for all of them.
const SETTLE: Duration = Duration::from_millis(50);
/// Most notices taken at once; the rest is taken next time.
const BURST: usize = 10_000;
const ENOBUFS: i32 = 105;

/// Starts a thread that calls `look` after each burst of notices on `socket` and every second, until `look` says false.
pub(crate) fn start(socket: Socket, mut look: impl FnMut() -> bool + Send + 'static) -> io::Result<()> {
    let watching = move || {
        loop {
            if wait(&socket) {
                std::thread::sleep(SETTLE);
                drain(&socket);
            }
            if !look() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("tidegate-links".to_owned()).spawn(watching).map(drop)
}

/// Waits for a notice; false when there was none for a second.
fn wait(socket: &Socket) -> bool {
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&REGULARLY)) {
        Ok(ready) => ready > 0,
        Err(Errno::INTR) => false,
        Err(error) => {
            tracing::debug!(%error, "no notices of interface changes; looking every second");
            std::thread::sleep(Duration::from_secs(1));
            false
        }
    }
}

/// The notices' contents do not matter. Overruns (`ENOBUFS`) only mean that there were many.
fn drain(socket: &Socket) {
    for _ in 0..BURST {
        match socket.recv_from_full() {
            Err(error) if error.raw_os_error() != Some(ENOBUFS) => return,
            _ => {}
        }
    }
}
