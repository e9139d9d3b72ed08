//! The NIC across daemons: counters kept, enforcement that outlives a SIGKILL, the lease, maps that do not fit, swaps under traffic.
//! Needs root and the kernel program; says so and passes without.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_tests::lab::{CLIENT, FAR, HOST, OTHER, eventually};
use tidegate_tests::nic_daemon::{Bench, NicDaemon};
use tidegate_tests::traffic::{Stream, Tally};

const DAEMON: &str = env!("CARGO_BIN_EXE_tidegate-nic-daemon");
const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_micros(300);
/// Long enough to be renewed in time by a busy machine.
const LEASE_MS: u64 = 3_000;

fn bench(test: &str) -> Option<Bench> {
    Bench::new(DAEMON, test).expect("a lab")
}

#[test]
fn a_killed_daemon_leaves_enforcement_and_its_counters() -> Result<()> {
    let Some(bench) = bench("a_killed_daemon_leaves_enforcement_and_its_counters") else { return Ok(()) };
    let inbox = bench.lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let words = format!("on=e0 port={} deny=198.51.100.0/24", target.port());
    let mut first = bench.start(30_000)?;
    first.apply(&words)?;
    let far = bench.lab.sender(FAR)?;
    let send = |count| (0..count).try_for_each(|_| far.send_to(b"x", target).map(drop));
    send(10)?;
    first.kill()?;
    send(10)?;
    let mut second = bench.start(30_000)?;
    ensure!(second.report()?.of("denied") == 20, "before loading: {:?}", second.report()?);
    ensure!(second.apply(&words)?.contains("adopted=true"), "not adopted");
    send(10)?;
    let report = second.report()?;
    ensure!(report.of("denied") == 30 && report.word("adopted") == "true", "{report:?}");
    ensure!(report.word("on.e0").contains("adopted:_true"), "{report:?}");
    ensure!(inbox.recv(&mut [0; 8]).is_err(), "a denied datagram arrived");
    Ok(())
}

#[test]
fn counters_never_pass_from_one_region_to_another() -> Result<()> {
    let Some(bench) = bench("counters_never_pass_from_one_region_to_another") else { return Ok(()) };
    let inbox = bench.lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let words = format!("on=e0 port={} home=2,203.0.113.0/24", target.port());
    let mut daemon = bench.start(30_000)?;
    daemon.apply(&format!("{words} region=eu region=us"))?;
    let other = bench.lab.sender(OTHER)?;
    (0..7).try_for_each(|_| other.send_to(b"x", target).map(drop))?;
    let of_second = |daemon: &mut NicDaemon| -> Result<u64> {
        Ok(daemon.report()?.packets.get(&("within".to_owned(), 2)).copied().unwrap_or(0))
    };
    ensure!(of_second(&mut daemon)? == 7, "{:?}", daemon.report()?);
    // A region more at the end changes nothing for those before it.
    daemon.apply(&format!("{words} region=eu region=us region=ap"))?;
    ensure!(of_second(&mut daemon)? == 7, "lost: {:?}", daemon.report()?);
    daemon.kill()?;
    let mut daemon = bench.start(30_000)?;
    daemon.apply(&format!("{words} region=eu region=ap region=us"))?;
    ensure!(of_second(&mut daemon)? == 0, "us' packets are ap's now: {:?}", daemon.report()?);
    Ok(())
}

#[test]
fn everything_passes_once_the_lease_has_ended_until_a_daemon_is_back() -> Result<()> {
    let Some(bench) = bench("everything_passes_once_the_lease_has_ended_until_a_daemon_is_back") else {
        return Ok(());
    };
    let inbox = bench.lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let words = format!("on=e0 port={} deny=198.51.100.0/24", target.port());
    let far = bench.lab.sender(FAR)?;
    let arrives = || -> Result<bool> {
        far.send_to(b"x", target)?;
        Ok(inbox.recv(&mut [0; 8]).is_ok())
    };
    let mut daemon = bench.start(LEASE_MS)?;
    daemon.apply(&words)?;
    // The lease is renewed: two leases later the source is still denied.
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(5 * LEASE_MS / 2) {
        ensure!(!arrives()?, "a denied datagram arrived under a daemon");
    }
    daemon.kill()?;
    eventually("passes after the lease", SOON, arrives)?;
    let mut daemon = bench.start(LEASE_MS)?;
    ensure!(daemon.report()?.word("lease") == "none", "an ended lease is not renewed before the plan is new");
    daemon.apply(&words)?;
    ensure!(!arrives()?, "not enforced again");
    ensure!(daemon.report()?.of("lease_expired") > 0, "not counted");
    Ok(())
}

