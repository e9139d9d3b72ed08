//! A reload is all or nothing, and one that nobody confirms is undone, also over a crash. Sends no traffic.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_tests::daemon::{Daemon, binary};
use tidegate_tests::lab::Lab;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::Connection;
use tidegate_tests::{foreign, netns};

const BOUND: Duration = Duration::from_secs(60);
const FILE: &str = "[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n";

fn file(limit: u32, more: &str) -> String {
    format!("{FILE}[[ceiling]]\nname = \"everyone\"\nrequests_per_second = {limit}\n{more}")
}

fn limit(daemon: &Daemon) -> Result<u64> {
    let shown: Value = serde_json::from_str(&daemon.tell(&["ceiling", "show", "everyone", "--json"])?)?;
    shown["limits"][0]["limit"].as_u64().context("a limit")
}

/// The reload is refused with this exit status and these words, and the ceiling is as it was.
fn refused(daemon: &Daemon, status: i32, words: &str) -> Result<()> {
    let done = daemon.ask(&["reload"])?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.code() == Some(status), "{words}: {} {said}", done.status);
    ensure!(said.contains("nothing changed") && said.contains(words), "{words}: {said}");
    ensure!(limit(daemon)? == 1_000, "{words}: the ceiling changed");
    Ok(())
}

#[test]
fn what_cannot_be_done_changes_nothing() -> Result<()> {
    let mut daemon = Daemon::prepare(None, "eu", &file(1_000, ""))?;
    daemon.run()?;
    let taken = TcpListener::bind("127.2.0.2:0")?;
    let free = free_address()?;
    let listener = |name: &str, at: &str| {
        format!("[[listener]]\nname = {name:?}\naddress = \"{at}\"\nupstream = \"origin\"\n")
    };
    let upstream = "[[upstream]]\nname = \"origin\"\nendpoints = [\"http://127.0.0.1:9\"]\n";
    let both =
        [upstream, &listener("one", &free.to_string()), &listener("two", &taken.local_addr()?.to_string())];
    daemon.configure("eu", &file(2_000, &both.concat()))?;
    refused(&daemon, 1, "listener \"two\" can't listen on")?;
    ensure!(Connection::open("127.0.0.1", free).is_err(), "nor is the other one opened");
    daemon.configure("eu", &file(2_000, "[log]\nlevel = \"debug\"\n"))?;
    refused(&daemon, 1, "[log]")?;
    // A ceiling without limits is warned of, and stands before the fault.
    let faulty = file(2_000, "[[ceiling]]\nname = \"idle\"\nnonsense = 1\n");
    daemon.configure("eu", &faulty)?;
    refused(&daemon, 2, "1 faults")?;
    let status = daemon.tell(&["status"])?;
    let failed = status.lines().find(|line| line.contains("the last reload failed")).unwrap_or_default();
    ensure!(failed.contains("nonsense"), "the fault is told, and no warning in its place: {status}");
    daemon.configure("eu", &file(2_000, &[upstream, &listener("one", &free.to_string())].concat()))?;
    daemon.tell(&["reload"])?;
    ensure!(limit(&daemon)? == 2_000 && Connection::open("127.0.0.1", free).is_ok());
    Ok(())
}

#[test]
fn a_nic_that_refuses_changes_nothing() -> Result<()> {
    let missing = tidegate::kernel::object().err().map(|missing| missing.to_string());
    if let Some(reason) = netns::unavailable().map(str::to_owned).or(missing) {
        eprintln!("skipped: a_nic_that_refuses_changes_nothing: {reason}");
        return Ok(());
    }
    let lab = Lab::new()?;
    foreign::attach(&lab.host, "e0", "xdpgeneric")?;
    let mut daemon = Daemon::prepare(Some(&lab.host), "eu", &file(1_000, ""))?;
    daemon.run()?;
    daemon.configure("eu", &file(2_000, "[xdp]\ninterfaces = [\"e0\"]\nports = [80]\n"))?;
    refused(&daemon, 1, "XDP program that is not this instance's")?;
    let status: Value = serde_json::from_str(&daemon.tell(&["status", "--json"])?)?;
    ensure!(status["nic"]["state"] == "off", "{}", status["nic"]);
    lab.host.ip(&["link", "set", "dev", "e0", "xdpgeneric", "off"])?;
    daemon.tell(&["reload"])?;
    ensure!(limit(&daemon)? == 2_000);
    Ok(())
}

