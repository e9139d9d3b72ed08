//! What would lock the operator out, made with `--confirm`: it takes hold, nobody confirms, and it is undone in time.
//! Judged from outside, by a client that is served before and after and is not in between.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::lab::{CLIENT, HOST, Lab, OTHER};
use tidegate_tests::netns::unavailable;
use tidegate_tests::origin::Origin;
use tidegate_tests::process::wait_until;

/// What nobody confirms is undone after this; on a machine that does not look in time, after the next.
const CONFIRM: [(&str, u64); 3] = [("2s", 2), ("10s", 10), ("45s", 45)];
/// When a client must be served (again) at the latest: behind the time above, what a busy machine needs besides.
const UNDONE: Duration = Duration::from_secs(60);
const PORT: u16 = 8080;

/// The client that it locks out, and the command.
type Toggle = (&'static str, &'static [&'static str]);

const TOGGLES: [Toggle; 17] = [
    (NEAR, &["deny", "add", "192.0.2.2/32"]),
    (NEAR, &["deny", "add", "192.0.2.0/24"]),
    (NEAR, &["deny", "add", "0.0.0.0/0"]),
    (NEAR, &["deny", "add", "192.0.0.0/8", "--for", "1h"]),
    (AWAY, &["allow", "del", "203.0.113.9/32"]),
    (NEAR, &["ceiling", "set", "everyone", "requests_per_second=0"]),
    (NEAR, &["ceiling", "set", "everyone", "concurrent_requests=0"]),
    (NEAR, &["ceiling", "set", "everyone", "connections_per_second=0"]),
    (NEAR, &["ceiling", "set", "everyone", "packets_per_second=0"]),
    (NEAR, &["ceiling", "set", "everyone", "bits_per_second=0"]),
    (NEAR, &["ceiling", "set", "near", "requests_per_second=0"]),
    (NEAR, &["ceiling", "set", "near", "concurrent_requests=0"]),
    (NEAR, &["ceiling", "set", "near", "connections_per_second=0"]),
    (NEAR, &["ceiling", "set", "near", "packets_per_second=0", "bits_per_second=0"]),
    (NEAR, &["ceiling", "set", "everyone", "requests_per_second=0", "packets_per_second=0", "--for", "1h"]),
    (AWAY, &["misroute", "redirect"]),
    (AWAY, &["misroute", "isthmus"]),
];
/// A client of this region, and one of the other region that is served here.
const NEAR: &str = "192.0.2.2";
const AWAY: &str = "203.0.113.9";

/// The configuration with what a test puts in the place of its words.
fn file(origin: &str, change: (&str, &str)) -> String {
    format!(
        r#"
[[region]]
name = "near"
public_url = "http://192.0.2.1:8080"
[[region]]
name = "away"
public_url = "http://203.0.113.250"
edges = ["http://203.0.113.250:8443"]
[geo]
default_region = "near"
[[geo.record]]
region = "away"
prefixes = ["203.0.113.0/24"]
[misroute]
mode = "local"
when_unreachable = "shed"
automatic_failover = false
[[listener]]
name = "public"
address = "0.0.0.0:{PORT}"
upstream = "origin"
[[upstream]]
name = "origin"
endpoints = ["{origin}"]
[[ceiling]]
name = "everyone"
requests_per_second = 100_000
[[ceiling]]
name = "near"
home = "near"
requests_per_second = 100_000
[xdp]
interfaces = ["e0"]
ports = [{PORT}]
allow = ["203.0.113.9/32"]
deny = ["203.0.113.0/24"]
"#
    )
    .replace(change.0, change.1)
}

/// Configurations that lock a client out, as what is put in the place of what.
const FILES: [(&str, &str, &str); 5] = [
    (NEAR, "deny = [", "deny = [\"192.0.2.0/24\", "),
    (NEAR, "requests_per_second = 100_000", "requests_per_second = 0"),
    (NEAR, "requests_per_second = 100_000", "packets_per_second = 0"),
    (NEAR, "requests_per_second = 100_000", "connections_per_second = 0\nover = \"reset\""),
    (AWAY, "mode = \"local\"", "mode = \"redirect\""),
];

/// Whether a client with that address is served, on a connection of its own.
fn served(lab: &Lab, client: &str) -> bool {
    let url = format!("http://{HOST}:{PORT}/");
    let mut curl = lab.client.command("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--interface", client]);
    curl.args(["--connect-timeout", "0.5", "--max-time", "1", &url]);
    curl.output().is_ok_and(|done| done.stdout == b"200")
}

/// `change` is given the time to be confirmed in.
fn is_locked_out_and_back(
    lab: &Lab,
    client: &str,
    what: &str,
    change: impl Fn(&str) -> Result<()>,
) -> Result<f64> {
    for (confirm, seconds) in CONFIRM {
        wait_until(&format!("served before {what}"), UNDONE, || served(lab, client))?;
        let made = Instant::now();
        change(confirm)?;
        if !served(lab, client) {
            let bound = UNDONE + Duration::from_secs(seconds);
            wait_until(&format!("undone: {what}"), bound, || served(lab, client))?;
            return Ok(made.elapsed().as_secs_f64());
        }
        ensure!(made.elapsed().as_secs() >= seconds, "{what} locks nobody out");
    }
    bail!("{what}: nobody looked in time");
}

/// A host with an origin and a daemon, and what it takes to see whether clients are served.
struct World {
    lab: Lab,
    origin: Origin,
    daemon: Daemon,
}

impl World {
    /// `None` where it can't be had.
    fn new() -> Result<Option<Self>> {
        if let Some(why) = unavailable() {
            println!("skipped: {why}");
            return Ok(None);
        }
        ensure!(CLIENT.to_string() == NEAR && OTHER.to_string() == AWAY, "the lab has other addresses");
        let lab = Lab::new()?;
        let origin = Origin::inside(&lab.host, "127.0.0.1:0", "here")?;
        let daemon = Daemon::start(Some(&lab.host), "near", &file(&origin.url(), ("mode", "mode")))?;
        Ok(Some(Self { lab, origin, daemon }))
    }

    fn toggles(&self, toggles: &[Toggle]) -> Result<()> {
        let mut longest: f64 = 0.0;
        for (client, command) in toggles {
            let what = command.join(" ");
            let took = is_locked_out_and_back(&self.lab, client, &what, |confirm| {
                let mut all = command.to_vec();
                all.extend(["--confirm", confirm]);
                self.daemon.tell(&all).map(drop).context(what.clone())
            })?;
            longest = longest.max(took);
        }
        println!("{} toggles, all undone, the slowest {longest:.1} s after it was asked for", toggles.len());
        Ok(())
    }
}

#[test]
fn lists_and_rates_that_lock_out_are_undone_unless_confirmed() -> Result<()> {
    World::new()?.map_or(Ok(()), |world| world.toggles(&TOGGLES[..9]))
}

#[test]
fn ceilings_of_a_region_and_modes_that_lock_out_are_undone_unless_confirmed() -> Result<()> {
    World::new()?.map_or(Ok(()), |world| world.toggles(&TOGGLES[9..]))
}

#[test]
fn files_that_lock_out_are_undone_unless_confirmed() -> Result<()> {
    let Some(World { lab, origin, daemon }) = World::new()? else { return Ok(()) };
    for (client, from, to) in FILES {
        let what = format!("a file with {to}");
        is_locked_out_and_back(&lab, client, &what, |confirm| {
            daemon.configure("near", &file(&origin.url(), (from, to)))?;
            daemon.tell(&["reload", "--confirm", confirm]).map(drop)
        })?;
    }
    Ok(())
}
