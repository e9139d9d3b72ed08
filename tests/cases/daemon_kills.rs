//! The whole daemon killed a hundred times at random moments under traffic: no second without enforcement, no allowed packet lost,
//! counters that never go back, each start adopts. Needs root and a daemon built with the kernel program; says so and passes without.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_tests::chance::Chance;
use tidegate_tests::daemon::{self, Daemon};
use tidegate_tests::lab::{CLIENT, FAR, HOST, Lab, OTHER};
use tidegate_tests::netns;
use tidegate_tests::process::wait_until;
use tidegate_tests::traffic::{Stream, Tally};

const KILLS: u32 = 100;
/// Packets per second that may come from region `us`.
const CEILING: u64 = 100;
const PAUSE: Duration = Duration::from_micros(500);

/// The configuration but for `[host]` and `[admin]`; `us` is the third source's home, the second is denied.
fn configuration(port: u16) -> String {
    format!(
        r#"
[[region]]
name = "eu"
[[region]]
name = "us"
[geo]
default_region = "eu"
[[geo.record]]
region = "us"
prefixes = ["203.0.113.0/24"]
[[ceiling]]
name = "from-us"
home = "us"
packets_per_second = {CEILING}
burst = "100ms"
over = "drop"
[xdp]
interfaces = ["e0"]
ports = [{port}]
deny = ["198.51.100.0/24"]
lease = "30s"
"#
    )
}

#[test]
fn a_hundred_kills_of_the_daemon_leave_no_gap() -> Result<()> {
    if let Some(reason) = unavailable() {
        eprintln!("skipped: a_hundred_kills_of_the_daemon_leave_no_gap: {reason}");
        return Ok(());
    }
    let mut chance = Chance::new()?;
    let lab = Lab::new()?;
    let inbox = lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let mut daemon = Daemon::prepare(Some(&lab.host), "eu", &configuration(target.port()))?;
    let began = Instant::now();
    daemon.run()?;
    let window_us = u64::try_from(began.elapsed().as_micros())? * 3 / 2;
    let tally = Tally::start(inbox)?;
    let start = |source| Ok::<_, anyhow::Error>(Stream::start(lab.sender(source)?, target, PAUSE));
    let began = Instant::now();
    let (fine, denied, over) = (start(CLIENT)?, start(FAR)?, start(OTHER)?);
    let mut before = counters(&daemon)?;
    for round in 1..=KILLS / 2 {
        daemon.kill()?;
        daemon.launch()?;
        // tidy: sleep because the moment of the kill is what is random.
        std::thread::sleep(Duration::from_micros(chance.below(window_us)));
        daemon.kill()?;
        daemon.run()?;
        let now = counters(&daemon)?;
        never_less(&before, &now).with_context(|| format!("round {round}"))?;
        ensure!(has_adopted(&daemon)?, "round {round}: nothing was adopted");
        before = now;
    }
    let (fine, denied, over) = (fine.stop()?, denied.stop()?, over.end()?);
    let busy = over.busy_tenths;
    let over = over.datagrams;
    let seconds = began.elapsed().as_secs_f64();
    let arrived = tally.stop()?;
    println!(
        "{seconds:.1} s; sent: {fine} allowed, {denied} denied, {over} to the ceiling; arrived {arrived:?}"
    );
    let of = |source: std::net::Ipv4Addr| arrived.get(&source.into()).copied().unwrap_or(0);
    ensure!(of(CLIENT) == fine, "{fine} sent, {} arrived", of(CLIENT));
    ensure!(of(FAR) == 0, "{} denied ones arrived", of(FAR));
    let most = CEILING as f64 * (seconds * 1.02 + 0.1);
    ensure!(of(OTHER) as f64 <= most, "{} arrived, the ceiling allows {most:.0}", of(OTHER));
    // In each tenth of a second in which there was more than the ceiling, about a tenth of the ceiling comes through.
    ensure!(
        busy > 0 && of(OTHER) >= busy * CEILING / 10 / 2,
        "only {} arrived in {busy} busy tenths",
        of(OTHER)
    );
    let last = counters(&daemon)?;
    ensure!(last.get("denied") == Some(&denied), "{denied} denied, counted {last:?}");
    ensure!(last.get("region_packets") == Some(&(over - of(OTHER))), "{over} sent, counted {last:?}");
    daemon.wait_log("adopted pinned maps", Duration::from_secs(60))
}

/// Whether the daemon took the counters over and is on the interface.
fn has_adopted(daemon: &Daemon) -> Result<bool> {
    let status: serde_json::Value = serde_json::from_str(&daemon.tell(&["--json", "status"])?)?;
    let nic = &status["nic"];
    Ok(nic["adopted"] == true
        && nic["interfaces"][0]["state"] == "attached"
        && nic["interfaces"][0]["adopted"] == true)
}

fn unavailable() -> Option<String> {
    if let Some(reason) = netns::unavailable() {
        return Some(reason.to_owned());
    }
    if let Err(error) = daemon::binary() {
        return Some(format!("{error:#}"));
    }
    tidegate::kernel::object().err().map(|missing| missing.to_string())
}

/// `tidegate_nic_packets_total` by reason, over all regions.
fn counters(daemon: &Daemon) -> Result<BTreeMap<String, u64>> {
    let answer = daemon.admin("GET", "/metrics", "")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("tidegate_nic_packets_total{")) {
        let (labels, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        let reason = labels.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
        *found.entry(reason.context("no reason")?.to_owned()).or_default() += value.parse::<f64>()? as u64;
    }
    Ok(found)
}

fn never_less(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Result<()> {
    for (reason, packets) in before {
        let now = after.get(reason).copied().unwrap_or(0);
        ensure!(now >= *packets, "counter {reason} went back from {packets} to {now}");
    }
    Ok(())
}

#[test]
fn the_program_leaves_debug_lines_for_who_asks_for_them() -> Result<()> {
    if let Some(reason) = unavailable() {
        eprintln!("skipped: the_program_leaves_debug_lines_for_who_asks_for_them: {reason}");
        return Ok(());
    }
    let lab = Lab::new()?;
    let inbox = lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let log = format!("{}[log]\nlevel = \"info,tidegate::nic=debug\"\n", configuration(target.port()));
    let daemon = Daemon::start(Some(&lab.host), "eu", &log)?;
    let denied = lab.sender(FAR)?;
    wait_until("a packet is denied", Duration::from_secs(60), || {
        denied.send_to(b"x", target).is_ok()
            && counters(&daemon).is_ok_and(|now| now.get("denied").is_some_and(|denied| *denied > 0))
    })?;
    let line = format!("IPv4 {FAR} port {} protocol 17, 43 bytes: reason denied", target.port());
    daemon.wait_log(&line, Duration::from_secs(60))
}
