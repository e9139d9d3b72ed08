//! Hostile load: connections that keep the edge waiting, floods of HTTP/2 frames, no descriptors left. Figures are printed; what is asserted
//! is that all are let go, that memory stays bounded, and that other clients are served.
//!
//! `TIDEGATE_HOSTILE=full`, on a machine with nothing else to do, sends 100,000 frames of each kind and 5,000 slow connections; by default it
//! is a fifth of both. The connections come five times then: to `nobody`, a sink for which they are no work, so that it is seen what others suffer
//! because all share the machine; to tidegate; as many that are not slow to tidegate, so that it is seen what slowness adds; to nginx; and to
//! haproxy. `TIDEGATE_BIN` names another build of the daemon.

mod hostile;
mod load;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use hostile::baseline::{Beside, Start};
use hostile::flood::{self, Flood};
use hostile::origin::Crowded;
use hostile::sink::Sink;
use hostile::slow::{self, Crowd, Slow};
use hostile::strain::{self, Watch};
use load::{Kind, Load, Tally};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::Connection;

const HERE: &str = "127.0.0.1";
const BOUND: Duration = Duration::from_secs(180);
const KINDS: [Kind; 4] = [Kind::KeepAlive, Kind::KeepAlive, Kind::Anew, Kind::Http2];
/// How long other clients are watched before anything happens.
const CALM: Duration = Duration::from_secs(3);
/// Most growth of the daemon's memory under floods, in KiB.
const MOST_GROWTH: u64 = 32 << 10;
/// The configured timeouts.
const HEAD: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_secs(6);
/// How long each kind of slow connection is borne.
const WAITS: [(Slow, Duration); 5] = [
    (Slow::Head, HEAD),
    (Slow::Silent, HEAD),
    (Slow::Body, PAUSE),
    (Slow::Reading, PAUSE),
    (Slow::Sipping, PAUSE),
];
const IDLE: Duration = Duration::from_secs(4);
/// Where connections have to make room for others.
const SHORT: Duration = Duration::from_secs(2);

/// One case at a time: none is to disturb another's figures.
static ALONE: Mutex<()> = Mutex::new(());

/// How long such a connection is borne.
fn wait(kind: Slow) -> Duration {
    WAITS.iter().find(|(of, _)| *of == kind).map_or(PAUSE, |(_, wait)| *wait)
}

fn is_full() -> bool {
    std::env::var("TIDEGATE_HOSTILE").is_ok_and(|value| value == "full")
}

fn many(full: u32) -> u32 {
    if is_full() { full } else { full / 5 }
}

struct Edge {
    daemon: Daemon,
    /// For other clients.
    address: SocketAddr,
    /// For hostile ones: served by the same workers, from an origin of its own. That takes its part of the machine like others: an answer that
    /// comes late is let go late.
    hostile: SocketAddr,
    origins: [Crowded; 2],
}

impl Edge {
    fn prepare(head: Duration, pause: Duration, idle: Duration) -> Result<Self> {
        let origins = [Crowded::start()?, Crowded::start()?];
        let (address, hostile) = (free_address()?, free_address()?);
        let limits = format!(
            "limits = {{ header_timeout = \"{}s\", idle_timeout = \"{}s\", body_idle_timeout = \"{}s\" }}",
            head.as_secs(),
            idle.as_secs(),
            pause.as_secs()
        );
        let mut file = String::from(
            "[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n",
        );
        for (name, address, origin) in [("public", address, &origins[0]), ("hostile", hostile, &origins[1])] {
            file += &format!(
                "[[upstream]]\nname = {name:?}\nendpoints = [\"http://{}\"]\nresponse_timeout = \"60s\"\n\
                 [[listener]]\nname = {name:?}\naddress = \"{address}\"\nupstream = {name:?}\n{limits}\n",
                origin.address
            );
        }
        let daemon = Daemon::prepare(None, "eu", &file)?;
        Ok(Self { daemon, address, hostile, origins })
    }

    fn target(&self) -> Result<Target> {
        let process = self.daemon.id().context("it runs")?;
        Ok(Target { name: "tidegate", kinds: &KINDS, process, address: self.address, hostile: self.hostile })
    }
}

