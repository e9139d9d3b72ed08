//! A relay whose daemons are killed, whose links are cut and whose memcached servers lose everything, while applications go on: nothing that
//! was answered is lost, no stale copy stays, and the books close. `TIDEGATE_KILLS=300` and `TIDEGATE_PARTITIONS=100` (with half as many
//! restarts of memcached) run the long form.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tidegate_tests::chance::Chance;
use tidegate_tests::memcached::{Client, RelayRegion};
use tidegate_tests::process::wait_until;
use tidegate_tests::relay_map::Map;
use tidegate_tests::replica::Store;

const BOUND: Duration = Duration::from_secs(60);

fn count(name: &str, default: u64) -> Result<u64> {
    Ok(std::env::var(name).map_or(Ok(default), |count| count.parse())?)
}

/// Passes the time until a moment that chance picked.
fn pass(time: Duration) {
    // tidy: sleep because the moment of the blow is the test.
    std::thread::sleep(time);
}

/// Writes new values until the connection ends or it is told to stop; the keys whose writes were answered.
fn write_until_cut(front: SocketAddr, round: u64, stop: &AtomicBool) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let Ok(mut client) = Client::connect(front) else { return Ok(keys) };
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("r{round}-{}", n % 200);
        match client.set(&key, &format!("new{n}")) {
            Ok(answer) => {
                ensure!(answer == "STORED", "answered {answer:?}");
                keys.push(key);
            }
            Err(_) => break,
        }
    }
    Ok(keys)
}

#[test]
fn no_answered_write_is_lost_whichever_daemon_is_killed() -> Result<()> {
    let (map, mut chance) = (Map::new(2)?, Chance::new()?);
    let pool = "repeat_after = \"0s\"";
    let mut regions = [map.start(0, "", pool)?, map.start(1, "", pool)?];
    let mut copies = regions[1].servers[0].client()?;
    let (kills, mut answered) = (count("TIDEGATE_KILLS", 16)?, 0);
    for round in 0..kills {
        for n in 0..200 {
            copies.send(format!("set r{round}-{n} 0 0 3 noreply\r\nold\r\n").as_bytes())?;
        }
        ensure!(copies.ask("version")?.starts_with("VERSION"), "the copies are there");
        let (front, stop) = (regions[0].front(), AtomicBool::new(false));
        let keys = std::thread::scope(|scope| -> Result<Vec<String>> {
            let writer = scope.spawn(|| write_until_cut(front, round, &stop));
            pass(Duration::from_micros(chance.below(120_000)));
            let victim = usize::try_from(chance.below(2))?;
            regions[victim].daemon.kill()?;
            if victim == 1 {
                pass(Duration::from_micros(chance.below(50_000)));
            }
            stop.store(true, Ordering::Relaxed);
            regions[victim].daemon.run()?;
            writer.join().map_err(|_| anyhow!("the writer panicked"))?
        })?;
        regions[0].settle()?;
        for key in &keys {
            let copy = copies.get(key)?;
            ensure!(copy.as_deref() != Some("old"), "round {round}: {key} was answered and is still there");
        }
        answered += keys.len();
    }
    println!("{kills} kills, {answered} answered writes, 0 lost, books closed each time");
    ensure!(answered > 0, "no write was answered: the test proves nothing");
    Ok(())
}

const KEYS: u64 = 60;

/// One region's application: reads through its cache and writes, until it is told to stop.
fn application(
    region: usize,
    front: SocketAddr,
    store: &Store,
    stop: &AtomicBool,
    mut chance: Chance,
) -> Result<u64> {
    let (mut client, mut writes) = (None, 0);
    while !stop.load(Ordering::Relaxed) {
        let key = format!("k{}", chance.below(KEYS));
        if chance.below(3) == 0 {
            let value = format!("{region}-{writes}-{}", chance.below(1 << 30));
            store.write(region, &key, &value);
            writes += 1;
            let set = said(&mut client, front, &format!("set {key} 0 0 {}\r\n{value}", value.len()));
            if set.is_none_or(|answer| answer != "STORED") {
                forget(&mut client, front, &key)?;
            }
        } else {
            read(&mut client, front, region, &key, store);
        }
    }
    Ok(writes)
}

/// Says a command over the connection, or a new one; `None` when there was no answer.
fn said(client: &mut Option<Client>, front: SocketAddr, command: &str) -> Option<String> {
    let mut open = match client.take() {
        Some(open) => open,
        None => Client::connect(front).ok()?,
    };
    let answer = open.ask(command).ok()?;
    *client = Some(open);
    Some(answer)
}

/// A write whose copy could not be set is made good by a delete.
fn forget(client: &mut Option<Client>, front: SocketAddr, key: &str) -> Result<()> {
    wait_until("a delete answered", BOUND, || {
        said(client, front, &format!("delete {key}"))
            .is_some_and(|answer| !answer.starts_with("SERVER_ERROR"))
    })
}

