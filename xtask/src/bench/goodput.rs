//! `cargo xtask bench goodput`: what a ceiling lets through when less, and much more, is offered; also while it moves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Scale;
use super::contender::{self, Contender, Setting};
use super::load::{self, Answered};
use super::plot::Plot;
use super::report::{Report, Row};
use super::rounds::median;
use crate::build;
use crate::setup::{self, For};

/// The ceiling.
const CEILING: u64 = 2_000;
/// How much is offered, in proportion to it.
const OFFERED: [f64; 5] = [0.9, 1.1, 2.0, 4.0, 10.0];

const NOTES: &str = "\
A ceiling of 2,000 requests per second, defaults otherwise; requests are sent at a steady pace over 64 connections, whatever is answered.
*Accepted* is what was answered with 200 per second, after the first second (which has the burst besides). *Fullest 100 ms* is the most that was
accepted in any tenth of a second after the first, as a rate. haproxy's ceiling is its usual idiom (a stick table over one second), nginx's is
`limit_req` with a burst of 100 ms. *Moved*: the ceiling is set to 3,000 under load; accepted per second from half a second later on. The
baseline is what should have been accepted: the ceiling, or all that was offered where that is less.";

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    setup::ensure(&[For::Traffic])?;
    let binary = build::host(true)?;
    let (_nginx, origin) = contender::origin()?;
    let seconds = if scale.quick { 3 } else { 11 };
    let rounds = if scale.quick { 1 } else { 3 };
    let mut rows = Vec::new();
    for offered in OFFERED {
        let contenders = Contender::all(&binary, origin, Setting::Ceiling(CEILING))?;
        for one in &contenders {
            eprintln!("  {} at {offered} x", one.name);
            rows.extend(accepted(one, offered, seconds, rounds)?);
        }
    }
    rows.push(moved(&binary, origin)?);
    let plot = Plot::Lines {
        title: "Accepted per second under a ceiling of 2,000".to_owned(),
        x: "offered / ceiling".to_owned(),
        y: "requests per second".to_owned(),
        log_x: true,
        series: series(&rows),
    };
    Ok(Report { bench: "goodput", rows, notes: NOTES.to_owned(), plots: vec![("bench-goodput.svg", plot)] })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn accepted(one: &Contender, offered: f64, seconds: u64, rounds: usize) -> Result<[Row; 2]> {
    let per_second = CEILING as f64 * offered;
    let due = per_second.min(CEILING as f64);
    let (mut rates, mut fullest) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let answers = load::paced(one.address, per_second, Duration::from_secs(seconds), 64)?;
        let served = after(&answers, 1_000_000);
        rates.push(served.len() as f64 / (seconds - 1) as f64);
        fullest.push(fullest_tenth(&served) as f64 * 10.0);
    }
    let row = |what: &str, runs: Vec<f64>, due| Row {
        name: format!("{}, {offered} x, {what}", one.name),
        value: median(&runs),
        unit: "req/s",
        baseline: Some(due),
        runs,
    };
    Ok([row("accepted", rates, due), row("fullest 100 ms", fullest, due)])
}

/// When requests were served, from `from_us` on.
fn after(answers: &[Answered], from_us: u64) -> Vec<u64> {
    answers.iter().filter(|one| one.status == 200 && one.at_us >= from_us).map(|one| one.at_us).collect()
}

/// The most served in any 100 ms; `served` is in order.
fn fullest_tenth(served: &[u64]) -> usize {
    let until = |at: usize| served.partition_point(|us| *us < served[at] + 100_000);
    (0..served.len()).map(|at| until(at) - at).max().unwrap_or(0)
}

/// Moves the ceiling while twice as much is offered.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn moved(binary: &Path, origin: std::net::SocketAddr) -> Result<Row> {
    let one = Contender::tidegate(binary, origin, Setting::Ceiling(CEILING))?;
    let to = one.address;
    let load = std::thread::spawn(move || load::paced(to, 6_000.0, Duration::from_secs(6), 64));
    std::thread::sleep(Duration::from_secs(2));
    let daemon = one.daemon().context("tidegate")?;
    daemon.tell(&["ceiling", "set", "everyone", "requests_per_second=3000"])?;
    let answers = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    let served = after(&answers, 2_500_000);
    Ok(Row::single("tidegate, moved to 3,000, accepted", served.len() as f64 / 3.5, "req/s", Some(3_000.0)))
}

/// A line for each proxy, from the rows of what was accepted.
fn series(rows: &[Row]) -> Vec<(String, Vec<(f64, f64)>)> {
    let of = |name: &str| {
        let named =
            rows.iter().filter(|row| row.name.starts_with(name) && row.name.ends_with(" x, accepted"));
        let points = named.zip(OFFERED).map(|(row, offered)| (offered, row.value));
        (name.to_owned(), points.collect())
    };
    ["tidegate", "haproxy", "nginx"].map(of).into()
}

#[cfg(test)]
mod tests {
    use super::fullest_tenth;

    #[test]
    fn the_fullest_tenth_is_found_anywhere() {
        assert_eq!(fullest_tenth(&[0, 50_000, 99_999, 100_000, 149_999, 150_000]), 4);
        assert_eq!(fullest_tenth(&[]), 0);
    }
}
