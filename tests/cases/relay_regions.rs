//! Two regions with real memcached servers: what a write in one does to the copies in the other, with the races, partitions and crashes.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_tests::memcached::{Places, RelayRegion};
use tidegate_tests::process::wait_until;
use tidegate_tests::scratch::Folder;
use tidegate_tests::storm::{self, Dies, ONCE, SecondPool};

const BOUND: Duration = Duration::from_secs(60);

fn pair(relay: &str, pool: &str) -> Result<(Places, RelayRegion, RelayRegion)> {
    let places = Places::pick()?;
    let (eu, us) = (places.region(0, 1, relay, pool)?, places.region(1, 1, relay, pool)?);
    wait_until("both links", BOUND, || {
        [&eu, &us]
            .iter()
            .all(|region| region.report().is_ok_and(|report| report.contains("\"edge\": \"http")))
    })?;
    Ok((places, eu, us))
}

#[test]
fn differing_copies_go_and_equal_ones_stay() -> Result<()> {
    let (_, eu, us) = pair("", ONCE)?;
    let (mut writer, mut copies) = (eu.client()?, us.servers[0].client()?);
    for (key, value) in [("differs", "old"), ("equal", "new"), ("deleted", "x"), ("counted", "1")] {
        copies.set(key, value)?;
    }
    writer.set("differs", "new")?;
    writer.set("equal", "new")?;
    writer.ask("delete deleted")?;
    writer.set("counted", "1")?;
    writer.ask("incr counted 1")?;
    eu.settle()?;
    assert_eq!(copies.get("differs")?, None);
    assert_eq!(copies.get("equal")?, Some("new".into()));
    assert_eq!(copies.get("deleted")?, None);
    assert_eq!(copies.get("counted")?, None);
    // What was applied is not captured again over there.
    assert_eq!(us.book("captured")?, 0);
    copies.set("any", "x")?;
    writer.ask("flush_all")?;
    eu.settle()?;
    assert_eq!(copies.get("any")?, None);
    Ok(())
}

/// A flush leaves a cold cache, where it was asked for and where it is applied: ramps that name it begin there.
#[test]
fn a_flush_starts_the_ramps_that_name_it() -> Result<()> {
    let ramp = "[[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1000\n\
                ramp = { on = [\"cache_flush\"], from = 0.2, over = \"10m\" }";
    let (_, eu, us) = pair("", &format!("{ONCE}\n{ramp}"))?;
    for region in [&eu, &us] {
        assert_eq!(limit(region), Some(1000.0));
    }
    assert_eq!(eu.client()?.ask("flush_all")?, "OK");
    for region in [&eu, &us] {
        wait_until("the ramp", BOUND, || limit(region).is_some_and(|limit| (200.0..400.0).contains(&limit)))?;
    }
    Ok(())
}

/// `flush_all SECONDS`: the copies go and the ramps begin when it takes effect, in both regions, and not before; another flush of the
/// server, which takes its place there, changes nothing.
#[test]
fn a_flush_to_come_takes_effect_in_its_time() -> Result<()> {
    flush_to_come(|_| Ok(()))
}

/// The same, and in between both daemons die and are started again.
#[test]
fn a_flush_to_come_outlives_the_daemons() -> Result<()> {
    flush_to_come(|region| {
        region.daemon.kill()?;
        region.daemon.run()
    })
}

