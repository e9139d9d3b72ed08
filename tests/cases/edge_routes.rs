//! The edge over real sockets: home, isthmus, redirect, failover, hops, forwarding fields, ceilings. Two regions in one process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tidegate::config::types::{MisrouteMode, WhenUnreachable};
use tidegate_tests::edges::Edge;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::{Connection, get};
use tidegate_tests::recorder::Origin;

/// A client of the region that is called `eu`, and one of `us`.
const EU: &str = "127.1.0.1";
const US: &str = "127.2.0.1";

const BOUND: Duration = Duration::from_secs(60);

/// Two edges, each with an origin.
struct Pair {
    eu: Edge,
    us: Edge,
    eu_origin: Origin,
    us_origin: Origin,
}

fn text(own: &str, origin: SocketAddr, us_edge: SocketAddr, more: &str) -> String {
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
public_url = "https://us.example.com/"
edges = ["http://{us_edge}"]
[region.health]
interval = "100ms"
timeout = "30s"
fall = 2
rise = 2
[geo]
default_region = "eu"
[[geo.record]]
region = "us"
prefixes = ["127.2.0.0/16"]
[xdp]
interfaces = []
deny = ["127.66.0.0/16"]
[[upstream]]
name = "origin"
endpoints = ["http://{origin}"]
[[listener]]
name = "public"
address = "127.0.0.1:0"
upstream = "origin"
trusted_proxies = ["127.10.0.0/16"]
[[listener]]
name = "peer"
address = "{peer}"
kind = "peer"
trusted_peers = ["127.0.0.1/32"]
upstream = "origin"
{more}
"#,
        peer = if own == "us" { us_edge.to_string() } else { "127.0.0.1:0".to_owned() }
    )
}

fn pair(more: &str) -> Result<Pair> {
    let (eu_origin, us_origin) = (Origin::start("eu", "127.0.0.1:0")?, Origin::start("us", "127.0.0.1:0")?);
    let us_edge = free_address()?;
    let us = Edge::start(&text("us", us_origin.address(), us_edge, more))?;
    let eu = Edge::start(&text("eu", eu_origin.address(), us_edge, more))?;
    Ok(Pair { eu, us, eu_origin, us_origin })
}

#[test]
fn a_client_at_home_reaches_the_origin_with_what_we_know_of_it() -> Result<()> {
    let pair = pair("")?;
    let sent = [
        "X-Forwarded-For: 127.2.0.9",
        "Tidegate-Hops: 1",
        "Tidegate-Failover: on",
        "Connection: close, X-Drop",
        "X-Drop: 1",
        "X-Keep: 1",
    ];
    let answer = get(EU, pair.eu.address("public")?, "/a?b=c", &sent)?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "origin eu\n"));
    let seen = pair.eu_origin.take().remove(0);
    assert_eq!(seen.line(), "GET /a?b=c HTTP/1.1");
    assert_eq!(seen.header("host"), ["www.example.com"]);
    assert_eq!(seen.header("x-forwarded-for"), [EU], "an untrusted client's word is replaced");
    assert_eq!(seen.header("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.header("x-forwarded-host"), ["www.example.com"]);
    assert_eq!(seen.header("tidegate-home"), ["eu"]);
    assert_eq!(seen.header("x-keep"), ["1"]);
    assert!(seen.header("via")[0].starts_with("1.1 tidegate-eu-"));
    for gone in ["tidegate-hops", "tidegate-failover", "x-drop", "connection"] {
        assert!(seen.header(gone).is_empty(), "{gone}: {seen:?}");
    }
    Ok(())
}

#[test]
fn a_misrouted_request_is_carried_home_and_back() -> Result<()> {
    let pair = pair("")?;
    let mut connection = Connection::open(US, pair.eu.address("public")?)?;
    for body in ["first", "second"] {
        let length = body.len();
        connection
            .send(format!("POST /echo?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"))?;
        assert_eq!(connection.receive(false)?.text(), body);
    }
    let seen = pair.us_origin.take().remove(0);
    assert_eq!(seen.header("x-forwarded-for"), [format!("{US}, 127.0.0.1")]);
    assert_eq!(seen.header("tidegate-home"), ["us"]);
    assert!(seen.header("tidegate-hops").is_empty() && seen.header("tidegate-client").is_empty());
    assert_eq!(seen.header("via")[0].matches("tidegate-").count(), 2, "{seen:?}");
    assert!(pair.eu_origin.seen().is_empty());
    let report = pair.eu.proxy.report();
    let us = pair.eu.region("us")?;
    assert_eq!((report.requests[us], report.misrouted[us]), ([0, 2, 0, 0], 2));
    Ok(())
}

#[test]
fn a_redirect_goes_to_the_same_path_once() -> Result<()> {
    let mut pair = pair("")?;
    pair.eu.change(|in_force| in_force.misroute = MisrouteMode::Redirect)?;
    let public = pair.eu.address("public")?;
    let answer = get(US, public, "/a/b?c=%20d", &[])?;
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), Some("https://us.example.com/a/b?c=%20d&tg_from=eu"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("tidegate-reason"), Some("misrouted"));
    let again = get(US, public, "/a/b?c=d&tg_from=us&e", &[])?;
    assert_eq!(again.text(), "origin eu\n");
    assert_eq!(pair.eu_origin.take()[0].line(), "GET /a/b?c=d&e HTTP/1.1", "the mark is gone");
    Ok(())
}

