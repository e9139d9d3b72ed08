//! Many SIGKILLs at random moments under traffic: enforcement has no gap, nothing allowed is lost, counters never go back, and each
//! start adopts. Needs root and the kernel program; says so and passes without.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_tests::chance::Chance;
use tidegate_tests::lab::{CLIENT, FAR, HOST, OTHER};
use tidegate_tests::nic_daemon::{Bench, Report};
use tidegate_tests::traffic::{Stream, Tally};

const DAEMON: &str = env!("CARGO_BIN_EXE_tidegate-nic-daemon");
const KILLS: u32 = 100;
const PAUSE: Duration = Duration::from_micros(300);

#[test]
fn a_hundred_kills_leave_no_gap() -> Result<()> {
    let Some(bench) = Bench::new(DAEMON, "a_hundred_kills_leave_no_gap")? else { return Ok(()) };
    let mut chance = Chance::new()?;
    let inbox = bench.lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let words = |round: u32| {
        format!(
            "on=e0 port={} port={} deny=198.51.100.0/24 home=2,203.0.113.0/24 limit=2,packets,0,100",
            target.port(),
            1 + round
        )
    };
    let mut first = bench.start(30_000)?;
    let began = Instant::now();
    first.apply(&words(0))?;
    // Kills fall anywhere between the beginning of a change and some time after it.
    let window_us = u64::try_from(began.elapsed().as_micros())? * 2;
    first.kill()?;
    let tally = Tally::start(inbox)?;
    let start = |source| Ok::<_, anyhow::Error>(Stream::start(bench.lab.sender(source)?, target, PAUSE));
    let (fine, denied, over) = (start(CLIENT)?, start(FAR)?, start(OTHER)?);
    let (mut before, mut programs) = (Report::default(), BTreeSet::new());
    for round in 1..=KILLS {
        if round % 4 == 0 {
            // Before it is even open.
            let pause = Duration::from_micros(chance.below(50_000));
            bench.start_and_kill(30_000, pause)?;
            continue;
        }
        let mut daemon = bench.start(30_000)?;
        let report = daemon.report()?;
        ensure!(report.word("adopted") == "true", "round {round} did not adopt");
        never_less(&before, &report).with_context(|| format!("round {round}"))?;
        before = report;
        daemon.start_apply(&words(round))?;
        // tidy: sleep because the moment of the kill is what is random.
        std::thread::sleep(Duration::from_micros(chance.below(window_us)));
        daemon.kill()?;
        programs.insert(bench.program_on_e0()?);
    }
    let (fine, denied, over) = (fine.stop()?, denied.stop()?, over.stop()?);
    let arrived = tally.stop()?;
    println!(
        "{KILLS} kills, {} programs; {fine} allowed, {denied} denied, {over} over the ceiling; arrived {arrived:?}",
        programs.len()
    );
    ensure!(arrived.get(&CLIENT.into()) == Some(&fine), "{fine} sent, arrived {arrived:?}");
    ensure!(arrived.len() == 1, "some of {denied} denied and {over} over the ceiling arrived: {arrived:?}");
    let mut last = bench.start(30_000)?;
    last.apply(&words(0))?;
    let report = last.report()?;
    ensure!((report.of("denied"), report.of("region_packets")) == (denied, over), "{report:?}");
    ensure!(report.word("on.e0").contains("adopted:_true"), "{report:?}");
    Ok(())
}

fn never_less(before: &Report, after: &Report) -> Result<()> {
    for (key, packets) in &before.packets {
        let now = after.packets.get(key).copied().unwrap_or(0);
        ensure!(now >= *packets, "counter {key:?} went back from {packets} to {now}");
    }
    Ok(())
}
