//! The classic text protocol (memcached's doc/protocol.txt), as clients write it and a server answers. Never the meta commands.

use super::{Ask, Command, Copy, Outcome, Verb};

/// A line of a command's words, with its data behind it.
pub(crate) fn request(command: &Command, cas: u64) -> Vec<u8> {
    let noreply = if silent(command) { " noreply" } else { "" };
    let key = String::from_utf8_lossy(&command.key);
    let line = match &command.ask {
        Ask::Store { verb, value, flags } => {
            let size = value.len();
            let cas = if matches!(verb, Verb::Cas { .. }) { format!(" {cas}") } else { String::new() };
            let head = format!("{} {key} {flags} 0 {size}{cas}{noreply}\r\n", word(*verb));
            return [head.as_bytes(), value, b"\r\n"].concat();
        }
        Ask::Delete => format!("delete {key}{noreply}"),
        Ask::Count { up, by } => format!("{} {key} {by}{noreply}", if *up { "incr" } else { "decr" }),
        Ask::Get { more } => {
            let more: String = more.iter().map(|key| format!(" {}", String::from_utf8_lossy(key))).collect();
            format!("{}{key}{more}", if command.other { "gets " } else { "get " })
        }
        Ask::Touch if command.other => format!("gat 10 {key}"),
        Ask::Touch => format!("touch {key} 10{noreply}"),
        Ask::Flush => format!("flush_all{noreply}"),
        Ask::Nothing => "version".to_owned(),
        Ask::Nonsense => "bogus".to_owned(),
    };
    format!("{line}\r\n").into_bytes()
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Set => "set",
        Verb::Add => "add",
        Verb::Replace => "replace",
        Verb::Append => "append",
        Verb::Prepend => "prepend",
        Verb::Cas { .. } => "cas",
    }
}

/// Whether nothing at all is answered.
pub(crate) fn silent(command: &Command) -> bool {
    let gat = matches!(command.ask, Ask::Touch) && command.other;
    command.quiet && !gat && !matches!(command.ask, Ask::Get { .. } | Ask::Nothing | Ask::Nonsense)
}

/// What the server says; `touched` is the copy that `gat` brings.
pub(crate) fn answer(command: &Command, outcome: &Outcome, touched: Option<&Copy>) -> Vec<u8> {
    if silent(command) {
        return Vec::new();
    }
    if matches!(command.ask, Ask::Touch) && command.other {
        return found(&[(command.key.clone(), touched.cloned())], false);
    }
    let line = match (&command.ask, outcome) {
        (_, Outcome::Found(copies)) => return found(copies, command.other),
        (Ask::Store { .. }, Outcome::Done) => "STORED".to_owned(),
        (Ask::Delete, Outcome::Done) => "DELETED".to_owned(),
        (Ask::Touch, Outcome::Done) => "TOUCHED".to_owned(),
        (Ask::Nothing, Outcome::Done) => "VERSION 1.6.18".to_owned(),
        (_, Outcome::Done) => "OK".to_owned(),
        (_, Outcome::NotStored) => "NOT_STORED".to_owned(),
        (_, Outcome::Exists) => "EXISTS".to_owned(),
        (_, Outcome::NotFound) => "NOT_FOUND".to_owned(),
        (_, Outcome::Number(number)) => number.to_string(),
        (_, Outcome::NotANumber) => "CLIENT_ERROR cannot increment or decrement non-numeric value".to_owned(),
        (_, Outcome::Failed) => "SERVER_ERROR out of memory storing object".to_owned(),
        (_, Outcome::Unknown) => "ERROR".to_owned(),
    };
    format!("{line}\r\n").into_bytes()
}

fn found(copies: &[(Vec<u8>, Option<Copy>)], with_cas: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, copy) in copies {
        let Some(copy) = copy else { continue };
        let cas = if with_cas { format!(" {}", copy.cas) } else { String::new() };
        let size = copy.value.len();
        out.extend(format!("VALUE {} {} {size}{cas}\r\n", String::from_utf8_lossy(key), copy.flags).bytes());
        out.extend_from_slice(&copy.value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"END\r\n");
    out
}
