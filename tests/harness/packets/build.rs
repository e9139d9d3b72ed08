//! Builds frames header by header, valid unless told otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP flags.
pub const SYN: u8 = 0x02;
/// See [`SYN`].
pub const ACK: u8 = 0x10;
/// See [`SYN`].
pub const RST: u8 = 0x04;
/// See [`SYN`].
pub const FIN: u8 = 0x01;

/// 802.1Q
pub const VLAN: u16 = 0x8100;
/// 802.1ad
pub const QINQ: u16 = 0x88a8;

/// What stands between IPv6's header and the transport header.
#[derive(Clone, Debug)]
pub enum Extension {
    /// Hop-by-hop options, of this many bytes (a multiple of 8).
    HopByHop(usize),
    /// Routing.
    Routing(usize),
    /// Destination options.
    Destination(usize),
    /// Authentication, of this many bytes (a multiple of 4, at least 12).
    Authentication(usize),
    /// Fragment: offset in units of 8 bytes, more to come.
    Fragment(u16, bool),
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
            Self::Fragment(..) => 44,
            Self::Authentication(_) => 51,
            Self::Destination(_) => 60,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match *self {
            Self::HopByHop(bytes) | Self::Routing(bytes) | Self::Destination(bytes) => {
                let mut header = vec![0; bytes];
                header[..2].copy_from_slice(&[next, (bytes / 8 - 1) as u8]);
                header
            }
            Self::Authentication(bytes) => {
                let mut header = vec![0; bytes];
                header[..2].copy_from_slice(&[next, (bytes / 4 - 2) as u8]);
                header
            }
            Self::Fragment(offset, more) => {
                let field = (offset << 3 | u16::from(more)).to_be_bytes();
                vec![next, 0, field[0], field[1], 0, 0, 0, 7]
            }
        }
    }
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    tags: Vec<u16>,
    source: IpAddr,
    destination: IpAddr,
    options: usize,
    fragment: u16,
    extensions: Vec<Extension>,
    protocol: u8,
    transport: Vec<u8>,
}

/// A TCP header and payload.
#[must_use]
pub fn tcp(port: u16, flags: u8, options: usize, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 20 + options + payload];
    bytes[..2].copy_from_slice(&49_152u16.to_be_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&0xfffffffe_u32.to_be_bytes());
    bytes[12] = ((5 + options / 4) << 4) as u8;
    bytes[13] = flags;
    bytes
}

/// A UDP header and payload.
#[must_use]
pub fn udp(port: u16, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload];
    bytes[..2].copy_from_slice(&49_152u16.to_be_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..6].copy_from_slice(&((8 + payload) as u16).to_be_bytes());
    bytes
}

impl Frame {
    /// A SYN from `source` to `destination` at port 443.
    ///
    /// # Panics
    /// When an address is none, or the families differ: cases are wrong then.
    #[must_use]
    pub fn new(source: &str, destination: &str) -> Self {
        let source: IpAddr = source.parse().expect("source address");
        let destination: IpAddr = destination.parse().expect("destination address");
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one family");
        Self {
            tags: Vec::new(),
            source,
            destination,
            options: 0,
            fragment: 0,
            extensions: Vec::new(),
            protocol: 6,
            transport: tcp(443, SYN, 0, 0),
        }
    }

    /// With VLAN tags, outermost first.
    #[must_use]
    pub fn tags(mut self, tags: &[u16]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// With IPv4 options of this many bytes (a multiple of 4, at most 40).
    #[must_use]
    pub fn options(mut self, bytes: usize) -> Self {
        self.options = bytes;
        self
    }

    /// As an IPv4 fragment: offset in units of 8 bytes, more to come.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = offset | u16::from(more) << 13;
        self
    }

    /// With IPv6 extension headers.
    #[must_use]
    pub fn extensions(mut self, extensions: &[Extension]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    /// With another transport.
    #[must_use]
    pub fn carrying(mut self, protocol: u8, transport: Vec<u8>) -> Self {
        self.protocol = protocol;
        self.transport = transport;
        self
    }

    /// With TCP to port 443.
    #[must_use]
    pub fn tcp(self, flags: u8) -> Self {
        self.carrying(6, tcp(443, flags, 0, 0))
    }

    /// With UDP to port 443.
    #[must_use]
    pub fn udp(self) -> Self {
        self.carrying(17, udp(443, 32))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x20, 7]);
        }
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                frame.extend(self.ipv4(source, destination));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                frame.extend(self.ipv6(source, destination));
            }
            _ => {}
        }
        frame.extend(&self.transport);
        frame
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let header_bytes = 20 + self.options;
        let total = (header_bytes + self.transport.len()) as u16;
        let mut header = vec![0; header_bytes];
        header[0] = 0x40 | (header_bytes / 4) as u8;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        header[8] = 64;
        header[9] = self.protocol;
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&destination.octets());
        header[20..].fill(1);
        header
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let numbers: Vec<u8> = self.extensions.iter().map(Extension::number).chain([self.protocol]).collect();
        let chain: Vec<u8> = self
            .extensions
            .iter()
            .zip(&numbers[1..])
            .flat_map(|(header, &next)| header.bytes(next))
            .collect();
        let payload = (chain.len() + self.transport.len()) as u16;
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(payload.to_be_bytes());
        header.extend([numbers[0], 64]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(chain);
        header
    }
}
