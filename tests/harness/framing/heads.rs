//! Names, values, and how many there may be. Never anything about framing fields.

use super::{Case, HIDDEN, refused, seen};

fn get(fields: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for byte in
        (0..=255_u8).filter(|byte| !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~:\r\n".contains(byte))
    {
        let mut bytes = b"GET /a HTTP/1.1\r\nHost: h\r\nX".to_vec();
        bytes.push(byte);
        bytes.extend_from_slice(format!("Y: z\r\n\r\n{HIDDEN}").as_bytes());
        cases.push(refused(format!("byte {byte:#04x} in a name"), 400, bytes));
    }
    for byte in (0..=255_u8).filter(|byte| byte.is_ascii_control() && !b"\t\r\n".contains(byte)) {
        let mut bytes = b"GET /a HTTP/1.1\r\nHost: h\r\nX: y".to_vec();
        bytes.push(byte);
        bytes.extend_from_slice(format!("z\r\n\r\n{HIDDEN}").as_bytes());
        cases.push(refused(format!("byte {byte:#04x} in a value"), 400, bytes));
    }
    for line in [
        "X",
        "X y",
        ":",
        ": y",
        "X : y",
        "X\t: y",
        "\u{0}",
        "GET /smuggled HTTP/1.1",
        "X;y",
        "=",
        "<a>: b",
        "{x}: y",
        "(x): y",
        "x/y: z",
    ] {
        cases.push(refused(format!("line {line:?}"), 400, get(line) + HIDDEN));
    }
    for line in [
        "X:",
        "X: ",
        "X:y",
        "X:\ty\t",
        "X: y: z",
        "X: \u{e9}",
        "X: a\tb",
        "!#$%&'*+-.^_`|~: y",
        "X: \"\\\"\"",
        "Content-Type: a\r\nContent-Type: b",
    ] {
        cases.push(seen(format!("line {line:?}"), get(line), &[("GET /a", "")]));
    }
    cases.extend(limits());
    cases.extend(upgrades());
    cases
}

/// How much a head may have.
fn limits() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.push(seen("ninety fields", get(&"X: y\r\n".repeat(90)[..90 * 6 - 2]), &[("GET /a", "")]));
    cases.push(refused("two hundred fields", 431, get(&"X: y\r\n".repeat(200)) + HIDDEN));
    cases.push(seen("a large head", get(&format!("X: {}", "y".repeat(60_000))), &[("GET /a", "")]));
    cases.push(refused("a head that is too large", 431, get(&format!("X: {}", "y".repeat(70_000))) + HIDDEN));
    cases.push(refused("a name that is too large", 431, get(&format!("{}: y", "X".repeat(70_000)))));
    cases.push(refused(
        "a target that is too long",
        414,
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(70_000)),
    ));
    cases.push(refused("a method that is too long", 414, "G".repeat(70_000)));
    cases
}

fn upgrades() -> Vec<Case> {
    let mut cases = Vec::new();
    let upgrade =
        "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA";
    cases.push(seen("an upgrade to h2c is not passed on", get(upgrade), &[("GET /a", "")]));
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket";
    cases.push(seen(
        "a request behind a declined upgrade",
        get(upgrade) + &get("X: y"),
        &[("GET /a", ""), ("GET /a", "")],
    ));
    let mut hidden = refused(
        "a faulty request behind a declined upgrade",
        400,
        get(upgrade) + "GET /smuggled HTTP/1.1\nHost: h\r\n\r\n",
    );
    hidden.outcomes.insert(0, seen("", "", &[("GET /a", "")]).outcomes.remove(0));
    cases.push(hidden);
    cases
}
