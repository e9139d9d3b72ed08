//! A client's conversations and faults by hand, each at every cut, and by chance. Never a socket.

use bytes::BytesMut;
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{Ask, Bounds, Inbound, Next};
use crate::decide::framing::Fault;

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const BOUNDS: Bounds = Bounds { header_bytes: 1_000, headers: 20 };

/// A request as a recorder behind the parser would tell it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    head: String,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    whole: bool,
}

/// A connection whose bytes come in pieces.
struct Talk {
    inbound: Inbound,
    read: BytesMut,
    heard: Vec<Heard>,
    fault: Option<Fault>,
}

impl Talk {
    fn new() -> Self {
        let (read, heard, fault) = (BytesMut::new(), Vec::new(), None);
        Self { inbound: Inbound::new(BOUNDS), read, heard, fault }
    }

    /// What is heard by `bytes`, after all that came before; nothing after a fault.
    fn say(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
        while self.fault.is_none() {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    fn step(&mut self) -> Result<bool, Fault> {
        if self.heard.last().is_none_or(|heard| heard.whole) {
            let Some(ask) = (if self.read.is_empty() { None } else { self.inbound.head(&mut self.read)? })
            else {
                return Ok(false);
            };
            self.heard.push(Heard { head: told(&ask), whole: self.inbound.has_ended(), ..Heard::default() });
            return Ok(true);
        }
        let heard = self.heard.last_mut().expect("one");
        match self.inbound.body(&mut self.read)? {
            Next::More => return Ok(false),
            Next::Data(data) => heard.body.extend_from_slice(&data),
            Next::End(trailers) => heard.trailers = trailers,
        }
        heard.whole = self.inbound.has_ended();
        Ok(true)
    }
}

fn told(ask: &Ask) -> String {
    let flags = (ask.is_old(), ask.size(), ask.upgrade, ask.keeps, ask.expects);
    format!("{} {} {flags:?} {:?}", ask.head.method, ask.head.uri, ask.head.headers)
}

fn said(text: &[u8]) -> Talk {
    let mut talk = Talk::new();
    talk.say(text);
    talk
}

fn fault_of(text: &str) -> Option<Fault> {
    said(text.as_bytes()).fault
}

/// Messages one after the other, and how many heads are in them.
fn conversations() -> Vec<(String, u64)> {
    vec![
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3), 3),
        ("\r\n\r\nGET / HTTP/1.0\r\n\r\n".to_owned(), 1),
        ("POST / HTTP/1.1\r\ncontent-LENGTH:\t3 \r\n\r\nabcGET / HTTP/1.1\r\n\r\n".to_owned(), 2),
        (format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 2),
        (
            format!(
                "{CHUNKED}A;x=\"y z\"\r\n0123456789\r\n1 \r\na\r\n000\r\nX-T: 1\r\nY: 2\r\n\r\n{CHUNKED}0\r\n\r\n"
            ),
            2,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 21\r\n\r\nTransfer-Encoding: x\n".to_owned(), 1),
    ]
}

#[test]
fn however_it_is_cut_a_conversation_is_the_same() {
    for (text, heads) in conversations() {
        let whole = said(text.as_bytes());
        assert_eq!((whole.fault, whole.heard.len() as u64), (None, heads), "{text:?}");
        for cut in 0..=text.len() {
            let mut talk = said(&text.as_bytes()[..cut]);
            talk.say(&text.as_bytes()[cut..]);
            assert_eq!((talk.fault, &talk.heard), (None, &whole.heard), "{text:?} at {cut}");
        }
        let mut talk = Talk::new();
        text.as_bytes().iter().for_each(|byte| talk.say(&[*byte]));
        assert_eq!((talk.fault, &talk.heard), (None, &whole.heard), "{text:?} byte by byte");
    }
}

#[test]
fn a_request_is_what_was_sent() {
    let text = "\r\nPUT /a?b=c HTTP/1.1\r\nHOST:h\r\nX: \t1 2\t \r\nx:\r\nContent-Length: 3\r\nConnection: a, CLOSE\r\n\
                Expect: 100-Continue\r\n\r\nabcGET";
    let mut read = BytesMut::from(text);
    let mut inbound = Inbound::new(BOUNDS);
    let ask = inbound.head(&mut read).expect("good").expect("whole");
    assert_eq!(
        (&ask.head.method, ask.head.uri.path(), ask.head.uri.query()),
        (&Method::PUT, "/a", Some("b=c"))
    );
    let all: Vec<&[u8]> = ask.head.headers.get_all("x").iter().map(http::HeaderValue::as_bytes).collect();
    assert_eq!(all, [&b"1 2"[..], b""]);
    assert_eq!(
        (ask.is_old(), ask.size(), ask.upgrade, ask.keeps, ask.expects),
        (false, Some(3), false, false, true)
    );
    assert!(matches!(inbound.body(&mut read), Ok(Next::Data(data)) if data == "abc") && inbound.has_ended());
    assert_eq!(&read[..], b"GET", "the next request is left where it is");
}

#[test]
fn what_connection_and_version_say_decides_whether_another_request_may_follow() {
    for (version, connection, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: y , Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let mut read = BytesMut::from(format!("GET / HTTP/{version}\r\n{connection}\r\n").as_str());
        let ask = Inbound::new(BOUNDS).head(&mut read).expect("good").expect("whole");
        assert_eq!(ask.keeps, keeps, "{version} {connection:?}");
    }
}

#[test]
fn however_it_is_cut_a_fault_is_found() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", Fault::BareLf),
        ("GET / HTTP/1.2\r\nHost: h\n\r\n", Fault::Version),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        ("GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", Fault::TwoLengths),
        ("GET / HTTP/1.1\r\nX: y\r\n folded\r\n\r\n", Fault::Folded),
        ("GET / HTTP/1.1\r\nX : y\r\n\r\n", Fault::HeaderLine),
        ("GET / HTTP/1.1\r\nX\r\n\r\n", Fault::HeaderLine),
        ("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", Fault::HeaderLine),
        ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", Fault::HeaderLine),
    ];
    for (text, fault) in rows {
        let before = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let text = format!("{before}{text}");
        for cut in 0..text.len() {
            let mut talk = said(&text.as_bytes()[..cut]);
            talk.say(&text.as_bytes()[cut..]);
            assert_eq!(talk.fault, Some(fault), "{text:?} at {cut}");
            assert_eq!(talk.heard.len(), 1, "what came before goes on");
        }
    }
}

