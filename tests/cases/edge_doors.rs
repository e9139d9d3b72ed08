//! How connections come in and go: the PROXY protocol, timeouts, limits, draining; and an adaptive ceiling finding its place.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate_tests::edges::Edge;
use tidegate_tests::origin;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::{Connection, get};
use tidegate_tests::recorder::Origin;

const EU: &str = "127.1.0.1";
const BOUND: Duration = Duration::from_secs(20);

fn edge(listener: &str, more: &str) -> Result<(Edge, Origin, SocketAddr)> {
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let text = format!(
        "[host]\nregion = \"eu\"\nworkers = 2\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{}\"]\nresponse_timeout = \"1s\"\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n{listener}\n{more}\n",
        origin.address()
    );
    let edge = Edge::start(&text)?;
    let address = edge.address("public")?;
    Ok((edge, origin, address))
}

fn ask(connection: &mut Connection) -> io::Result<u16> {
    connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    Ok(connection.receive(false)?.status)
}

#[test]
fn the_proxy_protocol_tells_the_client() -> Result<()> {
    let (_edge, origin, address) = edge("proxy_protocol = \"require\"", "")?;
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[198, 51, 100, 7, 192, 0, 2, 1],
        &4711_u16.to_be_bytes(),
        &443_u16.to_be_bytes(),
    ];
    let rows = [
        (b"PROXY TCP4 198.51.100.9 192.0.2.1 4711 443\r\n".to_vec(), "198.51.100.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), EU),
        (v2.concat(), "198.51.100.7"),
    ];
    for (header, client) in rows {
        let mut connection = Connection::open(EU, address)?;
        connection.send(&header)?;
        assert_eq!(ask(&mut connection)?, 200);
        assert_eq!(ask(&mut connection)?, 200, "the header is for the connection, not for the request");
        assert_eq!(origin.take()[1].header("x-forwarded-for"), [client]);
    }
    let mut without = Connection::open(EU, address)?;
    without.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    assert!(without.receive(false).is_err(), "closed without an answer");
    assert!(origin.seen().is_empty());
    Ok(())
}

#[test]
fn who_keeps_us_waiting_is_let_go() -> Result<()> {
    let limits = "limits = { header_timeout = \"1s\", idle_timeout = \"2s\", body_idle_timeout = \"1s\" }";
    let (_edge, _origin, address) = edge(limits, "")?;
    let closed_after = |mut connection: Connection| -> Result<(Duration, Vec<u8>)> {
        let began = Instant::now();
        let rest = connection.rest().unwrap_or_default();
        Ok((began.elapsed(), rest))
    };
    let mut head = Connection::open(EU, address)?;
    head.send("GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ")?;
    let mut idle = Connection::open(EU, address)?;
    assert_eq!(ask(&mut idle)?, 200);
    let mut body = Connection::open(EU, address)?;
    body.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")?;
    let silent = Connection::open(EU, address)?;
    let (after, rest) = closed_after(body)?;
    assert!(String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    assert!(after < Duration::from_secs(8));
    for connection in [head, silent, idle] {
        let (after, _) = closed_after(connection)?;
        assert!(after < Duration::from_secs(8), "{after:?}");
    }
    Ok(())
}

#[test]
fn a_slow_answer_is_504_but_a_slow_upload_is_not() -> Result<()> {
    let (_edge, _origin, address) = edge("", "")?;
    let late = get(EU, address, "/sleep/3000", &[])?;
    assert_eq!((late.status, late.header("tidegate-reason")), (504, Some("upstream_timeout")));
    let mut upload = Connection::open(EU, address)?;
    upload.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")?;
    for byte in "0123456789".chars() {
        // tidy: sleep because the upload must last longer than `response_timeout` in all, with no pause that long.
        std::thread::sleep(Duration::from_millis(150));
        upload.send(byte.to_string())?;
    }
    assert_eq!(upload.receive(false)?.text(), "0123456789");
    Ok(())
}

#[test]
fn more_connections_than_allowed_wait_outside() -> Result<()> {
    let (edge, _origin, address) = edge("limits = { max_connections = 2 }", "")?;
    let mut first = Connection::open(EU, address)?;
    let mut second = Connection::open(EU, address)?;
    assert_eq!((ask(&mut first)?, ask(&mut second)?), (200, 200));
    let mut third = Connection::open(EU, address)?;
    third.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    wait_until("two are counted", BOUND, || edge.proxy.report().connections == 2)?;
    drop(first);
    assert_eq!(third.receive(false)?.status, 200);
    Ok(())
}

#[test]
fn draining_finishes_what_has_begun() -> Result<()> {
    let (edge, origin, address) = edge("", "")?;
    let mut busy = Connection::open(EU, address)?;
    busy.send("GET /sleep/500 HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let mut idle = Connection::open(EU, address)?;
    assert_eq!(ask(&mut idle)?, 200);
    wait_until("it is under way", BOUND, || origin.seen().len() == 2)?;
    edge.proxy.drain(false);
    let answer = busy.receive(false)?;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(idle.rest()?.is_empty(), "an idle connection is closed");
    wait_until("it has drained", BOUND, || edge.proxy.is_drained())?;
    assert!(Connection::open(EU, address).is_err());
    Ok(())
}

#[test]
fn a_client_that_still_sends_is_not_reset_under_its_last_answer() -> Result<()> {
    let (_edge, _origin, address) = edge("", "")?;
    let rows = [
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
    ];
    for (head, status) in rows {
        let mut connection = Connection::open(EU, address)?;
        connection.send(head)?;
        assert_eq!(connection.receive(false)?.status, status);
        // What is sent to a closed socket is answered with a reset, and the next write fails.
        for _ in 0..4 {
            connection.send("x".repeat(50_000))?;
        }
        assert!(connection.rest()?.is_empty());
    }
    Ok(())
}

#[test]
fn an_adaptive_ceiling_lets_ordinary_load_through() -> Result<()> {
    let (edge, _origin, address) =
        edge("", "[[ceiling]]\nname = \"everyone\"\nconcurrent_requests = \"adaptive\"")?;
    let mut connection = Connection::open(EU, address)?;
    for _ in 0..500 {
        assert_eq!(ask(&mut connection)?, 200);
    }
    let report = edge.proxy.report();
    assert_eq!(report.ceilings.len(), 1);
    assert!(report.ceilings[0].limit >= 8 && report.ceilings[0].used <= 1, "{report:?}");
    Ok(())
}

#[test]
fn an_endpoint_that_keeps_failing_is_passed_over() -> Result<()> {
    let good = Origin::start("eu", "127.0.0.1:0")?;
    let say = |_: &origin::Recorded| origin::Answer { status: 503, fields: Vec::new(), body: Vec::new() };
    let bad = origin::Origin::start(std::net::TcpListener::bind("127.0.0.1:0")?, say)?;
    let edge = Edge::start(&format!(
        "[host]\nregion = \"eu\"\nworkers = 1\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{}\", \"{}\"]\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n",
        good.address(),
        bad.url()
    ))?;
    let mut connection = Connection::open(EU, edge.address("public")?)?;
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(ask(&mut connection)? == 503);
    }
    assert_eq!(failed, 5, "five failures in a row, then the other one has all");
    Ok(())
}
