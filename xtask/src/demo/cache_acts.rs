//! The acts about caches: a write in one region, the copy gone in the other, the race against the store's lag, a partition, the books.
//! Never asks tidegate whether a copy is gone: memcached itself is asked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Stop;
use super::acts::tidegate;
use super::shop::{From, Shop};
use super::tale::Tale;
use super::world::{BARE_FRONT, EU, FRONT, REPEAT_AFTER_S, Region, US, World};

/// The store's lag in the race, in seconds: within the second before it, since MariaDB counts whole ones.
const LAG_S: u32 = 2;
/// Profiles written in each region while they are cut off from each other.
const PARTITION_KEYS: usize = 200;
/// Longest wait for anything.
const BOUND: Duration = Duration::from_secs(120);

/// Plays these acts.
pub(super) fn play(tale: &mut Tale, world: &World, stop: &Stop) -> Result<()> {
    follow(tale, world, stop)?;
    forgotten(tale, world)?;
    stop.check()?;
    race(tale, world, stop)?;
    stop.check()?;
    partition(tale, world, stop)?;
    stop.check()?;
    books(tale, world)
}

fn shop<'a>(region: &'a Region, front: &str) -> Result<Shop<'a>> {
    Shop::open(&region.edge, &region.store, front)
}

fn one(id: &str, name: &str) -> [(String, String); 1] {
    [(id.to_owned(), name.to_owned())]
}

/// Asks until it is so, or someone asks to stop.
fn until(what: &str, stop: &Stop, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let started = Instant::now();
    while !holds()? {
        ensure!(started.elapsed() < BOUND, "waited {BOUND:?} in vain for {what}");
        stop.wait(Duration::from_millis(20))?;
    }
    Ok(started.elapsed())
}

fn follow(tale: &Tale, world: &World, stop: &Stop) -> Result<()> {
    tale.act("Each region has a store and a cache");
    tale.tell(
        "MariaDB on each edge host follows the other one; memcached is reached through tidegate's front.",
    );
    tale.tell("The application reads through the cache; the store comes first when it writes.");
    for (region, other) in [(&world.eu, &US), (&world.us, &EU)] {
        region.store.follow(other.edge.0)?;
    }
    for region in [&world.eu, &world.us] {
        until("the stores following each other", stop, || region.store.follows())?;
    }
    Ok(())
}

fn forgotten(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("A write in one region, and the copy in the other is gone");
    let (mut eu, mut us) = (shop(&world.eu, FRONT)?, shop(&world.us, FRONT)?);
    eu.write(&one("ada", "Ada"))?;
    world.us.store.until("ada", "Ada", BOUND)?;
    let first = us.read("ada")?;
    tale.tell(&format!(
        "us-east-1 reads ada: {} from the {:?}, then from the {:?}",
        first.0,
        first.1,
        us.read("ada")?.1
    ));
    eu.write(&one("ada", "Ada Lovelace"))?;
    let written = Instant::now();
    while us.copy("ada")?.is_some() && written.elapsed() < BOUND {}
    let gone = written.elapsed();
    tale.tell(&format!(
        "eu-west-1 writes Ada Lovelace; memcached in us-east-1 had no copy {:.1} ms later",
        gone.as_secs_f64() * 1000.0
    ));
    tale.check("the stale copy is gone in the other region", us.copy("ada")?.is_none());
    world.us.store.until("ada", "Ada Lovelace", BOUND)?;
    let (again, cached) = (us.read("ada")?, us.read("ada")?);
    tale.tell(&format!(
        "us-east-1 reads ada: {} from the {:?}, then from the {:?}",
        again.0, again.1, cached.1
    ));
    let refilled = again == ("Ada Lovelace".to_owned(), From::Store)
        && cached == ("Ada Lovelace".to_owned(), From::Cache);
    tale.check("it was refilled from the store, and the cache has it since", refilled);
    let own = eu.read("ada")?;
    tale.check("the writer's own copy stayed", own == ("Ada Lovelace".to_owned(), From::Cache));
    Ok(())
}

