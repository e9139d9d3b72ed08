//! Reads what passed and what was shed: from the daemon's metrics, and from the host's own network stack as an outside judge.
//! Never mixes the two.

use std::time::Instant;

use anyhow::{Context, Result};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::netns::Netns;

/// Packets of one home so far, as the NIC counted them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// Let through.
    pub(super) passed: u64,
    /// Refused.
    pub(super) shed: u64,
    asked: Instant,
    answered: Instant,
}

impl Counts {
    /// Asks the daemon for its metrics.
    pub(super) fn read(daemon: &Daemon, home: &str) -> Result<Self> {
        let asked = Instant::now();
        let text = daemon.admin("GET", "/metrics", "")?.text();
        let sum = |verdict: &str| nic_packets(&text, verdict, home);
        Ok(Self { passed: sum("pass"), shed: sum("shed"), asked, answered: Instant::now() })
    }

    /// The daemon read the counters somewhere between question and answer.
    fn at(&self) -> Instant {
        self.asked + self.answered.duration_since(self.asked) / 2
    }

    /// Passed and shed per second since an earlier reading.
    pub(super) fn rates(&self, before: &Self) -> (f64, f64) {
        let seconds = self.at().duration_since(before.at()).as_secs_f64();
        (rate(before.passed, self.passed, seconds), rate(before.shed, self.shed, seconds))
    }

    /// Passed per second since an earlier reading, at least: over the longest time that can have been between both.
    pub(super) fn least_passed(&self, before: &Self) -> f64 {
        rate(before.passed, self.passed, self.answered.duration_since(before.asked).as_secs_f64())
    }
}

/// UDP packets that came up the host's stack to a port where nobody listens: what the NIC let through of the flood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    packets: u64,
    at: Instant,
}

impl Arrived {
    /// Reads the host's counters (RFC 4113 udpNoPorts).
    pub(super) fn read(host: &Netns) -> Result<Self> {
        let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let packets = no_ports(&text).context("no UDP counters in /proc/net/snmp")?;
        Ok(Self { packets, at: Instant::now() })
    }

    /// Packets per second since an earlier reading.
    pub(super) fn rate(&self, before: &Self) -> f64 {
        rate(before.packets, self.packets, self.at.duration_since(before.at).as_secs_f64())
    }
}

#[expect(clippy::cast_precision_loss, reason = "packets of a demo are far below 2^52")]
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

fn nic_packets(metrics: &str, verdict: &str, home: &str) -> u64 {
    let has = |line: &str, label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
    let lines = metrics.lines().filter(|line| line.starts_with("tidegate_nic_packets_total{"));
    let wanted = lines.filter(|line| has(line, "verdict", verdict) && has(line, "home", home));
    wanted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(whole).sum()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole and positive"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn no_ports(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let at = lines.next()?.split(' ').position(|name| name == "NoPorts")?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{nic_packets, no_ports};

    #[test]
    fn sums_the_wanted_series() {
        let metrics = "# HELP x\ntidegate_nic_packets_total{verdict=\"shed\",reason=\"packets\",home=\"us\"} 5\n\
                       tidegate_nic_packets_total{verdict=\"shed\",reason=\"deny\",home=\"us\"} 2\n\
                       tidegate_nic_packets_total{verdict=\"pass\",reason=\"ok\",home=\"us\"} 9\n\
                       tidegate_nic_packets_total{verdict=\"shed\",reason=\"deny\",home=\"eu\"} 4\n";
        assert_eq!(nic_packets(metrics, "shed", "us"), 7);
        assert_eq!(nic_packets(metrics, "pass", "us"), 9);
    }

    #[test]
    fn finds_the_stacks_counter() {
        assert_eq!(no_ports("Tcp: a b\nTcp: 1 2\nUdp: InDatagrams NoPorts\nUdp: 3 42\n"), Some(42));
        assert_eq!(no_ports("Tcp: a\n"), None);
    }
}
