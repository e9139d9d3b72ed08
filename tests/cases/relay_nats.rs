//! Transport `nats` on a real nats-server: what brokers, cables and memcached servers do while two regions write, and what is left of it.
//! `TIDEGATE_RELAY_ROUNDS=20` makes the storms longer (so many restarts of the broker and kills of the daemons,
//! 2.5 times as many restarts of memcached, 5 times as many partitions).

use anyhow::{Result, ensure};
use tidegate_tests::cable::Cable;
use tidegate_tests::memcached::Places;
use tidegate_tests::nats::NatsServer;
use tidegate_tests::storm::{self, Dies, ONCE, SecondPool, World, rounds};

/// Two regions over one broker; `None` where this binary has no such transport.
fn world(pool: &str, further: &str, credentials: [&str; 2]) -> Result<Option<World<NatsServer>>> {
    world_of([pool, pool], further, credentials)
}

/// The same with lines of the pool for each region.
fn world_of(pool: [&str; 2], further: &str, credentials: [&str; 2]) -> Result<Option<World<NatsServer>>> {
    let broker = NatsServer::start(further)?;
    let cables = [Cable::to(broker.address())?, Cable::to(broker.address())?];
    World::new(&Places::pick()?, ("nats", broker), cables, pool, |side, cable| {
        relay(credentials[side], cable)
    })
}

/// The lines of `[relay]`.
fn relay(credentials: &str, cable: &Cable) -> String {
    let server = format!("nats://{credentials}{}", cable.address);
    format!("transport = \"nats\"\n[relay.nats]\nservers = [\"{server}\"]")
}

#[test]
fn differing_copies_go_and_equal_ones_stay() -> Result<()> {
    world(ONCE, "", ["", ""])?.map_or(Ok(()), |mut world| world.copies())
}

#[test]
fn partitions_heal_without_loss() -> Result<()> {
    world(ONCE, "", ["", ""])?.map_or(Ok(()), |mut world| world.partitions(5 * rounds(1)))
}

#[test]
fn a_broker_that_restarts_loses_nothing_even_when_it_forgets() -> Result<()> {
    let Some(mut world) = world(ONCE, "", ["", ""])? else { return Ok(()) };
    for round in 0..rounds(2) {
        world.round(&format!("broker-{round}"), |world, begins| match begins {
            true => world.broker.kill(),
            false => {
                // A broker without its disk is one that acknowledged and lost everything.
                if round % 2 == 1 {
                    world.broker.forget()?;
                }
                world.broker.run()
            }
        })?;
    }
    Ok(())
}

#[test]
fn letters_that_the_broker_took_and_lost_are_sent_again() -> Result<()> {
    let Some(mut world) = world(ONCE, "", ["", ""])? else { return Ok(()) };
    world.taken_and_lost(rounds(2), |broker| {
        broker.kill()?;
        broker.forget()?;
        broker.run()
    })
}

#[test]
fn a_memcached_that_is_away_is_waited_for() -> Result<()> {
    world(ONCE, "", ["", ""])?.map_or(Ok(()), |mut world| world.lost_caches(rounds(1) * 5 / 2))
}

#[test]
fn a_pool_whose_servers_are_down_holds_up_no_other() -> Result<()> {
    let mut second = SecondPool::new()?;
    let Some(world) = world_of([&second.lines(0), &second.lines(1)], "", ["", ""])? else { return Ok(()) };
    second.holds_up_no_other(&world.eu, &world.us, 400)
}

#[test]
fn a_daemon_that_is_killed_sends_again_from_its_spool() -> Result<()> {
    world(ONCE, "", ["", ""])?.map_or(Ok(()), |mut world| world.kills(rounds(1)))
}

#[test]
fn two_hosts_in_each_region_share_the_work() -> Result<()> {
    let Some(world) = world(ONCE, "", ["", ""])? else { return Ok(()) };
    let seconds = world.second_hosts(&Places::pick()?, ONCE, |_, cable| relay("", cable))?;
    world.crowd(&seconds, rounds(3))
}

#[test]
fn a_repetition_finds_a_late_refill_and_outlives_the_receiver() -> Result<()> {
    let Some(mut world) = world(&storm::repeating(), "", ["", ""])? else { return Ok(()) };
    let all = [Dies::None, Dies::Receiver, Dies::Both];
    all.into_iter().try_for_each(|dies| storm::late_refill_goes(&mut world.eu, &mut world.us, dies))
}

#[test]
fn read_back_finds_a_stale_copy() -> Result<()> {
    let Some(world) = world(&format!("{ONCE}\nverify = 1"), "", ["", ""])? else { return Ok(()) };
    storm::read_back_finds_a_stale_copy(&world.eu, &world.us)
}

#[test]
fn the_broker_knows_who_speaks() -> Result<()> {
    // As docs/OPERATING.md says.
    let user = |region: &str| {
        format!(
            "{{ user: {region}, password: \"s3:cret@\", permissions: {{
               publish: [ \"tidegate.keys.*.*.{region}.>\", \"tidegate.words.*.{region}.>\", \"$JS.API.>\", \"$JS.ACK.>\" ]
               subscribe: [ \"tidegate.words.{region}.>\", \"_INBOX.>\" ] }} }}"
        )
    };
    let users = format!("authorization {{ users: [ {}, {} ] }}", user("eu"), user("us"));
    let Some(world) = world(ONCE, &users, ["eu:s3%3Acret%40@", "us:s3%3Acret%40@"])? else { return Ok(()) };
    let log = std::fs::read_to_string(world.eu.daemon.log())?;
    ensure!(!log.contains("s3:cret") && !log.contains("s3%3A"), "a password in the log: {log}");
    ensure!(!world.eu.report()?.contains("s3%3A"), "a password in the report");
    let mut world = world;
    world.round("known", |_, _| Ok(()))
}
