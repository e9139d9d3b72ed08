//! Rates over the last ten seconds and the last minute, from counters that only grow. Never reads a counter or a clock itself.

use std::collections::{BTreeMap, VecDeque};

use super::region::RegionId;
use super::report::nic::{NicCount, NicReport};
use super::report::proxy::ProxyReport;

/// Samples that are kept: one per second.
const KEEP: usize = 61;
/// The span that rates are taken over, in samples.
const SPAN: usize = 10;

/// Counters at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests by home and route (local, isthmus, redirect, shed).
    pub requests: BTreeMap<RegionId, [u64; 4]>,
    /// Mis-routed requests by home.
    pub misrouted: BTreeMap<RegionId, u64>,
    /// Packets passed and shed by home; `None` is not looked up.
    pub packets: BTreeMap<Option<RegionId>, [u64; 2]>,
    /// Bytes, likewise.
    pub bytes: BTreeMap<Option<RegionId>, [u64; 2]>,
    /// Packets and bytes by home that were judged by ceilings and passed: what is allowed or to another port is not among them.
    pub admitted: BTreeMap<Option<RegionId>, [u64; 2]>,
}

/// The same per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Requests by home and route.
    pub requests: BTreeMap<RegionId, [f64; 4]>,
    /// Mis-routed requests by home.
    pub misrouted: BTreeMap<RegionId, f64>,
    /// Packets passed and shed by home.
    pub packets: BTreeMap<Option<RegionId>, [f64; 2]>,
    /// Bytes, likewise.
    pub bytes: BTreeMap<Option<RegionId>, [f64; 2]>,
    /// Packets and bytes by home that ceilings judged and let pass.
    pub admitted: BTreeMap<Option<RegionId>, [f64; 2]>,
}

/// The last samples.
#[derive(Clone, Debug, Default)]
pub struct Meter(VecDeque<(u64, Totals)>);

impl Totals {
    /// Sums what the parts report.
    #[must_use]
    pub fn of(nic: Option<&NicReport>, proxy: Option<&ProxyReport>) -> Self {
        let mut totals = Self::default();
        if let Some(proxy) = proxy {
            totals.requests = proxy.requests.iter().map(|(home, routes)| (home, *routes)).collect();
            totals.misrouted = proxy.misrouted.iter().map(|(home, count)| (home, *count)).collect();
        }
        nic.iter().flat_map(|nic| &nic.counts).for_each(|count| totals.add(count));
        totals
    }

    fn add(&mut self, count: &NicCount) {
        let verdict = usize::from(count.verdict == "shed");
        self.packets.entry(count.home).or_default()[verdict] += count.packets;
        self.bytes.entry(count.home).or_default()[verdict] += count.bytes;
        if count.admitted {
            let [packets, bytes] = self.admitted.entry(count.home).or_default();
            *packets += count.packets;
            *bytes += count.bytes;
        }
    }
}

impl Meter {
    /// Takes a sample at `now_ms` of any steady clock.
    pub fn sample(&mut self, now_ms: u64, totals: Totals) {
        self.0.push_back((now_ms, totals));
        while self.0.len() > KEEP {
            self.0.pop_front();
        }
    }

    /// Rates over the last ten seconds, or since the first sample.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.over(SPAN)
    }

    /// Rates over the last minute, or since the first sample.
    #[must_use]
    pub fn minute(&self) -> Rates {
        self.over(KEEP - 1)
    }

    /// Rates over so many seconds.
    fn over(&self, span: usize) -> Rates {
        let Some((now_ms, last)) = self.0.back() else { return Rates::default() };
        let Some((then_ms, first)) = self.0.get(self.0.len().saturating_sub(span + 1)) else {
            return Rates::default();
        };
        let passed_ms = now_ms.saturating_sub(*then_ms);
        if passed_ms == 0 {
            return Rates::default();
        }
        #[expect(clippy::cast_precision_loss, reason = "differences of a minute are small")]
        let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 * 1000.0 / passed_ms as f64;
        Rates {
            requests: each(&last.requests, &first.requests, rate),
            misrouted: last
                .misrouted
                .iter()
                .map(|(home, new)| (*home, rate(*new, first.misrouted.get(home).copied().unwrap_or(0))))
                .collect(),
            packets: each(&last.packets, &first.packets, rate),
            bytes: each(&last.bytes, &first.bytes, rate),
            admitted: each(&last.admitted, &first.admitted, rate),
        }
    }
}

fn each<K: Ord + Copy, const N: usize>(
    last: &BTreeMap<K, [u64; N]>,
    first: &BTreeMap<K, [u64; N]>,
    rate: impl Fn(u64, u64) -> f64,
) -> BTreeMap<K, [f64; N]> {
    let one = |(key, new): (&K, &[u64; N])| {
        let old = first.get(key).copied().unwrap_or([0; N]);
        (*key, std::array::from_fn(|index| rate(new[index], old[index])))
    };
    last.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_last_ten_seconds_and_never_negative() {
        let home = RegionId::new(0).expect("region");
        let totals = |count| Totals { requests: [(home, [count, 0, 0, 0])].into(), ..Totals::default() };
        let mut meter = Meter::default();
        assert_eq!(meter.rates(), Rates::default());
        for second in 0..20u64 {
            meter.sample(second * 1000, totals(if second < 10 { 0 } else { (second - 9) * 50 }));
        }
        assert_eq!(meter.rates().requests[&home][0], 50.0);
        meter.sample(20_000, totals(3));
        assert_eq!(meter.rates().requests[&home][0], 0.0);
    }

    #[test]
    fn a_ceiling_is_used_by_what_it_judged_and_let_pass_alone() {
        let home = RegionId::new(0);
        let count = |verdict, reason, admitted| NicCount {
            verdict,
            reason,
            admitted,
            home,
            packets: 10,
            bytes: 1000,
        };
        let mut totals = Totals::default();
        totals.add(&count("pass", "within", true));
        totals.add(&count("pass", "observed_region_packets", true));
        totals.add(&count("pass", "allowed", false));
        totals.add(&count("shed", "region_packets", false));
        assert_eq!(totals.admitted[&home], [20, 2000]);
        assert_eq!(totals.packets[&home], [30, 10]);
    }

    #[test]
    fn a_minute_is_a_minute_however_long_samples_came() {
        let home = RegionId::new(0).expect("region");
        let totals = |count| Totals { requests: [(home, [count, 0, 0, 0])].into(), ..Totals::default() };
        let mut meter = Meter::default();
        // Ten a second for two minutes, then a hundred a second for six seconds.
        for second in 0..=126u64 {
            let burst = second.saturating_sub(120);
            meter.sample(second * 1000, totals((second - burst) * 10 + burst * 100));
        }
        assert_eq!(meter.minute().requests[&home][0], (54.0 * 10.0 + 6.0 * 100.0) / 60.0);
        assert_eq!(meter.rates().requests[&home][0], (4.0 * 10.0 + 6.0 * 100.0) / 10.0);
    }
}
