//! `Content-Length` in all spellings. Never anything about chunks.

use super::{Case, HIDDEN, post, refused, seen};

/// Values that are not one plain number.
const WRONG: &[&str] = &[
    "",
    " ",
    "+5",
    "-5",
    "-0",
    "5.0",
    "5e0",
    "0x5",
    "05",
    "00",
    "005",
    "5 5",
    "5,5",
    "5, 5",
    "5,",
    ",5",
    "5;",
    "5a",
    "a5",
    "\"5\"",
    "'5'",
    "5\u{b}",
    "\u{a0}5",
    "five",
    "NaN",
    "inf",
    "5_0",
    "5'0",
    "\u{ff15}",
    "\u{665}",
    "1e1",
    "5L",
    "5h",
    "0b101",
    "0o5",
    "5\t5",
    "5-0",
    "5/1",
    "#5",
    "(5)",
    "5%",
    "%35",
    "9999999999999999999",
    "18446744073709551616",
    "18446744073709551621",
    "4294967301000000000000",
    "99999999999999999999999999999999",
];

/// Two fields, in this order.
const TWO: &[(&str, &str)] =
    &[("5", "5"), ("5", "0"), ("0", "5"), ("0", "0"), ("5", "6"), ("5", ""), ("", "5"), ("5", "05")];

/// Spellings of the name that are the field.
const NAMES: &[&str] = &["Content-Length", "content-length", "CONTENT-LENGTH", "cOnTeNt-LeNgTh"];

/// Spellings of the name that another reader may take for the field.
const DISGUISES: &[(&str, u16)] = &[
    ("Content-Length ", 400),
    ("Content-Length\t", 400),
    (" Content-Length", 400),
    ("\tContent-Length", 400),
    ("Content-Length\u{b}", 400),
    ("Content-Length\u{0}", 400),
    ("Content-Length\r", 400),
    ("Content Length", 400),
    ("Content-\u{212a}ength", 400),
    ("\"Content-Length\"", 400),
    ("Content-Length;", 400),
    (":Content-Length", 400),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in WRONG {
        let bytes = post(&format!("Content-Length:{value}"), &format!("abcde{HIDDEN}"));
        cases.push(refused(format!("length {value:?}"), 400, bytes));
    }
    for (first, second) in TWO {
        let fields = format!("Content-Length: {first}\r\nContent-Length: {second}");
        cases.push(refused(
            format!("lengths {first:?}, {second:?}"),
            400,
            post(&fields, &format!("abcde{HIDDEN}")),
        ));
        let apart = format!("Content-Length: {first}\r\nX: y\r\ncontent-length: {second}");
        cases.push(refused(
            format!("lengths apart {first:?}, {second:?}"),
            400,
            post(&apart, &format!("abcde{HIDDEN}")),
        ));
    }
    for (name, status) in DISGUISES {
        let bytes = post(&format!("{name}: 5"), &format!("abcde{HIDDEN}"));
        cases.push(refused(format!("name {name:?}"), *status, bytes));
        let both = post(&format!("Content-Length: 0\r\n{name}: 36"), HIDDEN);
        cases.push(refused(format!("name {name:?} behind a length"), *status, both));
    }
    for name in NAMES {
        for value in ["5", " 5", "\t5\t", "5 ", "  5  "] {
            let bytes = post(&format!("{name}:{value}"), "abcdeGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
            cases.push(seen(format!("{name}:{value:?}"), bytes, &[("POST /a", "abcde"), ("GET /b", "")]));
        }
    }
    cases.push(seen(
        "a body that looks like a request",
        post("Content-Length: 35", HIDDEN),
        &[("POST /a", HIDDEN)],
    ));
    cases.push(seen(
        "an underscore is not a hyphen",
        post("Content_Length: 36", "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"),
        &[("POST /a", ""), ("GET /b", "")],
    ));
    cases.push(seen(
        "GET with a body",
        format!("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 35\r\n\r\n{HIDDEN}"),
        &[("GET /a", HIDDEN)],
    ));
    cases.push(seen(
        "named by Connection",
        post("Connection: content-length\r\nContent-Length: 35", HIDDEN),
        &[("POST /a", HIDDEN)],
    ));
    cases
}
