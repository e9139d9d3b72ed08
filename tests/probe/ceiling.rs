//! Admitted against the ceiling: several ceilings at once, each of a home of its own, offered far more than they admit, from one or
//! two CPUs. Lines out: `row NAME|VALUE|UNIT|BASELINE|RUN,RUN,…`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tidegate::config::types::Over;
use tidegate::decide::nic::{LimitRow, Limits, NicPlan};
use tidegate::decide::region::RegionId;
use tidegate::decide::sources::{SourceRules, SourceTables};
use tidegate_common::ceiling::Measure;
use tidegate_common::names::PROGRAM;
use tidegate_common::verdict::Reason;
use tidegate_tests::packets::build::{ACK, Frame, SYN};
use tidegate_tests::program::{Program, object};

use crate::shuffle::Shuffle;

/// Packets per second, one for each home; connections or the bits of as many packets where these are limited.
const CEILINGS: [u64; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Where traffic comes from: name, what is limited, and what each CPU offers.
const PATTERNS: [(&str, Measure, [Offer; 2]); 5] = [
    ("1 CPU", Measure::Packets, [Offer::Flood, Offer::Nothing]),
    ("2 CPUs, even", Measure::Packets, [Offer::Flood, Offer::Flood]),
    ("2 CPUs, one hot", Measure::Packets, [Offer::Flood, Offer::Trickle]),
    ("connections, 2 CPUs, even", Measure::Connections, [Offer::Flood, Offer::Flood]),
    ("bits, 2 CPUs, even", Measure::Bytes, [Offer::Flood, Offer::Flood]),
];

/// What one CPU offers.
#[derive(Clone, Copy)]
enum Offer {
    Nothing,
    /// A few frames of each home every 20 ms.
    Trickle,
    /// As many as the kernel can make.
    Flood,
}

/// Windows are looked at this often.
const STEP: Duration = Duration::from_millis(100);
/// Until all CPUs offer without a gap and the buckets are drained.
const SETTLED: Duration = Duration::from_secs(4);
/// Steps of a window of one second.
const SECOND: usize = 10;

/// Measures all patterns.
pub(crate) fn run(quick: bool) -> Result<()> {
    let seconds = if quick { 3 } else { 10 };
    let object = object().context("no kernel program: run `cargo xtask build`")?;
    let object = std::fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    for (pattern, measure, offers) in PATTERNS {
        let mut program = Program::load(&object, &plan()?)?;
        program.set_limits(&limits(measure))?;
        eprintln!("  {pattern}: {seconds} s");
        let samples = admitted(&program, measure, offers, seconds)?;
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

/// What every CPU offers: SYNs where connections are limited.
fn frame(measure: Measure) -> Vec<u8> {
    let flags = if measure == Measure::Connections { SYN } else { ACK };
    Frame::new("198.51.100.3", "192.0.2.1").tcp(flags).bytes()
}

fn limits(measure: Measure) -> Limits {
    let bits = frame(measure).len() as u64 * 8;
    let of = |wanted, rate| (measure == wanted).then_some(rate);
    let rows: Vec<_> = CEILINGS
        .into_iter()
        .enumerate()
        .map(|(home, rate)| LimitRow {
            home: RegionId::new(home),
            connections_per_second: of(Measure::Connections, rate),
            packets_per_second: of(Measure::Packets, rate),
            bits_per_second: of(Measure::Bytes, rate * bits),
            burst: Duration::from_millis(100),
            over: Over::Drop,
            observe: false,
        })
        .collect();
    Limits::new(&rows, 2, None)
}

/// Admitted so far by each ceiling, at points in time; the start, with the full buckets it has, is left out.
type Sample = (Instant, [u64; CEILINGS.len()]);

fn admitted(program: &Program, measure: Measure, offers: [Offer; 2], seconds: usize) -> Result<Vec<Sample>> {
    let frame = &frame(measure);
    let stop = AtomicBool::new(false);
    let shuffles = [(); 2].map(|()| Shuffle::load("shuffle8", program, PROGRAM));
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (cpu, (offer, shuffle)) in offers.into_iter().zip(shuffles).enumerate() {
            let (stop, shuffle) = (&stop, shuffle?);
            threads.push(scope.spawn(move || give((&shuffle, frame), cpu, offer, (stop, seconds))));
        }
        let samples = sample(program, seconds);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        samples
    })
}

/// Offers frames of all homes from one CPU, for as long as samples are taken.
fn give(
    (shuffle, frame): (&Shuffle, &[u8]),
    cpu: usize,
    offer: Offer,
    (stop, seconds): (&AtomicBool, usize),
) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)?;
    while !stop.load(Ordering::Relaxed) {
        match offer {
            Offer::Nothing => return Ok(()),
            Offer::Flood => flood(shuffle, frame, SETTLED + Duration::from_secs(seconds as u64 + 2))?,
            Offer::Trickle => {
                for _ in 0..64 {
                    shuffle.run(frame, 1)?;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
    Ok(())
}

/// One run of about `time`, without a gap: the kernel patches its own code before each, which takes longer than a burst.
fn flood(shuffle: &Shuffle, frame: &[u8], time: Duration) -> Result<()> {
    let (_, ns) = shuffle.run(frame, 1_000_000)?;
    let frames = time.as_nanos() as f64 / ns.max(1.0);
    shuffle.run(frame, frames as u32)?;
    Ok(())
}

fn sample(program: &Program, seconds: usize) -> Result<Vec<Sample>> {
    let start = Instant::now() + SETTLED;
    let mut samples = Vec::new();
    for step in 0..=seconds * SECOND {
        let at = start + STEP * u32::try_from(step)?;
        // Threads that end wake this one early.
        while Instant::now() < at {
            std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
        }
        samples.push(counts(program)?);
    }
    Ok(samples)
}

/// What each ceiling admitted so far, and when that was: asked again where the answer took so long that it can't be dated.
fn counts(program: &Program) -> Result<Sample> {
    let mut best: Option<(Duration, Sample)> = None;
    for _ in 0..100 {
        let asked = Instant::now();
        let mut counts = [0; CEILINGS.len()];
        for (home, count) in (1..).zip(&mut counts) {
            *count = program.counter(Reason::Within, home)?.packets;
        }
        let took = asked.elapsed();
        if best.as_ref().is_none_or(|best| took < best.0) {
            best = Some((took, (asked + took / 2, counts)));
        }
        if took < Duration::from_micros(500) {
            break;
        }
    }
    best.map(|best| best.1).context("no sample")
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
