//! The answer to a head that is none. Never to a request.

use crate::decide::framing::Fault;
use crate::proxy::{clock, respond};

/// Writes a refusal that names the fault, behind which the connection ends.
pub(super) fn write(fault: Fault, out: &mut Vec<u8>) {
    let reason = fault.reason();
    let text = format!("{reason}: {fault}\n");
    let head = format!("HTTP/1.1 {}\r\ndate: ", respond::status(reason));
    out.extend_from_slice(head.as_bytes());
    clock::add_date(out);
    let rest = format!(
        "\r\nconnection: close\r\ncache-control: no-store\r\ntidegate-reason: {reason}\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_fault_and_ends_the_connection() {
        let mut out = Vec::new();
        write(Fault::Version, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\ndate: "), "{text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert!(text.contains("\r\ntidegate-reason: version_not_supported\r\n"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{text}");
    }
}
