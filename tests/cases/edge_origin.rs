//! What origins do over HTTP/1.1 beside answering in turn: early, late, in pieces, or not what was expected. Holds no rule of the edge.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_tests::daemon::{self, Daemon};
use tidegate_tests::raw::Connection;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon in front of an origin, and where it listens: an address of this case's own, so that nobody else has the port.
fn edge(origin: SocketAddr, own: u8) -> Result<(Daemon, SocketAddr)> {
    daemon::binary()?;
    let last = std::process::id() % 250 + 1;
    let public = TcpListener::bind((format!("127.91.{own}.{last}"), 0))?.local_addr()?;
    let text = format!(
        "[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\nretries = {{ attempts = 1, budget = 1 }}\n\
         [[listener]]\nname = \"public\"\naddress = \"{public}\"\nupstream = \"origin\"\n"
    );
    Ok((Daemon::start(None, "eu", &text)?, public))
}

/// One connection of an origin.
struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next request's head, as it came.
    fn head(&mut self) -> std::io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(head)
    }

    fn body(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).map(|()| body)
    }

    fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }
}

/// An origin that does `each` with every connection, which knows its number; what it returns is received.
fn origin<T: Send + 'static>(
    each: impl Fn(usize, &mut Peer) -> std::io::Result<T> + Send + Sync + 'static,
) -> Result<(SocketAddr, Receiver<T>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (tell, told) = channel();
    let each = Arc::new(each);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let (each, tell) = (Arc::clone(&each), tell.clone());
            thread::spawn(move || {
                _ = stream.set_read_timeout(Some(PATIENCE));
                if let Ok(seen) = each(number, &mut Peer(BufReader::new(stream))) {
                    _ = tell.send(seen);
                }
            });
        }
    });
    Ok((address, told))
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn an_early_answer_arrives_and_the_rest_of_the_body_follows_it() -> Result<()> {
    const LENGTH: usize = 300_000;
    let (origin, told) = origin(|_, peer| {
        let head = peer.head()?;
        peer.say(OK)?;
        peer.body(if head.starts_with("POST") { LENGTH } else { 0 })
    })?;
    let (_daemon, public) = edge(origin, 1)?;
    let mut client = Connection::open("127.0.0.1", public)?;
    client.send(format!("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: {LENGTH}\r\n\r\n"))?;
    let early = client.receive(false)?;
    ensure!((early.status, early.text()) == (200, "ok".to_owned()), "{early:?}");
    client.send(vec![b'x'; LENGTH])?;
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let next = client.receive(false)?;
    ensure!(next.status == 200, "{next:?}");
    let bodies = [told.recv_timeout(PATIENCE)?, told.recv_timeout(PATIENCE)?];
    ensure!(bodies.contains(&vec![b'x'; LENGTH]), "the body did not arrive whole");
    Ok(())
}

/// What a client gets that expects `100 Continue` from an origin which does `each`.
fn expecting(
    own: u8,
    each: impl Fn(&mut Peer) -> std::io::Result<Vec<u8>> + Send + Sync + 'static,
) -> Result<(Vec<u16>, Receiver<Vec<u8>>)> {
    let (origin, told) = origin(move |_, peer| each(peer))?;
    let (_daemon, public) = edge(origin, own)?;
    let mut client = Connection::open("127.0.0.1", public)?;
    client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")?;
    let mut statuses = Vec::new();
    loop {
        let answer = client.receive(false)?;
        statuses.push(answer.status);
        match answer.status {
            100 => client.send("body")?,
            _ => return Ok((statuses, told)),
        }
    }
}

#[test]
fn a_body_is_asked_for_when_the_origin_asks() -> Result<()> {
    asked_and_sent(2, b"HTTP/1.1 100 Continue\r\n\r\n")
}

/// The client is asked for its body and the origin gets it, if the origin says that behind the head.
fn asked_and_sent(own: u8, says: &'static [u8]) -> Result<()> {
    let (statuses, told) = expecting(own, |peer| {
        peer.head()?;
        peer.say(says)?;
        let body = peer.body(4)?;
        peer.say(OK)?;
        Ok(body)
    })?;
    ensure!(statuses == [100, 200], "{statuses:?}");
    ensure!(told.recv_timeout(PATIENCE)? == b"body");
    Ok(())
}

