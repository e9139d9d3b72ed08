//! `watch`: what it tells of and what it leaves out. Sends no traffic.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_tests::daemon::Daemon;
use tidegate_tests::process::{Process, wait_until};

const BOUND: Duration = Duration::from_secs(60);
/// A ramp that moves two of its limits by thousands while it is looked at.
const FILE: &str = "[[region]]\nname = \"north\"\n[[region]]\nname = \"south\"\n\
    [[ceiling]]\nname = \"moving\"\nrequests_per_second = 1_000\npackets_per_second = 400_000_000\nbits_per_second = \"10Tbit\"\n\
    ramp = { on = [\"start\"], from = 0.1, over = \"10m\" }\n";

fn watch(daemon: &Daemon, kinds: &str, to: &Path) -> Result<Process> {
    let mut command = daemon.command_line();
    command.args(["--json", "watch", "--kind", kinds]);
    Process::spawn("watch", &mut command, to)
}

fn told(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Changes something until `watch` is there to see it, and then once more.
fn change_before_its_eyes(daemon: &Daemon, file: &Path) -> Result<()> {
    let mut limit = 10;
    let mut seen = |least: usize| {
        wait_until("watch tells of it", BOUND, || {
            limit += 1;
            let change = format!("requests_per_second={limit}");
            daemon.ask(&["ceiling", "set", "moving", &change]).is_ok() && told(file).len() >= least
        })
    };
    seen(1)?;
    seen(20)
}

#[test]
fn only_what_was_changed_is_told_whatever_ramps_do_meanwhile() -> Result<()> {
    let daemon = Daemon::start(None, "north", FILE)?;
    let file = daemon.folder().file("ceiling.ndjson");
    let _watch = watch(&daemon, "ceiling", &file)?;
    change_before_its_eyes(&daemon, &file)?;
    for event in told(&file) {
        ensure!(event["kind"] == "ceiling" && event["measure"] == "requests_per_second", "{event}");
        ensure!(event["cause"] == "operator" && event["ceiling"] == "moving", "{event}");
    }
    Ok(())
}

#[test]
fn only_the_kinds_that_were_asked_for_are_told() -> Result<()> {
    let daemon = Daemon::start(None, "north", FILE)?;
    let file = daemon.folder().file("admin.ndjson");
    let _watch = watch(&daemon, "failover,admin", &file)?;
    change_before_its_eyes(&daemon, &file)?;
    daemon.tell(&["failover", "on", "south"])?;
    wait_until("the failover", BOUND, || told(&file).iter().any(|event| event["kind"] == "failover"))?;
    wait_until("its admin event", BOUND, || {
        told(&file).iter().any(|event| event["what"] == "failover south")
    })?;
    for event in told(&file) {
        ensure!(event["kind"] == "admin" || event["kind"] == "failover", "{event}");
    }
    Ok(())
}
