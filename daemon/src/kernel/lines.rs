//! Debug lines of the kernel program (aya-log), a bounded number per second, into the daemon's own log. Never asks for any unless the
//! log's level does.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::{fmt, io};

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use tidegate_common::verdict::Reason;

use super::lease::monotonic_ns;

/// Most lines per second.
const PER_SECOND: u64 = 100;
const SECOND_NS: u64 = 1_000_000_000;
const REASON: &str = ": reason ";

/// Where lines go: to the target `tidegate::nic` at level debug.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    second: AtomicU64,
    sent: AtomicU64,
    left_out: AtomicU64,
}

impl Lines {
    /// Whether the log would show them now; a program that is loaded while it would not has none.
    pub(crate) fn are_wanted() -> bool {
        tracing::enabled!(target: "tidegate::nic", tracing::Level::DEBUG)
    }

    /// How many lines were left out before this one, if it is one of those that may be shown in its second.
    fn admit(&self, now_ns: u64) -> Option<u64> {
        let second = now_ns / SECOND_NS;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.sent.store(0, Ordering::Relaxed);
        }
        if self.sent.fetch_add(1, Ordering::Relaxed) >= PER_SECOND {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(left_out) = self.admit(monotonic_ns()) {
            tracing::debug!(target: "tidegate::nic", left_out, "{}", worded(&record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The line with its reason's number as the word that metrics and events have for it.
fn worded(line: &str) -> String {
    let worded = line.split_once(REASON).and_then(|(before, after)| {
        let (number, rest) = after.split_once(' ')?;
        let reason = Reason::from_number(number.parse().ok()?)?;
        Some(format!("{before}{REASON}{} {rest}", reason.label()))
    });
    worded.unwrap_or_else(|| line.to_owned())
}

/// The thread that reads the lines of one loaded program, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Reads from now on.
    pub(crate) fn start(mut lines: EbpfLogger<Lines>) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let listening = move || {
            while ready(&lines, &stopped) {
                lines.flush();
            }
        };
        let thread = std::thread::Builder::new().name("tidegate-lines".to_owned()).spawn(listening)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if rustix::io::write(&self.stop, &1u64.to_ne_bytes()).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the reader of the NIC program's debug lines had ended by a fault");
        }
    }
}

/// Waits for lines; false when it is time to stop.
fn ready(lines: &EbpfLogger<Lines>, stop: &OwnedFd) -> bool {
    let mut waiting = [PollFd::new(lines, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    match poll(&mut waiting, None) {
        Ok(_) | Err(Errno::INTR) => waiting[1].revents().is_empty(),
        Err(_) => false,
    }
}

impl fmt::Debug for super::load::Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        let line = "IPv4 198.51.100.7 port 443 protocol 17, 43 bytes: reason 0 home 2 reset 0";
        assert_eq!(
            worded(line),
            "IPv4 198.51.100.7 port 443 protocol 17, 43 bytes: reason within home 2 reset 0"
        );
        for odd in ["no reason", "x: reason 255 home 1", "x: reason 7"] {
            assert_eq!(worded(odd), odd);
        }
    }

    #[test]
    fn a_second_shows_a_bounded_number_and_tells_of_the_rest() {
        let lines = Lines::default();
        let shown = (0..250).filter(|_| lines.admit(7 * SECOND_NS).is_some()).count();
        assert_eq!(shown, 100);
        assert_eq!(lines.admit(8 * SECOND_NS), Some(150));
        assert_eq!(lines.admit(8 * SECOND_NS), Some(0));
    }
}
