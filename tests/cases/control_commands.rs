//! Every command against a live daemon, its text and its JSON as one golden transcript. Judges no traffic.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::Daemon;

const FILE: &str = r#"
write_group = "mail"

[log]
format = "text"

[[region]]
name = "north"
public_url = "https://north.example.com"

[[region]]
name = "south"
public_url = "https://south.example.com"

[[geo.record]]
region = "south"
prefixes = ["198.51.100.0/24"]

[[ceiling]]
name = "everyone"
requests_per_second = 1_000

[[ceiling]]
name = "from-south"
home = "south"
requests_per_second = 100
bits_per_second = "2Gbit"

[misroute]
mode = "redirect"

[xdp]
deny = ["203.0.113.0/24"]
"#;

/// What is asked, in this order, of one daemon.
const ASKED: &[&str] = &[
    "status",
    "status --json",
    "failover list",
    "failover on south --for 30m --reason maintenance",
    "failover list --json",
    "failover list south",
    "failover on south",
    "failover on south",
    "failover off south --json",
    "failover off south",
    "failover on nowhere",
    "misroute",
    "misroute local --reason trying",
    "misroute --json",
    "misroute --for 5m",
    "failover list --reason why",
    "misroute reset",
    "ceiling list",
    "ceiling show from-south",
    "ceiling set from-south requests_per_second=200 bits_per_second=4Gbit observe=true --for 1h",
    "ceiling show from-south --json",
    "ceiling list",
    "ceiling set from-south requests_per_second=0 observe=false",
    "explain --from 198.51.100.7 --url /web?tg_from=south",
    "ceiling set from-south requests_per_second=off",
    "ceiling reset from-south",
    "ceiling set from-south packets_per_second=5 --over 1m",
    "ceiling set from-south nonsense=5",
    "ceiling set from-south requests_per_second=lots",
    "ceiling set from-sout requests_per_second=5",
    "ceiling set everyone requests_per_second",
    "deny list",
    "deny add 192.0.2.7 2001:db8::/32 --for 10m",
    "deny list 192.0.2.7",
    "deny list 2001:db8::/24",
    "deny list 192.0.2.8",
    "deny list 192.0.2.8 --json",
    "deny list --json",
    "deny del 203.0.113.0/24",
    "deny del 203.0.113.0/24",
    "deny add 192.0.2.7/24",
    "allow add 192.0.2.0/24",
    "allow list",
    "explain --from 198.51.100.7 --url https://north.example.com/web?x=1",
    "explain --from 192.0.2.9 --url /play --json",
    "explain --from 203.0.113.1 --url /",
    "explain --from 198.51.100.7 --url /web?tg_from",
    "explain --from 198.51.100.7 --url /web?",
    "explain --from 198.51.100.7 --url north.example.com",
    "explain --from 198.51.100.7",
    "explain --from 198.51.100.7 --size 3521",
    "simulate --fail south",
    "simulate --fail north --json",
    "relay",
    "relay --json",
    "invalidate sessions key",
    "confirm",
    "reload",
    "watch --kind nonsense",
    "status",
];

fn scrub(text: &str, daemon: &Daemon) -> String {
    let mut clean = text.replace(daemon.folder().path().to_str().unwrap_or_default(), "FOLDER");
    clean = clean.replace(daemon.instance(), "INSTANCE");
    let mut out = String::new();
    for line in clean.lines() {
        _ = writeln!(out, "{}", scrub_line(line).trim_end());
    }
    out
}

/// Times, process ids and durations differ from run to run.
fn scrub_line(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let digits = word.trim_start_matches('"');
        let time = digits.len() > 19 && digits.as_bytes()[4] == b'-' && digits.as_bytes()[10] == b'T';
        let prefix = &word[..word.len() - digits.len()];
        words.push(if time {
            format!("{prefix}TIME{}", word.rsplit('Z').next().unwrap_or_default())
        } else {
            word.to_owned()
        });
    }
    let line = words.join(" ");
    for (key, shown) in
        [("\"pid\": ", "PID,"), ("\"uptime_seconds\": ", "SECONDS,"), ("\"compile_ms\": ", "MS")]
    {
        if let Some(at) = line.find(key) {
            return format!("{}{key}{shown}", &line[..at]);
        }
    }
    match (line.find(" · up "), line.find(" · configuration ")) {
        (Some(from), Some(to)) => format!("{} · up TIME{}", &line[..from], &line[to..]),
        _ => line,
    }
}

fn transcript(command: &str, output: &Output, daemon: &Daemon) -> String {
    let text = |bytes: &[u8]| scrub(&String::from_utf8_lossy(bytes), daemon);
    let code = output.status.code().unwrap_or(-1);
    let mut told = format!("$ tidegate {command}\n{}", text(&output.stdout));
    for line in text(&output.stderr).lines() {
        told.push_str(&format!("! {line}\n"));
    }
    told.push_str(&format!("= {code}\n\n"));
    told
}

