//! The OpenAPI document against the handlers, by schemathesis: every answer is one that the document has, whatever is asked; what it
//! allows is taken, what it forbids is refused. And what `--json` prints is what its schemas say. Holds no rule of the API.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::{forward, tools};

const FILE: &str = "[[region]]\nname = \"north\"\n[[region]]\nname = \"south\"\npublic_url = \"https://south.example\"\n\
    [[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1_000\n\
    [xdp]\nports = [443]\ndeny = [\"203.0.113.0/24\"]\n";
const SCHEMATHESIS: &str = "schemathesis-4.32.5";
/// Cases of each kind and operation; `TIDEGATE_OPENAPI_CASES` asks for more.
const CASES: &str = "20";

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn python(program: &str) -> Result<PathBuf> {
    Ok(tools::folder(SCHEMATHESIS)?.join("bin").join(program))
}

#[test]
fn the_document_and_the_handlers_agree() -> Result<()> {
    if tools::lacks(SCHEMATHESIS) {
        return Ok(());
    }
    let daemon = Daemon::start(None, "north", FILE)?;
    let door = forward::to_unix(&daemon.socket())?;
    let cases = std::env::var("TIDEGATE_OPENAPI_CASES").unwrap_or_else(|_| CASES.to_owned());
    let mut schemathesis = Command::new(python("schemathesis")?);
    schemathesis.arg("--config-file").arg(here("schemathesis.toml"));
    schemathesis.args(["run", &format!("http://{door}/v1/openapi.json"), "--phases", "coverage,fuzzing"]);
    // An event stream has no end that could be waited for.
    schemathesis.args([
        "--exclude-path",
        "/v1/events",
        "-n",
        &cases,
        "-w",
        "1",
        "--no-color",
        "--continue-on-failure",
    ]);
    let done = schemathesis.current_dir(daemon.folder().path()).output()?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    if let Some(line) = said.lines().find(|line| line.contains("generated")) {
        println!("{}", line.trim());
    }
    ensure!(daemon.admin("GET", "/v1/status", "")?.status == 200, "it no longer answers");
    let log = std::fs::read_to_string(daemon.log())?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// What each command prints with `--json`, and the schema that says so.
const PRINTED: [(&str, &[&str]); 14] = [
    ("Status", &["status"]),
    ("Changed", &["failover", "on", "south", "--for", "30m", "--reason", "a drill"]),
    ("Changed", &["misroute", "redirect", "--confirm", "60s"]),
    ("Confirmed", &["confirm"]),
    ("Changed", &["ceiling", "set", "everyone", "requests_per_second=2000", "--over", "15m"]),
    ("Ceiling", &["ceiling", "show", "everyone"]),
    ("Changed", &["ceiling", "reset", "everyone"]),
    ("Changed", &["deny", "add", "198.51.100.0/24", "--for", "10m"]),
    ("List", &["deny", "list"]),
    ("List", &["allow", "list"]),
    ("RequestAnswer", &["explain", "--from", "198.51.100.7", "--url", "/play"]),
    ("Simulation", &["simulate", "--fail", "south"]),
    ("Reloaded", &["reload"]),
    ("Status", &["status"]),
];

#[test]
fn what_commands_print_as_json_is_what_the_schemas_say() -> Result<()> {
    if tools::lacks(SCHEMATHESIS) {
        return Ok(());
    }
    let daemon = Daemon::start(None, "north", FILE)?;
    let mut list = String::new();
    for (number, (schema, arguments)) in PRINTED.iter().enumerate() {
        let mut all = vec!["--json"];
        all.extend(*arguments);
        let file = daemon.folder().write(&format!("{number}.json"), &daemon.tell(&all)?)?;
        writeln!(list, "{schema} {}", file.display())?;
    }
    let config = daemon.folder().write("config.json", &daemon.admin("GET", "/v1/config", "")?.text())?;
    writeln!(list, "Config {}", config.display())?;
    let document =
        daemon.folder().write("openapi.json", &daemon.admin("GET", "/v1/openapi.json", "")?.text())?;
    let mut validate = Command::new(python("python")?);
    validate.arg(here("cases/validate.py")).arg(document).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut validate = validate.spawn()?;
    validate.stdin.take().context("its input")?.write_all(list.as_bytes())?;
    let done = validate.wait_with_output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    Ok(())
}