/// What was set by hand of a ceiling that is gone waits for its return, or is taken back.
#[test]
fn what_was_set_of_a_ceiling_that_is_gone_can_be_taken_back() -> Result<()> {
    let daemon = Daemon::start(None, "eu", &file(1_000, ""))?;
    daemon.tell(&["ceiling", "set", "everyone", "requests_per_second=77"])?;
    daemon.configure("eu", FILE)?;
    daemon.tell(&["reload"])?;
    let status = daemon.tell(&["status"])?;
    ensure!(status.contains("no longer in the file: it has no effect"), "{status}");
    ensure!(daemon.ask(&["ceiling", "set", "everyone", "requests_per_second=5"])?.status.code() == Some(1));
    let told = daemon.tell(&["ceiling", "reset", "everyone"])?;
    ensure!(told.contains("77 -> not in the file"), "{told}");
    ensure!(daemon.ask(&["ceiling", "reset", "everyone"])?.status.code() == Some(1), "nothing is left");
    let status = daemon.tell(&["status"])?;
    ensure!(!status.contains("different from the file") && !status.contains("no effect"), "{status}");
    Ok(())
}

/// Lists, addresses and reloads that run out go by while nothing is attached; only a reload attaches again.
#[test]
fn what_was_detached_stays_off_until_a_reload() -> Result<()> {
    let missing = tidegate::kernel::object().err().map(|missing| missing.to_string());
    if let Some(reason) = netns::unavailable().map(str::to_owned).or(missing) {
        eprintln!("skipped: what_was_detached_stays_off_until_a_reload: {reason}");
        return Ok(());
    }
    let lab = Lab::new()?;
    let daemon =
        Daemon::start(Some(&lab.host), "eu", &file(1_000, "[xdp]\ninterfaces = [\"e0\"]\nports = [80]\n"))?;
    let is_on = || lab.host.ip(&["link", "show", "dev", "e0"]).map(|shown| shown.contains("prog/xdp"));
    ensure!(is_on()?, "it is on from the start");
    daemon.tell(&["reload", "--confirm", "10s"])?;
    let mut elsewhere = lab.host.command("unshare");
    elsewhere.args(["--mount", "sh", "-c", "umount --lazy /sys/fs/bpf; exec \"$@\"", "sh"]).arg(binary()?);
    let done = elsewhere.arg("--socket").arg(daemon.socket()).arg("detach").output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.code() == Some(1) && said.contains("another mount namespace") && is_on()?,
        "{done:?}"
    );
    daemon.tell(&["detach"])?;
    ensure!(daemon.tell(&["detach"])?.contains("nothing was pinned"), "twice does no harm");
    let told = daemon.tell(&["deny", "add", "198.51.100.0/24", "--for", "1s"])?;
    ensure!(told.contains("stays off until a reload") && !is_on()?, "{told}");
    wait_until("status says so", BOUND, || {
        let status = daemon.tell(&["status"]).unwrap_or_default();
        status.contains("detached · lease none") && status.contains("  e0 detached")
    })?;
    lab.host.ip(&["addr", "add", "203.0.113.77/32", "dev", "e0"])?;
    daemon.wait_log("local addresses changed", BOUND)?;
    ensure!(!is_on()?, "by an address");
    wait_until("the list and the reload run out", BOUND, || {
        daemon
            .tell(&["status"])
            .is_ok_and(|status| !status.contains("undone at") && !status.contains("198.51.100"))
    })?;
    ensure!(!is_on()?, "by what ran out");
    daemon.tell(&["reload"])?;
    ensure!(is_on()?, "a reload attaches again");
    Ok(())
}

