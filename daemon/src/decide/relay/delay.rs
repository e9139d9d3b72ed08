//! Flushes that take effect later (`flush_all SECONDS`): what is left of a delay, and which of them are still to come. Never reads a clock.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::item::{Item, Items};

/// Longest delay; memcached takes more for seconds since 1970 (its protocol.txt, "Expiration times").
const LONGEST_S: u32 = 60 * 60 * 24 * 30;
/// Flushes to come that are known; the earliest gives way to one more, as with memcached, which knows but one.
const MOST: usize = 64;
/// Closer than this, two are one: the same one was said again.
const SAME: Duration = Duration::from_secs(2);

/// A delay as clients say it, in seconds from `unix_s`, the seconds since 1970.
#[must_use]
pub fn relative(said_s: u32, unix_s: u64) -> u32 {
    if said_s <= LONGEST_S {
        return said_s;
    }
    u32::try_from(u64::from(said_s).saturating_sub(unix_s)).unwrap_or(u32::MAX)
}

/// Items that were captured at `at_ms`, with what is left of their delays at `now_ms`, both by one clock.
#[must_use]
pub fn left(items: &[u8], at_ms: u64, now_ms: u64) -> Cow<'_, [u8]> {
    let passed_s = u32::try_from(now_ms.saturating_sub(at_ms) / 1000).unwrap_or(u32::MAX);
    let delayed = |item: Item<'_>| matches!(item, Item::Flush(1..));
    if passed_s == 0 || !Items::new(items).any(delayed) {
        return Cow::Borrowed(items);
    }
    let mut out = Vec::with_capacity(items.len());
    for item in Items::new(items) {
        match item {
            Item::Flush(delay_s) => Item::Flush(delay_s.saturating_sub(passed_s)).write(&mut out),
            other => other.write(&mut out),
        }
    }
    Cow::Owned(out)
}

/// Flushes of a pool that are to come, by who said them.
#[derive(Debug, Default)]
pub struct Dues {
    dues: Vec<(u64, Instant)>,
}

impl Dues {
    /// A sender says that the pool is to be flushed in so many seconds; zero is now. Its word before this one counts no more, as with
    /// memcached itself.
    pub fn said(&mut self, sender: u64, delay_s: u32, now: Instant) {
        self.dues.retain(|&(other, _)| other != sender);
        if delay_s == 0 {
            return;
        }
        let mut at = now + Duration::from_secs(delay_s.into());
        self.dues.retain(|&(_, other)| {
            let same = other.max(at) - other.min(at) < SAME;
            at = if same { other.max(at) } else { at };
            !same
        });
        if self.dues.len() >= MOST
            && let Some(earliest) = (0..self.dues.len()).min_by_key(|&place| self.dues[place].1)
        {
            self.dues.swap_remove(earliest);
        }
        self.dues.push((sender, at));
    }

    /// When the next is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.dues.iter().map(|&(_, at)| at).min()
    }

    /// Whether any is due now; those that are, are forgotten.
    pub fn take(&mut self, now: Instant) -> bool {
        let before = self.dues.len();
        self.dues.retain(|&(_, at)| at > now);
        self.dues.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_what_memcached_takes_it_for() {
        let now = 1_800_000_000;
        assert_eq!(relative(0, now), 0);
        assert_eq!(relative(LONGEST_S, now), LONGEST_S);
        assert_eq!(relative(LONGEST_S + 1, now), 0, "a date long past");
        assert_eq!(relative(1_800_000_007, now), 7);
    }

    #[test]
    fn what_waited_has_less_left() {
        let bytes = |items: &[Item<'_>]| {
            let mut bytes = Vec::new();
            items.iter().for_each(|item| item.write(&mut bytes));
            bytes
        };
        let items = bytes(&[Item::Forget(b"a"), Item::Flush(10), Item::Flush(0), Item::Flush(3)]);
        assert_eq!(left(&items, 5_000, 5_999), items);
        assert_eq!(left(&items, 5_000, 1_000), items, "the clock was set back");
        let later = bytes(&[Item::Forget(b"a"), Item::Flush(6), Item::Flush(0), Item::Flush(0)]);
        assert_eq!(left(&items, 5_000, 9_100), later);
        let plain = bytes(&[Item::Forget(b"a"), Item::Flush(0)]);
        assert!(matches!(left(&plain, 0, 9_000), Cow::Borrowed(_)));
    }

    #[test]
    fn the_newest_word_of_a_sender_counts() {
        let (mut dues, now) = (Dues::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        dues.said(1, 10, now);
        dues.said(1, 100, now);
        dues.said(2, 50, now);
        assert_eq!(dues.due(), Some(after(50)));
        assert!(!dues.take(after(49)) && dues.take(after(50)) && !dues.take(after(99)));
        dues.said(1, 0, now);
        assert_eq!(dues.due(), None);
        // The same again over another connection.
        dues.said(3, 20, now);
        dues.said(4, 21, now);
        assert!(dues.take(after(21)));
        assert_eq!(dues.due(), None);
    }

    #[test]
    fn there_are_not_too_many() {
        let (mut dues, now) = (Dues::default(), Instant::now());
        for sender in 0..1000 {
            dues.said(sender, 1000 + 10 * u32::try_from(sender).expect("small"), now);
        }
        assert_eq!(dues.dues.len(), MOST);
        assert!(dues.dues.iter().any(|&(sender, _)| sender == 999));
    }
}
