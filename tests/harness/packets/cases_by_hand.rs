//! Cases that stand alone: frames that are cut, contradict themselves or are none of our business.

use tidegate_common::verdict::{Outcome, Reason};

use super::build::{ACK, Extension, Frame, QINQ, SYN, VLAN, tcp, udp};
use super::cases::{Case, LOCAL, Setup};

const DENIED: [&str; 2] = ["203.0.113.9", "2001:db8:dead::9"];

fn v4() -> Frame {
    Frame::new(DENIED[0], LOCAL[0])
}

fn v6() -> Frame {
    Frame::new(DENIED[1], LOCAL[1])
}

/// The frame with some bytes replaced.
fn patched(frame: &Frame, patches: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = frame.bytes();
    for &(at, byte) in patches {
        bytes[at] = byte;
    }
    bytes
}

fn cut(frame: &Frame, bytes: usize) -> Vec<u8> {
    frame.bytes()[..bytes].to_vec()
}

/// All of them; sources are on the deny list, so that whatever is understood is shed.
pub(super) fn all() -> Vec<Case> {
    let plain = [links(), v4_headers(), v6_headers(), fragments(), transports(), destinations()];
    plain
        .into_iter()
        .flatten()
        .map(|(name, frame, reason)| Case {
            name: name.to_string(),
            frame,
            setup: Setup::Open,
            outcome: Outcome {
                reason,
                home: if reason == Reason::Denied { home(name) } else { 0 },
                reset: false,
            },
        })
        .collect()
}

/// The denied IPv4 source belongs to region 2, the IPv6 one to the default region.
fn home(name: &str) -> u8 {
    if name.starts_with("v6") { 1 } else { 2 }
}

type Row = (&'static str, Vec<u8>, Reason);

fn links() -> Vec<Row> {
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2, 0x08, 0x06], &[0; 46]].concat();
    let short_tag = [&[2; 12][..], &[0x81, 0x00], &[0; 3]].concat();
    vec![
        ("arp", arp, Reason::NotIp),
        ("802.3 length instead of a type", patched(&v4(), &[(12, 0), (13, 60)]), Reason::NotIp),
        ("mpls", patched(&v4(), &[(12, 0x88), (13, 0x47)]), Reason::NotIp),
        ("old qinq type 0x9100", patched(&v4(), &[(12, 0x91), (13, 0)]), Reason::NotIp),
        ("pppoe session", patched(&v4(), &[(12, 0x88), (13, 0x64)]), Reason::NotIp),
        ("header alone", cut(&v4(), 14), Reason::Truncated),
        ("tag cut short", short_tag, Reason::Truncated),
        ("second tag cut short", cut(&v4().tags(&[QINQ, VLAN]), 20), Reason::Truncated),
        ("three tags", v4().tags(&[QINQ, VLAN, VLAN]).bytes(), Reason::TooManyTags),
        ("four tags", v6().tags(&[QINQ, QINQ, VLAN, VLAN]).bytes(), Reason::TooManyTags),
        ("arp behind a tag", patched(&v4().tags(&[VLAN]), &[(16, 0x08), (17, 0x06)]), Reason::NotIp),
        ("v4 behind a priority tag", v4().tags(&[VLAN]).bytes(), Reason::Denied),
    ]
}

fn v4_headers() -> Vec<Row> {
    let padded = [v4().bytes(), vec![0; 30]].concat();
    vec![
        ("v4 header cut", cut(&v4(), 33), Reason::Truncated),
        ("v4 packet cut by a byte", cut(&v4(), 53), Reason::Truncated),
        ("v4 options cut", cut(&v4().options(40), 60), Reason::Truncated),
        ("v4 version 5", patched(&v4(), &[(14, 0x55)]), Reason::Malformed),
        ("v4 version 6", patched(&v4(), &[(14, 0x65)]), Reason::Malformed),
        ("v4 header of 16 bytes", patched(&v4(), &[(14, 0x44)]), Reason::Malformed),
        ("v4 header longer than the packet", patched(&v4(), &[(14, 0x4f)]), Reason::Malformed),
        ("v4 total length of zero", patched(&v4(), &[(16, 0), (17, 0)]), Reason::Malformed),
        ("v4 total length below the header", patched(&v4(), &[(17, 19)]), Reason::Malformed),
        ("v4 total length beyond the frame", patched(&v4(), &[(17, 41)]), Reason::Truncated),
        ("v4 total length of 65535", patched(&v4(), &[(16, 255), (17, 255)]), Reason::Truncated),
        ("v4 with padding", padded, Reason::Denied),
        ("v4 type of service", patched(&v4(), &[(15, 0xfc)]), Reason::Denied),
        ("v4 wrong checksum", patched(&v4(), &[(24, 0xba), (25, 0xad)]), Reason::Denied),
        ("v4 ttl of zero", patched(&v4(), &[(22, 0)]), Reason::Denied),
        ("v4 reserved flag", patched(&v4(), &[(20, 0x80)]), Reason::Denied),
    ]
}