#[test]
fn failover_of_either_region_keeps_requests_here() -> Result<()> {
    let mut pair = pair("")?;
    let (public, us, eu) = (pair.eu.address("public")?, pair.eu.region("us")?, pair.eu.region("eu")?);
    let home = |pair: &Pair| {
        get(US, pair.eu.address("public")?, "/", &[]).map(|answer| answer.text()).map_err(anyhow::Error::from)
    };
    assert_eq!(home(&pair)?, "origin us\n");
    pair.eu.change(|in_force| in_force.failover[us] = true)?;
    assert_eq!(home(&pair)?, "origin eu\n");
    pair.eu.change(|in_force| (in_force.failover[us], in_force.failover[eu]) = (false, true))?;
    assert_eq!(home(&pair)?, "origin eu\n");
    pair.eu.change(|in_force| in_force.failover[eu] = false)?;
    assert_eq!(home(&pair)?, "origin us\n");
    // The other region's operator turns it on over there: its edge's health answer says so.
    let us_there = pair.us.region("us")?;
    pair.us.change(|in_force| in_force.failover[us_there] = true)?;
    wait_until("the failover is heard", BOUND, || pair.eu.proxy.live().peer_failover[us])?;
    assert_eq!(get(US, public, "/", &[])?.text(), "origin eu\n");
    Ok(())
}

#[test]
fn an_edge_that_is_gone_is_found_out_and_comes_back() -> Result<()> {
    let Pair { eu, us, eu_origin: _keep, us_origin } = pair("")?;
    let (public, region) = (eu.address("public")?, eu.region("us")?);
    let at = us.address("peer")?;
    assert_eq!(get(US, public, "/", &[])?.text(), "origin us\n");
    drop(us);
    let answer = get(US, public, "/", &[])?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "origin eu\n"), "before any probe has failed");
    wait_until("automatic failover", BOUND, || eu.proxy.report().automatic_failover[region])?;
    assert_eq!(get(US, public, "/", &[])?.text(), "origin eu\n");
    let _us = Edge::start(&text("us", us_origin.address(), at, ""))?;
    wait_until("the edge is up", BOUND, || !eu.proxy.report().automatic_failover[region])?;
    wait_until("isthmus again", BOUND, || {
        get(US, public, "/", &[]).is_ok_and(|answer| answer.text() == "origin us\n")
    })
}

#[test]
fn when_unreachable_decides_without_automatic_failover() -> Result<()> {
    for (mode, expected) in
        [("shed", (503, None)), ("redirect", (307, Some("https://us.example.com/?tg_from=eu")))]
    {
        let more = format!("[misroute]\nautomatic_failover = false\nwhen_unreachable = \"{mode}\"");
        let Pair { eu, us, .. } = pair(&more)?;
        drop(us);
        let answer = get(US, eu.address("public")?, "/", &[])?;
        assert_eq!((answer.status, answer.header("location")), expected);
        assert_eq!(answer.header("tidegate-reason"), Some("unreachable"));
        assert_eq!(eu.config.misroute.when_unreachable == WhenUnreachable::Shed, mode == "shed");
    }
    Ok(())
}

