//! `cargo xtask bench NAME`: measures, prints a table or JSON, and keeps `docs/BENCHMARKS.md` and its plots.
//! Never compares numbers of different runs: each row's baseline was measured in rounds interleaved with it.

mod ceiling;
mod contender;
mod document;
mod floor;
mod goodput;
mod http;
mod load;
pub(crate) mod machine;
mod nic;
pub(crate) mod plot;
mod probe;
mod relay;
pub(crate) mod report;
pub(crate) mod rounds;
mod wire;

use anyhow::{Context, Result};

use report::Report;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which bench.
    name: String,
    /// One JSON object on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Fewer and shorter rounds, to see that it works; writes nothing into docs/.
    #[arg(long)]
    quick: bool,
}

/// What a bench is told.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Fewer and shorter rounds.
    pub(crate) quick: bool,
}

impl Scale {
    /// How many interleaved rounds to take medians of.
    pub(crate) fn rounds(self) -> usize {
        if self.quick { 3 } else { 9 }
    }
}

/// A bench: its name, and what measures.
type Bench = (&'static str, fn(Scale) -> Result<Report>);

/// All benches there are. Each lives in a file of its name beside this one.
const BENCHES: &[Bench] = &[
    ("nic", nic::run),
    ("ceiling", ceiling::run),
    ("http", http::run),
    ("goodput", goodput::run),
    ("relay", relay::run),
];

/// Runs `cargo xtask bench`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let names = || BENCHES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let (_, bench) = BENCHES
        .iter()
        .find(|(name, _)| *name == options.name)
        .with_context(|| format!("no bench `{}`; there are: {}", options.name, names()))?;
    let report = bench(Scale { quick: options.quick })?;
    if options.json {
        println!("{}", report.json());
        return Ok(());
    }
    print!("{}", report.table());
    if !options.quick {
        document::write(&report)?;
    }
    Ok(())
}
