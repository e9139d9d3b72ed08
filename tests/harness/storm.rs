//! Two regions over one broker, each by a cable of its own, and what is done to them while they write: the same for every broker.
//! Never holds what one broker alone knows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cable::Cable;
use crate::memcached::{Client, Memcached, Places, RelayRegion};
use crate::ports::free_address;
use crate::process::{wait_for, wait_until};

const BOUND: Duration = Duration::from_secs(120);
/// Keys written in a round, by each region.
const KEYS: usize = 40;
/// Applied once.
pub const ONCE: &str = "repeat_after = \"0s\"";
/// Long enough for a kill before the repetition, also on a busy machine.
const REPEAT: Duration = Duration::from_secs(3);

/// How often a storm strikes: `TIDEGATE_RELAY_ROUNDS`, else so often.
#[must_use]
pub fn rounds(default: usize) -> usize {
    std::env::var("TIDEGATE_RELAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

/// Two regions, each with a cable of its own to one broker.
#[derive(Debug)]
pub struct World<B> {
    /// The first region.
    pub eu: RelayRegion,
    /// The second one.
    pub us: RelayRegion,
    /// Their ways to the broker.
    pub cables: [Cable; 2],
    /// What lies between them.
    pub broker: B,
}

impl<B> World<B> {
    /// Starts both regions with these lines of `[relay]` and, one for each, of the pool; `None` where this binary has no such transport.
    ///
    /// # Errors
    /// When something does not start, or does not find the broker.
    pub fn new(
        places: &Places,
        (transport, broker): (&str, B),
        cables: [Cable; 2],
        pool: [&str; 2],
        relay: impl Fn(usize, &Cable) -> String,
    ) -> Result<Option<Self>> {
        let eu = match places.region(0, 1, &relay(0, &cables[0]), pool[0]) {
            Err(error) if format!("{error:#}").contains("is not in this build") => {
                eprintln!("skipped: this tidegate was built without its cargo feature {transport}");
                return Ok(None);
            }
            other => other?,
        };
        let us = places.region(1, 1, &relay(1, &cables[1]), pool[1])?;
        let world = Self { eu, us, cables, broker };
        world.meet()?;
        Ok(Some(world))
    }

    /// Waits until both regions have found the broker.
    ///
    /// # Errors
    /// When one does not.
    pub fn meet(&self) -> Result<()> {
        wait_until("both regions at the broker", BOUND, || is_up(&self.eu) && is_up(&self.us))
            .with_context(|| self.logs())
    }

    /// What both daemons logged and report.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = |region: &RelayRegion| std::fs::read_to_string(region.daemon.log()).unwrap_or_default();
        let reports = (self.eu.report(), self.us.report());
        format!("eu: {}\nus: {}\n{reports:?}", log(&self.eu), log(&self.us))
    }

    /// Puts old copies into both regions, has both write while `trouble` lasts, and looks for old copies when it is over.
    ///
    /// # Errors
    /// When a copy is stale afterwards, or the books do not close.
    pub fn round(&mut self, name: &str, trouble: impl Fn(&mut Self, bool) -> Result<()>) -> Result<()> {
        let sides = [("eu", "us"), ("us", "eu")];
        for (from, to) in sides {
            let mut copies = self.region(to).servers[0].client()?;
            for n in 0..KEYS {
                copies.set(&key(name, from, n), "old")?;
            }
        }
        trouble(self, true)?;
        for (from, _) in sides {
            self.write(from, name)?;
        }
        trouble(self, false)?;
        for (from, to) in sides {
            self.region(from).settle().with_context(|| format!("{name}: {}", self.logs()))?;
            let mut copies = self.region(to).servers[0].client()?;
            for n in 0..KEYS {
                let key = key(name, from, n);
                ensure!(copies.get(&key)?.is_none(), "{name}: {key} is stale in {to}: {}", self.logs());
            }
        }
        Ok(())
    }

    fn region(&self, name: &str) -> &RelayRegion {
        if name == "eu" { &self.eu } else { &self.us }
    }

    /// Some keys are written again and again, one is deleted.
    fn write(&self, from: &str, round: &str) -> Result<()> {
        let mut writer = self.region(from).client()?;
        for n in 0..KEYS {
            let key = key(round, from, n);
            for time in 0..=n % 3 {
                ensure!(writer.set(&key, &format!("new-{time}"))? == "STORED", "{key} was not stored");
            }
            if n == 0 {
                writer.ask(&format!("delete {key}"))?;
            }
        }
        Ok(())
    }

    /// Differing copies go, equal ones stay, nothing that was applied is captured again, a flush leaves nothing.
    ///
    /// # Errors
    /// When that is not so.
    pub fn copies(&mut self) -> Result<()> {
        let (mut writer, mut copies) = (self.eu.client()?, self.us.servers[0].client()?);
        let odd = "k\u{1}.*>é";
        for (key, value) in [("differs", "old"), ("equal", "new"), (odd, "old")] {
            copies.set(key, value)?;
            writer.set(key, "new")?;
        }
        self.eu.settle().with_context(|| self.logs())?;
        let found = [copies.get("differs")?, copies.get("equal")?, copies.get(odd)?];
        ensure!(found == [None, Some("new".into()), None], "{found:?}");
        ensure!(self.us.book("captured")? == 0, "what was applied is captured again");
        copies.set("any", "x")?;
        writer.ask("flush_all")?;
        self.eu.settle()?;
        ensure!(copies.get("any")?.is_none(), "a copy outlived a flush");
        self.round("quiet", |_, _| Ok(()))
    }

    /// Either region is cut off from the broker, or both.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub fn partitions(&mut self, count: usize) -> Result<()> {
        for round in 0..count {
            self.round(&format!("partition-{round}"), |world, begins| {
                for (side, cable) in world.cables.iter().enumerate() {
                    match begins && (round % 3 == side || round % 3 == 2) {
                        true => cable.cut(),
                        false => cable.mend(),
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A memcached server is away while the other region writes, and is waited for.
    ///
    /// # Errors
    /// When something is applied where there is no memcached, and as [`Self::round`].
    pub fn lost_caches(&mut self, count: usize) -> Result<()> {
        for round in 0..count {
            self.us.servers[0].kill()?;
            self.write("eu", &format!("memcached-{round}"))?;
            ensure!(self.eu.book("pending")? > 0, "nothing is applied where there is no memcached");
            self.us.servers[0].run(&[])?;
            self.eu.settle().with_context(|| self.logs())?;
            self.round(&format!("after-{round}"), |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// A second host in each region, over the same servers, by the first one's cable; each has its own front and relays what that captured.
    ///
    /// # Errors
    /// When one does not start or does not find the broker.
    pub fn second_hosts(
        &self,
        places: &Places,
        pool: &str,
        relay: impl Fn(usize, &Cable) -> String,
    ) -> Result<[RelayRegion; 2]> {
        let host = |side: usize| -> Result<RelayRegion> {
            let servers: Vec<_> = [&self.eu, &self.us][side].servers.iter().map(Memcached::address).collect();
            places.host(side, &servers, &relay(side, &self.cables[side]), pool)
        };
        let hosts = [host(0)?, host(1)?];
        for host in &hosts {
            wait_until("the second host at the broker", BOUND, || is_up(host))?;
        }
        Ok(hosts)
    }

    /// All hosts of both regions write keys of their own and keys that the region's other host writes, too, while the cables are cut now and
    /// then; whichever host receives what the others sent, no old copy is left, and each host's books close.
    ///
    /// # Errors
    /// When a copy is stale afterwards, or the books of a host do not close.
    pub fn crowd(&self, seconds: &[RelayRegion; 2], count: usize) -> Result<()> {
        let hosts = [[&self.eu, &seconds[0]], [&self.us, &seconds[1]]];
        let names = |round: usize, side: usize, host: usize| {
            (0..KEYS).map(move |n| match n % 4 {
                0 => format!("crowd-{round}-{side}-shared-{n}"),
                _ => format!("crowd-{round}-{side}-{host}-{n}"),
            })
        };
        for round in 0..count {
            for (side, both) in hosts.iter().enumerate() {
                let mut copies = hosts[1 - side][0].servers[0].client()?;
                for host in 0..both.len() {
                    names(round, side, host).try_for_each(|key| copies.set(&key, "old").map(drop))?;
                }
            }
            let cut = self.cables.get(round % 3);
            cut.into_iter().for_each(Cable::cut);
            for (side, both) in hosts.iter().enumerate() {
                for (host, region) in both.iter().enumerate() {
                    let mut writer = region.client()?;
                    names(round, side, host).try_for_each(|key| writer.set(&key, "new").map(drop))?;
                }
            }
            self.cables.iter().for_each(Cable::mend);
            for (side, both) in hosts.iter().enumerate() {
                let mut copies = hosts[1 - side][0].servers[0].client()?;
                for (host, region) in both.iter().enumerate() {
                    region.settle().with_context(|| format!("round {round}: {}", self.logs()))?;
                    for key in names(round, side, host) {
                        ensure!(copies.get(&key)?.is_none(), "{key} is stale: {}", self.logs());
                    }
                }
            }
        }
        let applied = hosts.map(|both| both.map(|host| host.book("applied_here").unwrap_or(0)));
        println!(
            "{count} rounds over two hosts in each region; applied by each: {applied:?}; 0 stale, books closed"
        );
        Ok(())
    }

    /// The broker takes letters for a region that is cut off, and loses them: they are sent again. `lose` ends the broker without its memory
    /// and starts it again.
    ///
    /// # Errors
    /// When a copy is stale afterwards, or the books do not close.
    pub fn taken_and_lost(&mut self, count: usize, lose: impl Fn(&mut B) -> Result<()>) -> Result<()> {
        for round in 0..count {
            self.round(&format!("lost-{round}"), |world, begins| {
                if begins {
                    world.cables[1].cut();
                    return Ok(());
                }
                // tidy: sleep because what was written is on its way meanwhile; where it is not, less is lost.
                std::thread::sleep(Duration::from_millis(300));
                lose(&mut world.broker)?;
                world.cables[1].mend();
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Both daemons are killed before anything of theirs got through: they send again from their spools.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub fn kills(&mut self, count: usize) -> Result<()> {
        for round in 0..count {
            self.round(&format!("killed-{round}"), |world, begins| {
                if begins {
                    world.cables.iter().for_each(Cable::cut);
                    return Ok(());
                }
                world.eu.daemon.kill()?;
                world.us.daemon.kill()?;
                world.cables.iter().for_each(Cable::mend);
                world.eu.daemon.run()?;
                world.us.daemon.run()?;
                world.meet()
            })?;
        }
        Ok(())
    }
}

/// A second pool `q` of two regions, with servers of its own.
#[derive(Debug)]
pub struct SecondPool {
    servers: [Memcached; 2],
    fronts: [SocketAddr; 2],
}

impl SecondPool {
    /// Starts its servers.
    ///
    /// # Errors
    /// When they can't be started.
    pub fn new() -> Result<Self> {
        let servers = [Memcached::start(&[])?, Memcached::start(&[])?];
        Ok(Self { servers, fronts: [free_address()?, free_address()?] })
    }

    /// Lines of `[[relay.pool]]` of the first pool, and this one's table behind them.
    #[must_use]
    pub fn lines(&self, own: usize) -> String {
        let (front, server, other) = (self.fronts[own], self.servers[own].address(), ["us", "eu"][own]);
        format!(
            "{ONCE}\n[[relay.pool]]\nname = \"q\"\nlisten = \"{front}\"\nservers = [\"{server}\"]\n\
             regions = [\"{other}\"]\n{ONCE}"
        )
    }

    /// This pool's server over there is down while `stuck` keys are written: the other pool's invalidations are applied all the same, and
    /// once it is back nothing is missing. Each write is a commit, and so a batch of its own.
    ///
    /// # Errors
    /// When the other pool is held up, something is applied where there is no memcached, or the books do not close.
    pub fn holds_up_no_other(&mut self, eu: &RelayRegion, us: &RelayRegion, stuck: u64) -> Result<()> {
        self.servers[1].kill()?;
        let mut writer = Client::connect(self.fronts[0])?;
        for n in 0..stuck {
            writer.set(&format!("s{n}"), "new")?;
        }
        let (mut writer, mut copies) = (eu.client()?, us.servers[0].client()?);
        for n in 0..KEYS {
            copies.set(&format!("k{n}"), "old")?;
        }
        for n in 0..KEYS {
            writer.set(&format!("k{n}"), "new")?;
        }
        let done = |pool| lane(eu, pool, "pending").is_ok_and(|pending| pending == 0);
        wait_until("the other pool's deletes", BOUND, || done("p"))?;
        for n in 0..KEYS {
            ensure!(copies.get(&format!("k{n}"))?.is_none(), "k{n} is stale");
        }
        let waits = (lane(eu, "q", "pending")?, lane(eu, "q", "applied")?);
        ensure!(waits == (stuck, 0), "pending and applied where there is no memcached: {waits:?}");
        self.servers[1].run(&[])?;
        wait_until("nothing pending", BOUND, || done("q"))?;
        for (pool, keys) in [("p", KEYS as u64), ("q", stuck)] {
            let books = (lane(eu, pool, "captured")?, lane(eu, pool, "applied")?);
            ensure!(books == (keys, keys), "captured and applied of {pool}: {books:?}");
        }
        Ok(())
    }
}

/// A number of the lane of one pool.
fn lane(region: &RelayRegion, pool: &str, word: &str) -> Result<u64> {
    let report = region.report()?.replace(char::is_whitespace, "");
    let (pool, word) = (format!("\"pool\":\"{pool}\""), format!("\"{word}\":"));
    let lane = report.split('{').find(|table| table.contains(&pool) && table.contains("\"captured\":"));
    let number = lane.and_then(|lane| Some(lane.split_once(&word)?.1));
    let number = number.with_context(|| format!("no {word} of {pool} in {report}"))?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().with_context(|| format!("{word} of {pool} in {report}"))
}

fn is_up(region: &RelayRegion) -> bool {
    region.report().is_ok_and(|report| report.contains("\"edge\": \""))
}

fn key(round: &str, from: &str, n: usize) -> String {
    format!("{round}-{from}-{n}")
}

/// The pool's lines for [`late_refill_goes`].
#[must_use]
pub fn repeating() -> String {
    format!("repeat_after = \"{}s\"", REPEAT.as_secs())
}

/// A write in one region, and behind it a refill of the other with what its lagging store still says. Whether both came before the repetition
/// can have been: then it is still to come.
fn refill(eu: &RelayRegion, us: &RelayRegion, key: &str) -> Result<bool> {
    let (mut writer, mut reader, began) = (eu.client()?, us.client()?, Instant::now());
    writer.set(key, "new")?;
    eu.settle()?;
    ensure!(reader.get(key)?.is_none(), "{key} is there before anybody set it");
    reader.set(key, "old")?;
    Ok(began.elapsed() < REPEAT)
}

/// Who dies between applying and repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    /// Nobody.
    None,
    /// Who applies: the sender, which kept what was not repeated, says it again.
    Receiver,
    /// The sender as well: its disk kept it.
    Both,
}

/// Race 2: the invalidation overtakes the data, and the other region caches the old row; the repetition finds it, whoever dies.
///
/// # Errors
/// When the old row stays.
pub fn late_refill_goes(eu: &mut RelayRegion, us: &mut RelayRegion, dies: Dies) -> Result<()> {
    // A busy machine may be too late with the refill: then there is another one.
    for attempt in 0..20 {
        let (key, began) = (format!("row-{dies:?}-{attempt}"), Instant::now());
        let mut in_time = refill(eu, us, &key)?;
        let mut copies = us.servers[0].client()?;
        if dies != Dies::None {
            us.daemon.kill()?;
            if dies == Dies::Both {
                eu.daemon.kill()?;
                eu.daemon.run()?;
            }
            let copy = copies.get(&key)?;
            in_time &= began.elapsed() < REPEAT;
            ensure!(!in_time || copy.as_deref() == Some("old"), "{copy:?} before the repetition");
            us.daemon.run()?;
        }
        if in_time {
            return wait_until("the repetition", BOUND, || matches!(copies.get(&key), Ok(None)));
        }
    }
    bail!("the machine is too busy to refill within {REPEAT:?}");
}

/// Somebody puts an old copy past every front, again and again: what takes it away a second time behind one write is the read-back.
/// For a pool with `verify = 1` and without repetition.
///
/// # Errors
/// When it does not.
pub fn read_back_finds_a_stale_copy(eu: &RelayRegion, us: &RelayRegion) -> Result<()> {
    let (mut writer, mut copies) = (eu.client()?, us.servers[0].client()?);
    wait_for("the stale copy found", BOUND, || tried(&mut writer, &mut copies).ok()?.then_some(()))?;
    wait_until("it is counted", BOUND, || stale_found(eu).is_ok_and(|stale| stale > 0.0))
}

/// `tidegate_relay_verified_total` of stale copies.
fn stale_found(region: &RelayRegion) -> Result<f64> {
    let text = region.daemon.admin("GET", "/metrics", "")?.text();
    let mut lines = text.lines().filter(|line| line.starts_with("tidegate_relay_verified_total{"));
    let line = lines.find(|line| line.contains("result=\"stale\"")).context("no such metric")?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

/// Whether two copies went behind one write.
fn tried(writer: &mut Client, copies: &mut Client) -> Result<bool> {
    copies.set("k", "old")?;
    writer.set("k", "new")?;
    let mut put = || matches!(copies.ask("add k 0 0 3\r\nold").as_deref(), Ok("STORED"));
    // Each time that there was room for it, one had gone.
    let twice = |put: &mut dyn FnMut() -> bool| {
        wait_until("gone", BOUND / 60, &mut *put).and_then(|()| wait_until("gone again", BOUND / 24, put))
    };
    Ok(twice(&mut put).is_ok())
}
