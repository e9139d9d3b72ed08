//! The NIC on interfaces: real packets judged, foreign programs left alone, interfaces that come and go, modes, detach.
//! Needs root and the kernel program; says so and passes without.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::lab::{CLIENT, FAR, HOST, OTHER, eventually};
use tidegate_tests::nic_daemon::{Bench, NicDaemon};
use tidegate_tests::{foreign, lab};

const DAEMON: &str = env!("CARGO_BIN_EXE_tidegate-nic-daemon");
const SOON: Duration = Duration::from_secs(60);

/// A lab and an instance, or `None` where they cannot be had.
fn bench(test: &str) -> Option<Bench> {
    Bench::new(DAEMON, test).expect("a lab")
}

#[test]
fn denied_sources_are_shed_and_all_others_served() -> Result<()> {
    let Some(bench) = bench("denied_sources_are_shed_and_all_others_served") else { return Ok(()) };
    let (lab, inbox) = (&bench.lab, bench.lab.listen()?);
    let target = SocketAddr::new(HOST.into(), inbox.local_addr()?.port());
    let mut daemon = bench.start(30_000)?;
    daemon.apply(&format!("on=e0 port={} deny=198.51.100.0/24", target.port()))?;
    for (source, count) in [(FAR, 20), (CLIENT, 30)] {
        let socket = lab.sender(source)?;
        for _ in 0..count {
            socket.send_to(b"x", target)?;
        }
    }
    let mut arrived = Vec::new();
    while let Ok((_, from)) = inbox.recv_from(&mut [0; 8]) {
        arrived.push(from.ip());
    }
    ensure!(arrived.len() == 30 && arrived.iter().all(|from| *from == CLIENT), "arrived: {arrived:?}");
    let report = daemon.report()?;
    ensure!(report.of("denied") == 20, "{report:?}");
    ensure!(report.of("within") == 30, "{report:?}");
    eventually("an event tells of it", SOON, || Ok(daemon.order("events")? != "0"))
}

#[test]
fn a_foreign_program_is_named_and_left_alone_until_it_goes() -> Result<()> {
    let Some(bench) = bench("a_foreign_program_is_named_and_left_alone_until_it_goes") else { return Ok(()) };
    for (how, mode) in [("xdpdrv", "native"), ("xdpgeneric", "generic")] {
        foreign::attach(&bench.lab.host, "e0", how)?;
        let mut daemon = bench.start(30_000)?;
        let refused = daemon.apply("on=e0 port=9").expect_err("somebody's program is there");
        let refused = format!("{refused:#}");
        for part in ["interface e0", foreign::NAME, "(id ", mode, "left alone"] {
            ensure!(refused.contains(part), "{part} is missing in: {refused}");
        }
        ensure!(bench.on_e0()?.contains(foreign::NAME), "it is gone");
        ensure!(daemon.report()?.word("on.e0").starts_with("Failed"), "status does not tell");
        bench.lab.host.ip(&["link", "set", "dev", "e0", how, "off"])?;
        eventually("attached once the foreign program left", SOON, || {
            Ok(bench.on_e0()?.contains("name tidegate"))
        })?;
        daemon.kill()?;
        tidegate::kernel::detach(bench.instance())?;
    }
    Ok(())
}

#[test]
fn another_instance_is_foreign_too_and_is_named() -> Result<()> {
    let Some(bench) = bench("another_instance_is_foreign_too_and_is_named") else { return Ok(()) };
    let mut first = bench.start(30_000)?;
    first.apply("on=e0 port=9")?;
    let other = tidegate_tests::nic_daemon::Instance::new();
    let mut second = NicDaemon::start(DAEMON, &bench.lab.host, &other.0, 30_000)?;
    let refused = format!("{:#}", second.apply("on=e0 port=9").expect_err("occupied"));
    ensure!(refused.contains(&format!("instance \"{}\"", bench.instance())), "{refused}");
    ensure!(first.report()?.word("on.e0").starts_with("Attached"), "the first lost its interface");
    Ok(())
}

