//! `Transfer-Encoding` in all spellings, alone and beside a length. Never anything about a chunk's own form.

use super::{Case, HIDDEN, post, refused, seen};

/// Values that are not exactly `chunked`, and what they are answered.
const WRONG: &[(&str, u16)] = &[
    ("", 400),
    (" ", 400),
    ("identity", 400),
    ("gzip", 400),
    ("deflate", 400),
    ("compress", 400),
    ("gzip, chunked", 501),
    ("x-gzip,chunked", 501),
    ("deflate, chunked", 501),
    ("compress , chunked", 501),
    ("gzip, deflate, chunked", 501),
    ("identity, chunked", 400),
    ("chunked, chunked", 400),
    ("chunked,chunked", 400),
    ("chunked, identity", 400),
    ("chunked, gzip", 400),
    ("chunked,", 400),
    (",chunked", 400),
    ("chunked, ", 400),
    ("xchunked", 400),
    ("chunkedx", 400),
    ("x chunked", 400),
    ("chunked x", 400),
    ("chunked;q=1", 400),
    ("chunked; foo=bar", 400),
    ("\"chunked\"", 400),
    ("'chunked'", 400),
    ("[chunked]", 400),
    ("chunked\u{b}", 400),
    ("\u{b}chunked", 400),
    ("chunked\u{c}", 400),
    ("\u{c}chunked", 400),
    ("chunked\u{0}", 400),
    ("\u{0}chunked", 400),
    ("\rchunked", 400),
    ("chunked\r", 400),
    ("\u{a0}chunked", 400),
    ("chunked\u{a0}", 400),
    ("chun\u{212a}ed", 400),
    ("chunk", 400),
    ("chunke", 400),
    ("hunked", 400),
    ("chunked-false", 400),
    ("chunked_", 400),
    ("chunked/1", 400),
    ("no", 400),
    ("cow", 400),
    ("trailers", 400),
    ("chunked\u{85}", 400),
    ("c hunked", 400),
    ("\\chunked", 400),
    ("chunked=chunked", 400),
    ("chunked\u{7f}", 400),
    ("chunked\n", 400),
    ("\nchunked", 400),
    ("\n chunked", 400),
    ("\r\n chunked", 400),
    ("\r\n\tchunked", 400),
    ("gzip\r\n , chunked", 400),
];

/// Spellings of the name that another reader may take for the field.
const DISGUISES: &[&str] = &[
    "Transfer-Encoding ",
    "Transfer-Encoding\t",
    " Transfer-Encoding",
    "\tTransfer-Encoding",
    "Transfer-Encoding\u{b}",
    "Transfer-Encoding\u{0}",
    "Transfer-Encoding\r",
    "\rTransfer-Encoding",
    "Transfer Encoding",
    "Transfer-Encoding\u{a0}",
    "\u{feff}Transfer-Encoding",
    "\"Transfer-Encoding\"",
    ":Transfer-Encoding",
    "Transfer-Encoding;",
    "X: y\nTransfer-Encoding",
    "X: y\rTransfer-Encoding",
    "X: y\u{0}Transfer-Encoding",
    "X\nTransfer-Encoding",
];

pub(super) fn cases() -> Vec<Case> {
    let body = format!("0\r\n\r\n{HIDDEN}");
    let mut cases = Vec::new();
    for (value, status) in WRONG {
        cases.push(refused(
            format!("coding {value:?}"),
            *status,
            post(&format!("Transfer-Encoding: {value}"), &body),
        ));
        let behind = format!("Content-Length: 5\r\nTransfer-Encoding: {value}");
        cases.push(refused(format!("coding {value:?} behind a length"), 400, post(&behind, &body)));
        let before = format!("Transfer-Encoding: {value}\r\nContent-Length: 5");
        cases.push(refused(format!("coding {value:?} before a length"), 400, post(&before, &body)));
    }
    for name in DISGUISES {
        cases.push(refused(format!("name {name:?}"), 400, post(&format!("{name}: chunked"), &body)));
        let beside = format!("Content-Length: 5\r\n{name}: chunked");
        cases.push(refused(format!("name {name:?} beside a length"), 400, post(&beside, &body)));
    }
    for (first, second) in [
        ("chunked", "chunked"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("gzip", "chunked"),
        ("chunked", "gzip"),
        ("", "chunked"),
        ("chunked", ""),
    ] {
        let fields = format!("Transfer-Encoding: {first}\r\nTransfer-Encoding: {second}");
        cases.push(refused(format!("codings {first:?}, {second:?}"), 400, post(&fields, &body)));
        let apart = format!("Transfer-Encoding: {first}\r\nX: y\r\ntransfer-encoding: {second}");
        cases.push(refused(format!("codings apart {first:?}, {second:?}"), 400, post(&apart, &body)));
    }
    for value in ["chunked", "Chunked", "CHUNKED", "cHuNkEd"] {
        let both = format!("Content-Length: 5\r\nTransfer-Encoding: {value}");
        cases.push(refused(format!("{value} behind a length"), 400, post(&both, &body)));
        let both = format!("Transfer-Encoding: {value}\r\nX: y\r\nContent-Length: 5");
        cases.push(refused(format!("{value} before a length"), 400, post(&both, &body)));
        let name = format!("Transfer-Encoding:\t {value} \t");
        let next = "5\r\nabcde\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";
        cases.push(seen(
            format!("{value} alone"),
            post(&name, next),
            &[("POST /a", "abcde"), ("GET /b", "")],
        ));
        let old = post(&name, &body).replacen("HTTP/1.1", "HTTP/1.0", 1);
        cases.push(refused(format!("{value} in HTTP/1.0"), 400, old));
    }
    let named =
        post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked", "5\r\nabcde\r\n0\r\n\r\n");
    cases.push(seen("named by Connection", named, &[("POST /a", "abcde")]));
    let plain = post(
        "Transfer_Encoding: chunked\r\nContent-Length: 5",
        "0\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    cases.push(seen("an underscore is not a hyphen", plain, &[("POST /a", "0\r\n\r\n"), ("GET /b", "")]));
    let te = post("TE: chunked\r\nContent-Length: 5", "abcde");
    cases.push(seen("TE is another field", te, &[("POST /a", "abcde")]));
    cases
}
