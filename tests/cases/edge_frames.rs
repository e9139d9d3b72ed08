//! Abuse of HTTP/2 through the real daemon, in raw frames: whatever a client sends, the origin sees what the proxy saw, or nothing, and each
//! refusal is the one that RFC 9113 asks for.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::frames::ear::{Heard, Stream};
use tidegate_tests::frames::{
    self, Case, HEADERS, NEXT, Outcome, PROTOCOL_ERROR, SETTINGS, STREAM, WHOLE, frame, get,
};
use tidegate_tests::ports::free_address;
use tidegate_tests::raw::Connection;
use tidegate_tests::strict::{Request, Strict};

const CLIENT: &str = "127.0.0.1";
const PATIENCE: Duration = Duration::from_secs(60);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn edge(origin: SocketAddr) -> Result<(Daemon, SocketAddr)> {
    let public = free_address()?;
    let text = format!(
        "[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\nretries = {{ attempts = 0, budget = 0 }}\n\
         [[listener]]\nname = \"public\"\naddress = \"{public}\"\nupstream = \"origin\"\n"
    );
    Ok((Daemon::start(None, "eu", &text)?, public))
}

/// Plays a case, with a request behind it that says whether the connection goes on; `cut` in two writes.
fn play(case: &Case, to: SocketAddr, cut: bool) -> io::Result<Heard> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let next = frame(HEADERS, WHOLE, NEXT, &get("/next"));
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &case.bytes, &next].concat();
    let (first, second) =
        bytes.split_at(if cut { bytes.len() - next.len() - case.bytes.len() / 2 } else { 0 });
    // Whoever is refused early may be closed before the last byte.
    _ = stream.write_all(first).and_then(|()| stream.write_all(second));
    let mut heard = Heard::default();
    let over = |heard: &Heard| heard.of(STREAM).is_over() || !answers(&case.outcome);
    heard.listen(&mut stream, |heard| heard.of(NEXT).is_over() && over(heard))?;
    Ok(heard)
}

/// Whether anything is to come on the stream that is tried.
fn answers(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Ended(_))
}

/// What is wrong with what a client heard.
fn judge(outcome: &Outcome, heard: &Heard) -> Option<String> {
    let (tried, next) = (heard.of(STREAM), heard.of(NEXT));
    let malformed = tried.reset == Some(PROTOCOL_ERROR) && tried.status.is_none_or(|status| status == 400);
    let right = match outcome {
        Outcome::Seen(..) => tried == Stream { status: Some(200), reset: None, ended: true },
        Outcome::Refused(status) => tried.status == Some(*status),
        Outcome::Malformed => malformed || heard.goaway == Some(PROTOCOL_ERROR),
        Outcome::Unswitched(_) => tried.status == Some(502),
        Outcome::Ended(codes) => heard.goaway.is_some_and(|code| codes.contains(&code)),
    };
    let may_end = matches!(outcome, Outcome::Malformed | Outcome::Ended(_));
    let goes_on = next.status == Some(200) && heard.goaway.is_none() || may_end && heard.goaway.is_some();
    (!right || !goes_on).then(|| format!("{heard:?}, not {outcome:?}"))
}

/// What is wrong with what the origin saw.
fn compare(case: &Case, ended: bool, seen: &[Request]) -> Option<String> {
    let mut wanted: Vec<(&str, &[u8])> = Vec::new();
    match &case.outcome {
        Outcome::Seen(line, body) => wanted.push((line, body.as_bytes())),
        Outcome::Unswitched(line) => wanted.push((line, b"")),
        _ => {}
    }
    if !ended {
        wanted.push(("GET /next", b""));
    }
    // Streams are handled at once: their order is nobody's.
    let mut found: Vec<_> = seen.iter().map(|request| (request.line.as_str(), &request.body[..])).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    if found != wanted {
        return Some(format!("the origin saw {found:?}, not {wanted:?}"));
    }
    let tried = seen.iter().find(|request| request.line != "GET /next");
    let wrong = case
        .fields
        .iter()
        .find(|(name, values)| tried.is_some_and(|request| request.values(name) != *values));
    wrong.map(|(name, values)| {
        format!("{name} is {:?}, not {values:?}", tried.map(|request| request.values(name)))
    })
}

#[test]
fn the_origin_sees_what_the_proxy_saw_or_nothing() -> Result<()> {
    let origin = Strict::ok()?;
    let (daemon, public) = edge(origin.address())?;
    let cases = frames::all();
    let (mut wrong, mut ended) = (Vec::new(), 0);
    for cut in [false, true] {
        for case in &cases {
            let (what, over) = match play(case, public, cut) {
                Ok(heard) => (judge(&case.outcome, &heard), heard.goaway.is_some()),
                Err(error) => (Some(format!("{error}, not {:?}", case.outcome)), false),
            };
            ended += usize::from(over);
            let seen = compare(case, over, &origin.take());
            let faults = what.into_iter().chain(seen).chain(origin.violations());
            wrong.extend(faults.map(|fault| format!("{} (cut: {cut}): {fault}", case.name)));
        }
    }
    println!(
        "{} cases, whole and in two pieces; the connection ended in {ended} of {}; {} wrong",
        cases.len(),
        2 * cases.len(),
        wrong.len()
    );
    let log = std::fs::read_to_string(daemon.log())?;
    ensure!(!log.contains("panicked"), "{log}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(cases.len() >= 100, "{} cases", cases.len());
    Ok(())
}

/// HTTP/1.1 that asks for HTTP/2, and what looks like its beginning: the status, 0 for none.
const BEGINNINGS: &[(&str, &str, u16)] = &[
    (
        "an upgrade to h2c",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        200,
    ),
    (
        "an upgrade to h2c, not named by Connection",
        "GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        200,
    ),
    (
        "an upgrade to h2c among others",
        "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: x\r\n\r\n",
        200,
    ),
    ("the preface as a request", "PRI * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("the preface with another version", "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n", 505),
    ("the preface behind a line end", "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
];

#[test]
fn http1_does_not_become_http2_on_the_way() -> Result<()> {
    let origin = Strict::ok()?;
    let (_daemon, public) = edge(origin.address())?;
    for (name, bytes, status) in BEGINNINGS {
        let mut connection = Connection::open(CLIENT, public)?;
        connection.send(bytes)?;
        let answer = connection.receive(false)?;
        ensure!(answer.status == *status, "{name}: {answer:?}");
        let seen = origin.take();
        ensure!(seen.len() == usize::from(*status == 200), "{name}: the origin saw {seen:?}");
        for gone in ["upgrade", "http2-settings", "connection"] {
            let left = seen
                .iter()
                .flat_map(|request| request.values(gone))
                .find(|value| !value.contains("websocket"));
            ensure!(left.is_none(), "{name}: {gone} is still {left:?}");
        }
        ensure!(origin.violations().is_empty(), "{name}");
    }
    Ok(())
}