#[test]
fn hops_and_loops_end_in_508() -> Result<()> {
    let pair = pair("")?;
    let peer = pair.eu.address("peer")?;
    let claimed = ["Tidegate-Hops: 1", "Tidegate-Client: 127.1.0.7"];
    let answer = get("127.0.0.1", peer, "/", &claimed)?;
    assert_eq!(answer.text(), "origin eu\n");
    let too_many = get("127.0.0.1", peer, "/", &["Tidegate-Hops: 2"])?;
    assert_eq!((too_many.status, too_many.header("tidegate-reason")), (508, Some("too_many_hops")));
    let onwards = get("127.0.0.1", peer, "/", &["Tidegate-Hops: 1", "Tidegate-Client: 127.2.0.7"])?;
    assert_eq!((onwards.status, onwards.header("tidegate-reason")), (508, Some("too_many_hops")));
    let via = pair.eu_origin.take()[0].header("via")[0].to_owned();
    let looped = get(EU, pair.eu.address("public")?, "/", &[&format!("Via: {via}")])?;
    assert_eq!((looped.status, looped.header("tidegate-reason")), (508, Some("loop")));
    let forwarded = get("127.0.0.1", peer, "/", &["X-Forwarded-For: 127.2.0.7"])?;
    assert_eq!(forwarded.text(), "origin us\n", "a peer's X-Forwarded-For is believed, too");
    assert_eq!(get("127.9.0.1", peer, "/", &[])?.header("tidegate-reason"), Some("untrusted_peer"));
    assert_eq!(get("127.9.0.1", peer, "/.well-known/tidegate/health", &[])?.status, 200);
    Ok(())
}

#[test]
fn trusted_proxies_are_believed_and_others_are_not() -> Result<()> {
    let pair = pair("")?;
    let public = pair.eu.address("public")?;
    let claim = ["X-Forwarded-For: 127.2.0.9, 127.10.0.8"];
    assert_eq!(get("127.10.0.1", public, "/", &claim)?.text(), "origin us\n");
    assert_eq!(get(EU, public, "/", &claim)?.text(), "origin eu\n");
    assert_eq!(
        get("127.10.0.1", public, "/", &["Forwarded: for=127.2.0.9;proto=https"])?.text(),
        "origin us\n"
    );
    let seen = pair.us_origin.take().remove(1);
    let chain = seen.header("x-forwarded-for")[0].to_owned();
    assert!(
        chain.starts_with("127.2.0.9, 127.10.0.1, "),
        "the client stands there for who reads nothing else: {chain}"
    );
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("forwarded").len()), (vec!["https"], 1));
    let denied = get("127.66.0.1", public, "/", &["Accept: application/json"])?;
    assert_eq!((denied.status, denied.header("tidegate-reason")), (503, Some("denied")));
    assert_eq!(denied.header("content-type"), Some("application/problem+json"));
    Ok(())
}

