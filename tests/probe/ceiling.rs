//! Admitted against the ceiling: several ceilings at once, each of a home of its own, offered far more than they admit, from one or
//! two CPUs. Lines out: `row NAME|VALUE|UNIT|BASELINE|RUN,RUN,…`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use tidegate::config::types::Over;
use tidegate::decide::nic::{LimitRow, Limits, NicPlan};
use tidegate::decide::region::RegionId;
use tidegate::decide::sources::{SourceRules, SourceTables};
use tidegate_common::names::PROGRAM;
use tidegate_common::verdict::Reason;
use tidegate_tests::packets::build::{ACK, Frame};
use tidegate_tests::program::{Program, object};

/// Packets per second, one for each home.
const CEILINGS: [u64; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Where traffic comes from: name, and for each CPU how long it rests between bursts (`None`: no traffic).
const PATTERNS: [(&str, [Option<Duration>; 2]); 3] = [
    ("1 CPU", [Some(Duration::ZERO), None]),
    ("2 CPUs, even", [Some(Duration::ZERO), Some(Duration::ZERO)]),
    ("2 CPUs, one hot", [Some(Duration::ZERO), Some(Duration::from_millis(20))]),
];
/// Windows are looked at this often.
const STEP: Duration = Duration::from_millis(100);
/// Steps of a window of one second.
const SECOND: usize = 10;

/// Measures all patterns.
pub(crate) fn run(quick: bool) -> Result<()> {
    let seconds = if quick { 3 } else { 10 };
    let object = object().context("no kernel program: run `cargo xtask build`")?;
    let object = std::fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    for (pattern, rests) in PATTERNS {
        let mut program = Program::load(&object, &plan()?)?;
        program.set_limits(&limits())?;
        eprintln!("  {pattern}: {seconds} s");
        let samples = measure(&program, rests, seconds)?;
        for (index, ceiling) in CEILINGS.into_iter().enumerate() {
            report(
                pattern,
                ceiling,
                &samples.iter().map(|sample| (sample.0, sample.1[index])).collect::<Vec<_>>(),
            );
        }
    }
    Ok(())
}

fn prefix(home: usize) -> String {
    format!("198.51.100.{}/28", home * 16)
}

fn plan() -> Result<NicPlan> {
    let region = |index| RegionId::new(index).context("a few regions");
    let mut records = Vec::new();
    for home in 0..CEILINGS.len() {
        records.push((prefix(home).parse()?, region(home)?));
    }
    let rules =
        SourceRules { default_region: region(CEILINGS.len())?, records: &records, allow: &[], deny: &[] };
    let sources = SourceTables::compile(&rules)?;
    Ok(NicPlan::new(sources.into(), ["192.0.2.1".parse()?], &[443])?)
}

fn limits() -> Limits {
    let rows: Vec<_> = CEILINGS
        .into_iter()
        .enumerate()
        .map(|(home, rate)| LimitRow {
            home: RegionId::new(home),
            connections_per_second: None,
            packets_per_second: Some(rate),
            bits_per_second: None,
            burst: Duration::from_millis(100),
            over: Over::Drop,
            observe: false,
        })
        .collect();
    Limits::new(&rows, 2, None)
}

/// Admitted so far by each ceiling, at points in time; the first second, with the full bucket it starts with, is left out.
type Sample = (Instant, [u64; CEILINGS.len()]);

fn measure(program: &Program, rests: [Option<Duration>; 2], seconds: usize) -> Result<Vec<Sample>> {
    let stop = AtomicBool::new(false);
    let runner = program.xdp(PROGRAM)?;
    std::thread::scope(|scope| {
        for (cpu, rest) in rests.into_iter().enumerate() {
            let stop = &stop;
            if let Some(rest) = rest {
                scope.spawn(move || offer(runner, cpu, rest, stop));
            }
        }
        let samples = sample(program, seconds);
        stop.store(true, Ordering::Relaxed);
        samples
    })
}

/// Offers frames of all homes in turn from one CPU until told to stop.
fn offer(runner: &Xdp, cpu: usize, rest: Duration, stop: &AtomicBool) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)?;
    let frames: Vec<_> = (0..CEILINGS.len())
        .map(|home| Frame::new(&format!("198.51.100.{}", home * 16 + 3), "192.0.2.1").tcp(ACK).bytes())
        .collect();
    while !stop.load(Ordering::Relaxed) {
        for frame in &frames {
            let options = TestRunOptions { data_in: Some(frame), repeat: 4_096, ..TestRunOptions::default() };
            runner.test_run(options)?;
        }
        std::thread::park_timeout(rest);
    }
    Ok(())
}

fn sample(program: &Program, seconds: usize) -> Result<Vec<Sample>> {
    let start = Instant::now() + Duration::from_secs(1);
    let mut samples = Vec::new();
    for step in 0..=seconds * SECOND {
        let at = start + STEP * u32::try_from(step)?;
        std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
        let mut counts = [0; CEILINGS.len()];
        for (home, count) in (1..).zip(&mut counts) {
            *count = program.counter(Reason::Within, home)?.packets;
        }
        samples.push((Instant::now(), counts));
    }
    Ok(samples)
}

/// Admitted in proportion to the ceiling: over all, and in the fullest and emptiest second.
fn report(pattern: &str, ceiling: u64, samples: &[(Instant, u64)]) {
    let share = |from: &(Instant, u64), to: &(Instant, u64)| {
        (to.1 - from.1) as f64 / (to.0 - from.0).as_secs_f64() / ceiling as f64
    };
    let windows: Vec<f64> =
        samples.windows(SECOND + 1).map(|window| share(&window[0], &window[SECOND])).collect();
    let fullest = windows.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let emptiest = windows.iter().copied().fold(f64::INFINITY, f64::min);
    if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
        let whole = share(first, last);
        println!("row {pattern}, {ceiling}/s, whole run|{whole}|of ceiling|1|{whole}");
        println!("row {pattern}, {ceiling}/s, fullest second|{fullest}|of ceiling|1|{fullest}");
        println!("row {pattern}, {ceiling}/s, emptiest second|{emptiest}|of ceiling|1|{emptiest}");
    }
}
