//! Builds the frame that `explain --from` asks the NIC program about. Never sends it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::decide::verb::Protocol;

const ETHERNET: usize = 14;
const TCP: usize = 20;
const UDP: usize = 8;
/// Source port of the made-up packet: the first dynamic one (RFC 6335 section 6).
const SOURCE_PORT: u16 = 49_152;

/// A packet's outer facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    /// Bytes of the whole frame; the shortest possible where less.
    pub(super) size: u16,
}

/// The frame: Ethernet, IPv4 or IPv6, and a TCP SYN or a UDP datagram, filled with zeros. `None` where the families differ.
pub(super) fn build(facts: &Facts) -> Option<Vec<u8>> {
    let transport = match facts.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    let ip = match (facts.from, facts.to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => 20,
        (IpAddr::V6(_), IpAddr::V6(_)) => 40,
        _ => return None,
    };
    let payload = usize::from(facts.size).saturating_sub(ETHERNET + ip + transport);
    let length = u16::try_from(transport + payload).ok()?;
    let mut frame = vec![0; ETHERNET];
    match (facts.from, facts.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            v4(&mut frame, from, to, facts.protocol, length.checked_add(20)?);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => v6(&mut frame, from, to, facts.protocol, length),
        _ => return None,
    }
    match facts.protocol {
        Protocol::Tcp => tcp_syn(&mut frame, facts.port),
        Protocol::Udp => udp(&mut frame, facts.port, length),
    }
    frame.resize(frame.len() + payload, 0);
    Some(frame)
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// RFC 791 section 3.1.
fn v4(frame: &mut Vec<u8>, from: Ipv4Addr, to: Ipv4Addr, protocol: Protocol, total: u16) {
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[6] = 0x40;
    header[8] = 64;
    header[9] = number(protocol);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(header);
}

/// RFC 8200 section 3.
fn v6(frame: &mut Vec<u8>, from: Ipv6Addr, to: Ipv6Addr, protocol: Protocol, length: u16) {
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([number(protocol), 64]);
    frame.extend(from.octets());
    frame.extend(to.octets());
}

/// RFC 9293 section 3.1.
fn tcp_syn(frame: &mut Vec<u8>, port: u16) {
    frame.extend(SOURCE_PORT.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
}

/// RFC 768.
fn udp(frame: &mut Vec<u8>, port: u16, length: u16) {
    frame.extend(SOURCE_PORT.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(from: &str, to: &str, protocol: Protocol, size: u16) -> Facts {
        let address = |text: &str| text.parse().expect("an address");
        Facts { from: address(from), to: address(to), port: 443, protocol, size }
    }

    #[test]
    fn lengths_and_checksum_agree() {
        let frame = build(&facts("198.51.100.7", "192.0.2.1", Protocol::Tcp, 0)).expect("one family");
        assert_eq!((frame.len(), frame[23], &frame[16..18]), (54, 6, &[0, 40][..]));
        let sum: u32 = frame[14..34].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(frame[47] & 0x3f, 0x02, "SYN alone");
        let frame = build(&facts("2001:db8::7", "2001:db8::1", Protocol::Udp, 1200)).expect("one family");
        assert_eq!((frame.len(), frame[20]), (1200, 17));
        assert_eq!(u16::from_be_bytes([frame[18], frame[19]]), 1200 - 54);
        assert_eq!(build(&facts("2001:db8::7", "192.0.2.1", Protocol::Udp, 0)), None);
        assert_eq!(
            build(&facts("192.0.2.7", "192.0.2.1", Protocol::Udp, 65_535)).map(|f| f.len()),
            Some(65_535)
        );
    }
}