fn flush_to_come(between: impl Fn(&mut RelayRegion) -> Result<()>) -> Result<()> {
    let ramp = "[[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1000\n\
                ramp = { on = [\"cache_flush\"], from = 0.2, over = \"10m\" }";
    // A machine that was too slow to look before it took effect is asked again with more time.
    for delay_s in [6, 20, 60] {
        let (_, mut eu, mut us) = pair("", &format!("{ONCE}\n{ramp}"))?;
        let mut copies = us.servers[0].client()?;
        let began = Instant::now();
        assert_eq!(eu.client()?.ask(&format!("flush_all {delay_s}"))?, "OK");
        eu.settle()?;
        [&mut eu, &mut us].into_iter().try_for_each(&between)?;
        assert_eq!(copies.ask("flush_all")?, "OK");
        copies.set("any", "x")?;
        let limits = [limit(&eu), limit(&us)];
        let early = copies.get("any")?;
        // memcached's clock has whole seconds: what is cached in the last one may stay.
        if began.elapsed() + Duration::from_secs(2) >= Duration::from_secs(delay_s) {
            continue;
        }
        assert_eq!((early, limits), (Some("x".into()), [Some(1000.0); 2]), "before its time");
        for region in [&eu, &us] {
            wait_until("the ramp", BOUND * 2, || limit(region).is_some_and(|limit| limit < 1000.0))?;
            ensure!(began.elapsed() >= Duration::from_secs(delay_s), "the ramp began too early");
        }
        return wait_until("the copy gone", BOUND, || copies.get("any").is_ok_and(|copy| copy.is_none()));
    }
    Err(anyhow::anyhow!("too slow each time"))
}

fn limit(region: &RelayRegion) -> Option<f64> {
    let said = region.daemon.tell(&["ceiling", "show", "everyone", "--json"]).ok()?;
    let (_, rest) = said.split_once("\"limit\":")?;
    rest.trim_start().split([',', '}', '\n']).next()?.trim().parse().ok()
}

#[test]
fn a_pool_whose_servers_are_down_holds_up_no_other() -> Result<()> {
    let mut second = SecondPool::new()?;
    let places = Places::pick()?;
    let (eu, us) = (places.region(0, 1, "", &second.lines(0))?, places.region(1, 1, "", &second.lines(1))?);
    wait_until("the link", BOUND, || eu.report().is_ok_and(|report| report.contains("\"edge\": \"http")))?;
    // More than a link has on its way.
    second.holds_up_no_other(&eu, &us, 400)
}

/// A server that is started again and wants authentication: it is said, what is to be applied waits, and goes on when it wants none.
#[test]
fn a_server_that_wants_authentication_is_named_and_waited_for() -> Result<()> {
    let folder = Folder::new("auth")?;
    let file = folder.write("users", "user:secret\n")?;
    let (_, eu, mut us) = pair("", ONCE)?;
    eu.client()?.set("before", "x")?;
    eu.settle()?;
    us.servers[0].kill()?;
    us.servers[0].run(&["-Y", file.to_str().context("a path in UTF-8")?])?;
    eu.client()?.set("k", "new")?;
    wait_until("its name", BOUND, || {
        us.report().is_ok_and(|report| report.contains("wants authentication"))
    })?;
    assert_eq!(eu.book("pending")?, 1);
    us.servers[0].kill()?;
    us.servers[0].run(&[])?;
    eu.settle()?;
    assert_eq!(eu.book("applied")?, 2);
    wait_until("nothing to be said", BOUND, || us.report().is_ok_and(|report| !report.contains("wants")))
}

#[test]
fn operators_invalidate_by_hand() -> Result<()> {
    let (_, eu, us) = pair("", ONCE)?;
    let mut copies = us.servers[0].client()?;
    copies.set("a", "1")?;
    copies.set("b", "1")?;
    eu.daemon.tell(&["invalidate", "p", "a", "b"])?;
    eu.settle()?;
    assert_eq!((copies.get("a")?, copies.get("b")?), (None, None));
    Ok(())
}

/// Race 2: the invalidation overtakes the data; the other region reads its lagging store and caches the old row.
#[test]
fn a_copy_read_from_a_lagging_store_goes_at_the_repetition() -> Result<()> {
    let (_, mut eu, mut us) = pair("", &storm::repeating())?;
    storm::late_refill_goes(&mut eu, &mut us, Dies::None)
}

