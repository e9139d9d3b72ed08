//! TLS, HTTP/2 and the isthmus over mutual TLS, with curl as the client; session pins; a certificate renewed under way.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegate_tests::certs::Authority;
use tidegate_tests::edges::Edge;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::{self, Connection};
use tidegate_tests::recorder::Origin;
use tidegate_tests::scratch::Folder;

const EU: &str = "127.1.0.1";
const US: &str = "127.2.0.1";
const HOST: &str = "www.example.com";
const BOUND: Duration = Duration::from_secs(60);

/// Two edges that speak mutual TLS to each other.
struct Pair {
    folder: Folder,
    authority: Authority,
    eu: Edge,
    us: Edge,
    eu_origin: Origin,
    us_origin: Origin,
}

fn text(folder: &Folder, own: &str, origin: SocketAddr, us_edge: SocketAddr) -> String {
    let path = |name: &str| folder.file(name).display().to_string();
    format!(
        r#"
[host]
region = "{own}"
workers = 1
[[region]]
name = "eu"
public_url = "https://eu.example.com"
[[region]]
name = "us"
public_url = "https://us.example.com"
edges = ["https://{us_edge}"]
health = {{ interval = "100ms", fall = 2, rise = 2 }}
[geo]
default_region = "eu"
[[geo.record]]
region = "us"
prefixes = ["127.2.0.0/16"]
[xdp]
interfaces = []
[session]
cookie = "tg_home"
ttl = "1h"
key_file = "{key_file}"
[identity]
certificate = "{identity}"
key = "{identity_key}"
authority = "{authority}"
[[upstream]]
name = "origin"
endpoints = ["http://{origin}"]
[[listener]]
name = "public"
address = "127.0.0.1:0"
upstream = "origin"
tls = {{ certificate = "{certificate}", key = "{key}" }}
[[listener]]
name = "clear"
address = "127.0.0.1:0"
upstream = "origin"
[[listener]]
name = "peer"
address = "{peer}"
kind = "peer"
upstream = "origin"
"#,
        key_file = path("session.key"),
        identity = path(&format!("{own}.pem")),
        identity_key = path(&format!("{own}.key")),
        authority = path("peers.ca.pem"),
        certificate = path(&format!("{HOST}.pem")),
        key = path(&format!("{HOST}.key")),
        peer = if own == "us" { us_edge.to_string() } else { "127.0.0.1:0".to_owned() }
    )
}

fn pair() -> Result<Pair> {
    let folder = Folder::new("edge-tls")?;
    let (authority, peers) = (Authority::new(&folder, "web")?, Authority::new(&folder, "peers")?);
    authority.server(&folder, HOST)?;
    peers.region(&folder, "eu")?;
    peers.region(&folder, "us")?;
    folder.write("session.key", &"5a".repeat(32))?;
    let (eu_origin, us_origin) = (Origin::start("eu", "127.0.0.1:0")?, Origin::start("us", "127.0.0.1:0")?);
    let us_edge = free_address()?;
    let us = Edge::start(&text(&folder, "us", us_origin.address(), us_edge))?;
    let eu = Edge::start(&text(&folder, "eu", eu_origin.address(), us_edge))?;
    Ok(Pair { folder, authority, eu, us, eu_origin, us_origin })
}

/// What curl prints: the response's head and body, then its HTTP version on a line of its own.
fn curl(source: &str, to: SocketAddr, authority: &Authority, target: &str, more: &[&str]) -> Result<String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "20", "--interface", source]);
    command.args(["--write-out", "\n%{http_version}"]).arg("--cacert").arg(&authority.file);
    command.args(["--connect-to", &format!("::{}:{}", to.ip(), to.port())]);
    let output = command.args(more).arg(target).output().context("curl")?;
    anyhow::ensure!(output.status.success(), "curl {target}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn clients_choose_between_http2_and_http1_by_alpn() -> Result<()> {
    let pair = pair()?;
    let to = pair.eu.address("public")?;
    let url = format!("https://{HOST}/a?b=c");
    for (version, flag) in [("2", "--http2"), ("1.1", "--http1.1")] {
        let said = curl(EU, to, &pair.authority, &url, &[flag])?;
        assert!(said.contains("origin eu") && said.ends_with(&format!("\n{version}")), "{said}");
        let seen = pair.eu_origin.take().remove(0);
        assert_eq!((seen.line(), seen.header("host")), ("GET /a?b=c HTTP/1.1", vec![HOST]));
        assert_eq!(seen.header("x-forwarded-proto"), ["https"]);
        assert!(seen.header("via")[0].starts_with(&format!("{version} tidegate-eu-")), "{seen:?}");
    }
    let clear = pair.eu.address("clear")?;
    let said = curl(EU, clear, &pair.authority, &format!("http://{HOST}/"), &["--http2-prior-knowledge"])?;
    assert!(said.contains("origin eu") && said.ends_with("\n2"), "{said}");
    Ok(())
}

