//! The spool of a whole daemon on a disk that is full or broken: what was answered is never lost, writes wait for their answers, reads do
//! not, the books stay closed, and everything goes on when the disk does. Needs root; says so and passes without.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tidegate_tests::fault::{self, Fault, When};
use tidegate_tests::memcached::{Client, Places, RelayRegion};
use tidegate_tests::process::wait_until;
use tidegate_tests::storm::ONCE;

const BOUND: Duration = Duration::from_secs(60);
/// Writes that are under way while the disk fails.
const WRITERS: usize = 8;

/// Where commits are appended.
fn journal(region: &RelayRegion) -> Result<PathBuf> {
    let folder = region.daemon.folder().file("state").join(region.daemon.instance());
    let mut files = std::fs::read_dir(&folder)?.flatten().map(|file| file.path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .with_context(|| format!("no journal in {}", folder.display()))
}

/// Whether the daemon says that its spool can't be written.
fn says_so(region: &RelayRegion) -> bool {
    region.report().is_ok_and(|report| report.contains("\"spool_failure\": \""))
}

/// What is captured is accounted for, at this instant.
fn books_close(region: &RelayRegion) -> Result<()> {
    let report = region.report()?;
    let lanes: serde_json::Value = serde_json::from_str(&report)?;
    for lane in lanes["lanes"].as_array().context("lanes")? {
        let word = |word: &str| lane[word].as_u64().unwrap_or(u64::MAX);
        let sum: u64 = ["applied", "coalesced", "converted", "expired", "pending"].map(word).iter().sum();
        ensure!(word("captured") == sum, "the books do not close: {lane}");
    }
    Ok(())
}

/// Writers whose answers wait; each on a connection of its own.
struct Waiting(Vec<Client>);

impl Waiting {
    /// Has each write one key.
    fn begin(region: &RelayRegion, round: &str) -> Result<Self> {
        let mut clients = (0..WRITERS).map(|_| region.client()).collect::<Result<Vec<_>>>()?;
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("set {round}-{n} 0 0 3\r\nnew\r\n").as_bytes())?;
        }
        Ok(Self(clients))
    }

    /// Nobody has an answer.
    fn wait(&mut self) -> Result<()> {
        for client in &mut self.0 {
            client.patience(Duration::from_millis(50))?;
            let error = client.line().err().context("answered before it was durable")?;
            let error = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            ensure!(error == Some(ErrorKind::WouldBlock), "the connection ended: {error:?}");
        }
        Ok(())
    }

    /// Everybody gets one.
    fn end(&mut self) -> Result<()> {
        for client in &mut self.0 {
            client.patience(BOUND)?;
            let answer = client.line()?;
            ensure!(answer == "STORED", "answered {answer:?}");
        }
        Ok(())
    }
}

/// No copy that a round's writes made old is left.
fn forgotten(us: &RelayRegion, round: &str) -> Result<()> {
    let mut copies = us.servers[0].client()?;
    for n in 0..WRITERS {
        let key = format!("{round}-{n}");
        ensure!(copies.get(&key)?.is_none(), "{key} was answered and is still there");
    }
    Ok(())
}

fn old_copies(us: &RelayRegion, round: &str) -> Result<()> {
    let mut copies = us.servers[0].client()?;
    (0..WRITERS).try_for_each(|n| copies.set(&format!("{round}-{n}"), "old").map(drop))
}

