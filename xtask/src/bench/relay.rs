//! `cargo xtask bench relay`: what the front costs beside memcached itself, and how fast a region makes the other forget.

mod load;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_tests::memcached::{Client, Places, RelayRegion};
use tidegate_tests::process::wait_until;

use self::load::{Load, Shape};
use super::Scale;
use super::report::{Report, Row};
use super::rounds::{self, Case};
use crate::build;

const NOTES: &str = "\
One worker; two regions with a memcached each (one thread), the load and all daemons share this machine's cores, so a front takes from
what memcached and the load could use. The load is one thread that keeps every connection busy with batches of the given depth and
checks every answer; 100-byte values unless said, 10,000 keys (1,677 of 10 KB), text protocol. *Captured* writes go to the other region all the while;
*not captured* ones come through `refill_listen`. A baseline is memcached itself in the same rounds. *Forgotten per second*: distinct
keys, from the first write until the other region has applied the last, durable in between. *Answer to gone*: from the client's answer
until a reader in the other region sees a miss, polling; it contains the poll's own round trip. Disks are virtual: fsync is indicative.";

/// Longest wait for a region to be told everything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two regions.
struct Pair {
    eu: RelayRegion,
    us: RelayRegion,
    uncaptured: SocketAddr,
}

impl Pair {
    fn start(relay: &str) -> Result<Self> {
        let places = Places::pick_for(binary()?)?;
        let uncaptured = tidegate_tests::memcached::free_address()?;
        let pool = format!("repeat_after = \"0s\"\nrefill_listen = \"{uncaptured}\"");
        let (eu, us) =
            (places.region(0, 1, relay, &pool)?, places.region(1, 1, relay, "repeat_after = \"0s\"")?);
        wait_until("the link", PATIENCE, || {
            eu.report().is_ok_and(|report| report.contains("\"edge\": \"http"))
        })?;
        Ok(Self { eu, us, uncaptured })
    }
}

/// The binary that is measured: `TIDEGATE_BIN`, else built from here.
fn binary() -> Result<PathBuf> {
    match std::env::var_os("TIDEGATE_BIN") {
        Some(path) => Ok(path.into()),
        None => build::host(true),
    }
}

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    let (group, os) = (Pair::start("")?, Pair::start("spool = { sync = \"os\" }")?);
    let mut rows = fronts(scale, &group, &os)?;
    rows.extend(delivery(scale, &group)?);
    Ok(Report { bench: "relay", rows, notes: NOTES.to_owned(), plots: Vec::new() })
}

/// Operations per second of each kind, directly and through the fronts.
fn fronts(scale: Scale, group: &Pair, os: &Pair) -> Result<Vec<Row>> {
    let time = Duration::from_millis(if scale.quick { 300 } else { 1000 });
    let direct = group.eu.servers[0].address();
    let ways = [("memcached", direct), ("front", group.eu.front())];
    let writes = [
        ("memcached", direct),
        ("front, not captured", group.uncaptured),
        ("front, captured, os", os.eu.front()),
        ("front, captured, group", group.eu.front()),
    ];
    let mut cases = Vec::new();
    for (kind, size, connections, depth) in [
        ("get", 100, 16, 1),
        ("get", 100, 16, 32),
        ("get", 10_000, 16, 1),
        ("set", 100, 64, 1),
        ("set", 100, 64, 32),
    ] {
        let shape = Shape { set: kind == "set", size, connections, depth };
        let ways: &[(&str, SocketAddr)] = if shape.set { &writes } else { &ways };
        for (way, to) in ways {
            let name = format!("{kind}, {size} B, {connections} connections, depth {depth}, {way}");
            let baseline = format!("{kind}, {size} B, {connections} connections, depth {depth}, memcached");
            let load = RefCell::new(None);
            let case = Case::new(name.clone(), "ops/s", move || {
                let mut load = load.borrow_mut();
                let load: &mut Load = match &mut *load {
                    Some(load) => load,
                    none => none.insert(Load::connect(*to, shape)?),
                };
                load.run(time)
            });
            cases.push(if name == baseline { case } else { case.against(baseline) });
        }
    }
    rounds::interleave(scale.rounds(), cases)
}

/// How fast the other region forgets.
fn delivery(scale: Scale, pair: &Pair) -> Result<Vec<Row>> {
    let keys = if scale.quick { 50_000 } else { 300_000 };
    let rate = through(pair, 0, keys)?;
    let mut waits = Vec::new();
    let (mut writer, mut reader) = (pair.eu.client()?, pair.us.servers[0].client()?);
    for n in 0..if scale.quick { 100 } else { 1000 } {
        waits.push(answer_to_gone(&mut writer, &mut reader, n)?);
    }
    waits.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    Ok(vec![
        Row::single("distinct keys forgotten in the other region", rate, "keys/s", Some(200_000.0)),
        Row::single("answer to gone, p50", at(0.5), "ms", Some(2.0)),
        Row::single("answer to gone, p99", at(0.99), "ms", Some(10.0)),
    ])
}

/// Deletes so many distinct keys and waits until they are applied; keys per second.
fn through(pair: &Pair, from: usize, keys: usize) -> Result<f64> {
    pair.eu.settle()?;
    let before = pair.eu.book("applied")?;
    let start = Instant::now();
    let mut client = Client::connect(pair.eu.front())?;
    let mut batch = Vec::new();
    for n in from..from + keys {
        batch.extend_from_slice(format!("delete forgotten:{n} noreply\r\n").as_bytes());
        if batch.len() > 32 * 1024 {
            client.send(&batch)?;
            batch.clear();
        }
    }
    client.send(&batch)?;
    ensure!(client.ask("version")?.starts_with("VERSION"), "the front does not answer");
    let due = before + keys as u64;
    wait_until("all applied", PATIENCE, || pair.eu.book("applied").is_ok_and(|applied| applied >= due))?;
    Ok(keys as f64 / start.elapsed().as_secs_f64())
}

/// Milliseconds from a write's answer until the other region has no copy.
fn answer_to_gone(writer: &mut Client, reader: &mut Client, n: usize) -> Result<f64> {
    let key = format!("lag:{n}");
    reader.set(&key, "old")?;
    ensure!(writer.set(&key, "new")? == "STORED", "the write was refused");
    let start = Instant::now();
    while reader.get(&key)?.is_some() {
        ensure!(start.elapsed() < PATIENCE, "{key} stays");
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