/// Who is attacked.
struct Target {
    name: &'static str,
    /// The other clients that it can serve.
    kinds: &'static [Kind],
    process: u32,
    address: SocketAddr,
    hostile: SocketAddr,
}

impl Target {
    fn memory_kib(&self) -> Result<u64> {
        let mut all = 0;
        for process in strain::family(self.process) {
            let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
            all += line.split_whitespace().nth(1).context("a number")?.parse::<u64>()?;
        }
        Ok(all)
    }

    /// What other clients see while nothing happens.
    fn calm(&self) -> Result<Tally> {
        let load = Load::start(self.address, self.kinds);
        // tidy: sleep because the load is to last for a while.
        std::thread::sleep(CALM);
        load.end()
    }

    /// Prints how long it bore those of a kind.
    fn tell(&self, crowd: &Crowd, kind: Slow, timeout: Duration) {
        let [borne, still] = crowd.borne(kind);
        let in_time = still.iter().filter(|time| **time <= timeout + Duration::from_secs(1)).count();
        let at = |of: &[Duration], part: usize| of.get(of.len() * part / 100).copied().unwrap_or_default();
        println!(
            "{}: {kind:?}: {} closed, {in_time} within {timeout:?} + 1 s since anything moved: median {:.2?}, 99 of 100 {:.2?}; \
             since their beginning: {:.2?}, {:.2?}",
            self.name,
            borne.len(),
            at(&still, 50),
            at(&still, 99),
            at(&borne, 50),
            at(&borne, 99)
        );
    }

    /// Keeps it waiting with so many connections of each kind, until all are let go or for `bound`.
    fn besiege(&self, kinds: &[(Slow, usize)], bound: Duration) -> Result<Crowd> {
        let calm = self.calm()?;
        let before = self.memory_kib()?;
        let all: usize = kinds.iter().map(|(_, count)| count).sum();
        let within = Duration::from_millis(u64::try_from(all)?);
        let load = Load::start(self.address, self.kinds);
        let watches = [Watch::start(self.process, ""), Watch::start(std::process::id(), load::NAME)];
        let siege = std::thread::scope(|scope| {
            let attack = || {
                slow::step_back(is_full());
                let mut crowd = Crowd::connect(self.hostile, kinds, within)?;
                let most = self.memory_kib()?;
                crowd.endure(bound)?;
                anyhow::Ok((crowd, most))
            };
            scope.spawn(attack).join()
        });
        let (crowd, most) = siege.map_err(|_| anyhow!("the crowd panicked"))??;
        let [it, others] = watches.map(Watch::end);
        let (it, others) = (it?, others?);
        let busy = load.end()?;
        println!("{}: {before} KiB, {most} KiB with {all} connections", self.name);
        kinds.iter().for_each(|(kind, _)| self.tell(&crowd, *kind, wait(*kind)));
        println!("{}: seen up to {:.1?} late", self.name, crowd.blind());
        for (phase, span) in crowd.phases() {
            let began_then = |took: &&(Instant, u32)| span.contains(&took.0);
            let then =
                Tally { took: busy.took.iter().filter(began_then).copied().collect(), ..Tally::default() };
            let (it, others) = (it.within(&span), others.within(&span));
            println!(
                "{}: {phase}, {:.1?}: other clients' p50 {:.1} ms, p99 {:.1} ms; on a CPU {:.1?} (waited for one {:.1?}), the clients {:.1?} ({:.1?})",
                self.name,
                span.end - span.start,
                then.percentile_ms(500),
                then.percentile_ms(990),
                it.ran,
                it.waited,
                others.ran,
                others.waited
            );
        }
        compare(&format!("{}: connections", self.name), &calm, &busy, 2.0)?;
        Ok(crowd)
    }
}

/// Prints how other clients fared.
fn compare(what: &str, calm: &Tally, busy: &Tally, bar: f64) -> Result<()> {
    let (before, during) = (calm.percentile_ms(990), busy.percentile_ms(990));
    let ratio = during / before.max(0.001);
    println!("{what}: other clients' p99 {during:.1} ms, {before:.1} ms in calm: {ratio:.1} x (bar {bar} x)");
    busy.judge(what, 20)
}

