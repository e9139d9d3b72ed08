//! The answer to a SYN that is not let through: a RST as a closed port would send it (RFC 9293, 3.10.7.1). Words only; where they
//! are written is the kernel program's business. Never an answer to anything but a whole SYN from an address that may be answered.

use crate::frame::Window;
use crate::parse::{Address, Flow};

/// Words of an answer over IPv4: IP header and TCP header.
pub const WORDS_V4: usize = 10;
/// Words of an answer over IPv6.
pub const WORDS_V6: usize = 15;

const HOP_LIMIT: u32 = 64;
const TCP_PROTOCOL: u32 = 6;
const TCP_BYTES: u32 = 20;
/// Header of five words, RST and ACK, no window.
const RST_ACK: u32 = 5 << 28 | 0x14 << 16;

/// What the answer takes over from the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Source and destination port.
    pub ports: (u16, u16),
    /// The sequence number that is acknowledged: the SYN and its payload.
    pub next: u32,
}

impl Syn {
    /// From the 20 bytes of a SYN's TCP header.
    #[inline(always)]
    pub fn read<W: Window>(header: W, flow: &Flow) -> Self {
        let header_bytes = u32::from(header.u16(12) >> 12) * 4;
        let payload = flow.end.wrapping_sub(flow.transport).wrapping_sub(header_bytes);
        let next = header.u32(4).wrapping_add(1).wrapping_add(payload);
        Self { ports: (header.u16(0), header.u16(2)), next }
    }
}

/// Whether the source is an address that may be answered: not unspecified, loopback, multicast or broadcast.
#[must_use]
#[inline(always)]
pub fn may_answer(flow: &Flow) -> bool {
    let [high, low] = flow.source;
    if flow.version == 4 {
        let first = low >> 24;
        first != 0 && first != 127 && first < 224
    } else {
        high >> 56 != 0xff && (high != 0 || low > 1)
    }
}

/// IPv4 and TCP header of the answer, in host byte order.
#[must_use]
#[inline(always)]
pub fn answer_v4(flow: &Flow, syn: Syn) -> [u32; WORDS_V4] {
    let (source, destination) = (flow.destination[1] as u32, flow.source[1] as u32);
    let mut words = [0; WORDS_V4];
    words[0] = 0x4500 << 16 | (20 + TCP_BYTES);
    words[1] = 0x4000;
    words[2] = HOP_LIMIT << 24 | TCP_PROTOCOL << 16;
    words[3] = source;
    words[4] = destination;
    let ip = u64::from(words[0]) + u64::from(words[1]) + u64::from(words[2]);
    let addresses = u64::from(source) + u64::from(destination);
    words[2] |= checksum(ip + addresses);
    let [ports, ack, flags, check] = tcp(syn, addresses);
    words[5] = ports;
    words[7] = ack;
    words[8] = flags;
    words[9] = check;
    words
}

/// IPv6 and TCP header of the answer, in host byte order.
#[must_use]
#[inline(always)]
pub fn answer_v6(flow: &Flow, syn: Syn) -> [u32; WORDS_V6] {
    let mut words = [0; WORDS_V6];
    words[0] = 6 << 28;
    words[1] = TCP_BYTES << 16 | TCP_PROTOCOL << 8 | HOP_LIMIT;
    let [s0, s1, s2, s3] = halves(flow.destination);
    let [d0, d1, d2, d3] = halves(flow.source);
    (words[2], words[3], words[4], words[5]) = (s0, s1, s2, s3);
    (words[6], words[7], words[8], words[9]) = (d0, d1, d2, d3);
    let [ports, ack, flags, check] = tcp(syn, sum(flow.destination) + sum(flow.source));
    words[10] = ports;
    words[12] = ack;
    words[13] = flags;
    words[14] = check;
    words
}

#[inline(always)]
fn halves([high, low]: Address) -> [u32; 4] {
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
}

#[inline(always)]
fn sum(address: Address) -> u64 {
    let [a, b, c, d] = halves(address);
    u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d)
}