#[test]
fn a_copy_read_from_a_lagging_store_stays_without_the_repetition() -> Result<()> {
    let (_, eu, us) = pair("", ONCE)?;
    let (mut writer, mut reader, mut copies) = (eu.client()?, us.client()?, us.servers[0].client()?);
    writer.set("row", "new")?;
    eu.settle()?;
    // The store over there has not heard yet: a refill with the old row.
    assert_eq!(reader.get("row")?, None);
    reader.set("row", "old")?;
    us.settle()?;
    assert_eq!(copies.get("row")?, Some("old".into()), "nothing protects without the repetition");
    Ok(())
}

/// A receiver that dies between applying and repeating: the sender, which kept what was not repeated, says it again; also when it dies, too.
#[test]
fn a_repetition_outlives_the_receiver() -> Result<()> {
    let (_, mut eu, mut us) = pair("", &storm::repeating())?;
    storm::late_refill_goes(&mut eu, &mut us, Dies::Receiver)?;
    storm::late_refill_goes(&mut eu, &mut us, Dies::Both)
}

/// A region that wrote, and then took over another's newer write, makes nobody forget that.
#[test]
fn the_repetition_of_a_write_that_was_taken_over_spares_the_newer_copy() -> Result<()> {
    let after = Duration::from_secs(5);
    let (_, eu, us) = pair("", "repeat_after = \"5s\"")?;
    let (mut one, mut other, mut copies) = (eu.client()?, us.client()?, us.servers[0].client()?);
    for round in 0..5 {
        let (row, last) = (format!("row{round}"), format!("last{round}"));
        let start = Instant::now();
        one.set(&row, "first")?;
        eu.settle()?;
        other.set(&row, "second")?;
        us.settle()?;
        assert_eq!(one.get(&row)?, None);
        one.set(&row, "second")?;
        eu.settle()?;
        if start.elapsed() >= after {
            // Too late: the repetition may have come before the refill.
            continue;
        }
        // What is behind it in the same lane tells when its repetition is over.
        one.set(&last, "x")?;
        eu.settle()?;
        copies.set(&last, "late")?;
        wait_until("the repetition", BOUND, || matches!(copies.get(&last), Ok(None)))?;
        assert_eq!(copies.get(&row)?, Some("second".into()));
        return Ok(());
    }
    anyhow::bail!("the machine was late five times")
}

/// Race 3: miss before the invalidation, set after it.
#[test]
fn a_set_whose_miss_is_older_than_an_invalidation_does_not_stay() -> Result<()> {
    let (_, eu, us) = pair("", ONCE)?;
    let (mut writer, mut reader, mut copies) = (eu.client()?, us.client()?, us.servers[0].client()?);
    assert_eq!(reader.get("row")?, None);
    writer.set("row", "new")?;
    eu.settle()?;
    assert_eq!(reader.set("row", "old")?, "STORED");
    assert_eq!(reader.get("row")?, None, "deleted right behind, on the same connection");
    assert_eq!(copies.get("row")?, None);
    assert_eq!(reader.set("row", "newest")?, "STORED");
    assert_eq!(reader.get("row")?, Some("newest".into()), "the next one is a write");
    Ok(())
}

/// Race 1: refills in two regions must not empty each other's caches for ever.
#[test]
fn equal_refills_are_quiet() -> Result<()> {
    let (_, eu, us) = pair("", ONCE)?;
    let (mut a, mut b) = (eu.client()?, us.client()?);
    for n in 0..50 {
        let key = format!("k{n}");
        for client in [&mut a, &mut b] {
            if client.get(&key)?.is_none() {
                client.set(&key, "row")?;
            }
        }
    }
    eu.settle()?;
    us.settle()?;
    for n in 0..50 {
        let key = format!("k{n}");
        assert_eq!((a.get(&key)?, b.get(&key)?), (Some("row".into()), Some("row".into())), "{key}");
    }
    Ok(())
}