fn v6_headers() -> Vec<Row> {
    use Extension::{Authentication, Destination, Fragment, HopByHop, Routing};
    let chain = |count| vec![Destination(8); count];
    let long = v6().extensions(&[Destination(16)]);
    vec![
        ("v6 header cut", cut(&v6(), 53), Reason::Truncated),
        ("v6 packet cut by a byte", cut(&v6(), 73), Reason::Truncated),
        ("v6 version 4", patched(&v6(), &[(14, 0x40)]), Reason::Malformed),
        ("v6 traffic class", patched(&v6(), &[(14, 0x6f), (15, 0xf0)]), Reason::Denied),
        ("v6 payload length beyond the frame", patched(&v6(), &[(19, 21)]), Reason::Truncated),
        ("v6 payload length of zero", patched(&v6(), &[(18, 0), (19, 0)]), Reason::Malformed),
        ("v6 with padding", [v6().bytes(), vec![0; 9]].concat(), Reason::Denied),
        ("v6 eight extension headers", v6().extensions(&chain(8)).bytes(), Reason::Denied),
        ("v6 nine extension headers", v6().extensions(&chain(9)).bytes(), Reason::TooManyHeaders),
        ("v6 extension header beyond the packet", patched(&long, &[(55, 200)]), Reason::Malformed),
        ("v6 extension header ends with the packet", patched(&long, &[(55, 3)]), Reason::Malformed),
        ("v6 hop-by-hop of 2048 bytes", v6().extensions(&[HopByHop(2_048)]).bytes(), Reason::Denied),
        ("v6 authentication of 12 bytes", v6().extensions(&[Authentication(12)]).bytes(), Reason::Denied),
        (
            "v6 authentication of 1028 bytes",
            v6().extensions(&[Authentication(1_028)]).bytes(),
            Reason::Denied,
        ),
        (
            "v6 routing then fragment",
            v6().extensions(&[Routing(8), Fragment(0, false)]).bytes(),
            Reason::Denied,
        ),
        ("v6 no next header", v6().carrying(59, vec![0; 8]).bytes(), Reason::OtherProtocol),
        ("v6 esp", v6().carrying(50, vec![0; 24]).bytes(), Reason::OtherProtocol),
        ("v6 mobility", v6().carrying(135, vec![0; 24]).bytes(), Reason::OtherProtocol),
    ]
}

fn fragments() -> Vec<Row> {
    let v6_fragment = |offset, more| v6().extensions(&[Extension::Fragment(offset, more)]);
    let tiny = |bytes: usize| tcp(443, ACK, 0, 0)[..bytes].to_vec();
    let options = [0; 32].to_vec();
    vec![
        ("v4 first fragment", v4().fragment(0, true).bytes(), Reason::Denied),
        ("v4 first fragment of udp", v4().udp().fragment(0, true).bytes(), Reason::Denied),
        ("v4 second fragment", v4().fragment(1, true).bytes(), Reason::LaterFragment),
        ("v4 last fragment", v4().fragment(185, false).bytes(), Reason::LaterFragment),
        (
            "v4 last fragment behind a tag",
            v4().tags(&[VLAN]).fragment(8_191, false).bytes(),
            Reason::LaterFragment,
        ),
        (
            "v4 later fragment that looks like a listed port",
            v4().udp().fragment(2, false).bytes(),
            Reason::LaterFragment,
        ),
        ("v4 later fragment of icmp", v4().carrying(1, vec![0; 8]).fragment(3, false).bytes(), Reason::Icmp),
        (
            "v4 later fragment of gre",
            v4().carrying(47, vec![0; 8]).fragment(3, false).bytes(),
            Reason::OtherProtocol,
        ),
        ("v4 first fragment of 8 bytes", v4().carrying(6, tiny(8)).fragment(0, true).bytes(), Reason::Denied),
        (
            "v4 first fragment of 16 bytes",
            v4().carrying(6, tiny(16)).fragment(0, true).bytes(),
            Reason::Denied,
        ),
        (
            "v4 first fragment of 4 bytes",
            v4().carrying(6, tiny(4)).fragment(0, true).bytes(),
            Reason::Malformed,
        ),
        ("v6 first fragment", v6_fragment(0, true).bytes(), Reason::Denied),
        ("v6 second fragment", v6_fragment(1, true).bytes(), Reason::LaterFragment),
        ("v6 last fragment", v6_fragment(8_191, false).bytes(), Reason::LaterFragment),
        ("v6 last fragment of udp", v6_fragment(9, false).udp().bytes(), Reason::LaterFragment),
        (
            "v6 later fragment of options",
            v6_fragment(9, false).carrying(60, options).bytes(),
            Reason::LaterFragment,
        ),
        ("v6 later fragment of icmp", v6_fragment(9, false).carrying(58, vec![0; 8]).bytes(), Reason::Icmp),
        ("v6 first fragment of 8 bytes", v6_fragment(0, true).carrying(6, tiny(8)).bytes(), Reason::Denied),
        (
            "v6 fragment in a fragment",
            v6().extensions(&[Extension::Fragment(0, true), Extension::Fragment(0, false)]).bytes(),
            Reason::Denied,
        ),
    ]
}

