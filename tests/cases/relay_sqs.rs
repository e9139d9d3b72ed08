//! Transport `sqs` on moto's server: what brokers, wires and memcached servers do while two regions write, and what is left of it.
//! `TIDEGATE_RELAY_ROUNDS=20` makes the storms longer, as in `relay_nats`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::binary;
use tidegate_tests::memcached::{Client, Places, RelayRegion};
use tidegate_tests::process::wait_until;
use tidegate_tests::scratch::Folder;
use tidegate_tests::sqs::SqsServer;
use tidegate_tests::wire::Wire;

const BOUND: Duration = Duration::from_secs(60);
/// Keys written in a round, by each region.
const KEYS: usize = 40;
const POOL: &str = "repeat_after = \"0s\"";
const QUEUES: [&str; 2] = ["tidegate-eu", "tidegate-us"];

struct World {
    eu: RelayRegion,
    us: RelayRegion,
    wires: [Wire; 2],
    broker: SqsServer,
    _folder: Folder,
}

fn rounds(default: usize) -> usize {
    std::env::var("TIDEGATE_RELAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

/// The binary with the credentials of nobody in its environment.
fn with_credentials(folder: &Folder) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let script = format!(
        "#!/bin/sh\nAWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true exec {:?} \"$@\"\n",
        binary()?
    );
    let file = folder.write("tidegate", &script)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// Two regions, each with a wire of its own to one broker; `None` where this binary has no such transport.
fn world(pool: &str) -> Result<Option<World>> {
    let broker = SqsServer::start(&QUEUES)?;
    let wires = [Wire::to(broker.address())?, Wire::to(broker.address())?];
    let folder = Folder::new("aws")?;
    let places = Places::pick_for(with_credentials(&folder)?)?;
    let relay = |side: usize| {
        // The own region's queue follows from the other's name.
        format!(
            "transport = \"sqs\"\n[relay.sqs]\nendpoint = \"http://{}\"\nqueues = {{ {:?} = {:?} }}",
            wires[side].address(),
            ["us", "eu"][side],
            QUEUES[1 - side]
        )
    };
    let eu = match places.region(0, 1, &relay(0), pool) {
        Err(error) if format!("{error:#}").contains("is not in this build") => {
            eprintln!("skipped: this tidegate was built without its cargo feature sqs");
            return Ok(None);
        }
        other => other?,
    };
    let us = places.region(1, 1, &relay(1), pool)?;
    let world = World { eu, us, wires, broker, _folder: folder };
    world.meet()?;
    Ok(Some(world))
}

impl World {
    fn meet(&self) -> Result<()> {
        let up =
            |region: &RelayRegion| region.report().is_ok_and(|report| report.contains("\"edge\": \"http"));
        wait_until("both regions at the broker", BOUND, || up(&self.eu) && up(&self.us))
            .with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        let log = |region: &RelayRegion| std::fs::read_to_string(region.daemon.log()).unwrap_or_default();
        format!(
            "eu: {}\nus: {}\n{:?}\n{:?}",
            log(&self.eu),
            log(&self.us),
            self.eu.report(),
            self.us.report()
        )
    }

    /// Puts old copies into both regions, has both write while `trouble` lasts, and looks for old copies when it is over.
    fn round(&mut self, name: &str, trouble: impl Fn(&mut Self, bool) -> Result<()>) -> Result<()> {
        let sides = [("eu", "us"), ("us", "eu")];
        for (from, to) in sides {
            let mut copies = self.region(to).servers[0].client()?;
            for n in 0..KEYS {
                copies.set(&key(name, from, n), "old")?;
            }
        }
        trouble(self, true)?;
        for (from, _) in sides {
            let mut writer = self.region(from).client()?;
            for n in 0..KEYS {
                write(&mut writer, &key(name, from, n), n)?;
            }
        }
        trouble(self, false)?;
        for (from, to) in sides {
            self.region(from).settle().with_context(|| format!("{name}: {}", self.logs()))?;
            let mut copies = self.region(to).servers[0].client()?;
            for n in 0..KEYS {
                let key = key(name, from, n);
                ensure!(copies.get(&key)?.is_none(), "{name}: {key} is stale in {to}: {}", self.logs());
            }
        }
        Ok(())
    }

    fn region(&self, name: &str) -> &RelayRegion {
        if name == "eu" { &self.eu } else { &self.us }
    }
}

fn key(round: &str, from: &str, n: usize) -> String {
    format!("{round}-{from}-{n}")
}

/// Some keys are written again and again, one is deleted.
fn write(writer: &mut Client, key: &str, n: usize) -> Result<()> {
    for time in 0..=n % 3 {
        ensure!(writer.set(key, &format!("new-{time}"))? == "STORED", "{key} was not stored");
    }
    if n == 0 {
        writer.ask(&format!("delete {key}"))?;
    }
    Ok(())
}

#[test]
fn differing_copies_go_and_equal_ones_stay() -> Result<()> {
    let Some(mut world) = world(POOL)? else { return Ok(()) };
    let (mut writer, mut copies) = (world.eu.client()?, world.us.servers[0].client()?);
    let odd = "k\u{1}.*>é";
    for (key, value) in [("differs", "old"), ("equal", "new"), (odd, "old")] {
        copies.set(key, value)?;
        writer.set(key, "new")?;
    }
    world.eu.settle().with_context(|| world.logs())?;
    let found = [copies.get("differs")?, copies.get("equal")?, copies.get(odd)?];
    assert_eq!(found, [None, Some("new".into()), None]);
    assert_eq!(world.us.book("captured")?, 0, "what was applied is not captured again");
    copies.set("any", "x")?;
    writer.ask("flush_all")?;
    world.eu.settle()?;
    assert_eq!(copies.get("any")?, None);
    world.round("quiet", |_, _| Ok(()))
}

#[test]
fn partitions_heal_without_loss() -> Result<()> {
    let Some(mut world) = world(POOL)? else { return Ok(()) };
    for round in 0..5 * rounds(1) {
        world.round(&format!("partition-{round}"), |world, begins| {
            // Either side is cut off, or both.
            for (side, wire) in world.wires.iter().enumerate() {
                match begins && (round % 3 == side || round % 3 == 2) {
                    true => wire.cut(),
                    false => wire.heal(),
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_broker_that_restarts_and_forgets_loses_nothing() -> Result<()> {
    let Some(mut world) = world(POOL)? else { return Ok(()) };
    for round in 0..rounds(1) {
        world.round(&format!("broker-{round}"), |world, begins| match begins {
            true => world.broker.kill(),
            false => world.broker.run(&QUEUES),
        })?;
    }
    Ok(())
}

#[test]
fn a_memcached_that_is_away_is_waited_for() -> Result<()> {
    let Some(mut world) = world(POOL)? else { return Ok(()) };
    for round in 0..rounds(1) * 5 / 2 {
        let name = format!("memcached-{round}");
        world.us.servers[0].kill()?;
        let mut writer = world.eu.client()?;
        for n in 0..KEYS {
            write(&mut writer, &key(&name, "eu", n), n)?;
        }
        ensure!(world.eu.book("pending")? > 0, "nothing is applied where there is no memcached");
        world.us.servers[0].run(&[])?;
        world.eu.settle().with_context(|| world.logs())?;
        world.round(&format!("after-{round}"), |_, _| Ok(()))?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_sends_again_from_its_spool() -> Result<()> {
    let Some(mut world) = world(POOL)? else { return Ok(()) };
    for round in 0..rounds(1) {
        world.round(&format!("killed-{round}"), |world, begins| match begins {
            true => {
                world.wires.iter().for_each(Wire::cut);
                Ok(())
            }
            false => {
                world.eu.daemon.kill()?;
                world.us.daemon.kill()?;
                world.wires.iter().for_each(Wire::heal);
                world.eu.daemon.run()?;
                world.us.daemon.run()?;
                world.meet()
            }
        })?;
    }
    Ok(())
}

/// Race 2 with a receiver that dies between applying and repeating: the sender, which kept what was not repeated, says it again.
#[test]
fn a_repetition_outlives_the_receiver() -> Result<()> {
    let Some(mut world) = world("repeat_after = \"1s\"")? else { return Ok(()) };
    let (mut writer, mut reader) = (world.eu.client()?, world.us.client()?);
    let mut copies = world.us.servers[0].client()?;
    for dies in [false, true] {
        writer.set("row", &format!("new-{dies}"))?;
        world.eu.settle()?;
        assert_eq!(reader.get("row")?, None);
        reader.set("row", "old")?;
        if dies {
            world.us.daemon.kill()?;
            assert_eq!(copies.get("row")?, Some("old".into()), "the receiver died in time");
            world.us.daemon.run()?;
        }
        wait_until("the repetition", BOUND, || matches!(copies.get("row"), Ok(None)))
            .with_context(|| world.logs())?;
    }
    Ok(())
}

#[test]
fn read_back_finds_a_stale_copy() -> Result<()> {
    let Some(world) = world("repeat_after = \"0s\"\nverify = 1")? else { return Ok(()) };
    let (mut writer, mut copies) = (world.eu.client()?, world.us.servers[0].client()?);
    wait_until("the stale copy found", BOUND, || {
        let mut tried = || -> Result<bool> {
            writer.set("k", "new")?;
            world.eu.settle()?;
            copies.set("k", "old")?;
            let gone = wait_until("gone", Duration::from_secs(3), || matches!(copies.get("k"), Ok(None)));
            Ok(gone.is_ok())
        };
        tried().unwrap_or(false)
    })
}
