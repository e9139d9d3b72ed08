//! What operators changed, under kills and under failing system calls: nothing acknowledged is lost, nothing refused comes back,
//! nothing is torn. `TIDEGATE_STATE_KILLS` asks for another number of kills.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::fault::{self, Fault, When};
use tidegate_tests::http;
use tidegate_tests::process::wait_until;

const FILE: &str =
    "[[region]]\nname = \"north\"\n[[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1_000\n";
const KILLS: u64 = 15;
const SOON: Duration = Duration::from_secs(60);

fn set(socket: &Path, limit: u64) -> Result<http::Response> {
    let body = format!("{{\"requests_per_second\": {limit}}}");
    http::unix(socket, "PATCH", "/v1/ceilings/everyone", body.as_bytes())
}

fn limit(daemon: &Daemon) -> Result<u64> {
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.tell(&["ceiling", "show", "everyone", "--json"])?)?;
    shown["limits"][0]["limit"].as_u64().context("a limit")
}

/// Each kill comes at another moment of a stream of changes; whatever was acknowledged is there afterwards.
#[test]
fn kills_between_and_inside_of_writes_lose_nothing_that_was_acknowledged() -> Result<()> {
    let asked = std::env::var("TIDEGATE_STATE_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u64 = asked.unwrap_or(KILLS);
    let mut daemon = Daemon::start(None, "north", FILE)?;
    let next = daemon.folder().file("state").join(daemon.instance()).join("state.next");
    let acknowledged = AtomicU64::new(0);
    let (mut inside, mut unanswered) = (0, 0);
    for round in 0..kills {
        let socket = daemon.socket();
        std::thread::scope(|scope| -> Result<()> {
            let changes = scope.spawn(|| {
                for limit in (round * 1_000 + 1).. {
                    match set(&socket, limit) {
                        Ok(answer) if answer.status == 200 => acknowledged.store(limit, Ordering::SeqCst),
                        _ => return,
                    }
                }
            });
            let enough = round * 1_000 + 1 + round % 7;
            wait_until("some changes", SOON, || acknowledged.load(Ordering::SeqCst) >= enough)?;
            // tidy: sleep because the moment of the kill is another one in each round, from now to 5 ms on.
            std::thread::sleep(Duration::from_micros(round * 1_237 % 5_000));
            daemon.kill()?;
            changes.join().map_err(|_| anyhow::anyhow!("the changing thread panicked"))
        })?;
        inside += u64::from(next.exists());
        daemon.run()?;
        let (found, last) = (limit(&daemon)?, acknowledged.load(Ordering::SeqCst));
        // The one change under way may be there as well: it was never answered.
        ensure!(found == last || found == last + 1, "round {round}: {found} after {last} was acknowledged");
        unanswered += found - last;
    }
    println!("{kills} kills: {inside} before the rename, {unanswered} after it and before the answer");
    let log = std::fs::read_to_string(daemon.log())?;
    ensure!(!log.contains("could not be read back"), "{log}");
    Ok(())
}

#[test]
fn a_failing_call_of_a_save_refuses_the_change_and_a_restart_agrees() -> Result<()> {
    if let Some(why) = fault::unavailable() {
        println!("skipped: {why}");
        return Ok(());
    }
    let mut daemon = Daemon::start(None, "north", FILE)?;
    let folder = daemon.folder().file("state").join(daemon.instance());
    let next = folder.join("state.next");
    let calls = [
        ("openat", &next),
        ("write", &next),
        ("fsync", &next),
        ("rename", &next),
        ("openat", &folder),
        ("fsync", &folder),
    ];
    let mut last = 1;
    ensure!(set(&daemon.socket(), last)?.status == 200, "the first change");
    for error in ["ENOSPC", "EIO", "EINTR"] {
        for (call, path) in calls {
            let place = format!("{error} at {call} of {}", path.display());
            let fault = Fault::on(&daemon, call, path, (error, When::First))?;
            let answer = set(&daemon.socket(), last + 1)?;
            ensure!(fault.end()?, "{place}: no such call was made");
            // An interrupted call is made again, except rename, of which no system says that it can be interrupted.
            let expected = if error == "EINTR" && call != "rename" { 200 } else { 500 };
            ensure!(answer.status == expected, "{place}: {} {}", answer.status, answer.text());
            ensure!(
                expected == 200 || answer.text().contains("nothing changed"),
                "{place}: {}",
                answer.text()
            );
            last += u64::from(answer.status == 200);
            ensure!(limit(&daemon)? == last, "{place}: {} is in force, not {last}", limit(&daemon)?);
            daemon.kill()?;
            daemon.run()?;
            ensure!(limit(&daemon)? == last, "{place}: {} after a restart, not {last}", limit(&daemon)?);
        }
    }
    let log = std::fs::read_to_string(daemon.log())?;
    ensure!(!log.contains("could not be read back"), "{log}");
    Ok(())
}
