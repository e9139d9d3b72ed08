//! The relay's front over real memcached servers: outside judges, several servers, a dead one, authentication.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::memcached::{Client, Places, RelayRegion};
use tidegate_tests::process::wait_for;
use tidegate_tests::scratch::Folder;

const BOUND: Duration = Duration::from_secs(60);

fn alone(servers: usize, pool: &str) -> Result<RelayRegion> {
    Places::pick()?.region(0, servers, "", pool)
}

fn memccapable(to: std::net::SocketAddr) -> Result<usize> {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let output = Command::new("memccapable").args(["-h", &host, "-t", "60", "-p", &port]).output();
    let output = output.context("memccapable (libmemcached-tools)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}");
    Ok(text.matches("[pass]").count())
}

#[test]
fn memccapable_passes_as_it_does_directly() -> Result<()> {
    let region = alone(1, "")?;
    let direct = memccapable(region.servers[0].address())?;
    let through = memccapable(region.front())?;
    assert_eq!((direct, through), (54, 54));
    Ok(())
}

#[test]
fn keys_spread_over_several_servers_and_answers_stay_whole() -> Result<()> {
    let region = alone(3, "")?;
    let mut client = region.client()?;
    for n in 0..60 {
        assert_eq!(client.set(&format!("k{n}"), &format!("v{n}"))?, "STORED");
    }
    // Spread: each server holds some, none holds all.
    for server in &region.servers {
        let mut own = server.client()?;
        let held = (0..60).filter(|n| matches!(own.get(&format!("k{n}")), Ok(Some(_)))).count();
        assert!((5..45).contains(&held), "{held} of 60 on one server");
    }
    // One retrieval over all servers, pipelined with others: whole and in order.
    let keys: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    client.send(format!("get {}\r\nget k7\r\nversion\r\n", keys.join(" ")).as_bytes())?;
    let mut values = 0;
    loop {
        let line = client.line()?;
        if line == "END" {
            break;
        }
        assert!(line.starts_with("VALUE k"), "{line}");
        assert!(client.line()?.starts_with('v'));
        values += 1;
    }
    assert_eq!(values, 60);
    assert_eq!(client.line()?, "VALUE k7 0 2");
    assert_eq!((client.line()?, client.line()?), ("v7".into(), "END".into()));
    assert!(client.line()?.starts_with("VERSION "));
    // Quiet meta requests on several servers end at their no-op.
    client.send(b"mg k1 k v q\r\nmg nothing k v q\r\nmg k2 k v q\r\nmn\r\n")?;
    let mut seen = Vec::new();
    while !seen.iter().any(|line| line == "MN") {
        seen.push(client.line()?);
    }
    assert_eq!(seen, ["VA 2 kk1", "v1", "VA 2 kk2", "v2", "MN"]);
    assert_eq!(client.ask("flush_all")?, "OK");
    assert_eq!(client.get("k7")?, None);
    // Where the next request begins after this, only a server knows: what it says is the last.
    assert_eq!(client.ask("set x")?, region.servers[0].client()?.ask("set x")?);
    assert!(client.line().is_err(), "the front closes behind it");
    Ok(())
}

#[test]
fn a_server_that_is_gone_is_an_error_and_comes_back() -> Result<()> {
    let mut region = alone(1, "")?;
    let mut client = region.client()?;
    assert_eq!(client.set("a", "1")?, "STORED");
    region.servers[0].kill()?;
    let mut client = region.client()?;
    let refused = format!("SERVER_ERROR tidegate: {}", region.servers[0].address());
    let answer = client.set("a", "2")?;
    assert!(answer.starts_with(&refused), "{answer}");
    let answer = client.ask("get a")?;
    assert!(answer.starts_with(&refused), "{answer}");
    region.servers[0].run(&[])?;
    wait_for("the server in use again", BOUND, || (client.set("a", "3").ok()? == "STORED").then_some(()))?;
    Ok(())
}

