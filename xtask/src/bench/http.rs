//! `cargo xtask bench http`: what a request costs, beside haproxy and nginx in the same rounds.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contender::{self, Contender, Setting};
use super::plot::Plot;
use super::report::{Report, Row};
use super::rounds::{Case, interleave};
use super::{Scale, load};
use crate::build;
use crate::setup::{self, For};

const NOTES: &str = "\
HTTP/1.1 with keep-alive, 64 connections from wrk, a small answer from an nginx origin. Each proxy has one thread on the first core; wrk and the
origin share the second one, so requests per second are bounded by them as much as by the proxy: CPU time per request (user and system,
from /proc) is what tells proxies apart. *With ceilings*: a limit on everyone and one on the home region, neither reached (haproxy: a stick
table; nginx: `limit_req`). *Shed*: all but one request per second refused. Latency is the proxies' own share and the origin's, at a steady
2,000 requests per second over 32 connections. Baselines: haproxy for CPU and latency, a served request for a shed one.";

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    setup::ensure(&[For::Traffic])?;
    let binary = build::host(true)?;
    let (_nginx, origin) = contender::origin()?;
    let plain = Contender::all(&binary, origin, Setting::Plain)?;
    let idle: Vec<Row> = plain.iter().map(memory).collect::<Result<_>>()?;
    let watched = Contender::all(&binary, origin, Setting::Watched)?;
    let shedding = Contender::all(&binary, origin, Setting::Ceiling(1))?;
    let seconds = if scale.quick { 2 } else { 5 };
    let mut cases = Vec::new();
    for (what, contenders) in [("plain", &plain), ("with ceilings", &watched), ("shed", &shedding)] {
        for one in contenders {
            let name = format!("{}, {what}", one.name);
            let baseline = match what {
                "shed" => format!("{}, plain", one.name),
                _ => format!("haproxy, {what}"),
            };
            cases.push(Case::new(name, "CPU µs/req", move || cpu(one, seconds)).against(baseline));
        }
    }
    for one in &plain {
        for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
            let measure = move || latency(one, share, seconds);
            let case = Case::new(format!("{}, {name} at 2,000/s", one.name), "µs", measure);
            cases.push(case.against(format!("haproxy, {name} at 2,000/s")));
        }
    }
    let mut rows = interleave(scale.rounds(), cases)?;
    let plot = Plot::Bars {
        title: "CPU time per request, µs (tick: haproxy, or a served request)".to_owned(),
        rows: rows.iter().filter(|row| row.unit == "CPU µs/req").cloned().collect(),
    };
    rows.extend(idle);
    Ok(Report { bench: "http", rows, notes: NOTES.to_owned(), plots: vec![("bench-http.svg", plot)] })
}

fn memory(one: &Contender) -> Result<Row> {
    Ok(Row::single(format!("{}, resident, idle", one.name), one.resident_mib()?, "MiB", None))
}

fn cpu(one: &Contender, seconds: u32) -> Result<f64> {
    let before = one.cpu_us()?;
    let requests = contender::wrk(one.address, 64, seconds)?;
    Ok((one.cpu_us()? - before) / requests)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list"
)]
fn latency(one: &Contender, share: f64, seconds: u32) -> Result<f64> {
    let length = Duration::from_secs(u64::from(seconds));
    let mut took: Vec<u64> =
        load::paced(one.address, 2_000.0, length, 32)?.iter().map(|answered| answered.took_us).collect();
    took.sort_unstable();
    let at = ((took.len() - 1) as f64 * share).round() as usize;
    took.get(at).map(|took| *took as f64).context("nothing was answered")
}
