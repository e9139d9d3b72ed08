//! Several regions with their edges in virtual time, driven by seeds: the decisions of this folder, joined as the daemon joins them. Never
//! opens a socket, and knows nothing of HTTP but what a decision sees of it.
//!
//! A seed says everything: regions, edges, modes, ceilings, arrivals, partitions, crashes, flapping health, operators. What must hold is
//! in `ledger`, and is checked at each request and once more after everything has been quiet for a while.
//!
//! `TIDEGATE_SIM_SEEDS=1000 cargo test -p tidegate --lib sim` runs that many; `TIDEGATE_SIM_SEED=17` runs one alone.

pub(in crate::decide) mod chance;
mod host;
mod ledger;
mod world;

use chance::Chance;
use world::World;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_no_request_is_lost_doubled_or_sent_in_circles() {
    let (first, seeds) = match number("TIDEGATE_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("TIDEGATE_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let mut totals = ledger::Totals::default();
    for seed in first..first + seeds {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(Chance::new(seed));
            world.run();
            world.ledger.totals()
        });
        match result {
            Ok(seen) => totals += seen,
            Err(_) => panic!("seed {seed}: run it alone with TIDEGATE_SIM_SEED={seed}"),
        }
    }
    // The simulation must be able to fail: everything that it is about has happened.
    if seeds >= SEEDS {
        totals.assert_rich();
    }
    println!("{seeds} seeds: {totals:?}");
}