#[test]
fn what_is_good_before_a_fault_goes_on() {
    let talk = said(format!("{CHUNKED}3\r\nabc\r\nz").as_bytes());
    assert_eq!((talk.fault, talk.heard.len()), (Some(Fault::ChunkSize), 1));
    assert_eq!((&talk.heard[0].body[..], talk.heard[0].whole), (&b"abc"[..], false));
}

#[test]
fn each_fault_has_its_name() {
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
    let rows = [
        ("GET /\r\n\r\n".to_owned(), Fault::RequestLine),
        ("GET  / HTTP/1.1\r\n\r\n".to_owned(), Fault::RequestLine),
        ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), Fault::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n".to_owned(), Fault::RequestLine),
        (" / HTTP/1.1\r\n\r\n".to_owned(), Fault::RequestLine),
        ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(), Fault::RequestLine),
        ("GET / http/1.1\r\n\r\n".to_owned(), Fault::RequestLine),
        ("GET / HTTP/1.2\r\n\r\n".to_owned(), Fault::Version),
        ("GET / HTTP/2\r\n\r\n".to_owned(), Fault::Version),
        ("GET /#a HTTP/1.1\r\n\r\n".to_owned(), Fault::Target),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n".to_owned(), Fault::Target),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n".to_owned(), Fault::Connect),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1_000)), Fault::TargetTooLong),
        (format!("GET /{}", "x".repeat(1_000)), Fault::TargetTooLong),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1_000)), Fault::HeadTooLarge),
        (with("Content-Length: +3"), Fault::Length),
        (with("Content-Length: 03"), Fault::Length),
        (with("Content-Length: 3, 3"), Fault::Length),
        (with("Content-Length:"), Fault::Length),
        (with("Content-Length: 9999999999999999999"), Fault::Length),
        (with("Transfer-Encoding: gzip, chunked"), Fault::CodingUnknown),
        (with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), Fault::Coding),
        (with("Transfer-Encoding: chunked, chunked"), Fault::Coding),
        (with("Transfer-Encoding: identity"), Fault::Coding),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Fault::Coding),
        (with("Transfer-Encoding: chunked").replace("1.1", "1.0"), Fault::CodingOld),
        (format!("{CHUNKED}\r\n"), Fault::ChunkSize),
        (format!("{CHUNKED}0x3\r\nabc\r\n0\r\n\r\n"), Fault::ChunkSize),
        (format!("{CHUNKED}3\nabc\r\n0\r\n\r\n"), Fault::ChunkSize),
        (format!("{CHUNKED}3\rabc"), Fault::ChunkSize),
        (format!("{CHUNKED}0000000000000003\r\n"), Fault::ChunkSize),
        (format!("{CHUNKED}3;a\nabc\r\n"), Fault::ChunkExtension),
        (format!("{CHUNKED}3;{}\r\n", "x".repeat(17_000)), Fault::ChunkExtension),
        (format!("{CHUNKED}3\r\nabcd\r\n"), Fault::ChunkEnd),
        (format!("{CHUNKED}3\r\nabc\n"), Fault::ChunkEnd),
        (format!("{CHUNKED}0\r\nX: 1\n\r\n"), Fault::Trailer),
        (format!("{CHUNKED}0\r\n X: 1\r\n\r\n"), Fault::Trailer),
        (format!("{CHUNKED}0\r\nX: {}", "x".repeat(1_000)), Fault::Trailer),
    ];
    for (text, fault) in rows {
        assert_eq!(fault_of(&text), Some(fault), "{text:?}");
    }
}

