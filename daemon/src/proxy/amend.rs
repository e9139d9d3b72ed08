//! hyper's own refusals, completed: it answers a head that it can't parse by itself, without our headers. Never touches any other response.

use crate::decide::reason::Reason;

/// The refusal with `Tidegate-Reason`, if `bytes` are one of hyper's: a status line of 4xx, no body, connection closed, nothing else.
pub(crate) fn amended(bytes: &[u8]) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut fields: Vec<&str> =
        head.split("\r\n").skip(1).filter_map(|line| line.split(':').next()).collect();
    fields.sort_unstable();
    let plain = fields == ["connection", "content-length", "date"] || fields == ["content-length", "date"];
    if !plain || !head.contains("content-length: 0") {
        return None;
    }
    let reason = if status == b"31" || status == b"14" { Reason::HeadTooLarge } else { Reason::BadRequest };
    let close = if fields.contains(&"connection") { "" } else { "connection: close\r\n" };
    Some(
        format!("{head}\r\n{close}cache-control: no-store\r\ntidegate-reason: {reason}\r\n\r\n").into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hypers_refusals_are_amended() {
        let refusal = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let amended_text = String::from_utf8(amended(refusal).expect("hyper's")).expect("text");
        assert!(
            amended_text.ends_with("\r\ncache-control: no-store\r\ntidegate-reason: head_too_large\r\n\r\n")
        );
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nserver: x\r\ndate: x\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\ndate: x\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
        ] {
            assert!(amended(other.as_bytes()).is_none(), "{other}");
        }
    }
}
