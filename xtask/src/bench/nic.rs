//! `cargo xtask bench nic`: nanoseconds per packet of the kernel program, beside a bare program and Debian's xdp-filter.

use anyhow::Result;

use super::plot::Plot;
use super::report::Report;
use super::{Scale, probe};

const NOTES: &str = "\
Mean time of one run of the program by `BPF_PROG_TEST_RUN`, a million runs a round: no driver and no wire. The baseline of a row is the
floor, a program that does nothing, run in the same rounds: what a packet costs is the difference. *Hot* repeats one frame; *random*
gives each run another source (its floor does so too), so that every look into the tables misses the caches. xdp-filter is Debian's,
with one address on its list, loaded as its own tool does; `all features` is the program that it loads when nothing is left out.
The tables are compiled and loaded off to the side; the swap itself is one system call.
Random sources among a million prefixes touch 20 MB of tables: nearly each look misses the caches and the TLB, and what that costs is the
machine's memory latency at that moment (on a virtual machine that others load as well, about as much as a random read of a plain array of
that size in user space). With few prefixes the tables are small and stay in the cache. A ceiling adds a call into a function that the
verifier proves once; it does not read the clock for each packet.";

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    let rows = probe::interleaved("nic", scale)?;
    let drawn =
        rows.iter().filter(|row| row.unit == "ns/packet" && row.baseline.is_some()).cloned().collect();
    let plot =
        Plot::Bars { title: "Nanoseconds per packet, with the floor as a tick".to_owned(), rows: drawn };
    Ok(Report { bench: "nic", rows, notes: NOTES.to_owned(), plots: vec![("bench-nic.svg", plot)] })
}
