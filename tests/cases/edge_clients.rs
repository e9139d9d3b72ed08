//! Clients that people use, in their own languages, against an edge: Node, Python, Go, gRPC, and the WebSocket suite. Holds no rule of the edge.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_tests::certs::Authority;
use tidegate_tests::edges::Edge;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::Process;
use tidegate_tests::recorder::Origin;
use tidegate_tests::scratch::Folder;
use tidegate_tests::tools;

const BOUND: Duration = Duration::from_secs(240);

/// An edge with a cleartext and a TLS listener, and one under a ceiling that is soon full.
struct Doors {
    folder: Folder,
    authority: Authority,
    edge: Edge,
}

impl Doors {
    fn to(upstream: SocketAddr) -> Result<Self> {
        let folder = Folder::new("clients")?;
        let authority = Authority::new(&folder, "web")?;
        let pair = authority.server(&folder, "127.0.0.1")?;
        let edge = Edge::start(&format!(
            "[host]\nregion = \"eu\"\nworkers = 2\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
             [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{upstream}\"]\n\
             [[listener]]\nname = \"clear\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n\
             [[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n\
             tls = {{ certificate = {:?}, key = {:?} }}\n",
            pair.certificate, pair.key
        ))?;
        Ok(Self { folder, authority, edge })
    }

    /// Runs a client with the two URLs and the authority's file, and shows what it passed.
    fn judge(&self, name: &str, client: &mut Command) -> Result<()> {
        let (clear, tls) = (self.edge.address("clear")?, self.edge.address("tls")?);
        client.arg(format!("http://{clear}")).arg(format!("https://{tls}")).arg(&self.authority.file);
        run(name, client, &self.folder)
    }
}

fn run(name: &str, client: &mut Command, folder: &Folder) -> Result<()> {
    let mut process = Process::spawn(name, client, &folder.file("client.log"))?;
    let status = process.wait(BOUND)?;
    ensure!(status.success(), "{name} ({status}):\n{}", process.output());
    process.output().lines().filter(|line| line.starts_with("passed: ")).for_each(|line| println!("{line}"));
    Ok(())
}

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "clients", name].iter().collect()
}

/// Says why a case can't run here.
fn lacks(what: &[(&str, bool)]) -> bool {
    let missing: Vec<_> = what.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        println!("skipped: needs {} (`cargo xtask setup`)", missing.join(", "));
    }
    !missing.is_empty()
}

#[test]
fn node() -> Result<()> {
    if lacks(&[("nodejs", tools::has_program("node"))]) {
        return Ok(());
    }
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    Doors::to(origin.address())?.judge("node", Command::new("node").arg(script("node.mjs")))
}

#[test]
fn python() -> Result<()> {
    if lacks(&[("python3-httpx", tools::has_module("httpx")), ("python3-h2", tools::has_module("h2"))]) {
        return Ok(());
    }
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    Doors::to(origin.address())?.judge("python", Command::new(tools::PYTHON).arg(script("client.py")))
}

#[test]
fn go() -> Result<()> {
    if lacks(&[("golang-go", tools::has_program("go"))]) {
        return Ok(());
    }
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let doors = Doors::to(origin.address())?;
    let (program, cache) = (doors.folder.file("client"), doors.folder.file("go"));
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(script("client.go"));
    build.env("GO111MODULE", "off").env("GOCACHE", &cache).env("GOPATH", &cache).env("GOTOOLCHAIN", "local");
    run("go build", &mut build, &doors.folder)?;
    doors.judge("go", &mut Command::new(program))
}

#[test]
fn grpc() -> Result<()> {
    if lacks(&[("python3-grpcio", tools::has_module("grpc"))]) {
        return Ok(());
    }
    let mut server = Command::new(tools::PYTHON)
        .arg(script("grpc_origin.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the gRPC origin")?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("output")?).read_line(&mut line)?;
    let judged = line.trim().parse().context(line.clone()).and_then(call);
    // It ends with its standard input.
    drop(server.stdin.take());
    server.wait()?;
    judged
}

/// Calls through an edge, and through one whose ceiling lets a call a second through.
fn call(port: u16) -> Result<()> {
    let upstream = SocketAddr::from(([127, 0, 0, 1], port));
    let doors = Doors::to(upstream)?;
    let full = Edge::start(&format!(
        "[host]\nregion = \"eu\"\nworkers = 1\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[ceiling]]\nname = \"few\"\nrequests_per_second = 1\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{upstream}\"]\n\
         [[listener]]\nname = \"full\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n"
    ))?;
    let mut client = Command::new(tools::PYTHON);
    client.arg(script("grpc_client.py"));
    let addresses = [doors.edge.address("clear")?, doors.edge.address("tls")?, full.address("full")?];
    client.args(addresses.map(|address| address.to_string())).arg(&doors.authority.file);
    run("gRPC", &mut client, &doors.folder)
}

/// Autobahn's 301 cases, its own echo server behind the edge. Compression (its groups 12 and 13) is between the two ends.
#[test]
fn websocket() -> Result<()> {
    let Ok(suite) = tools::folder("autobahntestsuite-25.10.1") else {
        // Not a skip: Debian 12 has no Python 2.7, and nothing can be installed in its place.
        println!("not run: Autobahn's suite needs a Python 2.7");
        return Ok(());
    };
    let python = tools::python2().context("the suite is there, its Python 2.7 is not")?;
    let at = free_address()?;
    let doors = Doors::to(at)?;
    let seen = doors.edge.address("clear")?;
    let mut origin = Command::new(&python);
    origin.arg(script("websocket_origin.py")).arg(at.ip().to_string());
    origin.args([at.port().to_string(), seen.port().to_string()]);
    let log = doors.folder.file("origin.log");
    let mut origin = Process::spawn("the echo server", origin.env("PYTHONUSERBASE", &suite), &log)?;
    origin.wait_until("listening", BOUND, || TcpStream::connect(at).is_ok())?;
    let specification = format!(
        r#"{{"options": {{"failByDrop": false}}, "outdir": "./reports", "cases": ["*"], "exclude-cases": ["12.*", "13.*"],
            "exclude-agent-cases": {{}}, "servers": [{{"agent": "tidegate", "url": "ws://{seen}"}}]}}"#
    );
    let specification = doors.folder.write("cases.json", &specification)?;
    let mut suite_run = Command::new(&python);
    suite_run
        .args(["-m", "autobahntestsuite.wstest", "--mode", "fuzzingclient", "--spec"])
        .arg(specification);
    suite_run.env("PYTHONUSERBASE", &suite).current_dir(doors.folder.path());
    run("wstest", &mut suite_run, &doors.folder)?;
    let mut report = String::new();
    std::fs::File::open(doors.folder.file("reports/index.json"))?.read_to_string(&mut report)?;
    verdicts(&serde_json::from_str(&report)?)
}

fn verdicts(report: &serde_json::Value) -> Result<()> {
    let cases = report["tidegate"].as_object().context("a report on tidegate")?;
    let good = |verdict: &serde_json::Value| matches!(verdict.as_str(), Some("OK" | "INFORMATIONAL"));
    let bad: Vec<_> = cases
        .iter()
        .filter(|(_, case)| !good(&case["behavior"]) || !good(&case["behaviorClose"]))
        .map(|(name, case)| format!("{name}: {} / {}", case["behavior"], case["behaviorClose"]))
        .collect();
    println!("passed: {} of {} WebSocket cases", cases.len() - bad.len(), cases.len());
    ensure!(
        cases.len() == 301 && bad.is_empty(),
        "{} cases, of which not passed:\n{}",
        cases.len(),
        bad.join("\n")
    );
    Ok(())
}