#[test]
fn a_full_ceiling_answers_503_and_keeps_the_connection() -> Result<()> {
    let more = "[[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1\n[[ceiling]]\nname = \"us\"\nhome = \"us\"\nrequests_per_second = 0";
    let pair = pair(more)?;
    let mut connection = Connection::open(EU, pair.eu.address("public")?)?;
    let (mut served, mut shed) = (0, 0);
    // On a slow machine the bucket has another request's worth before the next one comes: asked until two were refused.
    wait_until("two are refused", BOUND, || {
        let sent = connection.send("GET / HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n");
        let answer = sent.and_then(|()| connection.receive(false)).expect("the connection is kept");
        if answer.status == 503 {
            let retry = answer.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
            assert!(retry.is_some_and(|seconds| (1..=5).contains(&seconds)), "{answer:?}");
            assert_eq!(answer.header("tidegate-reason"), Some("requests_per_second"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        (served, shed) =
            (served + usize::from(answer.status == 200), shed + usize::from(answer.status == 503));
        shed == 2
    })?;
    assert!(served > 0);
    assert_eq!(pair.eu_origin.seen().len(), served, "a shed request never touches the upstream");
    assert_eq!(get(US, pair.eu.address("public")?, "/", &[])?.status, 503);
    let grpc = get(EU, pair.eu.address("public")?, "/s/M", &["Content-Type: application/grpc"])?;
    assert_eq!(
        (grpc.header("grpc-status"), grpc.header("content-type")),
        (Some("14"), Some("application/grpc"))
    );
    Ok(())
}

#[test]
fn concurrency_is_given_back_when_a_client_goes_away() -> Result<()> {
    let pair = pair("[[ceiling]]\nname = \"everyone\"\nconcurrent_requests = 2")?;
    let public = pair.eu.address("public")?;
    let slow = |_| -> Result<Connection> {
        let mut connection = Connection::open(EU, public)?;
        connection.send("GET /sleep/60000 HTTP/1.1\r\nHost: h\r\n\r\n")?;
        Ok(connection)
    };
    let held = (0..2).map(slow).collect::<Result<Vec<_>>>()?;
    wait_until("both are in flight", BOUND, || pair.eu_origin.seen().len() == 2)?;
    let full = get(EU, public, "/", &[])?;
    assert_eq!((full.status, full.header("tidegate-reason")), (503, Some("concurrent_requests")));
    drop(held);
    wait_until("places are free again", BOUND, || {
        get(EU, public, "/", &[]).is_ok_and(|answer| answer.status == 200)
    })
}

#[test]
fn bodies_stream_both_ways_and_upgrades_are_tunnels() -> Result<()> {
    let pair = pair("")?;
    for (source, name) in [(EU, "eu"), (US, "us")] {
        let mut connection = Connection::open(source, pair.eu.address("public")?)?;
        let chunk = "x".repeat(100_000);
        connection.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..10 {
            connection.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()))?;
        }
        connection.send("0\r\n\r\n")?;
        assert_eq!(connection.receive(false)?.body.len(), 1_000_000);
        connection.send("GET /big/5000000 HTTP/1.1\r\nHost: h\r\n\r\n")?;
        assert_eq!(connection.receive(false)?.body.len(), 5_000_000);
        connection.send("GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n")?;
        assert_eq!(connection.receive(false)?.text(), format!("origin {name}\n"));
        connection.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        assert_eq!(connection.receive(true)?.status, 200);
        connection
            .send("GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
        let switched = connection.receive(true)?;
        assert_eq!((switched.status, switched.header("upgrade")), (101, Some("echo")));
        connection.send("through the tunnel")?;
        assert_eq!(connection.exactly(18)?, b"through the tunnel");
    }
    Ok(())
}

#[test]
fn an_upstream_that_fails_is_told_apart() -> Result<()> {
    let pair = pair("")?;
    let public = pair.eu.address("public")?;
    let reset = get(EU, public, "/reset", &[])?;
    assert_eq!((reset.status, reset.header("tidegate-reason")), (502, Some("upstream_reset")));
    assert_eq!(get(EU, public, "/status/404", &[])?.status, 404);
    let Pair { eu, eu_origin, .. } = pair;
    drop(eu_origin);
    let refused = get(EU, eu.address("public")?, "/", &[])?;
    assert_eq!((refused.status, refused.header("tidegate-reason")), (502, Some("upstream_connect")));
    Ok(())
}

#[test]
fn retries_towards_another_region_are_a_share_of_its_requests_too() -> Result<()> {
    const ASKED: usize = 40;
    let edges = [Origin::start("us", "127.0.0.1:0")?, Origin::start("us", "127.0.0.1:0")?];
    let [one, other] = edges.each_ref().map(Origin::address);
    let text = text("eu", one, one, "").replace(
        &format!("\"http://{one}\"]\n[region."),
        &format!("\"http://{one}\", \"http://{other}\"]\n[region."),
    );
    let eu = Edge::start(&text)?;
    for _ in 0..ASKED {
        assert_eq!(get(US, eu.address("public")?, "/reset", &[])?.status, 502);
    }
    let came = |edge: &Origin| edge.seen().iter().filter(|seen| seen.line().contains("/reset")).count();
    let came: usize = edges.iter().map(came).sum();
    // Three that a quiet listener has, and a fifth of what was asked.
    assert_eq!(came, ASKED + 3 + ASKED / 5);
    Ok(())
}

#[test]
fn a_request_that_must_be_guessed_is_refused() -> Result<()> {
    let pair = pair("")?;
    let public = pair.eu.address("public")?;
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
        ("GET http://other/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://other/x HTTP/1.1\r\nHost: other:80\r\n\r\n", 200),
    ];
    for (request, status) in rows {
        let mut connection = Connection::open(EU, public)?;
        connection.send(request)?;
        let answer = connection.receive(false)?;
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.header("tidegate-reason").is_some(), status != 200, "{request} {answer:?}");
    }
    let seen = pair.eu_origin.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].line(), seen[0].header("host")), ("GET /x HTTP/1.1", vec!["other"]));
    Ok(())
}
