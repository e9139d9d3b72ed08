//! Framing and smuggling through the real daemon: whatever a client sends, the origin sees what the proxy saw, or nothing.

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::framing::{self, Case, Outcome};
use tidegate_tests::raw::Connection;
use tidegate_tests::strict::{Reply, Request, Strict};

const CLIENT: &str = "127.0.0.1";
/// A request that reaches the origin twice would look like smuggling.
const NO_RETRIES: &str = "retries = { attempts = 0, budget = 0 }";

/// How a case's bytes are cut into writes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Halves,
    Bytes,
}

impl Cut {
    fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::Halves => bytes.chunks(bytes.len().div_ceil(2)).collect(),
            // The first and the last bytes alone: what is in the middle of large cases is not worth a packet each.
            Self::Bytes if bytes.len() > 1_000 => {
                let (first, rest) = bytes.split_at(200);
                let (middle, last) = rest.split_at(rest.len() - 200);
                first.chunks(1).chain([middle]).chain(last.chunks(1)).collect()
            }
            Self::Bytes => bytes.chunks(1).collect(),
        }
    }
}

/// Plays one case; what is wrong with its answers.
fn play(case: &Case, to: SocketAddr, cut: Cut) -> io::Result<Result<(), String>> {
    let mut connection = Connection::open(CLIENT, to)?;
    for piece in cut.pieces(&case.bytes) {
        // Whoever is refused early may be closed before the last byte.
        if connection.send(piece).is_err() {
            break;
        }
    }
    for (at, outcome) in case.outcomes.iter().enumerate() {
        let answer = match connection.receive(false) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(format!("answer {at}: {error}, not {outcome:?}"))),
        };
        let wanted = match outcome {
            Outcome::Seen(..) => 200,
            Outcome::Refused(status) => *status,
        };
        // In pieces, a line is refused as soon as nothing can come of it; whether its version is one at all may not be known yet.
        let early =
            matches!(cut, Cut::Bytes) && [400, 505].contains(&wanted) && [400, 505].contains(&answer.status);
        if answer.status != wanted && !early {
            return Ok(Err(format!("answer {at}: {} {:?}, not {outcome:?}", answer.status, answer.text())));
        }
        if wanted != 200 {
            let told =
                answer.header("tidegate-reason").is_some() && answer.header("connection") == Some("close");
            let rest = connection.rest().unwrap_or_default();
            let ended = rest.is_empty();
            return Ok(if told && ended { Ok(()) } else { Err(format!("told {answer:?}, then {rest:?}")) });
        }
    }
    Ok(Ok(()))
}

fn wanted(case: &Case) -> Vec<(String, String)> {
    let seen = case.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Seen(line, body) => Some((line.clone(), body.clone())),
        Outcome::Refused(_) => None,
    });
    seen.collect()
}

fn found(requests: Vec<Request>) -> Vec<(String, String)> {
    let text = |request: Request| (request.line, String::from_utf8_lossy(&request.body).into_owned());
    requests.into_iter().map(text).collect()
}