/// Each call of a commit fails, each time, for a while; with `killed`, the daemon is killed before the disk is well again.
fn fails(eu: &mut RelayRegion, us: &RelayRegion, (call, error): (&str, &str), killed: bool) -> Result<()> {
    let round = format!("{call}-{error}-{killed}");
    old_copies(us, &round)?;
    let mut reader = eu.client()?;
    ensure!(reader.set("before", "x")? == "STORED");
    let fault = Fault::on(&eu.daemon, call, &journal(eu)?, (error, When::Always))?;
    let mut waiting = Waiting::begin(eu, &round)?;
    wait_until("the fault told", BOUND, || says_so(eu)).with_context(|| round.clone())?;
    waiting.wait()?;
    ensure!(reader.get("before")?.as_deref() == Some("x"), "reads go on");
    books_close(eu)?;
    if killed {
        eu.daemon.kill()?;
        ensure!(fault.end()?, "no such call was made");
        eu.daemon.run()?;
        // Nobody was answered, so that nothing is owed; what is there afterwards is accounted for.
        books_close(eu)?;
        return eu.settle();
    }
    ensure!(fault.end()?, "no such call was made");
    waiting.end()?;
    wait_until("the fault is over", BOUND, || !says_so(eu))?;
    eu.settle()?;
    forgotten(us, &round)
}

#[test]
fn a_disk_that_fails_makes_writes_wait_and_loses_nothing() -> Result<()> {
    if let Some(why) = fault::unavailable() {
        println!("skipped: {why}");
        return Ok(());
    }
    let places = Places::pick()?;
    let (mut eu, us) = (places.region(0, 1, "", ONCE)?, places.region(1, 1, "", ONCE)?);
    for error in ["ENOSPC", "EIO"] {
        for call in ["pwrite64", "fdatasync"] {
            for killed in [false, true] {
                fails(&mut eu, &us, (call, error), killed).with_context(|| format!("{error} at {call}"))?;
            }
        }
    }
    Ok(())
}

/// A small file system of its own that is full, in a mount namespace that ends with the daemon.
#[test]
fn a_full_disk_makes_writes_wait_until_there_is_room() -> Result<()> {
    if let Some(why) = fault::unavailable() {
        println!("skipped: {why}");
        return Ok(());
    }
    let places = Places::pick()?;
    let (mut eu, mut us) =
        (places.region(0, 1, "spool = { bytes = \"64MiB\" }", ONCE)?, places.region(1, 1, "", ONCE)?);
    eu.daemon.stop()?;
    let state = eu.daemon.folder().file("state");
    let run = eu.daemon.command_to_run();
    let mut small = Command::new("unshare");
    small.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=16m none \"$0\" && exec \"$@\""]);
    small.arg(&state).arg(run.get_program()).args(run.get_args());
    eu.daemon.run_by(&mut small)?;
    // Nothing goes away from the spool while the other region is away.
    us.daemon.kill()?;
    old_copies(&us, "full")?;
    let inside = PathBuf::from(format!("/proc/{}/root", eu.daemon.id().context("it runs")?));
    let filler = inside.join(state.strip_prefix("/")?).join("filler");
    let filled = std::fs::write(&filler, vec![0; 32 << 20]);
    ensure!(filled.is_err_and(|error| error.kind() == ErrorKind::StorageFull), "16 MiB took 32");
    let mut waiting = Waiting::begin(&eu, "full")?;
    // Rows until the file has to grow.
    let mut flood = eu.client()?;
    let (key, mut numbers) = ("k".repeat(200), 0..);
    wait_until("the disk full", BOUND, || {
        let some = numbers
            .by_ref()
            .take(500)
            .map(|n: u32| format!("set {n}-{key} 0 0 1 noreply\r\nx\r\n"))
            .collect::<String>();
        flood.send(some.as_bytes()).is_ok() && says_so(&eu)
    })?;
    books_close(&eu)?;
    ensure!(eu.client()?.get("absent")?.is_none(), "reads go on");
    std::fs::remove_file(&filler)?;
    wait_until("the fault is over", BOUND, || !says_so(&eu))?;
    waiting.end()?;
    ensure!(flood.ask("version")?.starts_with("VERSION"), "the flood is through");
    us.daemon.run()?;
    eu.settle()?;
    forgotten(&us, "full")?;
    let log = std::fs::read_to_string(eu.daemon.log())?;
    ensure!(log.contains("cannot be written") && log.contains("can be written again"), "{log}");
    (!log.contains("panicked")).then_some(()).ok_or_else(|| anyhow!("{log}"))
}
