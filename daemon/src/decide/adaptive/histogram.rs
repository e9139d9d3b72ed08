//! Times in buckets that grow by an eighth of a doubling, for medians. Never forgets by itself.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Buckets per doubling, as a power of two.
const FINE: u32 = 3;
/// From 1 µs to 2^25 µs (33 s) in 2^[`FINE`] steps each.
const BUCKETS: usize = 26 << FINE;

/// Counts of times.
#[derive(Debug)]
pub(super) struct Histogram([AtomicU32; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl Histogram {
    /// Counts one.
    pub(super) fn count(&self, time: Duration) {
        self.0[bucket(time)].fetch_add(1, Relaxed);
    }

    /// How many were counted.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(count.load(Relaxed))).sum()
    }

    /// Empties it: how many there were, and their median in seconds.
    pub(super) fn drain(&self) -> (u64, f64) {
        let counts: Vec<u64> = self.0.iter().map(|count| u64::from(count.swap(0, Relaxed))).collect();
        let total: u64 = counts.iter().sum();
        (total, median_s(&counts, total))
    }
}

/// The median, interpolated within its bucket.
#[expect(clippy::cast_precision_loss, reason = "counts of one window")]
fn median_s(counts: &[u64], total: u64) -> f64 {
    let half = total as f64 / 2.0;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= half {
            let part = (half - below) / count;
            return low_s(at) + part * (low_s(at + 1) - low_s(at));
        }
        below += count;
    }
    0.0
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the last bucket")]
fn bucket(time: Duration) -> usize {
    let micros = time.as_micros().clamp(1, u128::from(u32::MAX)) as u32;
    let doubling = micros.ilog2();
    let part = ((u64::from(micros) << FINE) >> doubling) as usize & ((1 << FINE) - 1);
    (((doubling as usize) << FINE) | part).min(BUCKETS - 1)
}

/// Lower end of a bucket, in seconds.
fn low_s(bucket: usize) -> f64 {
    let (doubling, part) = (bucket >> FINE, bucket & ((1 << FINE) - 1));
    #[expect(clippy::cast_precision_loss, reason = "less than 26 doublings")]
    let micros = (1_u64 << doubling) as f64 * (1.0 + part as f64 / f64::from(1 << FINE));
    micros / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_within_a_tenth() {
        for micros in [1_u64, 7, 100, 999, 12_345, 1_000_000, 30_000_000] {
            let histogram = Histogram::default();
            (0..101).for_each(|step| histogram.count(Duration::from_micros(micros + micros * step / 10_000)));
            let (total, median) = histogram.drain();
            let off = median / (micros as f64 / 1e6) - 1.0;
            assert!(total == 101 && (-0.01..0.13).contains(&off), "{micros}: {off}");
            assert_eq!(histogram.total(), 0);
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
