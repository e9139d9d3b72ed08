//! How connections come in and go: the PROXY protocol, timeouts, limits, draining; and an adaptive ceiling finding its place.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate_tests::edges::Edge;
use tidegate_tests::frames::ear::{Heard, Stream};
use tidegate_tests::frames::{HEADERS, SETTINGS, WHOLE, WINDOW_UPDATE, frame, get as get_h2};
use tidegate_tests::origin;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::{Connection, get};
use tidegate_tests::recorder::Origin;

const EU: &str = "127.1.0.1";
/// `response_timeout`, in seconds: far above what a busy machine needs for an answer.
const LATE: u64 = 3;
/// How long a closed connection is still read from.
const LINGERS: Duration = Duration::from_secs(1);
/// RFC 9113, 7.
const CANCEL: u32 = 8;
const BOUND: Duration = Duration::from_secs(60);

fn edge(listener: &str, more: &str) -> Result<(Edge, Origin, SocketAddr)> {
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let text = format!(
        "[host]\nregion = \"eu\"\nworkers = 2\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{}\"]\nresponse_timeout = \"{LATE}s\"\n\
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

/// Four ways to keep an edge waiting, with the time after which it would have ended each without these limits; how long it bore them.
fn waits(address: SocketAddr) -> Result<Vec<(Duration, Duration)>> {
    let began = Instant::now();
    let mut head = Connection::open(EU, address)?;
    head.send("GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ")?;
    let mut idle = Connection::open(EU, address)?;
    assert_eq!(ask(&mut idle)?, 200);
    let mut body = Connection::open(EU, address)?;
    body.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")?;
    let silent = Connection::open(EU, address)?;
    let answer = body.receive(false)?;
    assert_eq!(answer.status, 408, "{answer:?}");
    let answer = head.receive(false)?;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{answer:?}");
    let mut borne = Vec::new();
    for (mut connection, default) in [(head, 10), (silent, 10), (body, 30), (idle, 75)] {
        // However it ends.
        drop(connection.rest());
        borne.push((began.elapsed(), Duration::from_secs(default)));
    }
    Ok(borne)
}

#[test]
fn who_keeps_us_waiting_is_let_go() -> Result<()> {
    let limits = "limits = { header_timeout = \"2s\", idle_timeout = \"2s\", body_idle_timeout = \"2s\" }";
    let (_edge, _origin, address) = edge(limits, "")?;
    let mut borne = Vec::new();
    // A machine that is so busy that the defaults cannot be told from these limits is asked again.
    for _ in 0..5 {
        borne = waits(address)?;
        if borne.iter().all(|(borne, default)| borne < default) {
            return Ok(());
        }
    }
    anyhow::bail!("borne for (and by default): {borne:?}")
}

#[test]
fn a_head_that_stops_is_answered_but_a_client_that_says_nothing_is_not() -> Result<()> {
    let (edge, origin, address) =
        edge("limits = { header_timeout = \"1s\", idle_timeout = \"1s\", body_idle_timeout = \"60s\" }", "")?;
    let mut silent = Connection::open(EU, address)?;
    assert_eq!(silent.rest()?, b"", "nothing was asked");
    let mut idle = Connection::open(EU, address)?;
    assert_eq!(ask(&mut idle)?, 200);
    assert_eq!(idle.rest()?, b"", "nothing more was asked");
    let late = Some("request_timeout");
    for begun in ["G", "GET / HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HT"] {
        let mut stops = Connection::open(EU, address)?;
        stops.send(begun)?;
        let mut answer = stops.receive(false)?;
        if answer.status == 200 {
            answer = stops.receive(false)?;
        }
        assert_eq!((answer.status, answer.header("tidegate-reason")), (408, late), "{begun:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.text(), "request_timeout: the head did not come within header_timeout\n");
        assert_eq!(stops.rest()?, b"", "and the connection ends");
    }
    assert_eq!(origin.seen().len(), 2, "only whole requests travel on");
    let shed = edge.proxy.report().shed;
    let counted = shed.iter().filter(|shed| shed.reason.name() == "request_timeout").map(|shed| shed.count);
    assert_eq!(counted.sum::<u64>(), 3);
    Ok(())
}

#[test]
fn a_slow_answer_is_504_but_a_slow_upload_is_not() -> Result<()> {
    let (_edge, _origin, address) = edge("", "")?;
    let late = get(EU, address, &format!("/sleep/{}", LATE * 20_000), &[])?;
    assert_eq!((late.status, late.header("tidegate-reason")), (504, Some("upstream_timeout")));
    let mut upload = Connection::open(EU, address)?;
    upload.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")?;
    for byte in "0123456789".chars() {
        // tidy: sleep because the upload must last longer than `response_timeout` in all, with no pause that long.
        std::thread::sleep(Duration::from_secs(LATE) / 8);
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
fn a_tunnel_counts_as_the_connection_that_it_was() -> Result<()> {
    let (edge, _origin, address) = edge("limits = { max_connections = 1 }", "")?;
    let mut tunnel = Connection::open(EU, address)?;
    tunnel.send("GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
    assert_eq!(tunnel.receive(false)?.status, 101);
    wait_until("the request is over", BOUND, || edge.proxy.report().connections == 0)?;
    let mut other = Connection::open(EU, address)?;
    other.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    assert!(other.is_silent(Duration::from_secs(1))?, "let in beside a tunnel");
    drop(tunnel);
    assert_eq!(other.receive(false)?.status, 200);
    Ok(())
}

#[test]
fn a_client_that_closes_its_end_is_answered_unless_that_takes_long() -> Result<()> {
    let (_edge, origin, address) = edge("", "")?;
    for path in ["/", "/sleep/300"] {
        let mut half = Connection::open(EU, address)?;
        half.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))?;
        half.finish()?;
        assert_eq!(half.receive(false)?.status, 200, "{path}");
        assert_eq!(half.rest()?, b"", "and the connection ends");
    }
    let mut gone = Connection::open(EU, address)?;
    gone.send(format!("GET /sleep/{} HTTP/1.1\r\nHost: h\r\n\r\n", LATE * 20_000))?;
    gone.finish()?;
    assert_eq!(gone.rest()?, b"", "given up before its response is late");
    assert_eq!(origin.seen().len(), 3);
    Ok(())
}

#[test]
fn draining_finishes_what_has_begun() -> Result<()> {
    let (edge, origin, address) = edge("", "")?;
    let mut busy = Connection::open(EU, address)?;
    busy.send("GET /sleep/2000 HTTP/1.1\r\nHost: h\r\n\r\n")?;
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
        let in_time = |asked: &Instant| asked.elapsed() < LINGERS / 2;
        loop {
            let (asked, mut connection) = (Instant::now(), Connection::open(EU, address)?);
            connection.send(head)?;
            assert_eq!(connection.receive(false)?.status, status);
            // What is sent to a closed socket is answered with a reset, and the next write fails.
            let sent = (0..4).try_for_each(|_| connection.send("x".repeat(50_000)));
            let rest = sent.and_then(|()| connection.rest());
            // A busy machine may have kept us longer than it lingers: then nothing was asked.
            if rest.is_ok() || in_time(&asked) {
                assert!(rest?.is_empty());
                break;
            }
        }
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
    // Few enough to be over before it is tried again, after 10 s.
    for _ in 0..40 {
        failed += u32::from(ask(&mut connection)? == 503);
    }
    assert_eq!(failed, 5, "five failures in a row, then the other one has all");
    Ok(())
}

#[test]
fn a_stream_whose_client_takes_nothing_is_reset_and_gives_its_place_back() -> Result<()> {
    let limits = "limits = { header_timeout = \"60s\", body_idle_timeout = \"2s\" }";
    let one = "[[ceiling]]\nname = \"one\"\nconcurrent_requests = 1\n";
    let (_edge, _origin, address) = edge(limits, one)?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    // INITIAL_WINDOW_SIZE 0: nobody may send on any stream before it has a window of its own.
    let no_window = [0, 4, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &no_window))?;
    stream.write_all(&frame(HEADERS, WHOLE, 1, &get_h2("/")))?;
    let mut heard = Heard::default();
    heard.listen(&mut stream, |heard| heard.of(1).is_over())?;
    assert_eq!(heard.of(1), Stream { status: Some(200), reset: Some(CANCEL), ended: false });
    stream.write_all(&frame(HEADERS, WHOLE, 3, &get_h2("/")))?;
    stream.write_all(&frame(WINDOW_UPDATE, 0, 3, &65_535_u32.to_be_bytes()))?;
    heard.listen(&mut stream, |heard| heard.of(3).is_over())?;
    assert_eq!(heard.of(3), Stream { status: Some(200), reset: None, ended: true }, "{heard:?}");
    Ok(())
}
