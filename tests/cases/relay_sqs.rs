//! Transport `sqs` on moto's server: what brokers, cables and memcached servers do while two regions write, and what is left of it.
//! `TIDEGATE_RELAY_ROUNDS=20` makes the storms longer, as in `relay_nats`.

use anyhow::{Result, ensure};
use tidegate_tests::cable::Cable;
use tidegate_tests::daemon::binary;
use tidegate_tests::memcached::Places;
use tidegate_tests::process::wait_until;
use tidegate_tests::scratch::Folder;
use tidegate_tests::sqs::SqsServer;
use tidegate_tests::storm::{self, Dies, ONCE, SecondPool, World, rounds};

const BOUND: std::time::Duration = std::time::Duration::from_secs(120);
const QUEUES: [&str; 2] = ["tidegate-eu", "tidegate-us"];

/// A queue service, and the folder of the binary's wrapper.
struct Broker {
    server: SqsServer,
    folder: Folder,
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

/// Two regions over one broker; `None` where this binary has no such transport.
fn world(pool: &str) -> Result<Option<World<Broker>>> {
    world_of([pool, pool])
}

/// The same with lines of the pool for each region.
fn world_of(pool: [&str; 2]) -> Result<Option<World<Broker>>> {
    let (server, folder) = (SqsServer::start(&QUEUES)?, Folder::new("aws")?);
    let cables = [Cable::to(server.address())?, Cable::to(server.address())?];
    let places = Places::pick_for(with_credentials(&folder)?)?;
    World::new(&places, ("sqs", Broker { server, folder }), cables, pool, relay)
}

/// The lines of `[relay]`. The own region's queue follows from the other's name.
fn relay(side: usize, cable: &Cable) -> String {
    format!(
        "transport = \"sqs\"\n[relay.sqs]\nendpoint = \"http://{}\"\nqueues = {{ {:?} = {:?} }}",
        cable.address,
        ["us", "eu"][side],
        QUEUES[1 - side]
    )
}

#[test]
fn differing_copies_go_and_equal_ones_stay() -> Result<()> {
    world(ONCE)?.map_or(Ok(()), |mut world| world.copies())
}

#[test]
fn partitions_heal_without_loss() -> Result<()> {
    world(ONCE)?.map_or(Ok(()), |mut world| world.partitions(5 * rounds(1)))
}

#[test]
fn a_broker_that_restarts_and_forgets_loses_nothing() -> Result<()> {
    let Some(mut world) = world(ONCE)? else { return Ok(()) };
    for round in 0..rounds(1) {
        world.round(&format!("broker-{round}"), |world, begins| match begins {
            true => world.broker.server.kill(),
            false => world.broker.server.run(&QUEUES),
        })?;
    }
    Ok(())
}

#[test]
fn letters_that_the_broker_took_and_lost_are_sent_again() -> Result<()> {
    let Some(mut world) = world(ONCE)? else { return Ok(()) };
    world.taken_and_lost(rounds(1), |broker| {
        broker.server.kill()?;
        broker.server.run(&QUEUES)
    })
}

#[test]
fn a_memcached_that_is_away_is_waited_for() -> Result<()> {
    world(ONCE)?.map_or(Ok(()), |mut world| world.lost_caches(rounds(1) * 5 / 2))
}

#[test]
fn a_daemon_that_is_killed_sends_again_from_its_spool() -> Result<()> {
    world(ONCE)?.map_or(Ok(()), |mut world| world.kills(rounds(1)))
}

#[test]
fn a_pool_whose_servers_are_down_holds_up_no_other() -> Result<()> {
    let mut second = SecondPool::new()?;
    let Some(world) = world_of([&second.lines(0), &second.lines(1)])? else { return Ok(()) };
    second.holds_up_no_other(&world.eu, &world.us, 30)
}

/// Letters that a host was given and could not have applied are there for the next one when it stops, not after their minute.
#[test]
fn a_host_that_stops_gives_its_letters_back() -> Result<()> {
    let Some(mut world) = world(ONCE)? else { return Ok(()) };
    world.us.servers[0].kill()?;
    let mut writer = world.eu.client()?;
    // Each write is a commit, and so a letter of its own; more than its desk takes.
    let letters = 60;
    for n in 0..letters {
        writer.set(&format!("k{n}"), "new")?;
    }
    let server = &world.broker.server;
    wait_until("every letter given out", BOUND, || {
        server.messages(QUEUES[1]).is_ok_and(|(_, hidden)| hidden >= letters)
    })?;
    world.us.daemon.stop()?;
    let (shown, hidden) = world.broker.server.messages(QUEUES[1])?;
    ensure!(
        shown >= letters && hidden == 0,
        "{shown} letters are shown, and {hidden} hidden: {}",
        std::fs::read_to_string(world.us.daemon.log())?
    );
    world.us.servers[0].run(&[])?;
    world.us.daemon.run()?;
    world.eu.settle()
}

#[test]
fn two_hosts_in_each_region_share_the_work() -> Result<()> {
    let Some(world) = world(ONCE)? else { return Ok(()) };
    let places = Places::pick_for(with_credentials(&world.broker.folder)?)?;
    let seconds = world.second_hosts(&places, ONCE, relay)?;
    world.crowd(&seconds, rounds(1))
}

#[test]
fn a_repetition_finds_a_late_refill_and_outlives_the_receiver() -> Result<()> {
    let Some(mut world) = world(&storm::repeating())? else { return Ok(()) };
    // A letter is sent again after half a minute: the receiver's death alone is left to the other transports.
    let deaths = [Dies::None, Dies::Both];
    deaths.into_iter().try_for_each(|dies| storm::late_refill_goes(&mut world.eu, &mut world.us, dies))
}

#[test]
fn read_back_finds_a_stale_copy() -> Result<()> {
    let Some(world) = world(&format!("{ONCE}\nverify = 1"))? else { return Ok(()) };
    storm::read_back_finds_a_stale_copy(&world.eu, &world.us)
}