#[test]
fn a_region_that_was_away_is_caught_up() -> Result<()> {
    let (_, eu, mut us) = pair("", ONCE)?;
    let mut copies = us.servers[0].client()?;
    for n in 0..500 {
        copies.set(&format!("k{n}"), "old")?;
    }
    us.daemon.kill()?;
    let mut writer = eu.client()?;
    for _ in 0..3 {
        for n in 0..500 {
            writer.set(&format!("k{n}"), "new")?;
        }
    }
    assert_eq!(eu.book("captured")?, 1500);
    assert!(eu.book("pending")? <= 500, "coalesced by key");
    us.daemon.run()?;
    eu.settle()?;
    for n in 0..500 {
        assert_eq!(copies.get(&format!("k{n}"))?, None);
    }
    Ok(())
}

#[test]
fn a_full_spool_becomes_a_flush_rather_than_a_loss() -> Result<()> {
    let (_, eu, mut us) = pair("spool = { bytes = \"1MiB\" }", ONCE)?;
    us.daemon.kill()?;
    let mut copies = us.servers[0].client()?;
    copies.set("k1", "old")?;
    let mut writer = eu.client()?;
    for n in 0..6_000 {
        writer.send(format!("set k{n} 0 0 1 noreply\r\nx\r\n").as_bytes())?;
    }
    ensure!(writer.ask("version")?.starts_with("VERSION"), "the writes are through");
    wait_until("a conversion", BOUND, || eu.book("converted").is_ok_and(|count| count > 0))?;
    us.daemon.run()?;
    eu.settle()?;
    assert_eq!(copies.get("k1")?, None);
    Ok(())
}

/// SIGKILL of the writing side at any moment: every write whose client got its answer is invalidated in the other region.
#[test]
fn no_answered_write_is_lost_when_the_daemon_is_killed() -> Result<()> {
    let (_, mut eu, us) = pair("", ONCE)?;
    let mut copies = us.servers[0].client()?;
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..12 {
        for n in 0..40 {
            copies.set(&format!("r{round}-{n}"), "old")?;
        }
        let front = eu.front();
        let writer = std::thread::spawn(move || write_until_cut(front, round));
        let until = Instant::now() + Duration::from_millis(7 * (round as u64 + 1));
        wait_until("the moment", BOUND, || Instant::now() >= until)?;
        eu.daemon.kill()?;
        for key in writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?? {
            answered.insert(key, round);
        }
        eu.daemon.run()?;
        eu.settle()?;
        for key in answered.keys() {
            ensure!(copies.get(key)?.is_none(), "round {round}: {key} was answered and is still there");
        }
    }
    ensure!(!answered.is_empty(), "no write was answered: the test proves nothing");
    Ok(())
}

/// Writes until the connection ends; the keys whose writes were answered.
fn write_until_cut(front: std::net::SocketAddr, round: usize) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let Ok(mut client) = tidegate_tests::memcached::Client::connect(front) else { return Ok(keys) };
    for n in 0..40 {
        let key = format!("r{round}-{n}");
        match client.set(&key, "new") {
            Ok(answer) => {
                ensure!(answer == "STORED", "answered {answer:?}");
                keys.push(key);
            }
            Err(error) => {
                let cut = error.downcast_ref::<std::io::Error>();
                ensure!(cut.is_none_or(|error| error.kind() != ErrorKind::WouldBlock), "no answer in time");
                return Ok(keys);
            }
        }
    }
    Ok(keys)
}

#[test]
fn a_crash_with_sync_os_is_answered_by_a_flush() -> Result<()> {
    let (_, mut eu, us) = pair("spool = { sync = \"os\" }", ONCE)?;
    let mut copies = us.servers[0].client()?;
    copies.set("somewhere", "old")?;
    eu.client()?.set("else", "new")?;
    eu.daemon.kill()?;
    eu.daemon.run()?;
    assert_eq!(eu.book("unknown")?, 1);
    eu.settle()?;
    assert_eq!(copies.get("somewhere")?, None);
    Ok(())
}

#[test]
fn read_back_finds_a_stale_copy() -> Result<()> {
    let (_, eu, us) = pair("", &format!("{ONCE}\nverify = 1"))?;
    storm::read_back_finds_a_stale_copy(&eu, &us)
}
