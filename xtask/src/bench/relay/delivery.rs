//! How fast a region makes the other forget: at once, and after a partition. Never counts a key before the other region has said that it
//! was applied.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tidegate_tests::memcached::Client;
use tidegate_tests::process::wait_until;

use super::super::Scale;
use super::super::machine;
use super::super::report::Row;
use super::super::rounds::median;
use super::pair::{PATIENCE, Pair};

/// Everything about delivery.
pub(super) fn rows(scale: Scale, mut pair: Pair) -> Result<Vec<Row>> {
    eprintln!("  delivery");
    let keys = if scale.quick { 50_000 } else { 300_000 };
    let rounds = if scale.quick { 1 } else { 3 };
    let rates = (0..rounds).map(|round| through(&pair, round * keys, keys)).collect::<Result<Vec<_>>>()?;
    let mut waits = Vec::new();
    let (mut writer, mut reader) = (pair.eu.client()?, pair.us.servers[0].client()?);
    for n in 0..if scale.quick { 100 } else { 1000 } {
        waits.push(answer_to_gone(&mut writer, &mut reader, n)?);
    }
    waits.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    let rate = Row {
        name: "distinct keys forgotten in the other region".to_owned(),
        value: median(&rates),
        unit: "keys/s",
        baseline: Some(200_000.0),
        runs: rates,
    };
    let mut rows = vec![
        rate,
        Row::single("answer to gone, p50", at(50), "ms", Some(2.0)),
        Row::single("answer to gone, p99", at(99), "ms", Some(10.0)),
    ];
    rows.extend(catch_up(&mut pair, if scale.quick { 100_000 } else { 1_000_000 })?);
    Ok(rows)
}

/// Deletes so many distinct keys, without waiting for answers but the last.
fn delete(pair: &Pair, prefix: &str, keys: std::ops::Range<usize>) -> Result<()> {
    let mut client = Client::connect(pair.eu.front())?;
    let mut batch = Vec::new();
    for n in keys {
        batch.extend_from_slice(format!("delete {prefix}:{n} noreply\r\n").as_bytes());
        if batch.len() > 32 * 1024 {
            client.send(&batch)?;
            batch.clear();
        }
    }
    client.send(&batch)?;
    ensure!(client.ask("version")?.starts_with("VERSION"), "the front does not answer");
    Ok(())
}

fn applied(pair: &Pair, due: u64) -> Result<()> {
    wait_until("all applied", PATIENCE, || pair.eu.book("applied").is_ok_and(|applied| applied >= due))
}

/// Deletes distinct keys and waits until they are applied; keys per second.
fn through(pair: &Pair, from: usize, keys: usize) -> Result<f64> {
    pair.eu.settle()?;
    let before = pair.eu.book("applied")?;
    let start = Instant::now();
    delete(pair, "forgotten", from..from + keys)?;
    applied(pair, before + keys as u64)?;
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

/// Seconds until everything that was written while the other region was away is applied there, and the memory that the backlog took.
fn catch_up(pair: &mut Pair, keys: usize) -> Result<[Row; 2]> {
    eprintln!("  catch-up of {keys} keys");
    pair.eu.settle()?;
    let before = pair.eu.book("applied")?;
    pair.us.daemon.stop().context("stopping the other region")?;
    delete(pair, "missed", 0..keys)?;
    let resident = machine::resident_kib(pair.process()?)? / 1024.0;
    pair.us.daemon.run().context("starting the other region")?;
    let start = Instant::now();
    applied(pair, before + keys as u64)?;
    pair.eu.settle()?;
    let took = start.elapsed().as_secs_f64();
    Ok([
        Row::single(format!("catch-up of {keys} keys"), took, "s", Some(5.0)),
        Row::single(format!("resident with {keys} keys pending"), resident, "MiB", None),
    ])
}
