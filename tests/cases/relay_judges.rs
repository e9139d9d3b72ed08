//! Outside judges of the relay's front: other people's clients and suites, each beside the same run directly against memcached.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tidegate_tests::memcached::{Places, RelayRegion};
use tidegate_tests::relay_map::Map;
use tidegate_tests::tools::{folder, lacks};

/// The folder of `cargo xtask setup`'s memcached clients.
const SUITES: &str = "pymemcache-4.0.0";

fn region() -> Result<RelayRegion> {
    Places::pick()?.region(0, 1, "", "")
}

fn output(command: &mut Command) -> Result<(bool, String)> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), text.concat()))
}

/// The number before a word in pytest's last line.
fn counted(said: &str, word: &str) -> usize {
    let last = said.lines().rev().find(|line| line.contains(" in ")).unwrap_or_default();
    let words: Vec<&str> = last.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|other| *other == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

fn failed(said: &str) -> BTreeSet<String> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("FAILED ").or(line.strip_prefix("ERROR ")));
    lines.map(|line| line.split(" - ").next().unwrap_or(line).to_owned()).collect()
}

#[test]
fn pymemcache_passes_its_own_integration_tests() -> Result<()> {
    if lacks(SUITES) {
        return Ok(());
    }
    let (region, tools) = (region()?, folder(SUITES)?);
    let run = |to: SocketAddr| -> Result<(usize, String)> {
        let mut pytest = Command::new(tools.join("bin/python"));
        pytest.args(["-c", "import pymemcache.test as t, pytest, sys; sys.exit(pytest.main([t.__path__[0] + '/test_integration.py', *sys.argv[1:]]))"]);
        pytest.args([
            "-q",
            "-p",
            "no:cacheprovider",
            "--server",
            &to.ip().to_string(),
            "--port",
            &to.port().to_string(),
        ]);
        let (_, said) = output(&mut pytest)?;
        Ok((counted(&said, "passed"), said))
    };
    let (direct, said) = run(region.servers[0].address())?;
    ensure!(direct >= 100 && failed(&said).is_empty(), "direct: {said}");
    let (through, said) = run(region.front())?;
    println!("pymemcache: {through} through the front, {direct} direct");
    ensure!(through == direct && failed(&said).is_empty(), "through the front: {said}");
    Ok(())
}

/// Its suite has one port; an address of loopback of its own keeps runs apart. What wants other servers or sockets fails directly as well.
#[test]
fn python_binary_memcached_passes_what_passes_directly() -> Result<()> {
    if lacks(SUITES) {
        return Ok(());
    }
    let tools = folder(SUITES)?;
    let files = [
        "simple_functions",
        "pickler",
        "compression",
        "raw_data",
        "errors",
        "error_handling",
        "server_parsing",
        "auth",
    ];
    let run = |to: &str| -> Result<(usize, String)> {
        let mut pytest = Command::new(tools.join("bin/python"));
        pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).env("MEMCACHED_HOST", to);
        pytest.args(files.map(|file| format!("test/test_{file}.py"))).current_dir(tools.join("sources"));
        let (_, said) = output(&mut pytest)?;
        Ok((counted(&said, "passed"), said))
    };
    let process = std::process::id();
    let own = |last: u32| format!("127.{}.{}.{last}", 64 + process / 250 % 128, 1 + process % 250);
    let (near, far) = (own(1), own(2));
    let address = |host: &str| -> Result<SocketAddr> { Ok(format!("{host}:11211").parse()?) };
    let map = Map::new(2)?;
    let region = map.start_at(0, ("", ""), address(&far)?, address(&near)?)?;
    let (direct, said_directly) = run(&far)?;
    ensure!(direct >= 130, "direct: {said_directly}");
    let (through, said) = run(&near)?;
    println!("python-binary-memcached: {through} through the front, {direct} direct");
    ensure!(through == direct && failed(&said) == failed(&said_directly), "through the front: {said}");
    drop(region);
    Ok(())
}

/// libmemcached with weighted ketama on one side, the front on the other: a key that one has put somewhere, the other must find.
const SPREAD: &str = r#"
import pylibmc, sys
front, servers = sys.argv[1], sys.argv[2:]
through = pylibmc.Client([front])
spread = pylibmc.Client(servers, behaviors={"ketama_weighted": True})
alike = 0
for number in range(2000):
    one, other = "one-%d" % number, "other-%d" % number
    spread.set(one, "1")
    through.set(other, "2")
    alike += through.get(one) == "1" and spread.get(other) == "2"
print(alike)
"#;

#[test]
fn keys_are_where_libmemcached_puts_them() -> Result<()> {
    if lacks("pylibmc-1.6.3") {
        return Ok(());
    }
    let tools = folder("pylibmc-1.6.3")?;
    for count in [2, 3, 7] {
        let region = Places::pick()?.region(0, count, "", "")?;
        let mut python = Command::new(tools.join("bin/python"));
        python.args(["-c", SPREAD, &region.front().to_string()]);
        python.args(region.servers.iter().map(|server| server.address().to_string()));
        let (well, said) = output(&mut python)?;
        ensure!(well && said.trim() == "2000", "{count} servers: {said} of 2000 keys are alike");
    }
    println!("2000 keys on 2, 3 and 7 servers: as libmemcached spreads them");
    Ok(())
}

#[test]
fn spymemcached_sees_the_same_in_text_and_binary() -> Result<()> {
    let region = region()?;
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/SpyJudge.java");
    for protocol in ["text", "binary"] {
        let run = |to: SocketAddr| -> Result<String> {
            region.servers[0].client()?.ask("flush_all")?;
            let mut java = Command::new("java");
            java.args(["-cp", "/usr/share/java/spymemcached.jar", judge, protocol]);
            let output = java
                .arg(to.ip().to_string())
                .arg(to.port().to_string())
                .output()
                .context("java (default-jdk-headless)")?;
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "spymemcached, {protocol}: {log}");
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let direct = run(region.servers[0].address())?;
        let through = run(region.front())?;
        ensure!(direct.lines().count() >= 40, "{direct}");
        ensure!(direct == through, "{protocol}, direct:\n{direct}\nthrough the front:\n{through}");
        println!("spymemcached, {protocol}: {} steps alike", through.lines().count());
    }
    Ok(())
}

#[test]
fn memcaslap_finds_no_error() -> Result<()> {
    let region = region()?;
    for (kind, to) in [("direct", region.servers[0].address()), ("through the front", region.front())] {
        for more in [&["-v", "1"][..], &["-B"]] {
            let mut slap = Command::new("memcaslap");
            slap.args(["-s", &to.to_string(), "-x", "20000", "-T", "1", "-c", "8", "-w", "1k"]).args(more);
            let (well, said) = output(&mut slap)?;
            let bad = said.lines().find(|line| line.to_lowercase().contains("error"));
            ensure!(well && bad.is_none() && said.contains("cmd_get:"), "{kind}: {said}");
            let wrong = |word: &str| said.lines().find(|line| line.starts_with(word)).map(str::to_owned);
            let verified = wrong("verify_failed:");
            ensure!(verified.as_ref().is_none_or(|line| line.ends_with(" 0")), "{kind}: {verified:?}");
            println!("memcaslap {more:?}, {kind}: {}", said.lines().last().unwrap_or_default());
        }
    }
    Ok(())
}
