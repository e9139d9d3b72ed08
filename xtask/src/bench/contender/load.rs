//! Load by outside programs, from the other core: wrk for HTTP/1.1 with and without TLS, h2load for HTTP/2.
//! Never takes an error of the load for an answer.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::OTHER_CORE;
use crate::sh;

/// What a load counted.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Served {
    /// All that was answered.
    pub(in super::super) requests: f64,
    /// Of these, with a status of 2xx or 3xx.
    pub(in super::super) good: f64,
    /// Answered per second.
    pub(in super::super) per_second: f64,
}

impl Served {
    fn checked(self, said: &str) -> Result<Self> {
        ensure!(self.requests > 0.0, "the load got no answers:\n{said}");
        Ok(self)
    }
}

/// wrk over `connections`, kept busy for so many seconds.
pub(in super::super) fn wrk(
    scheme: &str,
    address: SocketAddr,
    connections: u32,
    seconds: u32,
) -> Result<Served> {
    let url = format!("{scheme}://{address}/");
    let mut command = Command::new("taskset");
    command.args(["-c", &OTHER_CORE.to_string(), "wrk", "-t1"]);
    command.args([&format!("-c{connections}"), &format!("-d{seconds}s"), &url]);
    let said = sh::output(&mut command)?;
    let requests = before(&said, " requests in ").context("wrk's count of requests")?;
    let bad = after(&said, "Non-2xx or 3xx responses:").unwrap_or(0.0);
    let per_second = after(&said, "Requests/sec:").context("wrk's rate")?;
    ensure!(!said.contains("Socket errors"), "connections broke:\n{said}");
    Served { requests, good: requests - bad, per_second }.checked(&said)
}

/// h2load in cleartext with prior knowledge: 16 connections of 4 streams, for so many seconds.
pub(in super::super) fn h2load(address: SocketAddr, seconds: u32) -> Result<Served> {
    let url = format!("http://{address}/");
    let mut command = Command::new("taskset");
    command.args(["-c", &OTHER_CORE.to_string(), "h2load", "-t1", "-c16", "-m4"]);
    command.args(["-D", &seconds.to_string(), &url]);
    let said = sh::output(&mut command)?;
    let requests = before(&said, " done, ").context("h2load's count of requests")?;
    let good = before(&said, " 2xx, ").context("h2load's count of answers")?;
    let failed = before(&said, " failed, ").unwrap_or(0.0);
    let per_second = before(&said, " req/s").context("h2load's rate")?;
    ensure!(failed == 0.0, "requests failed:\n{said}");
    Served { requests, good, per_second }.checked(&said)
}

/// The number right after these words.
fn after(text: &str, words: &str) -> Option<f64> {
    text.split_once(words)?.1.split_whitespace().next()?.parse().ok()
}

/// The number right before these words.
fn before(text: &str, words: &str) -> Option<f64> {
    text.split_once(words)?.0.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{after, before};

    #[test]
    fn numbers_are_found_beside_words() {
        let said = "  54321 requests in 2.00s\nRequests/sec:  27160.5\n";
        assert_eq!(before(said, " requests in ").map(f64::to_bits), Some(54_321_f64.to_bits()));
        assert_eq!(after(said, "Requests/sec:").map(f64::to_bits), Some(27_160.5_f64.to_bits()));
        assert_eq!(after(said, "Socket errors:"), None);
    }
}
