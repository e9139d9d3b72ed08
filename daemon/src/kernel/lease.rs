//! The heartbeat: a thread of its own moves the lease's end ahead, so that no slow load and no busy runtime lets it lapse.
//! Never reads a clock for anything else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::maps::{ControlMap, SharedMapError};

/// Beats per lease: two may be late and the lease still holds.
const BEATS_PER_LEASE: u32 = 6;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// CLOCK_MONOTONIC in nanoseconds: the clock of the kernel program.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The thread that beats, until this is dropped. The program goes on enforcing until the lease ends.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
    wake: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    control: Arc<ControlMap>,
    lease_ns: AtomicU64,
    failing: AtomicBool,
}

impl Heartbeat {
    /// Beats at once, then several times per lease.
    pub(crate) fn start(control: Arc<ControlMap>, lease: Duration) -> Result<Self, SharedMapError> {
        let lease_ns = AtomicU64::new(nanoseconds(lease));
        let shared = Arc::new(Shared { control, lease_ns, failing: AtomicBool::new(false) });
        shared.beat()?;
        let (wake, woken) = mpsc::channel();
        let beating = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tidegate-lease".to_owned())
            .spawn(move || run(&beating, &woken))
            .map_err(|error| tracing::error!(%error, "no thread for the NIC's lease"))
            .ok();
        Ok(Self { shared, wake: Some(wake), thread })
    }

    /// Another lease from now on.
    pub(crate) fn set_lease(&self, lease: Duration) -> Result<(), SharedMapError> {
        self.shared.lease_ns.store(nanoseconds(lease), Ordering::Relaxed);
        if let Some(wake) = &self.wake {
            // A thread that is gone cannot be woken; it said why when it could not start.
            let _ = wake.send(());
        }
        self.shared.beat()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; it ends within one system call.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn beat(&self) -> Result<(), SharedMapError> {
        let lease_ns = self.lease_ns.load(Ordering::Relaxed);
        self.control.update(|control| control.deadline_ns = monotonic_ns().saturating_add(lease_ns))
    }
}

fn run(shared: &Shared, woken: &mpsc::Receiver<()>) {
    loop {
        let pause = pause(Duration::from_nanos(shared.lease_ns.load(Ordering::Relaxed)));
        match woken.recv_timeout(pause) {
            Ok(()) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let failed = shared.beat();
        // Said once, not at each beat.
        if let Err(error) = &failed
            && !shared.failing.load(Ordering::Relaxed)
        {
            tracing::error!(%error, "the NIC's lease cannot be renewed: everything will pass when it ends");
        }
        shared.failing.store(failed.is_err(), Ordering::Relaxed);
    }
}

fn pause(lease: Duration) -> Duration {
    (lease / BEATS_PER_LEASE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

fn nanoseconds(lease: Duration) -> u64 {
    u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_beats_fit_into_each_lease() {
        for lease in [200, 500, 1_000, 30_000, 3_600_000].map(Duration::from_millis) {
            assert!(pause(lease) * 3 < lease, "{lease:?}");
        }
    }
}