#[test]
fn a_body_that_the_origin_refuses_is_not_asked_for() -> Result<()> {
    // On a machine that is busy enough the refusal comes too late, and the body was asked for.
    for _ in 0..5 {
        let (statuses, told) = expecting(3, |peer| {
            peer.head()?;
            peer.say(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")?;
            let mut rest = Vec::new();
            peer.0.read_to_end(&mut rest)?;
            Ok(rest)
        })?;
        if statuses == [417] {
            let rest = told.recv_timeout(PATIENCE)?;
            ensure!(rest.is_empty(), "the origin got a body that it had refused");
            return Ok(());
        }
        ensure!(statuses == [100, 417], "{statuses:?}");
    }
    anyhow::bail!("the body was asked for each time")
}

#[test]
fn a_body_is_sent_unasked_to_an_origin_that_says_nothing() -> Result<()> {
    asked_and_sent(4, b"")
}

#[test]
fn a_connection_that_closed_while_it_waited_costs_no_request() -> Result<()> {
    let (origin, told) = origin(|number, peer| {
        peer.head()?;
        peer.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        peer.say(b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX-Piece: 1\r\n\r\n2\r\no")?;
        peer.say(b"k\r\n0\r\n\r\n")?;
        Ok(number)
    })?;
    let (_daemon, public) = edge(origin, 5)?;
    let mut client = Connection::open("127.0.0.1", public)?;
    for request in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        let hints = client.receive(false)?;
        ensure!(hints.status == 103 && hints.header("link") == Some("</a>"), "request {request}: {hints:?}");
        let answer = client.receive(false)?;
        ensure!(answer.status == 200 && answer.text() == "ok", "request {request}: {answer:?}");
        ensure!(answer.header("x-piece") == Some("1"), "{answer:?}");
        ensure!(told.recv_timeout(PATIENCE)? == request);
    }
    Ok(())
}

#[test]
fn what_came_of_an_answer_that_breaks_off_is_passed_on() -> Result<()> {
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
    const CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
    // Both forms in turn; often enough that the origin's end is there with the head.
    let (origin, _told) = origin(|number, peer| {
        peer.head()?;
        peer.say(if number % 2 == 0 { LENGTH } else { CHUNKS })
    })?;
    let (_daemon, public) = edge(origin, 7)?;
    for request in 0..100 {
        let mut client = Connection::open("127.0.0.1", public)?;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")?;
        let heard = String::from_utf8(client.rest()?)?;
        // A client that has heard nothing may send its request again, though it was carried out.
        ensure!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "request {request}: {heard:?}");
        let body = heard.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        ensure!(["part", "4\r\npart\r\n"].contains(&body), "request {request}: {heard:?}");
    }
    Ok(())
}

#[test]
fn interim_answers_arrive_before_the_answer_where_they_are_understood() -> Result<()> {
    let (heard, hears) = channel::<()>();
    let hears = std::sync::Mutex::new(hears);
    let (origin, _told) = origin(move |_, peer| {
        let old = peer.head()?.contains("x-old: 1");
        peer.say(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")?;
        peer.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nTidegate-Reason: home\r\n\r\n")?;
        if !old {
            // The answer comes only once the client has the hints: they are not kept for it.
            let hears = hears.lock().map_err(|_| std::io::Error::other("poisoned"))?;
            hears.recv_timeout(PATIENCE).map_err(std::io::Error::other)?;
        }
        peer.say(OK)?;
        peer.head().map(drop)
    })?;
    let (_daemon, public) = edge(origin, 6)?;
    let mut client = Connection::open("127.0.0.1", public)?;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let processing = client.receive(true)?;
    ensure!(processing.status == 102, "{processing:?}");
    let hints = client.receive(true)?;
    ensure!(hints.status == 103 && hints.header("link") == Some("</a>"), "{hints:?}");
    for gone in ["connection", "x-hop", "tidegate-reason", "transfer-encoding", "content-length"] {
        ensure!(hints.header(gone).is_none(), "{hints:?}");
    }
    heard.send(())?;
    let answer = client.receive(false)?;
    ensure!(answer.status == 200 && answer.text() == "ok", "{answer:?}");
    let mut old = Connection::open("127.0.0.1", public)?;
    old.send("GET / HTTP/1.0\r\nHost: h\r\nX-Old: 1\r\n\r\n")?;
    let answer = old.receive(false)?;
    ensure!(answer.status == 200 && answer.text() == "ok", "HTTP/1.0 knows no interim answers: {answer:?}");
    Ok(())
}