#[test]
fn a_misrouted_request_crosses_by_mutual_tls_and_http2() -> Result<()> {
    let pair = pair()?;
    let body = "x".repeat(300_000);
    for (listener, scheme, flag) in [("public", "https", "--http2"), ("clear", "http", "--http1.1")] {
        let to = pair.eu.address(listener)?;
        let data = pair.folder.write("body", &body)?;
        let data = format!("@{}", data.display());
        let said = curl(
            US,
            to,
            &pair.authority,
            &format!("{scheme}://{HOST}/echo"),
            &[flag, "--data-binary", &data],
        )?;
        assert!(said.contains(&body), "{} bytes", said.len());
        let seen = pair.us_origin.take().remove(0);
        assert_eq!(seen.header("x-forwarded-for")[0].split(',').next(), Some(US));
        assert_eq!((seen.header("host"), seen.header("tidegate-home")), (vec![HOST], vec!["us"]));
        assert_eq!(seen.header("x-forwarded-proto"), [scheme], "as the client's connection was");
        let via: Vec<_> =
            seen.header("via")[0].split(", ").map(|hop| hop.split(' ').next().unwrap_or("")).collect();
        assert_eq!(via.last(), Some(&"2"), "the isthmus is HTTP/2: {seen:?}");
    }
    assert!(pair.eu_origin.seen().is_empty());
    let mut connection = Connection::open(US, pair.eu.address("clear")?)?;
    connection.send("GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
    assert_eq!(connection.receive(true)?.status, 101, "an upgrade crosses, too");
    connection.send("there and back")?;
    assert_eq!(connection.exactly(14)?, b"there and back");
    Ok(())
}

#[test]
fn cleartext_on_a_peer_listener_is_not_believed() -> Result<()> {
    let pair = pair()?;
    let said = curl(
        US,
        pair.us.address("peer")?,
        &pair.authority,
        &format!("http://{HOST}/"),
        &["-H", "Tidegate-Hops: 1"],
    )?;
    assert!(said.starts_with("HTTP/1.1 403") && said.contains("untrusted_peer"), "{said}");
    assert!(pair.us_origin.seen().is_empty());
    Ok(())
}

#[test]
fn a_pin_keeps_a_session_at_home_when_the_address_changes() -> Result<()> {
    let pair = pair()?;
    let (to, url) = (pair.eu.address("public")?, format!("https://{HOST}/"));
    let said = curl(US, to, &pair.authority, &url, &[])?;
    let cookie = said.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("a pin")?;
    assert!(cookie.contains("; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    // A browser keeps no `Secure` cookie from cleartext: TLS between the edges does not make the client's connection one.
    let clear = raw::get(US, pair.eu.address("clear")?, "/", &[])?;
    let cookie_of_clear = clear.header("set-cookie").context("a pin")?;
    assert!(clear.text().contains("origin us") && !cookie_of_clear.contains("Secure"), "{cookie_of_clear}");
    let pin = cookie.split(';').next().unwrap_or_default().to_owned();
    let moved = curl(EU, to, &pair.authority, &url, &["-H", &format!("Cookie: a=b; {pin}")])?;
    assert!(moved.contains("origin us") && !moved.contains("set-cookie"), "{moved}");
    let forged = curl(EU, to, &pair.authority, &url, &["-H", &format!("Cookie: {pin}x")])?;
    assert!(forged.contains("origin eu") && forged.contains("set-cookie: tg_home="), "{forged}");
    assert_eq!(pair.eu.proxy.report().pins_ignored, 1);
    Ok(())
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections() -> Result<()> {
    let pair = pair()?;
    let (to, url) = (pair.eu.address("public")?, format!("https://{HOST}/"));
    let new = Authority::new(&pair.folder, "new")?;
    assert!(curl(EU, to, &new, &url, &[]).is_err());
    new.server(&pair.folder, HOST)?;
    wait_until("the new certificate", BOUND, || curl(EU, to, &new, &url, &[]).is_ok())
}
