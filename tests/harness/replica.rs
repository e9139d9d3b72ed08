//! A store with a replica in each region whose lag is a dial: what an application reads behind its cache. Never goes back in time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A row's last write: where, what, when, and what the others saw before.
#[derive(Clone, Debug)]
struct Row {
    region: usize,
    value: String,
    at: Instant,
    before: Option<String>,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    lag: Duration,
    rows: Mutex<HashMap<String, Row>>,
}

impl Store {
    /// Other regions than the writer's see a write this much later.
    #[must_use]
    pub fn new(lag: Duration) -> Self {
        Self { lag, rows: Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A row that all replicas have from the start.
    pub fn seed(&self, key: &str, value: &str) {
        let row = Row { region: 0, value: value.into(), at: Instant::now(), before: Some(value.into()) };
        self.rows().insert(key.to_owned(), row);
    }

    /// Writes a row in a region; the last write wins everywhere.
    pub fn write(&self, region: usize, key: &str, value: &str) {
        let mut rows = self.rows();
        let (now, lag) = (Instant::now(), self.lag);
        let before = rows.get(key).and_then(|row| row.seen(usize::MAX, now, lag));
        let row = Row { region, value: value.to_owned(), at: now, before };
        rows.insert(key.to_owned(), row);
    }

    /// What a region's replica shows now.
    #[must_use]
    pub fn read(&self, region: usize, key: &str) -> Option<String> {
        self.rows().get(key)?.seen(region, Instant::now(), self.lag)
    }

    /// The last write.
    #[must_use]
    pub fn truth(&self, key: &str) -> Option<String> {
        self.rows().get(key).map(|row| row.value.clone())
    }
}

impl Row {
    fn seen(&self, region: usize, now: Instant, lag: Duration) -> Option<String> {
        let there = region == self.region || now.duration_since(self.at) >= lag;
        if there { Some(self.value.clone()) } else { self.before.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_sees_its_row_and_the_others_the_one_before() {
        let store = Store::new(Duration::from_secs(3600));
        store.write(0, "k", "a");
        assert_eq!((store.read(0, "k"), store.read(1, "k")), (Some("a".into()), None));
        let store = Store::new(Duration::ZERO);
        store.write(0, "k", "a");
        store.write(1, "k", "b");
        assert_eq!((store.read(0, "k"), store.truth("k")), (Some("b".into()), Some("b".into())));
    }
}