#[test]
fn only_http_1_1_asks_for_another_protocol() {
    let asks = |version: &str| {
        let text = format!("GET / HTTP/{version}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\0\n");
        let mut read = BytesMut::from(text.as_str());
        let ask = Inbound::new(BOUNDS).head(&mut read).expect("good").expect("whole");
        (ask.upgrade, read.to_vec())
    };
    assert_eq!(asks("1.1"), (true, b"\0\n".to_vec()), "nothing behind it is looked at");
    assert_eq!(asks("1.0"), (false, b"\0\n".to_vec()));
}

#[test]
fn too_many_fields_are_no_head() {
    let with = |fields: usize| fault_of(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(fields)));
    assert_eq!((with(20), with(21)), (None, Some(Fault::HeadTooLarge)));
}

#[test]
fn a_request_line_in_pieces_has_the_fault_that_the_whole_has() {
    for (begun, fault) in [
        ("GET:", Fault::RequestLine),
        ("GET: / HTTP/1", Fault::RequestLine),
        ("GET / HTTP/9", Fault::Version),
        ("\r\nGET / HTTP/9.", Fault::Version),
        ("GET / HTTP/9.9\r", Fault::Version),
        ("GET / HTTP/1\r", Fault::Version),
        ("GET / HTTP/1.\r", Fault::RequestLine),
        ("GET / HTTP/1.1.", Fault::RequestLine),
        ("GET /\0 HTTP/1", Fault::Target),
        ("GET  / HTTP/1", Fault::RequestLine),
        ("GET / HTTX", Fault::RequestLine),
    ] {
        assert_eq!(fault_of(begun), Some(fault), "{begun:?}");
    }
    for begun in
        ["G", "GET", "GET ", "GET /a", "GET / ", "GET / HTT", "GET / HTTP/1.", "GET / HTTP/1.0\r", "\r\n\r"]
    {
        assert_eq!(fault_of(begun), None, "{begun:?}");
    }
}

proptest! {
    /// However bytes come in, the same is heard, and the same is wrong.
    #[test]
    fn cuts_change_nothing(words in proptest::collection::vec(prop_oneof![
        Just(&b"GET / HTTP/1.1\r\n"[..]), Just(&b"POST /x HTTP/1.0\r\n"[..]), Just(&b"\r\n"[..]), Just(&b"\n"[..]), Just(&b"\r"[..]), Just(&b" "[..]),
        Just(&b"Content-Length: 3\r\n"[..]), Just(&b"Transfer-Encoding: chunked\r\n"[..]), Just(&b"3\r\n"[..]), Just(&b"abc"[..]), Just(&b"0\r\n"[..]),
        Just(&b"Upgrade: x\r\n"[..]), Just(&b"A: \x80\r\n"[..]), Just(&b"\0"[..]), Just(&b":"[..]), Just(&b"Expect: 100-continue\r\n"[..]),
    ], 0..14), cut in 1_usize..40) {
        // What has begun ends: a fault in it may be seen earlier or later, but not missed.
        let bytes = [&words.concat()[..], b"\r\n\r\n"].concat();
        let whole = said(&bytes);
        let mut talk = Talk::new();
        bytes.chunks(cut).for_each(|piece| talk.say(piece));
        prop_assert_eq!(&talk.heard, &whole.heard);
        prop_assert_eq!(talk.fault.is_some(), whole.fault.is_some());
    }
}
