//! What HTTP/2 between edges has to bear: bodies in very small pieces, and requests that it can't say as they came. Two regions in one process.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use tidegate_tests::certs::Authority;
use tidegate_tests::edges::Edge;
use tidegate_tests::frames::ear::Heard;
use tidegate_tests::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, block, frame};
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::Connection;
use tidegate_tests::recorder::Origin;
use tidegate_tests::scratch::Folder;

const US: &str = "127.2.0.1";
const BOUND: Duration = Duration::from_secs(60);
/// Pieces of a byte each: far more than anybody has patience for.
const PIECES: usize = 20_000;

/// Two edges that speak HTTP/2 to each other.
struct Pair {
    eu: Edge,
    _us: Edge,
    eu_origin: Origin,
    us_origin: Origin,
    _folder: Folder,
}

fn text(folder: &Folder, own: &str, origin: SocketAddr, us_edge: SocketAddr) -> String {
    let path = |name: &str| folder.file(name).display().to_string();
    let peer = if own == "us" { us_edge.to_string() } else { "127.0.0.1:0".to_owned() };
    format!(
        "[host]\nregion = \"{own}\"\nworkers = 1\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\nedges = [\"https://{us_edge}\"]\n\
         [geo]\ndefault_region = \"eu\"\n[[geo.record]]\nregion = \"us\"\nprefixes = [\"127.2.0.0/16\"]\n[xdp]\ninterfaces = []\n\
         [identity]\ncertificate = {:?}\nkey = {:?}\nauthority = {:?}\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n\
         [[listener]]\nname = \"peer\"\naddress = \"{peer}\"\nkind = \"peer\"\nupstream = \"origin\"\n",
        path(&format!("{own}.pem")),
        path(&format!("{own}.key")),
        path("peers.ca.pem"),
    )
}

fn pair() -> Result<Pair> {
    let folder = Folder::new("edge-pieces")?;
    let peers = Authority::new(&folder, "peers")?;
    peers.region(&folder, "eu")?;
    peers.region(&folder, "us")?;
    let (eu_origin, us_origin) = (Origin::start("eu", "127.0.0.1:0")?, Origin::start("us", "127.0.0.1:0")?);
    let us_edge = free_address()?;
    let us = Edge::start(&text(&folder, "us", us_origin.address(), us_edge))?;
    let eu = Edge::start(&text(&folder, "eu", eu_origin.address(), us_edge))?;
    Ok(Pair { eu, _us: us, eu_origin, us_origin, _folder: folder })
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_disturbs_nobody_on_the_isthmus() -> Result<()> {
    let pair = pair()?;
    let public = pair.eu.address("public")?;
    let mut other = Connection::open(US, public)?;
    // Not to be sent twice: if its connection ends, it fails.
    other.send("POST /sleep/3000 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")?;
    wait_until("it is under way", BOUND, || pair.us_origin.seen().len() == 1)?;
    let mut client = Connection::open(US, public)?;
    client.send("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    client.send("1\r\nx\r\n".repeat(PIECES) + "0\r\n\r\n")?;
    let answer = client.receive(false)?;
    assert_eq!((answer.status, answer.body.len()), (200, PIECES), "{:?}", answer.head);
    let answer = other.receive(false)?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "origin us\n"));
    assert!(pair.eu_origin.seen().is_empty(), "all went home");
    Ok(())
}

#[test]
fn many_small_frames_arrive_whole() -> Result<()> {
    let pair = pair()?;
    let mut stream = TcpStream::connect(pair.eu.address("public")?)?;
    stream.set_read_timeout(Some(BOUND))?;
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "h")];
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    bytes.extend(frame(DATA, 0, 1, b"x").repeat(PIECES));
    bytes.extend(frame(DATA, END_STREAM, 1, b""));
    stream.write_all(&bytes)?;
    let mut heard = Heard::default();
    heard.listen(&mut stream, |heard| heard.of(1).is_over())?;
    assert!(heard.of(1).status == Some(200) && heard.of(1).ended, "{heard:?}");
    let seen = pair.eu_origin.take();
    assert_eq!(seen.iter().map(|seen| seen.body.len()).collect::<Vec<_>>(), [PIECES]);
    Ok(())
}

#[test]
fn what_http2_cannot_say_crosses_the_isthmus_all_the_same() -> Result<()> {
    let pair = pair()?;
    let mut client = Connection::open(US, pair.eu.address("public")?)?;
    for head in ["GET /a HTTP/1.1\r\nHost: \r\n\r\n", "GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"] {
        client.send(head)?;
        let answer = client.receive(false)?;
        assert_eq!((answer.status, answer.text().as_str()), (200, "origin us\n"), "{head:?}: {answer:?}");
    }
    Ok(())
}