#[test]
fn an_unconfirmed_reload_is_undone_over_a_crash() -> Result<()> {
    let mut daemon = Daemon::prepare(None, "eu", &file(1_000, ""))?;
    daemon.run()?;
    daemon.configure("eu", &file(2_000, ""))?;
    // Long enough for a start in between on a slow machine.
    daemon.tell(&["reload", "--confirm", "20s"])?;
    ensure!(limit(&daemon)? == 2_000);
    ensure!(
        daemon.tell(&["status"])?.contains("the last reload is undone at "),
        "status says what is to come"
    );
    daemon.kill()?;
    daemon.run()?;
    ensure!(limit(&daemon)? == 2_000, "it may still be confirmed");
    wait_until("it is undone", BOUND, || limit(&daemon).is_ok_and(|limit| limit == 1_000))?;
    daemon.kill()?;
    daemon.run()?;
    ensure!(limit(&daemon)? == 1_000, "and stays undone");
    ensure!(daemon.tell(&["status"])?.contains("not confirmed"));
    daemon.tell(&["reload"])?;
    ensure!(limit(&daemon)? == 2_000, "a reload says it again, for good");
    daemon.kill()?;
    daemon.run()?;
    ensure!(limit(&daemon)? == 2_000);
    Ok(())
}

/// A file that was not changed is no other one when its reload runs out; geo records that were read with it are.
#[test]
fn an_unconfirmed_reload_of_the_same_file_says_nothing_differs() -> Result<()> {
    let daemon = Daemon::prepare(None, "eu", "")?;
    let feed = daemon.folder().write("feed.csv", "192.0.2.0/24,FR,,,\n")?;
    let mut daemon = daemon;
    daemon.configure("eu", &format!("[[region]]\nname = \"eu\"\n[geo]\ngeofeeds = [{feed:?}]\n[[geo.record]]\nregion = \"eu\"\ncountries = [\"FR\"]\n"))?;
    daemon.run()?;
    let undone = |generation: u64| {
        let after = format!("configuration {generation} ");
        wait_until("it is undone", BOUND, || {
            daemon
                .tell(&["status"])
                .is_ok_and(|status| status.contains(&after) && !status.contains("undone at"))
        })
    };
    daemon.tell(&["reload", "--confirm", "1s"])?;
    undone(3)?;
    let status = daemon.tell(&["status"])?;
    ensure!(!status.contains("not confirmed"), "{status}");
    daemon.folder().write("feed.csv", "192.0.2.0/24,FR,,,\n198.51.100.0/24,FR,,,\n")?;
    daemon.tell(&["reload", "--confirm", "1s"])?;
    undone(5)?;
    let status = daemon.tell(&["status"])?;
    ensure!(status.contains("geo records before it are in force again"), "{status}");
    daemon.kill()?;
    daemon.run()?;
    let status = daemon.tell(&["status"])?;
    ensure!(!status.contains("not confirmed"), "a start reads both anew: {status}");
    Ok(())
}

#[test]
fn what_is_confirmed_or_written_anew_stays() -> Result<()> {
    let mut daemon = Daemon::prepare(None, "eu", &file(1_000, ""))?;
    daemon.run()?;
    daemon.configure("eu", &file(2_000, ""))?;
    daemon.tell(&["reload", "--confirm", "300s"])?;
    daemon.tell(&["confirm"])?;
    daemon.kill()?;
    daemon.run()?;
    ensure!(limit(&daemon)? == 2_000 && daemon.ask(&["confirm"])?.status.code() == Some(1), "nothing waits");
    daemon.configure("eu", &file(3_000, ""))?;
    daemon.tell(&["reload", "--confirm", "1s"])?;
    wait_until("it is undone", BOUND, || limit(&daemon).is_ok_and(|limit| limit == 2_000))?;
    daemon.configure("eu", &file(4_000, ""))?;
    daemon.kill()?;
    daemon.run()?;
    ensure!(limit(&daemon)? == 4_000, "somebody wrote the file since");
    Ok(())
}