#[test]
fn one_daemon_per_instance() -> Result<()> {
    let Some(bench) = bench("one_daemon_per_instance") else { return Ok(()) };
    let _first = bench.start(30_000)?;
    let refused = format!("{:#}", bench.start(30_000).expect_err("held"));
    ensure!(refused.contains("another tidegate daemon holds"), "{refused}");
    Ok(())
}

#[test]
fn an_interface_that_comes_back_is_attached_again() -> Result<()> {
    let Some(bench) = bench("an_interface_that_comes_back_is_attached_again") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    let missing = format!("{:#}", daemon.apply("on=e1 port=9").expect_err("no such interface"));
    ensure!(missing.contains("no interface \"e1\""), "{missing}");
    daemon.apply("on=e0 port=9")?;
    bench.lab.cut()?;
    eventually("status says missing", SOON, || Ok(daemon.report()?.word("on.e0") == "Missing"))?;
    bench.lab.join()?;
    eventually("attached to the new interface", SOON, || Ok(bench.on_e0()?.contains("name tidegate")))
}

#[test]
fn an_interface_that_is_no_longer_wanted_is_left() -> Result<()> {
    let Some(bench) = bench("an_interface_that_is_no_longer_wanted_is_left") else { return Ok(()) };
    let host = &bench.lab.host;
    // bpffs has no dots in names, VLAN interfaces do; a veth named like one will do.
    host.ip(&["link", "add", "e0.7", "type", "veth", "peer", "name", "p7"])?;
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 on=e0.7 port=9")?;
    for interface in ["on.e0", "on.e0.7"] {
        ensure!(daemon.report()?.word(interface).contains("Native"), "{interface}");
    }
    daemon.apply("on=e0.7 port=9")?;
    ensure!(!bench.on_e0()?.contains("xdp"), "still on e0");
    ensure!(bench.pins()? == ["link-e0%2e7", "maps", "program"], "{:?}", bench.pins()?);
    daemon.apply("port=9")?;
    ensure!(bench.pins()? == ["maps", "program"], "{:?}", bench.pins()?);
    Ok(())
}

#[test]
fn modes_are_as_asked_for_and_status_says_which() -> Result<()> {
    let Some(bench) = bench("modes_are_as_asked_for_and_status_says_which") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    for (mode, expected) in
        [("auto", "Native"), ("generic", "Generic"), ("native", "Native"), ("auto", "Native")]
    {
        daemon.apply(&format!("on=e0 port=9 mode={mode}"))?;
        let state = daemon.report()?.word("on.e0").to_owned();
        ensure!(state.contains(expected), "{mode}: {state}");
    }
    daemon.apply("port=9")?;
    // A veth pair takes no native program with frames of 3,520 bytes or more.
    bench.lab.host.ip(&["link", "set", "e0", "mtu", "9000"])?;
    bench.lab.client.ip(&["link", "set", "c0", "mtu", "9000"])?;
    let refused = format!("{:#}", daemon.apply("on=e0 port=9 mode=native").expect_err("not native"));
    ensure!(
        refused.contains("e0 refuses the program in native mode") && refused.contains("auto"),
        "{refused}"
    );
    daemon.apply("on=e0 port=9 mode=auto")?;
    ensure!(daemon.report()?.word("on.e0").contains("Generic"), "auto falls back");
    Ok(())
}