fn read(client: &mut Option<Client>, front: SocketAddr, region: usize, key: &str, store: &Store) {
    let Some(mut open) = client.take().or_else(|| Client::connect(front).ok()) else { return };
    let missed = match open.get(key) {
        Ok(copy) => copy.is_none(),
        Err(_) => return,
    };
    if missed
        && let Some(value) = store.read(region, key)
        && open.set(key, &value).is_err()
    {
        return;
    }
    *client = Some(open);
}

#[derive(Clone, Copy)]
enum Blow {
    Cut,
    Hush,
    Restart,
}

/// Strikes while applications run in both regions, then checks that everything heals.
fn strike(
    map: &Map,
    regions: &mut [RelayRegion; 2],
    blow: Blow,
    store: &Store,
    chance: &mut Chance,
) -> Result<u64> {
    let stop = AtomicBool::new(false);
    let fronts = [regions[0].front(), regions[1].front()];
    let writes = std::thread::scope(|scope| -> Result<u64> {
        let applications: Vec<_> = (0..2)
            .map(|region| {
                let own = Chance::of(chance.below(u64::MAX));
                let (store, stop) = (store, &stop);
                scope.spawn(move || application(region, fronts[region], store, stop, own))
            })
            .collect();
        pass(Duration::from_millis(20 + chance.below(80)));
        let struck = struck(map, regions, blow, chance);
        pass(Duration::from_millis(chance.below(100)));
        stop.store(true, Ordering::Relaxed);
        let mut writes = 0;
        for one in applications {
            writes += one.join().map_err(|_| anyhow!("an application panicked"))??;
        }
        struck.map(|()| writes)
    })?;
    for region in regions.iter() {
        region.settle()?;
    }
    let stale = |regions: &[RelayRegion; 2]| -> Result<Vec<String>> {
        let mut found = Vec::new();
        for region in regions {
            let mut copies = region.servers[0].client()?;
            for key in (0..KEYS).map(|key| format!("k{key}")) {
                let copy = copies.get(&key)?;
                if copy.is_some() && copy != store.truth(&key) {
                    found.push(format!("{key} {copy:?} is {:?}", store.truth(&key)));
                }
            }
        }
        Ok(found)
    };
    let healed = wait_until("no stale copy", BOUND, || stale(regions).is_ok_and(|found| found.is_empty()));
    healed.with_context(|| format!("{:?}", stale(regions)))?;
    Ok(writes)
}

fn struck(map: &Map, regions: &mut [RelayRegion; 2], blow: Blow, chance: &mut Chance) -> Result<()> {
    let (from, time) = (usize::try_from(chance.below(2))?, Duration::from_millis(chance.below(250)));
    let one_way = chance.below(2) == 0;
    let cables = [map.cable(from, 1 - from), map.cable(1 - from, from)];
    let cables = &cables[..if one_way { 1 } else { 2 }];
    match blow {
        Blow::Cut => cables.iter().for_each(|cable| cable.cut()),
        Blow::Hush => cables.iter().for_each(|cable| cable.hush()),
        Blow::Restart => {
            regions[from].servers[0].kill()?;
            pass(time);
            return regions[from].servers[0].run(&[]);
        }
    }
    pass(time);
    cables.iter().for_each(|cable| cable.mend());
    Ok(())
}

#[test]
fn partitions_and_lost_caches_heal_without_a_stale_copy() -> Result<()> {
    let (map, mut chance) = (Map::new(2)?, Chance::new()?);
    let pool = "repeat_after = \"300ms\"";
    let mut regions = [map.start(0, "", pool)?, map.start(1, "", pool)?];
    let partitions = count("TIDEGATE_PARTITIONS", 10)?;
    let store = Store::new(Duration::ZERO);
    for key in 0..KEYS {
        store.seed(&format!("k{key}"), "first");
    }
    let (mut writes, started) = (0, Instant::now());
    for round in 0..partitions {
        let blow = if chance.below(2) == 0 { Blow::Cut } else { Blow::Hush };
        writes += strike(&map, &mut regions, blow, &store, &mut chance)
            .with_context(|| format!("round {round}"))?;
        if round % 2 == 0 {
            let restart = strike(&map, &mut regions, Blow::Restart, &store, &mut chance);
            writes += restart.with_context(|| format!("round {round}, memcached"))?;
        }
    }
    println!(
        "{partitions} partitions, {} restarts of memcached, {writes} writes in {:?}: 0 stale, 0 unaccounted",
        partitions.div_ceil(2),
        started.elapsed()
    );
    ensure!(writes > 0, "nobody wrote: the test proves nothing");
    Ok(())
}
