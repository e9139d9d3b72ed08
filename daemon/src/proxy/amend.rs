//! The parser's own refusals, completed: it answers a head that it can't parse, or that it was kept from, by itself and without our headers.
//! Never touches any other response.

use super::meter::Pace;
use super::respond;
use crate::decide::framing::Fault;

/// The refusal that the client gets in place of `bytes`, if they are one of the parser's own: a status line of 4xx, no body, nothing else.
///
/// It names the fault that was found, else the parser's (a size, a count of fields), else what `so_far` finds in what is there of the head.
pub(crate) fn amended(bytes: &[u8], pace: &Pace, so_far: impl FnOnce() -> Fault) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut fields: Vec<&str> =
        head.split("\r\n").skip(1).filter_map(|line| line.split(':').next()).collect();
    fields.sort_unstable();
    let plain = fields == ["connection", "content-length", "date"] || fields == ["content-length", "date"];
    if !plain || !head.contains("content-length: 0") {
        return None;
    }
    let date = head.split("\r\n").find(|line| line.starts_with("date:")).unwrap_or("date:");
    let fault = pace.fault().unwrap_or_else(|| match status {
        b"14" => Fault::TargetTooLong,
        b"31" => Fault::HeadTooLarge,
        _ => so_far(),
    });
    Some(refusal(pace.refuse(fault), date))
}

fn refusal(fault: Fault, date: &str) -> Vec<u8> {
    let reason = fault.reason();
    let text = format!("{reason}: {fault}\n");
    format!(
        "HTTP/1.1 {}\r\n{date}\r\nconnection: close\r\ncache-control: no-store\r\ntidegate-reason: {reason}\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{text}",
        respond::status(reason),
        text.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parsers_refusals_are_amended() {
        let refusal = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let text = |pace: &Pace| {
            String::from_utf8(amended(refusal.as_bytes(), pace, || Fault::HeaderLine).expect("the parser's"))
                .expect("text")
        };
        let by_itself = text(&Pace::of_defaults());
        assert!(
            by_itself.starts_with(
                "HTTP/1.1 431 Request Header Fields Too Large\r\ndate: x\r\nconnection: close\r\n"
            )
        );
        assert!(by_itself.contains("\r\ntidegate-reason: head_too_large\r\n"));
        let kept = Pace::of_defaults();
        kept.refuse(Fault::Version);
        assert!(text(&kept).starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"));
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nserver: x\r\ndate: x\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\ndate: x\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
        ] {
            assert!(amended(other.as_bytes(), &kept, || Fault::HeaderLine).is_none(), "{other}");
        }
    }
}