#[test]
fn authentication_disguised_as_set_is_not_captured() -> Result<()> {
    let folder = Folder::new("auth")?;
    let file = folder.write("users", "user:secret\n")?;
    let mut region = alone(1, "")?;
    let mut before = region.client()?;
    assert_eq!(before.get("k")?, None);
    region.servers[0].kill()?;
    ensure!(before.line().is_err(), "as memcached itself, the front closes the connection");
    region.servers[0].run(&["-Y", file.to_str().context("a path in UTF-8")?])?;
    // Since that connection ended, the server is asked anew before a client is believed.
    assert_eq!(region.client()?.set("auth", "user secret")?, "STORED");
    assert_eq!(region.book("captured")?, 0);
    // The front asks every server from time to time what it wants.
    let refused = |line: &str| line.starts_with("CLIENT_ERROR");
    wait_for("the server asking for authentication", BOUND, || {
        refused(&Client::connect(region.servers[0].address()).ok()?.ask("version").ok()?).then_some(())
    })?;
    let before = wait_for("two looks at the server", BOUND, || {
        let mut client = region.client().ok()?;
        let before = region.book("captured").ok()?;
        (client.set("auth", "user secret").ok()? == "STORED").then_some(())?;
        (region.book("captured").ok()? == before).then_some(before)
    })?;
    let mut client = region.client()?;
    assert_eq!(client.set("auth", "user secret")?, "STORED");
    assert_eq!(region.book("captured")?, before);
    assert_eq!(client.set("k", "v")?, "STORED");
    assert_eq!(region.book("captured")?, before + 1);
    Ok(())
}

#[test]
fn what_comes_through_the_refill_port_is_not_captured() -> Result<()> {
    let refill = tidegate_tests::ports::free_address()?;
    let region = alone(1, &format!("refill_listen = \"{refill}\""))?;
    let mut client = Client::connect(refill)?;
    assert_eq!(client.set("a", "1")?, "STORED");
    assert_eq!(region.book("captured")?, 0);
    assert_eq!(client.ask("delete a")?, "DELETED");
    assert_eq!(region.book("captured")?, 1);
    Ok(())
}

#[test]
fn deletes_only_and_skipped_refills() -> Result<()> {
    let region = alone(1, "capture = \"deletes\"")?;
    let mut client = region.client()?;
    client.set("a", "1")?;
    client.ask("delete a")?;
    assert_eq!(region.book("captured")?, 1);
    let region = alone(1, "refills = \"skip\"")?;
    let mut client = region.client()?;
    assert_eq!(client.get("a")?, None);
    client.set("a", "1")?;
    assert_eq!(region.book("captured")?, 0, "a refill");
    client.set("a", "2")?;
    assert_eq!(region.book("captured")?, 1, "a write");
    Ok(())
}

/// A quiet `mg` says nothing of a miss: the answer behind it does, also where no `mn` is sent. Sets after a miss are refills, and what is
/// pipelined so stays followed.
#[test]
fn a_quiet_miss_is_known_by_the_next_answer() -> Result<()> {
    let region = alone(1, "refills = \"skip\"")?;
    let mut client = region.client()?;
    for key in ["there", "other"] {
        client.set(key, "1")?;
    }
    assert_eq!(client.ask("ms AP8= 1 b\r\n1")?, "HD");
    let captured = region.book("captured")?;
    let dialogues: [(&str, &[&str], &str); 6] = [
        ("mg a v q\r\nget other\r\n", &["VALUE other 0 1", "1", "END"], "a"),
        ("mg there v k q\r\nmg b v k q\r\ndelete none\r\n", &["VA 1 kthere", "1", "NOT_FOUND"], "b"),
        ("mg c v q\r\nmd none\r\n", &["NF"], "c"),
        ("mg d k v q\r\nmg there k v\r\n", &["VA 1 kthere", "1"], "d"),
        ("mg ZQ== b k v q\r\nmg dGhlcmU= b k v q\r\nmn\r\n", &["VA 1 kthere", "1", "MN"], "e"),
        ("mg Zg== b k v q\r\nmg AP8= b k v q\r\nmn\r\n", &["VA 1 kAP8= b", "1", "MN"], "f"),
    ];
    let mut deletes = 0;
    for (request, answer, missed) in dialogues {
        client.send(request.as_bytes())?;
        for &line in answer {
            assert_eq!(client.line()?, line, "{request}");
        }
        deletes += u64::from(request.contains("none"));
        assert_eq!(client.set(missed, "2")?, "STORED");
        assert_eq!(region.book("captured")?, captured + deletes, "a refill of {missed}");
    }
    assert_eq!(client.set("there", "2")?, "STORED");
    assert_eq!(region.book("captured")?, captured + deletes + 1, "a write");
    Ok(())
}
