//! Framing and smuggling as data: what is sent, and what a client is answered and an origin sees. Never opens a connection.

mod chunks;
mod codings;
mod heads;
mod lengths;
mod lines;
mod targets;

/// What comes of one message of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin sees it: method and target, body. The client gets 200.
    Seen(String, String),
    /// The origin sees nothing; the client gets this status, and the connection ends.
    Refused(u16),
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tried.
    pub name: String,
    /// The client's bytes.
    pub bytes: Vec<u8>,
    /// What becomes of its messages, in order.
    pub outcomes: Vec<Outcome>,
}

/// What a reader would take for a request of its own if it ended the message before too early.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = lengths::cases();
    cases.extend(codings::cases());
    cases.extend(chunks::cases());
    cases.extend(lines::cases());
    cases.extend(heads::cases());
    cases.extend(targets::cases());
    cases
}

fn refused(name: impl Into<String>, status: u16, bytes: impl Into<Vec<u8>>) -> Case {
    Case { name: name.into(), bytes: bytes.into(), outcomes: vec![Outcome::Refused(status)] }
}

fn seen(name: impl Into<String>, bytes: impl Into<Vec<u8>>, messages: &[(&str, &str)]) -> Case {
    let outcomes = messages.iter().map(|(line, body)| Outcome::Seen((*line).to_owned(), (*body).to_owned()));
    Case { name: name.into(), bytes: bytes.into(), outcomes: outcomes.collect() }
}

/// A `POST` with these header lines, and something behind its head that may be taken for a body, for chunks or for another request.
fn post(fields: &str, behind: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{behind}")
}
