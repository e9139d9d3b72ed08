//! `cargo xtask bench ceiling`: what ceilings admit when far more is offered, from one CPU and from two.

use anyhow::Result;

use super::plot::Plot;
use super::report::{Report, Row};
use super::{Scale, probe};

const NOTES: &str = "\
Six ceilings at once, each of a region of its own, from 10 to 1,000,000 packets per second with the default burst of 100 ms, are offered
as many packets as `BPF_PROG_TEST_RUN` makes (millions per second and CPU). A value is what was admitted in proportion to the ceiling:
over the whole run of ten seconds, and in the fullest and the emptiest of all seconds that begin at a tenth. The first seconds are
left out: they begin with full buckets and so admit the burst besides. *One hot* means that the other CPU offers 64 packets every 20 ms.
A second may differ by the burst (0.1) and by one packet: at 10 per second that is a tenth as well. Promised: within 0.02 and the burst
in any second, within 0.005 in ten. *connections* limits SYNs, *bits* the bits of as many packets.";

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    let rows = probe::rows("ceiling", scale)?;
    let plot = Plot::Lines {
        title: "Admitted over the whole run, in proportion to the ceiling".to_owned(),
        x: "ceiling, packets per second".to_owned(),
        y: "admitted / ceiling".to_owned(),
        log_x: true,
        series: series(&rows),
    };
    Ok(Report { bench: "ceiling", rows, notes: NOTES.to_owned(), plots: vec![("bench-ceiling.svg", plot)] })
}

/// A line for each pattern of traffic, from the rows of whole runs.
fn series(rows: &[Row]) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut series: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for row in rows {
        let Some((pattern, rate)) =
            row.name.strip_suffix("/s, whole run").and_then(|start| start.rsplit_once(", "))
        else {
            continue;
        };
        let Ok(rate) = rate.parse() else { continue };
        match series.iter_mut().find(|(name, _)| name == pattern) {
            Some((_, points)) => points.push((rate, row.value)),
            None => series.push((pattern.to_owned(), vec![(rate, row.value)])),
        }
    }
    series
}
