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

/// Flushes of a pool that are to come, by who said them; `W` names who is told when nothing is left to be done.
#[derive(Debug)]
pub struct Dues<W> {
    dues: Vec<Due<W>>,
}

#[derive(Debug)]
struct Due<W> {
    sender: u64,
    at: Instant,
    words: Vec<W>,
}

impl<W> Default for Dues<W> {
    fn default() -> Self {
        Self { dues: Vec::new() }
    }
}

impl<W> Dues<W> {
    /// A sender says that the pool is to be flushed in so many seconds; zero is now. Its word before this one counts no more, as with
    /// memcached itself: who waited for that is given back.
    pub fn said(&mut self, sender: u64, delay_s: u32, word: W, now: Instant) -> Vec<W> {
        let mut gone: Vec<W> = self.take_if(|due| due.sender == sender).flat_map(|due| due.words).collect();
        if delay_s == 0 {
            return gone;
        }
        let mut at = now + Duration::from_secs(delay_s.into());
        let mut words = Vec::new();
        for same in self.take_if(|due| due.at.max(at) - due.at.min(at) < SAME).collect::<Vec<_>>() {
            at = same.at.max(at);
            words.extend(same.words);
        }
        words.push(word);
        if words.len() > MOST {
            // Of a connection that is long gone, as a rule: whoever it was says it again.
            words.remove(0);
        }
        if self.dues.len() >= MOST
            && let Some(earliest) = (0..self.dues.len()).min_by_key(|&place| self.dues[place].at)
        {
            gone.extend(self.dues.swap_remove(earliest).words);
        }
        self.dues.push(Due { sender, at, words });
        gone
    }

    /// When the next is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.dues.iter().map(|due| due.at).min()
    }

    /// Who waits for those that are due now, which are forgotten; `None` if none is.
    pub fn take(&mut self, now: Instant) -> Option<Vec<W>> {
        let due: Vec<_> = self.take_if(|due| due.at <= now).collect();
        (!due.is_empty()).then(|| due.into_iter().flat_map(|due| due.words).collect())
    }

    fn take_if(&mut self, take: impl Fn(&Due<W>) -> bool) -> impl Iterator<Item = Due<W>> {
        self.dues.extract_if(.., move |due| take(due))
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
        assert!(dues.said(1, 10, "a", now).is_empty());
        assert_eq!(dues.said(1, 100, "b", now), ["a"], "nothing of it is left to be done");
        assert!(dues.said(2, 50, "c", now).is_empty());
        assert_eq!(dues.due(), Some(after(50)));
        assert_eq!(dues.take(after(49)), None);
        assert_eq!(dues.take(after(50)), Some(vec!["c"]));
        assert_eq!(dues.take(after(99)), None);
        assert_eq!(dues.said(1, 0, "d", now), ["b"]);
        assert_eq!(dues.due(), None);
        // The same again over another connection: both wait for it.
        assert!(dues.said(3, 20, "e", now).is_empty() && dues.said(4, 21, "f", now).is_empty());
        assert_eq!(dues.take(after(20)), None);
        assert_eq!(dues.take(after(21)), Some(vec!["e", "f"]));
        assert_eq!(dues.due(), None);
    }

    #[test]
    fn there_are_not_too_many() {
        let (mut dues, now) = (Dues::default(), Instant::now());
        let mut gone = 0;
        for sender in 0..1000 {
            let delay_s = 1000 + 10 * u32::try_from(sender).expect("small");
            gone += dues.said(sender, delay_s, (), now).len();
        }
        assert_eq!((dues.dues.len(), gone), (MOST, 1000 - MOST));
        assert!(dues.dues.iter().any(|due| due.sender == 999));
        for sender in 1000..2000 {
            dues.said(sender, 20_000, (), now);
        }
        let last = dues.dues.last().expect("there");
        assert_eq!((last.sender, last.words.len()), (1999, MOST));
    }
}