#[test]
fn the_origin_sees_what_the_proxy_saw_or_nothing() -> Result<()> {
    let origin = Strict::ok()?;
    let (daemon, public) = Daemon::edge(origin.address(), NO_RETRIES, "")?;
    let cases = framing::all();
    let mut wrong = Vec::new();
    for cut in [Cut::Whole, Cut::Halves, Cut::Bytes] {
        for case in &cases {
            if let Err(what) = play(case, public, cut)? {
                wrong.push(format!("{} ({cut:?}): {what}", case.name));
            }
            let (seen, wanted) = (found(origin.take()), wanted(case));
            if seen != wanted {
                wrong.push(format!("{} ({cut:?}): the origin saw {seen:?}, not {wanted:?}", case.name));
            }
            wrong.extend(origin.violations().iter().map(|what| format!("{} ({cut:?}): {what}", case.name)));
        }
    }
    println!("{} cases in three cuts each, {} wrong", cases.len(), wrong.len());
    let log = std::fs::read_to_string(daemon.log())?;
    ensure!(!log.contains("panicked"), "{log}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(cases.len() >= 250, "{} cases", cases.len());
    Ok(())
}

/// Status and body; nothing where the client gets 502.
type Passed = Option<(u16, &'static str)>;

/// What an origin answers, and what the client gets for it: a status and a body, or 502.
const ANSWERS: &[(&str, &str, Passed)] = &[
    ("a plain answer", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", Some((200, "abcde"))),
    (
        "chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        Some((200, "abcde")),
    ),
    ("until the end", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde", Some((200, "abcde"))),
    ("until the end in HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nabcde", Some((200, "abcde"))),
    (
        "lengths that agree",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        Some((200, "abcde")),
    ),
    ("lengths in a list", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nabcde", Some((200, "abcde"))),
    ("lengths that disagree", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nabcde", None),
    ("a list that disagrees", "HTTP/1.1 200 OK\r\nContent-Length: 5, 0\r\n\r\nabcde", None),
    ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde", None),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcde", None),
    ("a length in words", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nabcde", None),
    ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabcde", None),
    ("a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nabcde", None),
    (
        "length and coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        None,
    ),
    (
        "coding and length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        None,
    ),
    ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcde", None),
    (
        "another coding beneath",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        None,
    ),
    ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabcde", None),
    (
        "two codings",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        None,
    ),
    (
        "chunked twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        None,
    ),
    (
        "chunks in HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        None,
    ),
    ("a folded field", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nabcde", None),
    ("a line without a colon", "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("CR in a value", "HTTP/1.1 200 OK\r\nX: y\rSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("a name with a space", "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("no version", "200 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("another version", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("another protocol", "ICY 200 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("no status", "HTTP/1.1 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nabcde", None),
    ("HTTP/0.9", "abcde", None),
    ("nothing", "", None),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le", None),
    (
        "an unasked switch",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabcde",
        None,
    ),
    ("no content, and a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Some((204, ""))),
    (
        "an interim answer first",
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        Some((200, "abcde")),
    ),
    (
        "an unasked 100",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        Some((200, "abcde")),
    ),
];

/// Answers that go on behind their end, or end before it: what is behind must never be anybody's answer.
const LEFTOVERS: &[(&str, &str)] = &[
    (
        "another answer behind a length",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    ),
    (
        "another answer behind chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    ),
    (
        "another answer behind no content",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    ),
    (
        "another answer behind not modified",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    ),
    ("a body behind no content", "HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\npoisoned"),
    ("garbage behind a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\npoisoned"),
    (
        "another answer behind a timeout",
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
    ),
];

/// Answers with the case that the path names.
fn by_case(request: &Request) -> Reply {
    let number = |kind: &str| {
        let path = request.line.split(' ').nth(1)?.strip_prefix(kind)?;
        path.parse::<usize>().ok()
    };
    if let Some(at) = number("/answer/") {
        return (ANSWERS[at].1.as_bytes().to_vec(), true);
    }
    match number("/leftover/") {
        Some(at) => (LEFTOVERS[at].1.as_bytes().to_vec(), false),
        None => (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext".to_vec(), false),
    }
}

#[test]
fn an_origins_answer_is_passed_on_as_it_was_meant_or_not_at_all() -> Result<()> {
    let origin = Strict::start(by_case)?;
    let (_daemon, public) = Daemon::edge(origin.address(), NO_RETRIES, "")?;
    let mut wrong = Vec::new();
    for (at, (name, _, expected)) in ANSWERS.iter().enumerate() {
        let mut connection = Connection::open(CLIENT, public)?;
        connection.send(format!("GET /answer/{at} HTTP/1.1\r\nHost: h\r\n\r\n"))?;
        let answer = final_answer(&mut connection)?;
        let right = match expected {
            Some((status, body)) => {
                answer.status == *status
                    && answer.text() == *body
                    && answer.header("tidegate-reason").is_none()
            }
            None => answer.status == 502 && answer.header("tidegate-reason").is_some(),
        };
        let lengths =
            answer.head.iter().filter(|line| line.to_ascii_lowercase().starts_with("content-length")).count();
        if !right || lengths > 1 || (answer.status == 204 && lengths > 0) {
            wrong.push(format!("{name}: {answer:?} {:?}", answer.text()));
        }
        connection.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n")?;
        if !connection.receive(false).is_ok_and(|next| next.text() == "next") {
            wrong.push(format!("{name}: the client's connection is of no use any more"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn final_answer(connection: &mut Connection) -> io::Result<tidegate_tests::raw::Answer> {
    loop {
        let answer = connection.receive(false)?;
        if answer.status >= 200 {
            return Ok(answer);
        }
    }
}

#[test]
fn what_an_origin_sends_behind_an_answer_is_nobodys() -> Result<()> {
    let origin = Strict::start(by_case)?;
    let (_daemon, public) = Daemon::edge(origin.address(), NO_RETRIES, "")?;
    for (at, (name, _)) in LEFTOVERS.iter().enumerate() {
        for _ in 0..20 {
            let mut connection = Connection::open(CLIENT, public)?;
            connection.send(format!(
                "GET /leftover/{at} HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n"
            ))?;
            let first = connection.receive(false)?;
            ensure!(first.status != 502 && !first.text().contains("poisoned"), "{name}: {first:?}");
            let next = connection.receive(false)?;
            ensure!(next.text() == "next", "{name}: {next:?} {:?}", next.text());
        }
    }
    Ok(())
}
