//! `cargo xtask bench goodput`: what a ceiling lets through when less, and much more, is offered; also while it moves.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::Scale;
use super::contender::{Contender, Kind, Setting, Site};
use super::load::{self, Answered};
use super::plot::Plot;
use super::report::{Report, Row};
use super::rounds::median;
use super::wire::Wire;

/// The ceiling.
const CEILING: u64 = 2_000;
/// How much is offered, in proportion to it.
const OFFERED: [f64; 5] = [0.9, 1.1, 2.0, 4.0, 10.0];
/// Connections of the load.
const CONNECTIONS: u32 = 64;
const SECOND_US: u64 = 1_000_000;

const NOTES: &str = "\
A ceiling of 2,000 requests per second, defaults otherwise; requests are sent at a steady pace over 64 connections, whatever is answered.
*Accepted* is what was answered with 200 per second, after the first second (which has the burst besides); its baseline is the ceiling, or
all that was offered where that is less. *Fullest 100 ms* is the most that was let through in any tenth of a second after the first, as a
rate, beside the ceiling; promised is 1.05 times that. *First second* is what was let through in it, burst and all. Both are taken where
the decision is: tcpdump on the loopback gives each request to the origin the kernel's time stamp, made while the proxy writes it. (What
the load or the origin would say is when their turn came on the core that both share: at 0.9 times the ceiling, with nobody refused, answers
reached the load in tenths of 1.06 times their share.) haproxy's ceiling is its usual idiom (a stick table over one second), nginx's is
`limit_req` with a burst of 100 ms, Envoy's its local rate limit filled every second. *Moved*: the ceiling is set to 3,000 under load;
accepted per second from half a second later on, and the fullest tenth from then. *Along a ramp*: from 2,000 to 4,000 with `--over`; what
was accepted meanwhile, in proportion to the line, and the fullest tenth of a second in proportion to the line's height in it. *Critical*:
half the ceiling is offered in that class while 4 times the ceiling is offered in all; what was accepted of it.";

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    let site = Site::prepare()?;
    let (seconds, rounds) = if scale.quick { (2, 1) } else { (6, 2) };
    let mut rows = Vec::new();
    for offered in OFFERED {
        for kind in site.kinds() {
            eprintln!("  {} at {offered} x", kind.name());
            let one = site.start(kind, Setting::Ceiling(CEILING))?;
            rows.extend(accepted(&site, &one, offered, (seconds, rounds)).with_context(|| kind.name())?);
        }
    }
    eprintln!("  a ceiling that moves, one on a ramp, one with classes");
    rows.extend(moved(&site)?);
    rows.extend(ramp(&site, if scale.quick { 4 } else { 15 })?);
    rows.extend(critical(&site, seconds)?);
    let plot = Plot::Lines {
        title: "Accepted per second under a ceiling of 2,000".to_owned(),
        x: "offered / ceiling".to_owned(),
        y: "requests per second".to_owned(),
        log_x: true,
        series: site.kinds().into_iter().map(|kind| series(kind, &rows)).collect(),
    };
    Ok(Report { bench: "goodput", rows, notes: NOTES.to_owned(), plots: vec![("bench-goodput.svg", plot)] })
}

fn accepted(site: &Site, one: &Contender, offered: f64, (seconds, rounds): (u64, usize)) -> Result<[Row; 3]> {
    let ceiling = CEILING as f64;
    let due = ceiling * offered.min(1.0);
    let (mut rates, mut fullest, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let wire = Wire::tap(site.origin)?;
        let length = Duration::from_secs(seconds);
        let answers = load::paced(one.address, "/", ceiling * offered, length, CONNECTIONS)?;
        let let_through = wire.times()?;
        let began = let_through.partition_point(|us| *us < SECOND_US);
        let served = within(&answers, SECOND_US..seconds * SECOND_US);
        rates.push(served.len() as f64 / (seconds - 1) as f64);
        fullest.push(fullest_tenth(&let_through[began..]) as f64 * 10.0);
        first.push(began as f64);
    }
    let row = |what: &str, runs: Vec<f64>, due| Row {
        name: format!("{offered} x, {}, {what}", one.name()),
        value: median(&runs),
        unit: "req/s",
        baseline: Some(due),
        runs,
    };
    Ok([
        row("accepted", rates, due),
        row("fullest 100 ms", fullest, ceiling),
        row("first second", first, due),
    ])
}

/// When requests were served, of those answered within a span.
fn within(answers: &[Answered], span_us: std::ops::Range<u64>) -> Vec<u64> {
    answers
        .iter()
        .filter(|one| one.status == 200 && span_us.contains(&one.at_us))
        .map(|one| one.at_us)
        .collect()
}

/// The most in any 100 ms; `served` is in order.
fn fullest_tenth(served: &[u64]) -> usize {
    let until = |at: usize| served.partition_point(|us| *us < served[at] + 100_000);
    (0..served.len()).map(|at| until(at) - at).max().unwrap_or(0)
}