/// `UPDATE_GOLDEN=1` writes the transcript anew: read the difference before committing it.
#[test]
fn every_command_says_what_the_transcript_says() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: every_command_says_what_the_transcript_says: changes as root");
        return Ok(());
    }
    let daemon = Daemon::start(None, "north", FILE)?;
    let mut found = String::new();
    for command in ASKED {
        let arguments: Vec<&str> = command.split(' ').collect();
        found.push_str(&transcript(command, &daemon.ask(&arguments)?, &daemon));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/control/commands.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &found)?;
    }
    let expected = fs::read_to_string(&golden).context("golden transcript")?;
    for (expected, found) in expected.split("\n$ ").zip(found.split("\n$ ")) {
        ensure!(expected == found, "the transcript says\n{expected}\nand the daemon\n{found}");
    }
    ensure!(expected == found, "the transcript and the daemon differ in length");
    Ok(())
}

#[test]
fn without_a_daemon_the_exit_status_is_3_and_usage_is_2() -> Result<()> {
    let daemon = Daemon::prepare(None, "north", FILE)?;
    for (arguments, code) in [
        (&["status"][..], 3),
        (&["failover", "on"][..], 3),
        (&["nonsense"][..], 2),
        (&["ceiling", "set", "x"][..], 2),
        (&["completions", "bash"][..], 0),
        (&["--version"][..], 0),
    ] {
        let output = daemon.ask(arguments)?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {output:?}");
    }
    Ok(())
}

/// What can't be read at all is a fault as JSON too, and what can't be printed is no success.
#[test]
fn check_tells_of_a_missing_file_as_json_and_of_a_full_disk() -> Result<()> {
    let daemon = Daemon::prepare(None, "north", FILE)?;
    let nowhere = daemon.folder().file("nowhere.toml");
    let nowhere = nowhere.to_str().context("UTF-8")?;
    let output = daemon.ask(&["--json", "check", "--config", nowhere])?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(output.status.code() == Some(2) && report["ok"] == false, "{output:?}");
    ensure!(report["faults"][0]["file"] == nowhere && report["faults"][0]["line"] == 1, "{report}");
    for arguments in
        [&["check", "--config", "FILE"][..], &["completions", "bash"], &["detach", "--config", "FILE"]]
    {
        let file = daemon.configuration();
        let mut command = daemon.command_line();
        for argument in arguments {
            command.arg(if *argument == "FILE" { file.as_os_str() } else { argument.as_ref() });
        }
        let output = command.stdout(fs::File::create("/dev/full")?).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && said.contains("cannot write"),
            "{arguments:?}: {output:?}"
        );
    }
    Ok(())
}

/// Without `--instance` it takes off the daemon that is spoken to, never another one by its usual name.
#[test]
fn detach_is_of_the_instance_that_socket_or_file_name() -> Result<()> {
    let mut daemon = Daemon::prepare(None, "north", FILE)?;
    let nothing = format!("instance {}: nothing was pinned", daemon.instance());
    let unknown = daemon.ask(&["detach"])?;
    ensure!(unknown.status.code() == Some(3), "who is not there can't be asked: {unknown:?}");
    daemon.run()?;
    ensure!(daemon.tell(&["detach"])?.starts_with(&nothing));
    daemon.kill()?;
    let file = daemon.configuration();
    let file = file.to_str().context("UTF-8")?;
    ensure!(daemon.tell(&["detach", "--config", file])?.starts_with(&nothing));
    daemon.configure("nowhere", "nonsense = 1")?;
    ensure!(
        daemon.tell(&["detach", "--config", file])?.starts_with(&nothing),
        "whatever faults the file has"
    );
    Ok(())
}

#[test]
fn completions_and_man_pages_come_out_whole() -> Result<()> {
    let daemon = Daemon::prepare(None, "north", FILE)?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = daemon.tell(&["completions", shell])?;
        ensure!(script.contains("failover") && script.len() > 1000, "{shell}: {script}");
    }
    let folder = daemon.folder().file("man");
    daemon.tell(&["man", folder.to_str().context("UTF-8")?])?;
    let pages = fs::read_dir(&folder)?.count();
    ensure!(pages > 20 && fs::read_to_string(folder.join("tidegate.1"))?.contains(".TH"), "{pages} pages");
    Ok(())
}

#[test]
fn what_was_changed_survives_a_kill_and_runs_out_all_the_same() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: what_was_changed_survives_a_kill_and_runs_out_all_the_same: changes as root");
        return Ok(());
    }
    let mut daemon = Daemon::start(None, "north", FILE)?;
    daemon.tell(&["failover", "on", "south", "--reason", "kept"])?;
    daemon.tell(&["misroute", "local", "--for", "2s"])?;
    daemon.tell(&["ceiling", "set", "everyone", "requests_per_second=7", "--confirm", "2s"])?;
    daemon.kill()?;
    daemon.run()?;
    let status = daemon.tell(&["status", "--json"])?;
    ensure!(status.contains("\"kept\""), "{status}");
    let told = || daemon.tell(&["status", "--json"]).unwrap_or_default();
    tidegate_tests::process::wait_until("the rest to run out", std::time::Duration::from_secs(60), || {
        let status = told();
        status.contains("\"mode\": \"redirect\"")
            && !status.contains("\"limit\": 7,")
            && status.contains("\"kept\"")
    })
}
