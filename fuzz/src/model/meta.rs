//! The meta protocol (memcached's doc/protocol.txt), as clients write it and a server answers. Never opaques, which change nothing.

use super::{Ask, Command, Copy, Outcome, Verb, text};

/// A line, with its data behind it. What meta commands don't have is written in the classic protocol, which shares the connection.
pub(crate) fn request(command: &Command, cas: u64) -> Vec<u8> {
    let (key, base64) = key(command);
    let quiet = if command.quiet { " q" } else { "" };
    let line = match &command.ask {
        Ask::Store { verb, value, flags } => {
            let mode = match verb {
                Verb::Set => "S",
                Verb::Add => "E",
                Verb::Replace => "R",
                Verb::Append => "A",
                Verb::Prepend => "P",
                Verb::Cas { .. } => {
                    return stored(
                        &format!("ms {key} {} F{flags} C{cas}{base64}{quiet}", value.len()),
                        value,
                    );
                }
            };
            return stored(&format!("ms {key} {} F{flags} M{mode}{base64}{quiet}", value.len()), value);
        }
        Ask::Delete => format!("md {key}{base64}{quiet}"),
        Ask::Count { up, by } => format!("ma {key} M{} D{by} v{base64}{quiet}", if *up { "I" } else { "D" }),
        Ask::Get { .. } => format!("mg {key} v f k{base64}{quiet}"),
        Ask::Touch => format!("mg {key} T10{base64}{quiet}"),
        Ask::Nothing => "mn".to_owned(),
        Ask::Flush | Ask::Nonsense => return text::request(command, cas),
    };
    format!("{line}\r\n").into_bytes()
}

fn stored(line: &str, value: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\r\n", value, b"\r\n"].concat()
}

/// The key as it is written, and the flag that says how.
fn key(command: &Command) -> (String, &'static str) {
    if command.other && command.key.len() == 1 {
        // One byte in base64.
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let byte = command.key[0];
        let digit = |at: u8| char::from(DIGITS[usize::from(at & 63)]);
        return (format!("{}{}==", digit(byte >> 2), digit(byte << 4)), " b");
    }
    (String::from_utf8_lossy(&command.key).into_owned(), "")
}

/// What the server says; nothing where `q` asked it not to.
pub(crate) fn answer(command: &Command, outcome: &Outcome, touched: Option<&Copy>) -> Vec<u8> {
    if matches!(command.ask, Ask::Flush | Ask::Nonsense) {
        return text::answer(command, outcome, touched);
    }
    let hidden = match (&command.ask, outcome) {
        (Ask::Get { .. } | Ask::Touch, _) => command.quiet && touched.is_none(),
        (Ask::Delete | Ask::Count { .. }, Outcome::NotFound) => command.quiet,
        (Ask::Nothing, _) => false,
        (_, Outcome::Done | Outcome::Number(_)) => command.quiet,
        _ => false,
    };
    if hidden {
        return Vec::new();
    }
    let line = match (&command.ask, outcome) {
        (Ask::Get { .. }, _) => match touched {
            Some(copy) => {
                let (key, base64) = key(command);
                let head = format!("VA {} f{} k{key}{base64}", copy.value.len(), copy.flags);
                return stored(&head, &copy.value);
            }
            None => "EN".to_owned(),
        },
        (Ask::Touch, _) => if touched.is_some() { "HD" } else { "EN" }.to_owned(),
        (Ask::Nothing, _) => "MN".to_owned(),
        (_, Outcome::Done) => "HD".to_owned(),
        (_, Outcome::NotStored) => "NS".to_owned(),
        (_, Outcome::Exists) => "EX".to_owned(),
        (_, Outcome::NotFound) => "NF".to_owned(),
        (_, Outcome::Number(number)) => {
            let number = number.to_string();
            return stored(&format!("VA {}", number.len()), number.as_bytes());
        }
        _ => return text::answer(&Command { quiet: false, ..command.clone() }, outcome, touched),
    };
    format!("{line}\r\n").into_bytes()
}
