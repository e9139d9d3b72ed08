//! The acts about packets: a flood against a ceiling, the daemon killed under it, and why a packet was shed.
//! Never trusts tidegate's counters alone: the host's own stack says what came through.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Stop;
use super::acts::{curl, tidegate};
use super::flood;
use super::gauge::{Arrived, Counts};
use super::tale::Tale;
use super::world::{CEILING_PPS, EU, LEASE_S, US, World};

const FLOOD_SECONDS: u32 = 6;
const DEAD_SECONDS: u32 = 4;
const TRIES: u32 = 5;
const ASKED_AT_MOST: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);
/// The promise: within 2 % of the ceiling plus its burst over any time.
const TOLERANCE: f64 = 0.02;
/// The ceiling's burst, in seconds of the ceiling.
const BURST_S: f64 = 0.1;
/// The most over one second.
const MOST_SHARE: f64 = most_share(1);

/// Plays these acts.
pub(super) fn play(tale: &mut Tale, world: &mut World, stop: &Stop) -> Result<()> {
    tale.act("A flood against a ceiling on the NIC");
    tale.tell(&format!("trafgen sends UDP from 198.51.100.0/24 to the EU edge, as fast as one core can; ceiling {CEILING_PPS} packets/s."));
    let _flood = flood::start(world)?;
    stop.wait(SECOND)?;
    flooded(tale, world, stop)?;
    explained(tale, world)?;
    killed(tale, world, stop)?;
    started_again(tale, world, stop)
}

/// What six seconds of the flood looked like.
struct Watched {
    poured: bool,
    at_most: bool,
    agreed: bool,
    home: bool,
    share: f64,
}

fn flooded(tale: &mut Tale, world: &World, stop: &Stop) -> Result<()> {
    tale.tell("second   offered/s  admitted/s      shed/s   of ceiling  host's stack  home clients");
    let mut seen = watch(tale, world, stop)?;
    // Only a flood without pauses can use a ceiling up: on a busy machine trafgen has to wait now and then.
    for _ in 1..TRIES {
        if !seen.at_most || (seen.poured && seen.agreed && within(seen.share)) {
            break;
        }
        tale.tell("The flood itself paused, this machine is busy. Once more:");
        seen = watch(tale, world, stop)?;
    }
    tale.check("offered more than twice the ceiling, all the time", seen.poured);
    tale.check("admitted at most the ceiling, plus 2 % and its burst, in every second", seen.at_most);
    let share = seen.share * 100.0;
    tale.check(
        &format!("admitted {share:.2}% of the ceiling over all {FLOOD_SECONDS} seconds"),
        within(seen.share),
    );
    tale.check("the host's own stack counted what the NIC says it admitted", seen.agreed);
    tale.check("clients at home were served all along", seen.home);
    Ok(())
}

fn watch(tale: &Tale, world: &World, stop: &Stop) -> Result<Watched> {
    let first = Counts::read(&world.eu.daemon, US.region)?;
    let (mut counts, mut arrived) = (first, Arrived::read(&world.eu.edge)?);
    let first_arrived = arrived;
    let mut seen = Watched { poured: true, at_most: true, agreed: true, home: true, share: 0.0 };
    for second in 1..=FLOOD_SECONDS {
        let served = second_of_home_clients(world, stop)?;
        let (counts_now, arrived_now) =
            (Counts::read(&world.eu.daemon, US.region)?, Arrived::read(&world.eu.edge)?);
        let ((passed, shed), stack) = (counts_now.rates(&counts), arrived_now.rate(&arrived));
        seen.at_most &= counts_now.least_passed(&counts) <= MOST_SHARE * ceiling();
        (counts, arrived) = (counts_now, arrived_now);
        let share = passed / ceiling();
        tale.tell(&format!(
            "{second:>6} {:>11.0} {passed:>11.0} {shed:>11.0} {:>11.1}% {stack:>13.0} {:>9}/{} ok",
            passed + shed,
            share * 100.0,
            served.0,
            served.1
        ));
        seen.home &= served.0 == served.1;
        seen.poured &= passed + shed > 2.0 * ceiling();
    }
    let (passed, stack) = (counts.rates(&first).0, arrived.rate(&first_arrived));
    seen.agreed = (stack - passed).abs() <= passed * 0.1;
    seen.share = passed / ceiling();
    Ok(seen)
}

