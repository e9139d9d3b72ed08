//! The edge's life under load: restarts with and without a service manager, reloads, operators' changes. No request may fail.
//!
//! `TIDEGATE_LIFE=full` does as often as an operator would in years: 50 restarts each way, 200 reloads, 1,000 changes.

mod load;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use load::{Kind, Load};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::manager::Manager;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::{self, Connection};
use tidegate_tests::recorder::Origin;

const HERE: &str = "127.0.0.1";
const BOUND: Duration = Duration::from_secs(60);
const KINDS: [Kind; 4] = [Kind::KeepAlive, Kind::KeepAlive, Kind::Anew, Kind::Http2];

fn often(few: usize, full: usize) -> usize {
    if std::env::var("TIDEGATE_LIFE").is_ok_and(|value| value == "full") { full } else { few }
}

struct Edge {
    daemon: Daemon,
    origin: Origin,
    address: SocketAddr,
}

impl Edge {
    fn prepare() -> Result<Self> {
        let origin = Origin::start("eu", "127.0.0.1:0")?;
        let address = free_address()?;
        let daemon = Daemon::prepare(None, "eu", &file(address, &origin, ""))?;
        Ok(Self { daemon, origin, address })
    }

    fn file(&self, more: &str) -> Result<()> {
        self.daemon.configure("eu", &file(self.address, &self.origin, more))
    }
}

fn file(address: SocketAddr, origin: &Origin, more: &str) -> String {
    format!(
        "[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\npublic_url = \"https://us.example.com\"\n\
         [geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{}\"]\n\
         [[listener]]\nname = \"public\"\naddress = \"{address}\"\nupstream = \"origin\"\n{more}\n",
        origin.address()
    )
}

#[test]
fn a_restart_by_a_service_manager_fails_no_request() -> Result<()> {
    let mut edge = Edge::prepare()?;
    let manager = Manager::new()?;
    let begin = |edge: &mut Edge| -> Result<()> {
        manager.forget_words();
        let (mut command, handed) = manager.prepare(&edge.daemon.command_to_run())?;
        edge.daemon.run_by(&mut command)?;
        drop(handed);
        manager.wait_for("READY=1")
    };
    begin(&mut edge)?;
    let cores = std::thread::available_parallelism()?.get();
    ensure!(manager.stored().get("public") == Some(&cores), "one socket per worker: {:?}", manager.stored());
    let load = Load::start(edge.address, &KINDS);
    let times = often(4, 50);
    for _ in 0..times {
        edge.daemon.stop()?;
        // Nobody accepts at this moment; who connects waits.
        let mut waiting = Connection::open(HERE, edge.address)?;
        waiting.send("GET /between HTTP/1.1\r\nHost: h\r\n\r\n")?;
        begin(&mut edge)?;
        ensure!(waiting.receive(false)?.status == 200, "who waited is answered");
        drop(edge.origin.take());
    }
    ensure!(manager.stored().get("public") == Some(&cores), "the same sockets: {:?}", manager.stored());
    load.end()?.judge(&format!("{times} restarts by a service manager"), 100)
}

#[test]
fn a_daemon_that_replaces_another_fails_no_request() -> Result<()> {
    let mut edge = Edge::prepare()?;
    edge.daemon.run()?;
    edge.daemon.tell(&["ceiling", "list"])?;
    let load = Load::start(edge.address, &KINDS);
    let times = often(4, 50);
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let began = Instant::now();
        edge.daemon.replace()?;
        slowest = slowest.max(began.elapsed());
        drop(edge.origin.take());
    }
    let tally = load.end()?;
    println!("slowest take-over {slowest:?}, slowest request {:.1} ms", tally.percentile_ms(1000));
    tally.judge(&format!("{times} daemons replaced"), 100)
}

#[test]
fn a_successor_that_breaks_off_is_no_loss() -> Result<()> {
    let mut edge = Edge::prepare()?;
    edge.daemon.run()?;
    edge.daemon.tell(&["misroute", "redirect"])?;
    let load = Load::start(edge.address, &KINDS);
    // It takes the sockets, waits until the running daemon has let go of everything, and then can't open its admin socket.
    let text = std::fs::read_to_string(edge.daemon.configuration())?;
    let text = text.replacen(&format!("{:?}", edge.daemon.socket()), "\"/proc/tidegate/no.sock\"", 1);
    let broken = edge.daemon.folder().write("broken.toml", &text)?;
    let mut command = std::process::Command::new(edge.daemon.command_to_run().get_program());
    let done = command.args(["run", "--replace", "--config"]).arg(broken).output()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(!done.status.success(), "it can't open that socket: {said}");
    edge.daemon.wait_log("going on", BOUND)?;
    wait_until("the first daemon answers again", BOUND, || edge.daemon.tell(&["misroute"]).is_ok())?;
    let mode = edge.daemon.tell(&["misroute"])?;
    ensure!(mode.starts_with("redirect"), "what operators changed is still there: {mode}");
    load.end()?.judge("a successor that failed", 8)
}

#[test]
fn reloads_fail_no_request() -> Result<()> {
    let mut edge = Edge::prepare()?;
    edge.daemon.run()?;
    let load = Load::start(edge.address, &KINDS);
    let times = often(20, 200);
    let second = free_address()?;
    for round in 0..times {
        let limits = format!("limits = {{ headers = {} }}\n", 50 + round % 3);
        let extra =
            format!("[[listener]]\nname = \"extra\"\naddress = \"{second}\"\nupstream = \"origin\"\n");
        let ceiling =
            format!("[[ceiling]]\nname = \"everyone\"\nrequests_per_second = {}\n", 100_000 + round);
        edge.file(&[limits, if round % 2 == 0 { extra } else { String::new() }, ceiling].concat())?;
        edge.daemon.tell(&["reload"])?;
        if round % 2 == 0 {
            let answer = raw::get(HERE, second, "/new", &[]).context("the new listener")?;
            ensure!(answer.status == 200);
        } else {
            wait_until("the listener that is gone", BOUND, || Connection::open(HERE, second).is_err())?;
        }
        drop(edge.origin.take());
    }
    load.end()?.judge(&format!("{times} reloads"), 50)
}

#[test]
fn changes_by_operators_fail_no_request() -> Result<()> {
    let mut edge = Edge::prepare()?;
    edge.file("[[ceiling]]\nname = \"everyone\"\nrequests_per_second = 100_000\n")?;
    edge.daemon.run()?;
    let load = Load::start(edge.address, &KINDS);
    let times = often(150, 1000);
    for round in 0..times {
        let on = round % 2 == 0;
        let rounds = [
            ("PATCH", "/v1/ceilings/everyone", format!("{{\"requests_per_second\": {}}}", 50_000 + round)),
            ("PUT", "/v1/misroute", format!("{{\"mode\": \"{}\"}}", if on { "redirect" } else { "local" })),
            ("PUT", "/v1/regions/us/failover", format!("{{\"on\": {on}}}")),
        ];
        for (method, path, body) in &rounds {
            let answer = edge.daemon.admin(method, path, body)?;
            ensure!(answer.status == 200, "{method} {path} {body}: {} {}", answer.status, answer.text());
        }
        if round % 100 == 0 {
            drop(edge.origin.take());
        }
    }
    let tally = load.end()?;
    ensure!(tally.shed == 0, "{} were shed far below the ceiling", tally.shed);
    tally.judge(&format!("{} changes by operators", 3 * times), 50)
}
