//! Line ends, folding and what stands before a request. Never anything about what a line says.

use super::{Case, HIDDEN, refused, seen};

/// A request whose line ends are numbered: `{0}` to `{3}`.
const SHAPE: [&str; 4] = ["POST /a HTTP/1.1", "Host: h", "Content-Length: 5", ""];

/// What another reader may take for a line's end.
const ENDS: &[&str] = &[
    "\n",
    "\r",
    "\r\r\n",
    "\n\r",
    "\r\u{0}\n",
    "\u{b}\r\n",
    "\u{0}\r\n",
    "\u{85}",
    "\u{2028}",
    "\\r\\n",
    " \n",
    "\r \n",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for end in ENDS {
        for line in 0..SHAPE.len() {
            let ends: Vec<_> = (0..SHAPE.len()).map(|at| if at == line { *end } else { "\r\n" }).collect();
            let head: String = SHAPE.iter().zip(ends).map(|(line, end)| format!("{line}{end}")).collect();
            // What is not the end of the last line leaves the head open: a real end follows.
            let bytes = format!("{head}abcde{HIDDEN}");
            cases.push(refused(format!("{end:?} behind line {line}"), 400, bytes));
        }
    }
    for fold in [
        " folded",
        "\tfolded",
        " ",
        "\t",
        " Content-Length: 36",
        "\tTransfer-Encoding: chunked",
        " \r\n folded",
        "\u{b}folded",
        "\u{c}folded",
    ] {
        for before in ["Host: h", "X: y", "Content-Length: 0", "Connection: close,"] {
            let host = if before.starts_with("Host") { "" } else { "Host: h\r\n" };
            let bytes = format!("GET /a HTTP/1.1\r\n{host}{before}\r\n{fold}\r\n\r\n{HIDDEN}");
            cases.push(refused(format!("{fold:?} behind {before:?}"), 400, bytes));
        }
        cases.push(refused(
            format!("{fold:?} behind the request line"),
            400,
            format!("GET /a HTTP/1.1\r\n{fold}\r\nHost: h\r\n\r\n{HIDDEN}"),
        ));
    }
    for before in [
        "\n",
        "\r",
        "\n\n",
        "\r\n\n",
        " ",
        "\t",
        "\u{0}",
        "\r\r\n",
        " \r\n",
        "\u{feff}",
        "\r\n\r\n\r\n\r\n\r\n",
    ] {
        cases.push(refused(
            format!("{before:?} before a request"),
            400,
            format!("{before}GET /a HTTP/1.1\r\nHost: h\r\n\r\n{HIDDEN}"),
        ));
    }
    cases.extend(rows());
    cases
}

/// Requests one after the other.
fn rows() -> Vec<Case> {
    let mut cases = Vec::new();
    let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    for before in ["\r\n", "\r\n\r\n", "\r\n\r\n\r\n\r\n"] {
        cases.push(seen(format!("{before:?} before a request"), format!("{before}{get}"), &[("GET /a", "")]));
    }
    cases.push(seen("requests in a row", get.repeat(5), &[("GET /a", ""); 5]));
    cases.push(seen(
        "requests in a row with empty lines",
        format!("{get}\r\n").repeat(3),
        &[("GET /a", ""); 3],
    ));
    let mixed = format!(
        "{get}POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n{get}"
    );
    cases.push(seen("bodies in a row", mixed, &[("GET /a", ""), ("POST /b", "abcde"), ("GET /a", "")]));
    let mut late = refused(
        "a fault behind good requests",
        400,
        format!("{get}{get}GET /c HTTP/1.1\r\nHost: h\n\r\n{HIDDEN}"),
    );
    late.outcomes.splice(0..0, seen("", "", &[("GET /a", ""); 2]).outcomes);
    cases.push(late);
    cases
}
