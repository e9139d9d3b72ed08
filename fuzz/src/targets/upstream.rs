//! What upstreams answer: heads and chunked bodies are read the same however they are cut, and never otherwise than httparse reads them.

use tidegate::decide::outside::{answer, chunked, end_of_head, unchunked};

use crate::Target;
use crate::cut::Cuts;

/// An answer: two bytes of switches, then its head and its body.
pub(super) const TARGET: Target = Target {
    name: "upstream_answer",
    run,
    seeds,
    words: &[
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 204 No Content\r\n",
        b"HTTP/1.1 103 Early Hints\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"\r\n\r\n",
        b"\r\n",
        b"\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"Expires: 0\r\n",
        b";x=\"y\"",
        b"ffffffffffffffff\r\n",
        b"18446744073709551615",
        b", ",
    ],
    most_bytes: 2048,
};

fn seeds() -> Vec<Vec<u8>> {
    let heads = [
        "200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\nhello",
        "200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n00A \r\n0123456789\r\n0\r\nExpires: 0\r\nX: \r\n\r\nrest",
        "200 OK\r\n\r\nuntil the end",
        "304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "200 Fine\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
        "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    heads.iter().map(|head| format!("\u{0}\u{1}HTTP/1.1 {head}").into_bytes()).collect()
}

fn run(data: &[u8]) {
    let Some((&[to_head, number], bytes)) = data.split_first_chunk::<2>() else { return };
    let Some(end) = end_of_head(bytes, 0) else { return };
    assert!(
        (0..end).all(|from| end_of_head(bytes, from) == Some(end)),
        "its end depends on where one looks from"
    );
    assert!((0..end).all(|cut| end_of_head(&bytes[..cut], 0).is_none()), "it ends before its end");
    if let Some(answer) = answer(&bytes[..end], to_head & 1 == 1) {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut reference = httparse::Response::new(&mut fields);
        let read = reference.parse(bytes);
        assert_eq!(read, Ok(httparse::Status::Complete(end)), "another reader ends the head elsewhere");
        assert_eq!(reference.code, Some(answer.status));
        let has = |name: &str| reference.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        assert!(
            !(has("transfer-encoding") && has("content-length")),
            "two readers could frame it differently"
        );
        assert!(answer.fields.len() <= reference.headers.len());
    }
    chunks(&bytes[end..], Cuts::of(number.into()));
}

fn chunks(bytes: &[u8], mut cuts: Cuts) {
    let whole = unchunked(&[bytes]);
    assert_eq!(whole, unchunked(&cuts.pieces(bytes)), "whole and in pieces");
    if whole.rest.is_some() {
        let again = chunked(&whole.data, whole.trailers.as_ref());
        let again = unchunked(&[&again, b"rest"]);
        assert_eq!(
            (again.data, again.trailers, again.rest),
            (whole.data, whole.trailers, Some(4)),
            "written again"
        );
    }
}