#[test]
fn detach_works_with_and_without_a_daemon() -> Result<()> {
    let Some(bench) = bench("detach_works_with_and_without_a_daemon") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 port=9")?;
    let done = tidegate::kernel::detach(bench.instance())?;
    ensure!(
        done.interfaces == ["e0"] && done.removed.len() == tidegate_common::names::SHARED_MAPS.len() + 5,
        "{done:?}"
    );
    ensure!(!bench.on_e0()?.contains("xdp"), "still on e0");
    let judged = daemon.order(&format!("explain {}", frame(CLIENT))).map_err(|error| format!("{error:#}"));
    ensure!(judged.as_ref().is_err_and(|told| told.contains("nothing is attached")), "{judged:?}");
    eventually("the daemon sees it", SOON, || Ok(daemon.report()?.word("state") == "Detached"))?;
    ensure!(tidegate::kernel::detach(bench.instance())?.is_nothing(), "nothing is left to remove");
    daemon.apply("on=e0 port=9").context("a reload attaches again")?;
    ensure!(bench.on_e0()?.contains("name tidegate"), "not attached again");
    daemon.order(&format!("explain {}", frame(CLIENT))).context("a verdict again")?;
    daemon.kill()?;
    ensure!(bench.on_e0()?.contains("name tidegate"), "gone with the daemon");
    ensure!(!tidegate::kernel::detach(bench.instance())?.is_nothing(), "nothing was removed");
    ensure!(!bench.on_e0()?.contains("xdp"), "still on e0");
    Ok(())
}

#[test]
fn a_daemon_without_interfaces_takes_away_what_an_earlier_one_left_but_not_anothers() -> Result<()> {
    let Some(bench) =
        bench("a_daemon_without_interfaces_takes_away_what_an_earlier_one_left_but_not_anothers")
    else {
        return Ok(());
    };
    let mut daemon = bench.start(30_000)?;
    daemon.apply("on=e0 port=9")?;
    let refused = tidegate::kernel::abandon(bench.instance()).expect_err("held by a daemon");
    ensure!(refused.to_string().contains("another tidegate daemon holds"), "{refused}");
    ensure!(bench.on_e0()?.contains("name tidegate"), "taken away from a daemon");
    daemon.kill()?;
    ensure!(tidegate::kernel::abandon(bench.instance())?.interfaces == ["e0"], "not taken away");
    ensure!(tidegate::kernel::abandon(bench.instance())?.is_nothing(), "something was left");
    Ok(())
}

#[test]
fn addresses_that_come_and_go_are_told() -> Result<()> {
    let Some(bench) = bench("addresses_that_come_and_go_are_told") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    ensure!(daemon.order("addresses")?.contains("2001:db8::1"), "{}", daemon.order("addresses")?);
    for (verb, there) in [("add", true), ("del", false)] {
        bench.lab.host.ip(&["addr", verb, "203.0.113.77/32", "dev", "e0"])?;
        eventually(verb, SOON, || Ok(daemon.order("addresses")?.contains("203.0.113.77") == there))?;
    }
    Ok(())
}

#[test]
fn explain_asks_the_loaded_program_and_changes_nothing() -> Result<()> {
    let Some(bench) = bench("explain_asks_the_loaded_program_and_changes_nothing") else { return Ok(()) };
    let mut daemon = bench.start(30_000)?;
    ensure!(daemon.order(&format!("explain {}", frame(CLIENT))).is_err(), "nothing is loaded yet");
    daemon.apply("on=e0 port=443 deny=198.51.100.0/24 home=2,203.0.113.0/24 limit=2,packets,0,100")?;
    for (source, expected) in [(CLIENT, "within 1"), (FAR, "denied 1"), (OTHER, "region_packets 2")] {
        let verdict = daemon.order(&format!("explain {}", frame(source)))?;
        ensure!(verdict == expected, "{source}: {verdict}");
    }
    let report = daemon.report()?;
    ensure!(report.of("denied") + report.of("within") + report.of("region_packets") == 0, "{report:?}");
    ensure!(daemon.order("explain 0102").is_err(), "too short for a frame");
    Ok(())
}

/// A UDP datagram to port 443 of the host, in hexadecimal.
fn frame(source: std::net::Ipv4Addr) -> String {
    let ethernet = "02000000000102000000000208004500001c000000004011";
    let hex = |bytes: [u8; 4]| bytes.map(|byte| format!("{byte:02x}")).concat();
    format!("{ethernet}0000{}{}d43101bb00080000", hex(source.octets()), hex(lab::HOST.octets()))
}
