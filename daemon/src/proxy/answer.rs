//! An upstream's or edge's response head, made fit to travel on. Never guesses: what two readers could frame differently is no answer.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::headers::{self, KEEP_ALIVE, PROXY_CONNECTION};

/// Its framing can be read in more than one way, or was undone by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unclear;

/// Which of the fields that matter here a response has: found in one pass.
#[derive(Clone, Copy, Debug, Default)]
struct Present {
    hop_by_hop: bool,
    tidegate: bool,
    lengths: u8,
    codings: u8,
}

impl Present {
    fn scan(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for (name, _) in headers {
            match name.as_str() {
                "content-length" => present.lengths = present.lengths.saturating_add(1),
                "transfer-encoding" => present.codings = present.codings.saturating_add(1),
                "connection" | "keep-alive" | "proxy-connection" | "upgrade" => present.hop_by_hop = true,
                name => present.tidegate |= headers::is_ours(name),
            }
        }
        present
    }
}

/// Takes out what was meant for the upstream's connection, and what only tidegate says unless it `is_edges`.
///
/// # Errors
/// When lengths disagree, stand beside a transfer coding, or the coding is not `chunked` alone (RFC 9112, 6.3); `headers` are half-changed then.
pub(crate) fn settle(status: StatusCode, headers: &mut HeaderMap, is_edges: bool) -> Result<(), Unclear> {
    let present = Present::scan(headers);
    if present.codings > 0 {
        if present.codings > 1 || present.lengths > 0 || !is_chunked(headers) {
            return Err(Unclear);
        }
        headers.remove(TRANSFER_ENCODING);
    }
    if present.lengths > 0 {
        settle_length(status, headers, present.lengths)?;
    }
    if present.hop_by_hop {
        strip_hop_by_hop(headers);
    }
    if present.tidegate && !is_edges {
        headers::strip_tidegate(headers);
    }
    Ok(())
}

fn is_chunked(headers: &HeaderMap) -> bool {
    headers
        .get(TRANSFER_ENCODING)
        .is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// One length of digits remains (RFC 9110, 8.6); none where there is no content by definition.
fn settle_length(status: StatusCode, headers: &mut HeaderMap, fields: u8) -> Result<(), Unclear> {
    let first = headers.get(CONTENT_LENGTH).ok_or(Unclear)?;
    let plain = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if fields > 1 || !plain(first.as_bytes()) {
        let mut all = headers::tokens(headers, &CONTENT_LENGTH);
        let one = all.next().filter(|one| plain(one.as_bytes())).ok_or(Unclear)?.to_owned();
        let agree = all.all(|other| other == one);
        drop(all);
        if !agree {
            return Err(Unclear);
        }
        let one = HeaderValue::try_from(one).map_err(|_| Unclear)?;
        headers.insert(CONTENT_LENGTH, one);
    }
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        headers.remove(CONTENT_LENGTH);
    }
    Ok(())
}

/// Takes out what is meant for one connection only (RFC 9110, 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(connection) = headers.get(CONNECTION) {
        let common = [&b"keep-alive"[..], b"close", b"Keep-Alive", b"Close"];
        if !common.contains(&connection.as_bytes()) {
            let named = headers::tokens(headers, &CONNECTION).filter_map(|name| name.parse().ok());
            let named: Vec<HeaderName> = named.filter(|name| *name != CONTENT_LENGTH).collect();
            for name in named {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, UPGRADE] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(status: u16, fields: &[(&'static str, &str)]) -> Option<Vec<(String, String)>> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("value"));
        }
        settle(StatusCode::from_u16(status).expect("status"), &mut headers, false).ok()?;
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Some(headers.iter().map(text).collect())
    }

    #[test]
    fn lengths_that_agree_become_one_and_others_are_no_answer() {
        let length = Some(vec![("content-length".to_owned(), "5".to_owned())]);
        assert_eq!(settled(200, &[("content-length", "5")]), length);
        assert_eq!(settled(200, &[("content-length", "5"), ("content-length", "5, 5")]), length);
        assert_eq!(settled(204, &[("content-length", "5")]), Some(Vec::new()));
        assert_eq!(settled(200, &[("content-length", "5"), ("content-length", "6")]), None);
        assert_eq!(settled(200, &[("content-length", "+5")]), None);
        assert_eq!(settled(200, &[("content-length", "")]), None);
    }

    #[test]
    fn a_coding_is_chunked_alone() {
        assert_eq!(settled(200, &[("transfer-encoding", "Chunked")]), Some(Vec::new()));
        for value in ["gzip, chunked", "identity", "chunked, chunked", "", "xchunked"] {
            assert_eq!(settled(200, &[("transfer-encoding", value)]), None, "{value}");
        }
        assert_eq!(settled(200, &[("transfer-encoding", "chunked"), ("content-length", "5")]), None);
        assert_eq!(settled(200, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]), None);
    }

    #[test]
    fn what_only_tidegate_says_is_not_the_upstreams_to_say() {
        assert_eq!(
            settled(
                200,
                &[("tidegate-reason", "home"), ("tidegate-x", "1"), ("connection", "x-a"), ("x-a", "1")]
            ),
            Some(Vec::new())
        );
    }
}
