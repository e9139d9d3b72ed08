//! Header blocks that say something else than fields (RFC 7541): indexes, integers, Huffman codes, table sizes. Never the meaning of a field.

use super::{
    COMPRESSION_ERROR, Case, END_HEADERS, END_STREAM, HEADERS, Outcome, PROTOCOL_ERROR, STREAM, WHOLE, case,
    frame, get, seen,
};

/// What ends the connection behind the beginning of a good head.
const BROKEN: &[(&str, &[u8])] = &[
    ("index 0", &[0x80]),
    ("an index behind the static table", &[0xbe]),
    ("a far index", &[0xff, 0x80, 0x01]),
    ("an index beyond 32 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    ("an index without end", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ("an index that breaks off", &[0xff]),
    ("a name by an index behind the table", &[0x7e, 1, b'y']),
    ("a name without its length", &[0x00]),
    ("a name that breaks off", &[0x00, 5, b'x']),
    ("a value that breaks off", &[0x00, 1, b'x', 5, b'y']),
    ("a value that is not there", &[0x00, 1, b'x']),
    ("a length beyond 32 bits", &[0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]),
    ("Huffman: padding of zeros", &[0x00, 1, b'x', 0x81, 0b0001_1000]),
    ("Huffman: padding of more than seven bits", &[0x00, 1, b'x', 0x82, 0b0001_1111, 0xff]),
    ("Huffman: its end as a symbol", &[0x00, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
    ("a table size behind a field", &[0x20]),
    ("a table size beyond the settings", &[0x3f, 0xe2, 0xff, 0x7f]),
];

/// What opens a block without a fault, before a good head.
const HARMLESS: &[(&str, &[u8])] = &[
    ("a table size of nothing first", &[0x20]),
    ("a table size as agreed first", &[0x3f, 0xe1, 0x1f]),
    ("two table sizes first", &[0x20, 0x3f, 0xe1, 0x1f]),
];

pub(super) fn cases() -> Vec<Case> {
    let head = |block: &[u8]| frame(HEADERS, WHOLE, STREAM, block);
    let mut cases = Vec::new();
    for (name, bytes) in BROKEN {
        let outcome = Outcome::Ended(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
        cases.push(case(format!("block: {name}"), head(&[&get("/a")[..], bytes].concat()), outcome));
    }
    for (name, bytes) in HARMLESS {
        let bytes = head(&[bytes, &get("/a")[..]].concat());
        cases.push(case(format!("block: {name}"), bytes, seen("GET /a", "")));
    }
    cases.push(case("block: nothing", head(&[]), Outcome::Malformed));
    cases.push(case(
        "block: a table size alone",
        frame(HEADERS, END_HEADERS | END_STREAM, STREAM, &[0x20]),
        Outcome::Malformed,
    ));
    // `www.example.com` and `/a` in Huffman codes, GET and http by index.
    let coded = [&[0x82, 0x86, 0x44, 0x82, 0x60, 0x7f][..], &[0x41, 1, b'h']].concat();
    cases.push(case("block: Huffman codes", head(&coded), seen("GET /a", "")));
    // A field goes into the table and is meant twice.
    let twice = [&get("/a")[..], &[0x40, 1, b'x', 1, b'y', 0xbe]].concat();
    cases.push(Case {
        fields: vec![("x", vec!["y", "y"])],
        ..case("block: a field by the dynamic table", head(&twice), seen("GET /a", ""))
    });
    // A path by the dynamic table: the second one is a doubled pseudo-header.
    let path = [&[0x82, 0x86, 0x44, 2, b'/', b'a', 0x41, 1, b'h'][..], &[0xbf]].concat();
    cases.push(case("block: a second path by the dynamic table", head(&path), Outcome::Malformed));
    cases
}