fn transports() -> Vec<Row> {
    let short_tcp = |bytes: usize| v4().carrying(6, tcp(443, SYN, 0, 0)[..bytes].to_vec());
    let short_udp = |bytes: usize| v4().carrying(17, udp(443, 0)[..bytes].to_vec());
    vec![
        ("v4 icmp echo", v4().carrying(1, vec![8, 0, 0, 0, 0, 0, 0, 0]).bytes(), Reason::Icmp),
        ("v6 neighbour solicitation", v6().carrying(58, vec![135; 24]).bytes(), Reason::Icmp),
        (
            "v6 icmp behind destination options",
            v6().extensions(&[Extension::Destination(8)]).carrying(58, vec![128; 8]).bytes(),
            Reason::Icmp,
        ),
        ("v4 sctp", v4().carrying(132, vec![0; 32]).bytes(), Reason::OtherProtocol),
        ("v4 gre", v4().carrying(47, vec![0; 32]).bytes(), Reason::OtherProtocol),
        ("v4 ipv6 in ipv4", v4().carrying(41, vec![0; 60]).bytes(), Reason::OtherProtocol),
        ("v4 authentication", v4().carrying(51, vec![0; 44]).bytes(), Reason::OtherProtocol),
        ("v4 igmp", v4().carrying(2, vec![0; 8]).bytes(), Reason::OtherProtocol),
        ("v4 tcp of 19 bytes", short_tcp(19).bytes(), Reason::Malformed),
        ("v4 tcp of no bytes", short_tcp(0).bytes(), Reason::Malformed),
        ("v4 udp of 7 bytes", short_udp(7).bytes(), Reason::Malformed),
        ("v4 udp of 8 bytes", short_udp(8).bytes(), Reason::Denied),
        ("v4 tcp header of 16 bytes", patched(&v4(), &[(46, 0x40)]), Reason::Malformed),
        ("v4 tcp header beyond the packet", patched(&v4(), &[(46, 0xf0)]), Reason::Malformed),
        ("v4 tcp with 40 bytes of options", v4().carrying(6, tcp(443, SYN, 40, 0)).bytes(), Reason::Denied),
        ("v4 udp length that lies", patched(&v4().udp(), &[(38, 0xff)]), Reason::Denied),
        ("v4 xmas tree", v4().tcp(0x3f).bytes(), Reason::Denied),
        ("v4 null scan", v4().tcp(0).bytes(), Reason::Denied),
        ("v6 udp of 7 bytes", v6().carrying(17, udp(443, 0)[..7].to_vec()).bytes(), Reason::Malformed),
    ]
}

fn destinations() -> Vec<Row> {
    let to = |address: &str| Frame::new(DENIED[usize::from(address.contains(':'))], address).bytes();
    let port = |port| v4().carrying(6, tcp(port, SYN, 0, 0)).bytes();
    let udp_port = |port| v6().carrying(17, udp(port, 9)).bytes();
    vec![
        ("v4 second local address", to("192.0.2.2"), Reason::Denied),
        ("v6 second local address", to("2001:db8::2"), Reason::Denied),
        ("v4 neighbour's address", to("192.0.2.3"), Reason::NotLocal),
        ("v4 broadcast", to("255.255.255.255"), Reason::NotLocal),
        ("v4 multicast", to("224.0.0.1"), Reason::NotLocal),
        ("v4 unspecified destination", to("0.0.0.0"), Reason::NotLocal),
        ("v6 neighbour's address", to("2001:db8::3"), Reason::NotLocal),
        ("v6 multicast", to("ff02::1"), Reason::NotLocal),
        ("v6 unspecified destination", to("::"), Reason::NotLocal),
        ("v6 v4-mapped local address", to("::ffff:192.0.2.1"), Reason::NotLocal),
        (
            "v4 later fragment for a neighbour",
            Frame::new(DENIED[0], "192.0.2.3").fragment(1, false).bytes(),
            Reason::NotLocal,
        ),
        ("v4 second listed port", port(8_443), Reason::Denied),
        ("v4 last listed port", port(65_535), Reason::Denied),
        ("v4 ssh", port(22), Reason::OtherPort),
        ("v4 port 0", port(0), Reason::OtherPort),
        ("v4 port before", port(442), Reason::OtherPort),
        ("v4 port after", port(444), Reason::OtherPort),
        ("v4 port with swapped bytes", port(443u16.swap_bytes()), Reason::OtherPort),
        ("v6 udp to dns", udp_port(53), Reason::OtherPort),
        ("v6 udp to a listed port", udp_port(8_443), Reason::Denied),
    ]
}