#[test]
fn maps_of_another_layout_are_refused_and_left() -> Result<()> {
    let Some(bench) = bench("maps_of_another_layout_are_refused_and_left") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 port=9")?;
    daemon.kill()?;
    let pin = format!("{}/{}/maps/BUCKETS", tidegate_common::names::PIN_ROOT, bench.instance());
    std::fs::remove_file(&pin)?;
    bpftool(&[
        "map", "create", &pin, "type", "array", "key", "4", "value", "32", "entries", "256", "name", "x",
    ])?;
    let refused = format!("{:#}", bench.start(30_000).expect_err("another layout"));
    for part in ["BUCKETS", "value 32", "value 64", "nothing was changed", "tidegate detach"] {
        ensure!(refused.contains(part), "{part} is missing in: {refused}");
    }
    ensure!(bench.on_e0()?.contains("name tidegate"), "the program was taken off");
    tidegate::kernel::detach(bench.instance())?;
    bench.start(30_000)?.apply("on=e0 port=9").map(drop)
}

#[test]
fn maps_of_another_abi_version_are_refused() -> Result<()> {
    let Some(bench) = bench("maps_of_another_abi_version_are_refused") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 port=9")?;
    daemon.kill()?;
    let pin = format!("{}/{}/maps/CONTROL", tidegate_common::names::PIN_ROOT, bench.instance());
    let value = ["99"].into_iter().chain(std::iter::repeat_n("0", 63));
    let update = ["map", "update", "pinned", &pin, "key", "0", "0", "0", "0", "value"];
    bpftool(&update.into_iter().chain(value).collect::<Vec<_>>())?;
    let refused = format!("{:#}", bench.start(30_000).expect_err("another version"));
    ensure!(refused.contains("ABI version 99") && refused.contains("needs 1"), "{refused}");
    Ok(())
}

#[test]
fn what_a_daemon_left_half_done_is_completed() -> Result<()> {
    let Some(bench) = bench("what_a_daemon_left_half_done_is_completed") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 port=9")?;
    daemon.kill()?;
    let folder = format!("{}/{}", tidegate_common::names::PIN_ROOT, bench.instance());
    // As if the daemon had ended while it made maps, and between the two steps of pinning the program.
    std::fs::remove_file(format!("{folder}/maps/STASH"))?;
    std::fs::rename(format!("{folder}/program"), format!("{folder}/program-next"))?;
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 port=9")?;
    ensure!(bench.pins()? == ["link-e0", "maps", "program"], "{:?}", bench.pins()?);
    ensure!(daemon.report()?.word("on.e0").starts_with("Attached"), "{:?}", daemon.report()?);
    Ok(())
}

#[test]
fn a_program_is_swapped_under_traffic_without_a_gap() -> Result<()> {
    let Some(bench) = bench("a_program_is_swapped_under_traffic_without_a_gap") else { return Ok(()) };
    let lab = &bench.lab;
    let inbox = lab.listen()?;
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let mut daemon = bench.start(30_000)?;
    // Each plan differs (another port), so that each is a program of its own. No packet of region 2 is within its ceiling of 0.
    let words = |round: u16| {
        format!(
            "on=e0 port={} port={} deny=198.51.100.0/24 home=2,203.0.113.0/24 limit=2,packets,0,100",
            target.port(),
            1 + round
        )
    };
    daemon.apply(&words(0))?;
    let tally = Tally::start(inbox)?;
    let start = |source| Ok::<_, anyhow::Error>(Stream::start(lab.sender(source)?, target, PAUSE));
    let (fine, denied, over) = (start(CLIENT)?, start(FAR)?, start(OTHER)?);
    let mut programs = std::collections::BTreeSet::new();
    for round in 1..=50 {
        daemon.apply(&words(round))?;
        programs.insert(daemon.report()?.word("program").to_owned());
    }
    let (fine, denied, over) = (fine.stop()?, denied.stop()?, over.stop()?);
    let arrived = tally.stop()?;
    ensure!(programs.len() == 50, "{} programs", programs.len());
    ensure!(arrived.get(&CLIENT.into()) == Some(&fine), "{fine} sent, arrived {arrived:?}");
    ensure!(arrived.len() == 1, "of {denied} denied and {over} over the ceiling some arrived: {arrived:?}");
    let report = daemon.report()?;
    ensure!(
        (report.of("denied"), report.of("region_packets")) == (denied, over),
        "{denied} {over} {report:?}"
    );
    Ok(())
}

fn bpftool(arguments: &[&str]) -> Result<()> {
    let output = Command::new("bpftool").args(arguments).output()?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
