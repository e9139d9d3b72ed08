//! Samples of shed packets, from the ring buffer to the daemon's events, a bounded number per second. Never waits for who reads them.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use jiff::Timestamp;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use tidegate_common::abi::Sample;
use tidegate_common::verdict::Reason;
use tokio::sync::broadcast;
use zerocopy::FromBytes;

use super::lease::monotonic_ns;
use crate::decide::event::{Event, Layer, Shed, What};
use crate::decide::region::RegionId;

/// Most events per second; what is over is told in `skipped` of the next.
const PER_SECOND: u32 = 100;
const SECOND_NS: u64 = 1_000_000_000;

/// The thread that reads the ring, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads `ring` into `events`; samples beyond the bound are counted in `left_out`.
    pub(crate) fn start(
        ring: RingBuf<MapData>,
        events: broadcast::Sender<Arc<Event>>,
        left_out: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone()?;
        let thread = std::thread::Builder::new().name("tidegate-events".to_owned()).spawn(move || {
            if let Err(error) = run(ring, &stopped, &events, &left_out) {
                tracing::warn!(%error, "no more events from the NIC");
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if rustix::io::write(&self.stop, &1u64.to_ne_bytes()).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It has no way to panic, and ends as soon as it sees the mark.
            let _ = thread.join();
        }
    }
}

fn run(
    mut ring: RingBuf<MapData>,
    stop: &OwnedFd,
    events: &broadcast::Sender<Arc<Event>>,
    left_out: &AtomicU64,
) -> io::Result<()> {
    let mut bound = Bound::default();
    while ready(&ring, stop)? {
        while let Some(item) = ring.next() {
            let Ok((sample, _)) = Sample::read_from_prefix(&item) else { continue };
            match bound.admit(&sample, monotonic_ns()) {
                // Without a reader the event is dropped: that is what a broadcast is for.
                Some(skipped) => drop(events.send(Arc::new(event(&sample, skipped)))),
                None => drop(left_out.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
    Ok(())
}

/// Waits for samples; false when it is time to stop.
fn ready(ring: &RingBuf<MapData>, stop: &OwnedFd) -> io::Result<bool> {
    let mut waiting = [PollFd::new(ring, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    match poll(&mut waiting, None) {
        Ok(_) | Err(Errno::INTR) => Ok(waiting[1].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

/// How many events this second had, and how many packets none told of.
#[derive(Debug, Default)]
struct Bound {
    second: u64,
    sent: u32,
    skipped: u64,
}

impl Bound {
    /// How many packets were left out since the last admitted sample, if this one is admitted.
    fn admit(&mut self, sample: &Sample, now_ns: u64) -> Option<u64> {
        self.skipped = self.skipped.saturating_add(sample.suppressed);
        let second = now_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.sent) = (second, 0);
        }
        if self.sent >= PER_SECOND {
            self.skipped = self.skipped.saturating_add(1);
            return None;
        }
        self.sent += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

fn event(sample: &Sample, skipped: u64) -> Event {
    let reason = Reason::from_number(sample.reason);
    let age = Duration::from_nanos(monotonic_ns().saturating_sub(sample.at_ns));
    let at = Timestamp::now().checked_sub(age).unwrap_or_else(|_| Timestamp::now());
    Event {
        at,
        what: What::Shed(Shed {
            layer: Layer::Nic,
            reason: reason.map_or("unknown", Reason::label),
            home: RegionId::from_home(sample.home),
            source: Some(source(sample)),
            port: Some(sample.port),
            size: Some(sample.bytes),
            request: None,
            observed: reason.is_some_and(Reason::is_observed),
            skipped,
        }),
    }
}

fn source(sample: &Sample) -> IpAddr {
    // Two words in network byte order: as they lie in memory.
    let mut bytes = [0; 16];
    for (half, word) in bytes.chunks_exact_mut(8).zip(sample.source) {
        half.copy_from_slice(&word.to_ne_bytes());
    }
    let address = Ipv6Addr::from(bytes);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_bounded_number_and_the_next_tells_of_the_rest() {
        let mut bound = Bound::default();
        let sample = Sample { suppressed: 2, ..Sample::default() };
        let admitted = (0..150).filter_map(|_| bound.admit(&sample, 5 * SECOND_NS)).count();
        assert_eq!(admitted, 100);
        // 50 samples were left out with the 2 packets that each stood for, and this one's own 2.
        assert_eq!(bound.admit(&sample, 6 * SECOND_NS), Some(50 * 3 + 2));
        assert_eq!(bound.admit(&sample, 6 * SECOND_NS), Some(2));
    }

    #[test]
    fn ipv4_sources_are_shown_as_such() {
        let sample = Sample { source: [0, 0xffff_c000_0207_u64.to_be()], reason: 255, ..Sample::default() };
        let What::Shed(shed) = event(&sample, 0).what else { panic!("not a shed event") };
        assert_eq!(shed.source, Some("192.0.2.7".parse().unwrap()));
        assert_eq!((shed.reason, shed.home), ("unknown", None));
    }
}