fn race(tale: &mut Tale, world: &World, stop: &Stop) -> Result<()> {
    tale.act("The store lags behind the invalidation");
    tale.tell(&format!("Replication to us-east-1 now takes up to {LAG_S} s. Pool profiles has repeat_after = \"{REPEAT_AFTER_S}s\", pool bare has \"0s\"."));
    world.us.store.lag(LAG_S)?;
    until("the store following again", stop, || world.us.store.follows())?;
    let mut shops = Vec::new();
    for (id, front) in [("protected", FRONT), ("bare", BARE_FRONT)] {
        shops.push((id, shop(&world.eu, front)?, shop(&world.us, front)?));
    }
    for (id, eu, _) in &mut shops {
        eu.write(&one(id, "old"))?;
    }
    for (id, _, us) in &mut shops {
        world.us.store.until(id, "old", BOUND)?;
        us.read(id)?;
    }
    let mut refilled = true;
    for (id, eu, us) in &mut shops {
        eu.write(&one(id, "new"))?;
        until("the copy gone", stop, || Ok(us.copy(id)?.is_none()))?;
        let seen = us.read(id)?;
        tale.tell(&format!(
            "us-east-1 reads {id} right after the write: {:?} from the {:?}, which has not heard yet",
            seen.0, seen.1
        ));
        refilled &= seen == ("old".to_owned(), From::Store);
    }
    tale.check("the lagging store had the old rows cached again (the race)", refilled);
    for (id, ..) in &shops {
        world.us.store.until(id, "new", BOUND)?;
    }
    let wait = Duration::from_secs(u64::from(REPEAT_AFTER_S) + 1);
    stop.wait(wait)?;
    let mut ends = Vec::new();
    for (id, _, us) in &mut shops {
        let seen = us.read(id)?;
        tale.tell(&format!(
            "{} s later us-east-1 reads {id}: {:?} from the {:?}",
            wait.as_secs(),
            seen.0,
            seen.1
        ));
        ends.push(seen.0);
    }
    tale.check("with repeat_after the old copy went once more, and the new row is read", ends[0] == "new");
    tale.check("without it the old copy stays for as long as it lives", ends[1] == "old");
    let [(_, eu, us), ..] = shops.as_mut_slice() else { return Ok(()) };
    eu.write(&one("bare", "newer"))?;
    until("the copy gone", stop, || Ok(us.copy("bare")?.is_none()))?;
    world.us.store.lag(0)
}

fn partition(tale: &mut Tale, world: &World, stop: &Stop) -> Result<()> {
    tale.act("The regions are cut off from each other, and go on writing");
    let regions = [(&world.eu, &US), (&world.us, &EU)];
    let mut shops = [shop(&world.eu, FRONT)?, shop(&world.us, FRONT)?];
    let name = |side: usize, n: usize| format!("{}-{n}", regions[side].0.plan.region);
    let rows = |side: usize, value: &str| -> Vec<(String, String)> {
        (0..PARTITION_KEYS).map(|n| (name(side, n), value.to_owned())).collect()
    };
    for side in [0, 1] {
        shops[side].write(&rows(side, "before"))?;
    }
    for side in [0, 1] {
        regions[1 - side].0.store.until(&name(side, PARTITION_KEYS - 1), "before", BOUND)?;
        for n in 0..PARTITION_KEYS {
            shops[1 - side].read(&name(side, n))?;
        }
    }
    cut(tale, &regions, "add")?;
    for side in [0, 1] {
        shops[side].write(&rows(side, "after"))?;
    }
    stop.wait(Duration::from_secs(2))?;
    let waiting = [pending(&world.eu)?, pending(&world.us)?];
    let stale = stale(&mut shops, &name)?;
    tale.tell(&format!(
        "{} invalidations wait in eu-west-1, {} in us-east-1; {stale} stale copies",
        waiting[0], waiting[1]
    ));
    let held = waiting.iter().all(|&waiting| waiting >= PARTITION_KEYS as u64) && stale == 2 * PARTITION_KEYS;
    tale.check("what could not be told waits in the spools", held);
    cut(tale, &regions, "del")?;
    let took = until("the relay caught up", stop, || Ok(pending(&world.eu)? + pending(&world.us)? == 0))?;
    let left = self::stale(&mut shops, &name)?;
    tale.tell(&format!("caught up after {:.1} s; {left} stale copies", took.as_secs_f64()));
    tale.check("healed without loss: no stale copy is left in either region", left == 0);
    Ok(())
}

/// Both edge hosts lose, or get back, their way to the other one.
fn cut(tale: &Tale, regions: &[(&Region, &super::world::Plan); 2], verb: &str) -> Result<()> {
    for (region, other) in regions {
        let arguments = ["route", verb, "blackhole", other.edge.0];
        tale.command(&format!("{} edge", region.plan.region), &format!("ip {}", arguments.join(" ")));
        region.edge.ip(&arguments)?;
    }
    Ok(())
}

/// Copies in the other region that are older than the store where they were written.
fn stale(shops: &mut [Shop<'_>; 2], name: &impl Fn(usize, usize) -> String) -> Result<usize> {
    let mut count = 0;
    for side in [0, 1] {
        for n in 0..PARTITION_KEYS {
            count += usize::from(shops[1 - side].copy(&name(side, n))?.is_some_and(|copy| copy != "after"));
        }
    }
    Ok(count)
}

fn lanes(region: &Region) -> Result<Vec<serde_json::Value>> {
    let report: serde_json::Value = serde_json::from_str(&region.daemon.tell(&["relay", "--json"])?)?;
    report["lanes"].as_array().cloned().context("tidegate relay shows no lanes")
}

fn pending(region: &Region) -> Result<u64> {
    Ok(lanes(region)?.iter().filter_map(|lane| lane["pending"].as_u64()).sum())
}

fn books(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("The books");
    let mut closed = true;
    for region in [&world.eu, &world.us] {
        tidegate(tale, region, &["relay"])?;
        for lane in lanes(region)? {
            let sum: u64 = ["applied", "coalesced", "converted", "expired", "pending"]
                .iter()
                .filter_map(|word| lane[word].as_u64())
                .sum();
            closed &= lane["captured"].as_u64() == Some(sum) && lane["unknown"] == 0;
        }
    }
    tale.check(
        "captured = applied + coalesced + converted + expired + pending, and nothing is unknown",
        closed,
    );
    Ok(())
}