/// A load in the background.
fn offer(
    to: SocketAddr,
    path: &'static str,
    per_second: f64,
    seconds: u64,
) -> thread::JoinHandle<Result<Vec<Answered>>> {
    thread::spawn(move || load::paced(to, path, per_second, Duration::from_secs(seconds), CONNECTIONS))
}

fn joined(load: thread::JoinHandle<Result<Vec<Answered>>>) -> Result<Vec<Answered>> {
    load.join().map_err(|_| anyhow!("the load panicked"))?
}

/// Moves the ceiling while twice as much is offered.
fn moved(site: &Site) -> Result<[Row; 2]> {
    let one = site.start(Kind::Tidegate, Setting::Ceiling(CEILING))?;
    let wire = Wire::tap(site.origin)?;
    let load = offer(one.address, "/", 6_000.0, 6);
    thread::sleep(Duration::from_secs(2));
    one.daemon().context("tidegate")?.tell(&["ceiling", "set", "everyone", "requests_per_second=3000"])?;
    let span = 2_500_000..6_000_000;
    let served = within(&joined(load)?, span.clone());
    let let_through: Vec<u64> = wire.times()?.into_iter().filter(|us| span.contains(us)).collect();
    let row = |what: &str, value| {
        Row::single(format!("moved to 3,000, tidegate, {what}"), value, "req/s", Some(3_000.0))
    };
    let fullest = fullest_tenth(&let_through) as f64 * 10.0;
    Ok([row("accepted", served.len() as f64 / 3.5), row("fullest 100 ms", fullest)])
}

/// Moves it linearly to its double over so many seconds, from the second second on.
fn ramp(site: &Site, over: u64) -> Result<[Row; 2]> {
    let one = site.start(Kind::Tidegate, Setting::Ceiling(CEILING))?;
    let wire = Wire::tap(site.origin)?;
    let began = std::time::Instant::now();
    let load = offer(one.address, "/", 3.0 * CEILING as f64, over + 4);
    thread::sleep(Duration::from_secs(2));
    let to = format!("requests_per_second={}", 2 * CEILING);
    let daemon = one.daemon().context("tidegate")?;
    daemon.tell(&["ceiling", "set", "everyone", &to, "--over", &format!("{over}s")])?;
    // The command returns when the ramp has begun.
    let from = u64::try_from(began.elapsed().as_micros())?;
    let span = from..from + over * SECOND_US;
    let served = within(&joined(load)?, span.clone());
    let due = CEILING as f64 * 1.5;
    let let_through: Vec<u64> = wire.times()?.into_iter().filter(|us| span.contains(us)).collect();
    let line = |us: u64| CEILING as f64 * (1.0 + (us - from) as f64 / (over * SECOND_US) as f64);
    let accepted = served.len() as f64 / over as f64;
    Ok([
        Row::single("along a ramp, tidegate, accepted", accepted, "req/s", Some(due)),
        Row::single(
            "along a ramp, tidegate, fullest 100 ms",
            fullest_beside(&let_through, line),
            "of line",
            Some(1.0),
        ),
    ])
}

/// The most in any 100 ms, in proportion to what a limit per second that moves was in the middle of it.
fn fullest_beside(served: &[u64], limit: impl Fn(u64) -> f64) -> f64 {
    let until = |at: usize| served.partition_point(|us| *us < served[at] + 100_000);
    let share = |at: usize| (until(at) - at) as f64 * 10.0 / limit(served[at] + 50_000);
    (0..served.len()).map(share).fold(0.0, f64::max)
}

/// Critical requests at half the ceiling, among others at three and a half times the ceiling.
fn critical(site: &Site, seconds: u64) -> Result<[Row; 2]> {
    let one = site.start(Kind::Tidegate, Setting::Classes(CEILING))?;
    let others = offer(one.address, "/", 3.5 * CEILING as f64, seconds);
    let critical = joined(offer(one.address, "/play/", 0.5 * CEILING as f64, seconds))?;
    let others = joined(others)?;
    let asked = critical.iter().filter(|one| one.at_us >= 1_000_000).count() as f64;
    let span = 1_000_000..seconds * 1_000_000;
    let (ours, rest) = (within(&critical, span.clone()).len() as f64, within(&others, span).len() as f64);
    let per_second = |count: f64| count / (seconds - 1) as f64;
    Ok([
        Row::single("4 x, tidegate, critical accepted", per_second(ours), "req/s", Some(per_second(asked))),
        Row::single("4 x, tidegate, all accepted", per_second(ours + rest), "req/s", Some(CEILING as f64)),
    ])
}

/// A line for each proxy, from the rows of what was accepted.
fn series(kind: Kind, rows: &[Row]) -> (String, Vec<(f64, f64)>) {
    let of = |offered: f64| {
        let name = format!("{offered} x, {}, accepted", kind.name());
        rows.iter().find(|row| row.name == name).map(|row| (offered, row.value))
    };
    (kind.name().to_owned(), OFFERED.into_iter().filter_map(of).collect())
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