/// Ports, acknowledgement, flags, and checksum over these and the pseudo header; the sequence number is zero.
#[inline(always)]
fn tcp(syn: Syn, addresses: u64) -> [u32; 4] {
    let ports = u32::from(syn.ports.1) << 16 | u32::from(syn.ports.0);
    let pseudo = addresses + u64::from(TCP_PROTOCOL + TCP_BYTES);
    let total = pseudo + u64::from(ports) + u64::from(syn.next) + u64::from(RST_ACK);
    [ports, syn.next, RST_ACK, checksum(total) << 16]
}

/// RFC 1071, from a sum of 32-bit words: as 2^16 counts as 1, halves may be added at the end.
#[inline(always)]
fn checksum(sum: u64) -> u32 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u32) & 0xffff
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::parse::Kind;

    /// The checksum as RFC 1071 words it: 16-bit words, carries added back.
    fn verify(bytes: impl IntoIterator<Item = u8>) -> u16 {
        let bytes: Vec<u8> = bytes.into_iter().collect();
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn flow(version: u8, source: Address, destination: Address) -> Flow {
        Flow { source, destination, version, port: 443, protocol: 6, kind: Kind::Open, ..Flow::NONE }
    }

    #[test]
    fn checksums_hold_for_many_flows() {
        let mut noise = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..10_000 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let syn = Syn { ports: (noise as u16, (noise >> 16) as u16), next: (noise >> 24) as u32 };
            let v4 = flow(4, [0, noise >> 32], [0, noise & 0xffff_ffff]);
            let answer = bytes(&answer_v4(&v4, syn));
            assert_eq!(verify(answer[..20].iter().copied()), 0);
            let pseudo = answer[12..20].iter().copied().chain([0, 6, 0, 20]);
            assert_eq!(verify(pseudo.chain(answer[20..].iter().copied())), 0);
            let v6 = flow(6, [noise, !noise], [noise.rotate_left(9), noise.rotate_left(31)]);
            let answer = bytes(&answer_v6(&v6, syn));
            let pseudo = answer[8..40].iter().copied().chain([0, 0, 0, 20, 0, 0, 0, 6]);
            assert_eq!(verify(pseudo.chain(answer[40..].iter().copied())), 0);
        }
    }

    #[test]
    fn the_answer_goes_back_and_acknowledges_syn_and_payload() {
        let v4 = Flow { transport: 34, end: 64, ..flow(4, [0, 0xc633_6407], [0, 0xc000_0201]) };
        let mut header = [0u8; 20];
        header[..8].copy_from_slice(&[0x10, 0, 1, 0xbb, 0xff, 0xff, 0xff, 0xff]);
        header[12] = 0x60;
        let frame = crate::frame::Bytes(&header);
        let window = crate::frame::Frame::window::<20>(&frame, 0).expect("long enough");
        let syn = Syn::read(window, &v4);
        assert_eq!(syn, Syn { ports: (4_096, 443), next: 6 });
        let answer = answer_v4(&v4, syn);
        assert_eq!((answer[3], answer[4], answer[5]), (0xc000_0201, 0xc633_6407, 0x01bb_1000));
        assert_eq!((answer[6], answer[7], answer[8]), (0, 6, 0x5014_0000));
    }

    #[test]
    fn some_sources_are_never_answered() {
        let v4 = |source: u64| may_answer(&flow(4, [0, source], [0, 1]));
        assert!(v4(0xc633_6407) && v4(0x0a00_0001));
        assert!(!v4(0) && !v4(0x7f00_0001) && !v4(0xe000_0001) && !v4(0xffff_ffff));
        let v6 = |high, low| may_answer(&flow(6, [high, low], [0, 1]));
        assert!(v6(0x2001_0db8_0000_0000, 0) && v6(0xfe80_0000_0000_0000, 1));
        assert!(!v6(0, 0) && !v6(0, 1) && !v6(0xff02_0000_0000_0000, 1));
    }
}
