//! The proxy's one clock and one source of chance. Never used inside `decide`: instants and dice are handed in.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use jiff::Timestamp;

use crate::decide::admission::Tick;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    static RECENT: Cell<u64> = const { Cell::new(HEAD_START_NS) };
    /// The second since 1970 for which the text is.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Nanoseconds on the process's monotonic clock, counted so that a fresh bucket is full from the start.
#[must_use]
pub(crate) fn now() -> Tick {
    let since = BEGAN.elapsed().as_nanos();
    let now = u64::try_from(since).unwrap_or(u64::MAX).saturating_add(HEAD_START_NS);
    RECENT.set(now);
    Tick(now)
}

/// What [`now`] last said on this thread: for what may be off by as long as this thread has been idle.
#[must_use]
pub(crate) fn recently() -> Tick {
    Tick(RECENT.get())
}

/// Writes this second as `Date` has it (RFC 9110, 5.6.7).
pub(crate) fn add_date(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            let at =
                i64::try_from(now).ok().and_then(|now| Timestamp::from_second(now).ok()).unwrap_or_default();
            *text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            *second = now;
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// Longer than any `burst`.
const HEAD_START_NS: u64 = 3_600_000_000_000;

/// A small generator (`SplitMix64`) for choices between endpoints and for jitter; one per worker, no lock.
#[derive(Debug)]
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    /// Seeded by the standard library's random keys.
    pub(crate) fn new() -> Self {
        Self(Cell::new(RandomState::new().hash_one(0_u8)))
    }

    /// Any number.
    pub(crate) fn roll(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from((u128::from(self.roll()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}
