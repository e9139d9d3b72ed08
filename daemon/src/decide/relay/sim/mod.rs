//! The relay of several regions in virtual time, driven by seeds: the real sessions, fences, lanes, windows and repetitions between model
//! caches and a store whose replicas lag. Never opens a socket; a seed says everything.
//!
//! At each step the books of each lane close; at rest nothing is pending or left on a disk, and no region holds a copy older than the last
//! write. `TIDEGATE_SIM_SEEDS=2000 cargo test -p tidegate --lib relay::sim` runs so many, `TIDEGATE_SIM_SEED=17` one alone.

mod cache;
mod clients;
mod front;
mod host;
mod links;
mod storm;
mod world;

use std::time::Duration;

use crate::decide::sim::chance::Chance;
use world::World;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 200;

/// What a run is like.
#[derive(Clone, Copy)]
struct Dials {
    repeat_after: Duration,
    /// Whether stale sets are looked for.
    fenced: bool,
    /// Most that a replica is behind.
    lag_ms: u64,
    /// Most between a miss and its set.
    think_ms: u64,
    /// Different values that a row has.
    values: usize,
    /// All links count as one sender, whose newest word about a key stands for those before.
    mixed: bool,
    /// Crashes, partitions, full disks and the like.
    storms: bool,
    /// Clients read on after the last write: their refills heal what nobody else would have.
    reads_on: bool,
    /// Say which copies are stale.
    told: bool,
}

const DEFAULTS: Dials = Dials {
    repeat_after: Duration::from_secs(2),
    fenced: true,
    lag_ms: 1000,
    think_ms: 300,
    values: 250,
    mixed: false,
    storms: true,
    reads_on: true,
    told: true,
};

/// How much of everything happened.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    reads: u64,
    refills: u64,
    writes: u64,
    captured: u64,
    coalesced: u64,
    converted: u64,
    deleted: u64,
    slowed: u64,
    stale_sets: u64,
    rereads: u64,
    copies: u64,
    late: u64,
    disturbances: u64,
    kills: u64,
    partitions: u64,
}

impl Totals {
    fn all(&self) -> [u64; 15] {
        [
            self.reads,
            self.refills,
            self.writes,
            self.captured,
            self.coalesced,
            self.converted,
            self.deleted,
            self.slowed,
            self.stale_sets,
            self.rereads,
            self.copies,
            self.late,
            self.disturbances,
            self.kills,
            self.partitions,
        ]
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds; stale copies at rest, and what happened in all.
fn run(seeds: std::ops::Range<u64>, dials: Dials) -> (u64, Vec<Totals>) {
    let (mut stale, mut all) = (0, Vec::new());
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            // Every third row goes back and forth between few values.
            let values = if seed % 3 == 0 { 3 } else { dials.values };
            let reads_on = dials.reads_on && seed % 2 == 0;
            let mut world = World::new(Chance::new(seed), Dials { values, reads_on, ..dials });
            let stale = world.run();
            (stale, world.totals)
        });
        let Ok((found, totals)) = run else {
            panic!("seed {seed}: run it alone with TIDEGATE_SIM_SEED={seed}")
        };
        if found > 0 && dials.told {
            println!("seed {seed}: {found} stale");
        }
        stale += found;
        all.push(totals);
    }
    (stale, all)
}

fn sum(all: &[Totals], of: impl Fn(&Totals) -> u64) -> u64 {
    all.iter().map(of).sum()
}

#[test]
fn at_rest_no_region_holds_a_copy_older_than_the_last_write() {
    let seeds = match number("TIDEGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("TIDEGATE_SIM_SEEDS").unwrap_or(SEEDS) + 1,
    };
    let many = seeds.end - seeds.start >= SEEDS;
    let (stale, all) = run(seeds.clone(), DEFAULTS);
    println!("{seeds:?}: {stale} stale; {:?}", sums(&all));
    assert_eq!(stale, 0);
    // The simulation must be able to fail: everything that it is about has happened.
    assert!(!many || sums(&all).all().iter().all(|count| *count > 0), "{:?}", sums(&all));
}

fn sums(all: &[Totals]) -> Totals {
    Totals {
        reads: sum(all, |one| one.reads),
        refills: sum(all, |one| one.refills),
        writes: sum(all, |one| one.writes),
        captured: sum(all, |one| one.captured),
        coalesced: sum(all, |one| one.coalesced),
        converted: sum(all, |one| one.converted),
        deleted: sum(all, |one| one.deleted),
        slowed: sum(all, |one| one.slowed),
        stale_sets: sum(all, |one| one.stale_sets),
        rereads: sum(all, |one| one.rereads),
        copies: sum(all, |one| one.copies),
        late: sum(all, |one| one.late),
        disturbances: sum(all, |one| one.disturbances),
        kills: sum(all, |one| one.kills),
        partitions: sum(all, |one| one.partitions),
    }
}

/// What each protection is for: without it, the same worlds keep stale copies.
#[test]
fn without_a_protection_stale_copies_stay() {
    let calm = Dials { storms: false, reads_on: false, told: false, ..DEFAULTS };
    let once = Dials { repeat_after: Duration::ZERO, ..calm };
    let cases = [
        ("defaults", calm),
        ("no repetition, lagging store", once),
        ("all regions as one sender", Dials { mixed: true, ..calm }),
        ("no repetition, no lag", Dials { lag_ms: 0, ..once }),
        ("no repetition, no lag, no fences", Dials { lag_ms: 0, fenced: false, ..once }),
    ];
    let counts = cases.map(|(name, dials)| {
        let (stale, all) = run(1..61, dials);
        println!("{name}: {stale} stale of {} copies", sum(&all, |one| one.copies));
        stale
    });
    assert_eq!(counts[0], 0);
    assert!(counts[1] > counts[3] && counts[4] > counts[3] && counts[2] > 0, "{counts:?}");
}
