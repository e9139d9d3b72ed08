//! Conversations and faults by hand, each at every cut. Never a socket.

use super::{Fault, Framer, Passed};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

fn passed(text: &str) -> Passed {
    Framer::new(1_000).pass(text.as_bytes())
}

fn fault_of(text: &str) -> Option<Fault> {
    match passed(text) {
        Passed::BadHead(_, fault) | Passed::BadBody(_, fault) => Some(fault),
        Passed::All | Passed::Until(_) => None,
    }
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
fn however_it_is_cut_a_conversation_is_followed() {
    for (text, heads) in conversations() {
        for cut in 0..=text.len() {
            let mut framer = Framer::new(1_000);
            assert_eq!(framer.pass(&text.as_bytes()[..cut]), Passed::All, "{text:?} at {cut}");
            assert_eq!(framer.pass(&text.as_bytes()[cut..]), Passed::All, "{text:?} at {cut}");
            assert_eq!(framer.heads(), heads, "{text:?} at {cut}");
        }
        let mut framer = Framer::new(1_000);
        assert!(text.as_bytes().iter().all(|byte| framer.pass(&[*byte]) == Passed::All), "{text:?}");
        assert_eq!(framer.heads(), heads, "{text:?} byte by byte");
    }
}

#[test]
fn however_it_is_cut_a_fault_is_found() {
    let rows = [
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", Fault::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", Fault::BareLf),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        ("GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", Fault::TwoLengths),
        ("GET / HTTP/1.1\r\nX: y\r\n folded\r\n\r\n", Fault::Folded),
    ];
    for (text, fault) in rows {
        let before = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let text = format!("{before}{text}");
        for cut in 0..text.len() {
            let mut framer = Framer::new(1_000);
            let first = framer.pass(&text.as_bytes()[..cut]);
            let outcome = if first == Passed::All { framer.pass(&text.as_bytes()[cut..]) } else { first };
            assert!(
                matches!(outcome, Passed::BadHead(_, found) if found == fault),
                "{text:?} at {cut}: {outcome:?}"
            );
            assert_eq!(framer.heads(), 1, "what came before goes on");
        }
    }
}

#[test]
fn what_is_good_before_a_fault_goes_on() {
    let good = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(passed(&format!("{good}GET / HTTP/3.0\r\n\r\n")), Passed::BadHead(good.len(), Fault::Version));
    let body = format!("{CHUNKED}3\r\nabc\r\nz");
    assert_eq!(passed(&body), Passed::BadBody(body.len() - 1, Fault::ChunkSize));
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
fn behind_an_upgrade_nothing_is_taken_for_http_before_its_answer() {
    let asks = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let mut framer = Framer::new(1_000);
    assert_eq!(framer.pass(format!("{asks}\0\n").as_bytes()), Passed::Until(asks.len()));
    framer.resolve(true);
    assert_eq!(framer.pass(b"\0\n"), Passed::All);
    let mut declined = Framer::new(1_000);
    assert_eq!(declined.pass(asks.as_bytes()), Passed::All);
    declined.resolve(false);
    assert_eq!(declined.pass(b"\0\n"), Passed::BadHead(0, Fault::BareLf));
    let body = "POST / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(passed(&format!("{body}c")), Passed::Until(body.len()));
    assert_eq!(passed("GET / HTTP/1.0\r\nUpgrade: x\r\n\r\nGET / HTTP/1.0\r\n\r\n"), Passed::All);
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
        let mut framer = Framer::new(1_000);
        assert_eq!(framer.pass(begun.as_bytes()), Passed::All, "{begun:?}");
        assert_eq!(framer.fault_so_far(), fault, "{begun:?}");
    }
}
