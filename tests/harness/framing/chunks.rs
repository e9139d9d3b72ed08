//! Chunks: sizes, extensions, ends, trailers. Never anything about heads.

use super::{Case, HIDDEN, post, refused, seen};

/// Bodies that break the chunked coding somewhere; what is hidden behind them must stay hidden.
const WRONG: &[(&str, &str)] = &[
    ("no size", "\r\nabcde\r\n0\r\n\r\n"),
    ("a space before the size", " 5\r\nabcde\r\n0\r\n\r\n"),
    ("a sign", "+5\r\nabcde\r\n0\r\n\r\n"),
    ("a negative size", "-5\r\nabcde\r\n0\r\n\r\n"),
    ("a prefix", "0x5\r\nabcde\r\n0\r\n\r\n"),
    ("a suffix", "5h\r\nabcde\r\n0\r\n\r\n"),
    ("an underscore", "5_0\r\nabcde\r\n0\r\n\r\n"),
    ("two sizes", "5 5\r\nabcde\r\n0\r\n\r\n"),
    ("a size in words", "five\r\nabcde\r\n0\r\n\r\n"),
    ("a quoted size", "\"5\"\r\nabcde\r\n0\r\n\r\n"),
    ("a decimal point", "5.0\r\nabcde\r\n0\r\n\r\n"),
    ("a comma", "5,5\r\nabcde\r\n0\r\n\r\n"),
    ("wide digits", "\u{ff15}\r\nabcde\r\n0\r\n\r\n"),
    ("NUL in the size", "5\u{0}\r\nabcde\r\n0\r\n\r\n"),
    ("a vertical tab", "5\u{b}\r\nabcde\r\n0\r\n\r\n"),
    ("a size of 64 bits", "10000000000000005\r\nabcde\r\n0\r\n\r\n"),
    ("a size that wraps 32 bits", "1000000000000000005\r\nabcde\r\n0\r\n\r\n"),
    ("all bits", "ffffffffffffffff\r\nabcde\r\n0\r\n\r\n"),
    ("sixteen zeros", "00000000000000005\r\nabcde\r\n0\r\n\r\n"),
    ("a thousand digits", "LONG\r\nabcde\r\n0\r\n\r\n"),
    ("LF behind the size", "5\nabcde\r\n0\r\n\r\n"),
    ("CR behind the size", "5\rabcde\r\n0\r\n\r\n"),
    ("two CR behind the size", "5\r\r\nabcde\r\n0\r\n\r\n"),
    ("LF CR behind the size", "5\n\rabcde\r\n0\r\n\r\n"),
    ("LF in an extension", "5;a\nabcde\r\n0\r\n\r\n"),
    ("CR in an extension", "5;a\rb\r\nabcde\r\n0\r\n\r\n"),
    ("NUL in an extension", "5;a\u{0}\r\nabcde\r\n0\r\n\r\n"),
    ("DEL in an extension", "5;a\u{7f}\r\nabcde\r\n0\r\n\r\n"),
    ("a quoted LF in an extension", "5;a=\"\n\"\r\nabcde\r\n0\r\n\r\n"),
    ("a quoted CRLF in an extension", "5;a=\"\r\n0\r\n\r\n"),
    ("an extension without a size", ";a=b\r\nabcde\r\n0\r\n\r\n"),
    ("data longer than its size", "4\r\nabcde\r\n0\r\n\r\n"),
    ("data shorter than its size", "6\r\nabcde\r\n0\r\n\r\n"),
    ("no end behind data", "5\r\nabcde0\r\n\r\n"),
    ("LF behind data", "5\r\nabcde\n0\r\n\r\n"),
    ("CR behind data", "5\r\nabcde\r0\r\n\r\n"),
    ("two CRLF behind data", "5\r\nabcde\r\n\r\n0\r\n\r\n"),
    ("any two bytes behind data", "5\r\nabcdeXX0\r\n\r\n"),
    ("LF behind the last chunk", "5\r\nabcde\r\n0\n\r\n"),
    ("LF at the very end", "5\r\nabcde\r\n0\r\n\n"),
    ("CR at the very end", "5\r\nabcde\r\n0\r\n\rX"),
    ("two CR at the very end", "5\r\nabcde\r\n0\r\n\r\r\n"),
    ("a last chunk in hexadecimal words", "5\r\nabcde\r\nzero\r\n\r\n"),
    ("a negative last chunk", "5\r\nabcde\r\n-0\r\n\r\n"),
    ("LF behind a trailer", "0\r\nX: y\n\r\n"),
    ("CR in a trailer", "0\r\nX: y\rZ: a\r\n\r\n"),
    ("NUL in a trailer", "0\r\nX: \u{0}y\r\n\r\n"),
    ("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n"),
    ("a trailer that begins with a space", "0\r\n X: y\r\n\r\n"),
    ("a trailer without a name", "0\r\n: y\r\n\r\n"),
    ("a trailer without a colon", "0\r\nX\r\n\r\n"),
    ("a space before a trailer's colon", "0\r\nX : y\r\n\r\n"),
    ("a request in place of a trailer", "0\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
];

/// Bodies that every reader takes apart in the same way: all are `abcde`.
const RIGHT: &[(&str, &str)] = &[
    ("one chunk", "5\r\nabcde\r\n0\r\n\r\n"),
    ("chunks of one byte", "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n0\r\n\r\n"),
    ("leading zeros", "0005\r\nabcde\r\n000\r\n\r\n"),
    ("an extension", "5;a=b\r\nabcde\r\n0\r\n\r\n"),
    ("an extension without a value", "5;a\r\nabcde\r\n0;b\r\n\r\n"),
    ("a quoted extension", "5;a=\"b;c \\\" d\"\r\nabcde\r\n0\r\n\r\n"),
    ("spaces around an extension", "5 ; a = b \r\nabcde\r\n0\r\n\r\n"),
    ("spaces behind a size", "5  \r\nabcde\r\n0 \r\n\r\n"),
    ("an extension that looks like a size", "5;5\r\nabcde\r\n0\r\n\r\n"),
    ("a trailer", "5\r\nabcde\r\n0\r\nX: y\r\n\r\n"),
    ("a length in a trailer", "5\r\nabcde\r\n0\r\nContent-Length: 36\r\n\r\n"),
    ("a coding in a trailer", "5\r\nabcde\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("a host in a trailer", "5\r\nabcde\r\n0\r\nHost: other\r\nCookie: a=b\r\n\r\n"),
    (
        "who it is for in a trailer",
        "5\r\nabcde\r\n0\r\nX-Forwarded-For: 127.0.0.9\r\nAuthorization: x\r\n\r\n",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let long = "5".repeat(1_000);
    let mut cases = Vec::new();
    for (name, body) in WRONG {
        let body = body.replace("LONG", &long);
        cases.push(refused(
            format!("chunks: {name}"),
            400,
            post("Transfer-Encoding: chunked", &format!("{body}{HIDDEN}")),
        ));
    }
    let extension = format!("5;{}\r\nabcde\r\n0\r\n\r\n", "x".repeat(20_000));
    cases.push(refused("chunks: a long extension", 400, post("Transfer-Encoding: chunked", &extension)));
    let extensions = format!(
        "{}0\r\n\r\n",
        "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n".repeat(400)
    );
    cases.push(refused(
        "chunks: extensions without end",
        400,
        post("Transfer-Encoding: chunked", &extensions),
    ));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    cases.push(refused("chunks: trailers without end", 400, post("Transfer-Encoding: chunked", &trailers)));
    for (name, body) in RIGHT {
        let bytes = post(
            "Transfer-Encoding: chunked\r\nTrailer: X, Content-Length, Transfer-Encoding, Host, Cookie, X-Forwarded-For, Authorization",
            &format!("{body}GET /b HTTP/1.1\r\nHost: h\r\n\r\n"),
        );
        cases.push(seen(format!("chunks: {name}"), bytes, &[("POST /a", "abcde"), ("GET /b", "")]));
    }
    cases
}
