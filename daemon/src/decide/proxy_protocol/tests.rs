//! Headers by table, byte by byte, and at random.

use proptest::prelude::*;

use super::*;

fn ends(source: &str, destination: &str) -> Option<Ends> {
    let end = |text: &str| text.parse().expect("address");
    Some(Ends { source: end(source), destination: end(destination) })
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short").to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, block].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

fn v6() -> Vec<u8> {
    let mut block = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    block.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    block.extend([0x30, 0x39, 0x01, 0xbb]);
    block
}

fn good() -> Vec<(Vec<u8>, Option<Ends>)> {
    let v4 = ends("192.0.2.1:12345", "198.51.100.2:443");
    let six = ends("[2001:db8::1]:12345", "[2001:db8::2]:443");
    let with_tlv = [V4, &[0x01, 0, 2, b'h', b'2']].concat();
    vec![
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n".to_vec(), six),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535\r\n".to_vec(), ends("192.0.2.1:0", "198.51.100.2:65535")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN anything at all 1 2 3\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n".to_vec(), None),
        (binary(0x21, 0x11, V4), v4),
        (binary(0x21, 0x11, &with_tlv), v4),
        (binary(0x21, 0x21, &v6()), six),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, V4), None),
        (binary(0x20, 0x7f, &[1, 2, 3]), None),
        (binary(0x21, 0x00, &[1, 2, 3]), None),
        (binary(0x21, 0x12, V4), None),
        (binary(0x21, 0x31, &[b'/'; 216]), None),
        (binary(0x21, 0x11, &[V4, &[0xea; 4068]].concat()), v4),
    ]
}

#[test]
fn headers_are_read_in_whatever_pieces_they_come() {
    for (header, expected) in good() {
        let followed = [&header[..], b"\x16\x03\x01 the connection"].concat();
        let whole = Progress::Complete { bytes: header.len(), ends: expected };
        assert_eq!(parse(&followed), Ok(whole), "{header:?}");
        assert_eq!(parse(&header), Ok(whole), "{header:?}");
        for length in 0..header.len() {
            match parse(&header[..length]) {
                Ok(Progress::Incomplete(needed)) => {
                    assert!(
                        needed > length && needed <= header.len().max(16),
                        "{length}: {needed}, {header:?}"
                    );
                }
                other => panic!("{length} bytes of {header:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_no_header_to_the_letter_is_a_fault() {
    let lines: [&[u8]; 24] = [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY\tTCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 -2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 +2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 02\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 2001:db8::1%eth0 2001:db8::2 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY unknown\r\n",
        b"PROXY UNKNOWN\xff\r\n",
        &[b'P'; 200],
    ];
    for line in lines {
        assert!(parse(line).is_err(), "{:?}: {:?}", String::from_utf8_lossy(line), parse(line));
    }
    let long = [b"PROXY UNKNOWN ", &[b'a'; 93][..]].concat();
    assert_eq!(parse(&long), Err(Fault::LongLine));
    assert_eq!(parse(&[&long[..], b"\r\n"].concat()), Err(Fault::LongLine));
    let blocks = [
        binary(0x11, 0x11, V4),
        binary(0x31, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x21, 0x13, V4),
        binary(0x21, 0x41, V4),
        binary(0x21, 0x11, &V4[..11]),
        binary(0x21, 0x21, V4),
        binary(0x21, 0x11, &[V4, &[0; 4069]].concat()),
    ];
    for block in blocks {
        assert!(matches!(parse(&block), Err(Fault::Binary(_))), "{block:?}: {:?}", parse(&block));
    }
    let mut other = binary(0x21, 0x11, V4);
    other[5] = b'\n';
    assert_eq!(parse(&other), Err(Fault::Missing));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever comes: no panic, no claim to have read more than was there, and more bytes never turn a verdict.
    #[test]
    fn mutated_headers_never_confuse(
        which in 0_usize..16,
        changes in prop::collection::vec((0_usize..150, any::<u8>()), 0..4),
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = good()[which].0.clone();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let first = parse(&bytes);
        let longer = [&bytes[..], &more].concat();
        match first {
            Ok(Progress::Complete { bytes: read, .. }) => {
                prop_assert!(read <= bytes.len());
                prop_assert_eq!(parse(&longer), first);
            }
            Ok(Progress::Incomplete(needed)) => prop_assert!(needed > bytes.len() && needed <= MOST_BYTES),
            Err(_) => prop_assert_eq!(parse(&longer), first),
        }
    }
}