#[test]
fn slow_connections_are_let_go_and_others_served() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut edge = Edge::prepare(HEAD, PAUSE, IDLE)?;
    edge.daemon.run()?;
    let each = usize::try_from(many(5_000))? / WAITS.len();
    let slow = WAITS.map(|(kind, _)| (kind, each));
    if is_full() {
        let sink = Sink::start(slow::mixed(&slow).into_iter().map(|(_, kind)| wait(kind)).collect())?;
        Target { name: "nobody", hostile: sink.address, ..edge.target()? }.besiege(&slow, BOUND)?;
    }
    let crowd = edge.target()?.besiege(&slow, BOUND)?;
    for (kind, timeout) in WAITS {
        let [borne, _] = crowd.borne(kind);
        ensure!(borne.len() == each, "{kind:?}: {} of {each} were not closed", each - borne.len());
        ensure!(
            borne[0] >= timeout - Duration::from_secs(1),
            "{kind:?}: closed after {:?} already",
            borne[0]
        );
    }
    if is_full() {
        let quick = [(Slow::Asking, 3 * each), (Slow::Taking, 2 * each)];
        Target { name: "tidegate, quick", ..edge.target()? }.besiege(&quick, BOUND)?;
        let [public, hostile] = &edge.origins;
        // nginx does not speak HTTP/2 where it speaks HTTP/1.1 in cleartext.
        let (one, both) = (&KINDS[..3], &KINDS[..]);
        for (start, kinds) in [(Beside::nginx as Start, one), (Beside::haproxy, both)] {
            let beside = start([public.address, hostile.address], HEAD, PAUSE)?;
            let [address, hostile] = beside.doors;
            Target { name: beside.name, kinds, process: beside.id(), address, hostile }
                .besiege(&slow, HEAD + PAUSE)?;
        }
    }
    Ok(())
}

#[test]
fn floods_of_frames_stay_bounded() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut edge = Edge::prepare(HEAD, PAUSE, IDLE)?;
    edge.daemon.run()?;
    let target = edge.target()?;
    let calm = target.calm()?;
    let frames = many(100_000);
    for kind in Flood::ALL {
        let before = target.memory_kib()?;
        let load = Load::start(edge.address, &KINDS);
        let began = Instant::now();
        let sent = flood::send(edge.hostile, kind, frames)?;
        let took = began.elapsed();
        let grown = target.memory_kib()?.saturating_sub(before);
        let busy = load.end()?;
        println!(
            "{kind:?}: {} frames over {} connections in {took:.1?}, memory +{grown} KiB",
            sent.frames, sent.connections
        );
        ensure!(grown < MOST_GROWTH, "{kind:?}: memory grew by {grown} KiB");
        ensure!(sent.connections > 1, "{kind:?}: nobody stopped it");
        compare(&format!("{kind:?}"), &calm, &busy, 3.0)?;
    }
    Ok(())
}

#[test]
fn without_descriptors_the_operator_still_gets_in() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut edge = Edge::prepare(SHORT, SHORT, 10 * BOUND)?;
    let run = edge.daemon.command_to_run();
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    edge.daemon.run_by(&mut limited)?;
    edge.daemon.wait_log("fewer connections than max_connections", BOUND)?;
    let mut early = Connection::open(HERE, edge.address)?;
    early.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    ensure!(early.receive(false)?.status == 200);
    let mut crowd = Crowd::connect(edge.address, &[(Slow::Body, 80), (Slow::Silent, 160)], Duration::ZERO)?;
    crowd.turn()?;
    for _ in 0..5 {
        edge.daemon.tell(&["status"])?;
        ensure!(edge.daemon.admin("GET", "/metrics", "")?.status == 200);
    }
    early.send("GET /.well-known/tidegate/health HTTP/1.1\r\nHost: h\r\n\r\n")?;
    ensure!(early.receive(false)?.status == 200, "health on a connection that was there");
    crowd.endure(BOUND)?;
    ensure!(crowd.open() == 0, "{} are still open", crowd.open());
    drop(crowd);
    wait_until("a new connection is answered", BOUND, || {
        Connection::open(HERE, edge.address).is_ok_and(|mut connection| {
            connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_ok()
                && connection.receive(false).is_ok_and(|answer| answer.status == 200)
        })
    })?;
    let log = std::fs::read_to_string(edge.daemon.log())?;
    ensure!(!log.contains("panicked") && !log.contains("cannot accept an admin"), "{log}");
    Ok(())
}