/// About a second of requests from a client at home; how many were answered, of how many.
fn second_of_home_clients(world: &World, stop: &Stop) -> Result<(u32, u32)> {
    let (started, mut served, mut asked) = (Instant::now(), 0, 0);
    while started.elapsed() < SECOND.mul_f64(0.8) {
        asked += 1;
        served += u32::from(curl(&world.eu.client, &["http://203.0.113.2/"])?.body == EU.region);
        stop.wait(Duration::from_millis(100))?;
    }
    stop.wait(SECOND.saturating_sub(started.elapsed()))?;
    Ok((served, asked))
}

fn explained(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("Why was it shed?");
    let source = format!("198.51.100.{}", flood::SOURCES.start());
    let arguments = ["explain", "--from", &source, "--port", "443", "--proto", "udp"];
    tale.command("eu-west-1 edge", &format!("tidegate {}", arguments.join(" ")));
    // Credits come back all the time: under a flood the next packet is shed nearly always, not always.
    let mut said = String::new();
    for _ in 0..ASKED_AT_MOST {
        flood::everywhere(world)?;
        said = String::from_utf8_lossy(&world.eu.daemon.ask(&arguments)?.stdout).into_owned();
        if said.starts_with("shed") {
            break;
        }
    }
    tale.answer(&said);
    let shed = said.starts_with("shed") && said.contains(US.region);
    tale.check("the loaded program says: shed, home us-east-1", shed);
    Ok(())
}

fn killed(tale: &mut Tale, world: &mut World, stop: &Stop) -> Result<()> {
    tale.act("The daemon is killed under load");
    let before = Counts::read(&world.eu.daemon, US.region)?;
    tale.command("eu-west-1 edge", &format!("kill -9 {}", world.eu.daemon.id().unwrap_or_default()));
    world.eu.daemon.kill()?;
    let mut arrived = Arrived::read(&world.eu.edge)?;
    tale.tell(&format!(
        "No daemon now (the NIC's lease is {LEASE_S} s). What the host's own stack sees of the flood:"
    ));
    let mut held = true;
    for second in 1..=DEAD_SECONDS {
        stop.wait(SECOND)?;
        let now = Arrived::read(&world.eu.edge)?;
        let share = now.rate(&arrived) / ceiling();
        arrived = now;
        tale.tell(&format!(
            "{second:>6} {:>11.0} packets/s, {:.1}% of the ceiling",
            share * ceiling(),
            share * 100.0
        ));
        held &= share > 0.0 && share <= MOST_SHARE;
    }
    tale.check("the NIC went on enforcing with no daemon at all", held);
    let home = curl(&world.eu.client, &["http://203.0.113.2/"])?;
    tale.tell(&format!("(a request now: {})", if home.status == 0 { "no connection" } else { "answered" }));
    tale.tell("It is started again and adopts what is pinned.");
    world.eu.daemon.run()?;
    let after = Counts::read(&world.eu.daemon, US.region)?;
    tale.check(
        "its counters went on: nothing lost, nothing back",
        after.shed > before.shed && after.passed > before.passed,
    );
    Ok(())
}

fn started_again(tale: &mut Tale, world: &World, stop: &Stop) -> Result<()> {
    let before = Counts::read(&world.eu.daemon, US.region)?;
    stop.wait(SECOND)?;
    let now = Counts::read(&world.eu.daemon, US.region)?;
    let (passed, shed) = now.rates(&before);
    let share = passed / ceiling();
    tale.tell(&format!(
        "offered {:.0}/s, admitted {passed:.0}/s, {:.1}% of the ceiling",
        passed + shed,
        share * 100.0
    ));
    let at_most = now.least_passed(&before) <= MOST_SHARE * ceiling();
    tale.check("the same ceiling under the new daemon", shed > 0.0 && at_most);
    let seen = curl(&world.eu.client, &["http://203.0.113.2/"])?;
    tale.check("requests are served again", seen.body == EU.region);
    tidegate(tale, &world.eu, &["status"])
}

/// The most of the ceiling over so many seconds.
const fn most_share(seconds: u32) -> f64 {
    1.0 + TOLERANCE + BURST_S / seconds as f64
}

fn within(share: f64) -> bool {
    (1.0 - TOLERANCE..=most_share(FLOOD_SECONDS)).contains(&share)
}

#[expect(clippy::cast_precision_loss, reason = "a small constant")]
fn ceiling() -> f64 {
    CEILING_PPS as f64
}
