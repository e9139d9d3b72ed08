//! The acts about requests: home, isthmus, redirect, failover.
//! Never asks tidegate whether it did well: a real curl and real origins tell.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidegate_tests::netns::Netns;

use super::Stop;
use super::tale::Tale;
use super::world::{EU, Region, US, World};

/// Longest wait until the edges know each other.
const MEET: Duration = Duration::from_secs(120);

/// What curl saw.
pub(super) struct Seen {
    /// Status of the last response; 0 when there was none.
    pub(super) status: u16,
    head: String,
    /// Its body, trimmed.
    pub(super) body: String,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(named)?.split_once(':').map(|(_, value)| value.trim())
    }
}

/// Plays these acts.
pub(super) fn play(tale: &mut Tale, world: &mut World, stop: &Stop) -> Result<()> {
    meet(world, stop)?;
    home(tale, world)?;
    stop.check()?;
    isthmus(tale, world)?;
    stop.check()?;
    redirect(tale, world)?;
    stop.check()?;
    failover(tale, world)?;
    stop.check()?;
    requests(tale, world)
}

/// Waits until each edge counts the other as up.
fn meet(world: &World, stop: &Stop) -> Result<()> {
    let started = Instant::now();
    while curl(&world.us.client, &["http://203.0.113.2/"])?.body != US.region
        || curl(&world.eu.client, &["http://203.0.113.6/"])?.body != EU.region
    {
        anyhow::ensure!(started.elapsed() < MEET, "the edges did not find each other within {MEET:?}");
        stop.wait(Duration::from_millis(100))?;
    }
    Ok(())
}

fn home(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("Clients at home are served by their own region");
    for (region, url) in [
        (&world.eu, "http://203.0.113.2/"),
        (&world.eu, "http://[2001:db8:f1::2]/"),
        (&world.us, "http://203.0.113.6/"),
    ] {
        let seen = tell_curl(tale, region, &[url])?;
        let what = format!("{} served a client of its own at {url}", region.plan.region);
        tale.check(&what, seen.status == 200 && seen.body == region.plan.region);
    }
    Ok(())
}

fn isthmus(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("A mis-routed client is carried home over the isthmus");
    tale.tell("The US client reached the EU edge; its home origin answers, through both edges.");
    for url in ["http://203.0.113.2/cart", "http://[2001:db8:f1::2]/cart"] {
        let seen = tell_curl(tale, &world.us, &[url])?;
        let what = format!("us-east-1's origin answered a US client at the EU edge ({url})");
        tale.check(&what, seen.status == 200 && seen.body == US.region);
    }
    Ok(())
}

fn redirect(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("The same, redirected");
    tidegate(tale, &world.eu, &["misroute", "redirect"])?;
    let seen = tell_curl(tale, &world.us, &["http://203.0.113.2/cart?item=7"])?;
    let location = seen.field("location").unwrap_or_default().to_owned();
    tale.answer(&format!("Location: {location}"));
    let there = seen.status == 307 && location == "http://203.0.113.6/cart?item=7&tg_from=eu-west-1";
    tale.check("307 to the home region with path, query and where from", there);
    let seen = tell_curl(tale, &world.us, &["--location", "http://203.0.113.2/cart?item=7"])?;
    tale.check("following it ends at us-east-1's origin", seen.status == 200 && seen.body == US.region);
    tidegate(tale, &world.eu, &["misroute", "reset"])
}

fn failover(tale: &mut Tale, world: &World) -> Result<()> {
    tale.act("A region in failover gets no mis-routed traffic");
    tidegate(tale, &world.eu, &["failover", "on", "us-east-1", "--reason", "demo"])?;
    let seen = tell_curl(tale, &world.us, &["http://203.0.113.2/cart"])?;
    tale.check("us-east-1 in failover: the EU region served the US client", seen.body == EU.region);
    tidegate(tale, &world.eu, &["failover", "off", "us-east-1"])?;
    let seen = tell_curl(tale, &world.us, &["http://203.0.113.2/cart"])?;
    tale.check("failover off: the US client is carried home again", seen.body == US.region);
    tidegate(tale, &world.eu, &["failover", "on", "--reason", "demo"])?;
    let seen = tell_curl(tale, &world.us, &["http://203.0.113.2/cart"])?;
    tale.check(
        "eu-west-1 itself in failover: it handles every request, wherever it belongs",
        seen.body == EU.region,
    );
    tidegate(tale, &world.eu, &["failover", "off"])
}

fn requests(tale: &mut Tale, world: &World) -> Result<()> {
    const OFFERED: usize = 40;
    tale.act("A ceiling on requests sheds early, with an error");
    tidegate(tale, &world.eu, &["ceiling", "set", "from-us", "requests_per_second=2"])?;
    tale.command("us client", &format!("for i in $(seq {OFFERED}); do curl http://203.0.113.2/; done"));
    let url = format!("http://203.0.113.2/[1-{OFFERED}]");
    let mut command = world.us.client.command("curl");
    command.args([
        "-s",
        "--max-time",
        "60",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %header{retry-after}\n",
        &url,
    ]);
    let done = command.output().context("starting curl")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let count = |status: &str| said.lines().filter(|line| line.starts_with(status)).count();
    let (served, shed) = (count("200"), count("503"));
    let retry =
        said.lines().filter_map(|line| line.strip_prefix("503 ")).next().unwrap_or_default().to_owned();
    tale.answer(&format!("{served} served, {shed} refused with 503 (Retry-After: {retry})"));
    let held =
        served > 0 && shed > 0 && served + shed == OFFERED && retry.parse::<u32>().is_ok_and(|s| s > 0);
    tale.check("what is over the ceiling got 503 with Retry-After, the rest was served", held);
    let seen = tell_curl(tale, &world.eu, &["http://203.0.113.2/"])?;
    tale.check("clients of the other home did not notice", seen.status == 200);
    tidegate(tale, &world.eu, &["ceiling", "reset", "from-us"])
}

/// Runs and tells a `tidegate` command on the region's edge.
pub(super) fn tidegate(tale: &Tale, region: &Region, arguments: &[&str]) -> Result<()> {
    tale.command(&format!("{} edge", region.plan.region), &format!("tidegate {}", arguments.join(" ")));
    tale.answer(&region.daemon.tell(arguments)?);
    Ok(())
}

fn tell_curl(tale: &Tale, region: &Region, arguments: &[&str]) -> Result<Seen> {
    tale.command(&format!("{} client", region.plan.region), &format!("curl {}", arguments.join(" ")));
    let seen = curl(&region.client, arguments)?;
    tale.answer(&format!("{} {}", seen.status, seen.body));
    Ok(seen)
}

/// Runs curl on a client host and reads the last response.
pub(super) fn curl(client: &Netns, arguments: &[&str]) -> Result<Seen> {
    let mut command = client.command("curl");
    command.args(["-s", "-g", "-i", "--max-time", "30"]).args(arguments);
    let done = command.output().context("starting curl")?;
    let text = String::from_utf8_lossy(&done.stdout).replace("\r\n", "\n");
    // With --location there is one head after another; the last one counts.
    let last = text.rfind("HTTP/1.1 ").or_else(|| text.rfind("HTTP/2 ")).map_or("", |at| &text[at..]);
    let (head, body) = last.split_once("\n\n").unwrap_or((last, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok(Seen { status, head: head.to_owned(), body: body.trim().to_owned() })
}
