//! From a frame to its flow: Ethernet, VLAN tags, IPv4 with options, IPv6 with extension headers, TCP, UDP, fragments.
//! Never decides what becomes of the frame; an error is the [`Reason`] why it was not understood.

use tidegate_common::verdict::Reason;

use crate::frame::{Frame, Window};

/// An address in host byte order, first and last 64 bits; IPv4 in the last 32 bits.
///
/// Plain words and no enum: the verifier refuses programs that carry the undefined part of one around.
pub type Address = [u64; 2];

/// What the judgement needs to know of a TCP or UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Where the IP header starts.
    pub network: u32,
    /// Where the TCP or UDP header starts.
    pub transport: u32,
    /// Where the IP packet ends (padding of short frames not counted).
    pub end: u32,
    /// Destination port; 0 in a later fragment.
    pub port: u16,
    /// 4 or 6; 0 is no flow.
    pub version: u8,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// What it does to a connection.
    pub kind: Kind,
}

impl Flow {
    /// No flow.
    pub const NONE: Self = Self {
        source: [0; 2],
        destination: [0; 2],
        network: 0,
        transport: 0,
        end: 0,
        port: 0,
        version: 0,
        protocol: 0,
        kind: Kind::Ongoing,
    };
}

/// What a packet does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Nothing: UDP, or a TCP connection that is there already.
    Ongoing = 0,
    /// A whole SYN without ACK and RST; may be answered with RST.
    Open = 1,
    /// Counts as a connection attempt, but is never answered: a SYN that is fragmented or carries RST, or a first
    /// fragment too short to show its flags (RFC 1858), which no stack sends on a live connection.
    Attempt = 2,
    /// A fragment other than the first: it has no ports.
    LaterFragment = 3,
}

impl Kind {
    /// The kind with this number; later fragments never get that far.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Ongoing,
            1 => Self::Open,
            _ => Self::Attempt,
        }
    }
}

/// IPv6 extension headers that are followed.
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// VLAN tags that are followed.
pub const MAX_TAGS: usize = 2;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;

const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;

/// SYN, RST and ACK.
const TCP_FLAGS: u16 = 0x16;
const TCP_SYN: u16 = 0x02;
const TCP_RST: u16 = 0x04;
const TCP_ACK: u16 = 0x10;

/// Writes the flow of a frame into `flow`.
///
/// # Errors
/// Why it has none.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, flow: &mut Flow) -> Result<(), Reason> {
    let (ethertype, network) = link(frame)?;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, network, flow),
        ETHERTYPE_IPV6 => ipv6(frame, network, flow),
        _ => Err(Reason::NotIp),
    }
}

/// The same as [`parse`] for the most common frame by far (no tag, IPv4 without options, whole, TCP or UDP, at least 54 bytes) in a
/// third of the steps; `false` for all other frames, of which it says nothing.
#[inline(always)]
pub fn parse_common<F: Frame>(frame: &F, flow: &mut Flow) -> bool {
    let Some(header) = frame.window::<54>(0) else {
        return false;
    };
    // Ethertype, version and header length, type of service, total length, identification.
    let start = header.u64(12);
    // Fragment, time to live, protocol, checksum, half of the source.
    let middle = header.u64(20);
    let total = start >> 16 & 0xffff;
    let is_plain = start & 0xffff_ff00_0000_0000 == 0x0800_4500_0000_0000 && middle & 0x3fff << 48 == 0;
    if !is_plain || 14 + total > frame.bytes() as u64 {
        return false;
    }
    let protocol = (middle >> 32) as u8;
    let kind = if protocol == TCP {
        let offset_and_flags = header.u16(46);
        let end = 20 + u64::from(offset_and_flags >> 12) * 4;
        if end < 40 || end > total {
            return false;
        }
        kind(offset_and_flags & TCP_FLAGS, true)
    } else if protocol == UDP && total >= 28 {
        Kind::Ongoing
    } else {
        return false;
    };
    let addresses = header.u64(26);
    *flow = Flow {
        source: [0, addresses >> 32],
        destination: [0, addresses & 0xffff_ffff],
        network: 14,
        transport: 34,
        end: 14 + total as u32,
        port: header.u16(36),
        version: 4,
        protocol,
        kind,
    };
    true
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_8021Q || ethertype == ETHERTYPE_8021AD
}

/// The innermost ethertype and where its header starts.
#[inline(always)]
fn link<F: Frame>(frame: &F) -> Result<(u16, usize), Reason> {
    let mut offset = 14;
    let mut ethertype = frame.window::<14>(0).ok_or(Reason::Truncated)?.u16(12);
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            return Ok((ethertype, offset));
        }
        ethertype = frame.window::<4>(offset).ok_or(Reason::Truncated)?.u16(2);
        offset += 4;
    }
    if is_tag(ethertype) { Err(Reason::TooManyTags) } else { Ok((ethertype, offset)) }
}

/// Where a transport header lies and how its packet is cut.
#[derive(Clone, Copy)]
struct Payload {
    protocol: u8,
    start: usize,
    end: usize,
    cut: Cut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Whole,
    First,
    Later,
}

impl Cut {
    #[inline(always)]
    fn of(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

/// RFC 791.
#[inline(always)]
fn ipv4<F: Frame>(frame: &F, network: usize, flow: &mut Flow) -> Result<(), Reason> {
    let header = frame.window::<20>(network).ok_or(Reason::Truncated)?;
    let first = header.u16(0);
    let header_bytes = usize::from(first >> 8 & 15) * 4;
    let total = usize::from(header.u16(2));
    if first >> 12 != 4 || header_bytes < 20 || total < header_bytes {
        return Err(Reason::Malformed);
    }
    let end = network + total;
    if end > frame.bytes() {
        return Err(Reason::Truncated);
    }
    let fragment = header.u16(6);
    let payload = Payload {
        protocol: (header.u16(8) & 255) as u8,
        start: network + header_bytes,
        end,
        cut: Cut::of(fragment & 0x1fff, fragment & 0x2000 != 0),
    };
    flow.version = 4;
    flow.network = network as u32;
    flow.source = [0, u64::from(header.u32(12))];
    flow.destination = [0, u64::from(header.u32(16))];
    transport(frame, payload, flow)
}

/// RFC 8200.
#[inline(always)]
fn ipv6<F: Frame>(frame: &F, network: usize, flow: &mut Flow) -> Result<(), Reason> {
    let header = frame.window::<40>(network).ok_or(Reason::Truncated)?;
    if header.u16(0) >> 12 != 6 {
        return Err(Reason::Malformed);
    }
    let start = network + 40;
    let end = start + usize::from(header.u16(4));
    if end > frame.bytes() {
        return Err(Reason::Truncated);
    }
    let next = (header.u16(6) >> 8) as u8;
    let payload = extensions(frame, Payload { protocol: next, start, end, cut: Cut::Whole })?;
    flow.version = 6;
    flow.network = network as u32;
    flow.source = [header.u64(8), header.u64(16)];
    flow.destination = [header.u64(24), header.u64(32)];
    transport(frame, payload, flow)
}

/// Follows extension headers to the first header that is none.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, mut payload: Payload) -> Result<Payload, Reason> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(payload.protocol) || payload.cut == Cut::Later {
            return Ok(payload);
        }
        if payload.start + 8 > payload.end {
            return Err(Reason::Malformed);
        }
        let header = frame.window::<8>(payload.start).ok_or(Reason::Truncated)?;
        let first = header.u16(0);
        let bytes = match payload.protocol {
            FRAGMENT => {
                let field = header.u16(2);
                payload.cut = Cut::of(field >> 3, field & 1 != 0);
                8
            }
            AUTHENTICATION => (usize::from(first & 255) + 2) * 4,
            _ => (usize::from(first & 255) + 1) * 8,
        };
        payload.protocol = (first >> 8) as u8;
        payload.start += bytes;
        if payload.start > payload.end {
            return Err(Reason::Malformed);
        }
    }
    let unfinished = is_extension(payload.protocol) && payload.cut != Cut::Later;
    if unfinished { Err(Reason::TooManyHeaders) } else { Ok(payload) }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

#[inline(always)]
fn transport<F: Frame>(frame: &F, payload: Payload, flow: &mut Flow) -> Result<(), Reason> {
    let later = payload.cut == Cut::Later;
    let (port, kind) = match payload.protocol {
        ICMP | ICMPV6 => return Err(Reason::Icmp),
        TCP if !later => tcp(frame, payload)?,
        UDP if !later => udp(frame, payload)?,
        TCP | UDP => (0, Kind::LaterFragment),
        other if later && is_extension(other) => (0, Kind::LaterFragment),
        _ => return Err(Reason::OtherProtocol),
    };
    flow.transport = payload.start as u32;
    flow.end = payload.end as u32;
    flow.protocol = payload.protocol;
    flow.port = port;
    flow.kind = kind;
    Ok(())
}

/// RFC 9293.
#[inline(always)]
fn tcp<F: Frame>(frame: &F, payload: Payload) -> Result<(u16, Kind), Reason> {
    let bytes = payload.end - payload.start;
    if bytes < 20 {
        return tiny(frame, payload, bytes);
    }
    let header = frame.window::<20>(payload.start).ok_or(Reason::Truncated)?;
    let offset_and_flags = header.u16(12);
    let header_bytes = usize::from(offset_and_flags >> 12) * 4;
    let whole = payload.cut == Cut::Whole;
    if header_bytes < 20 || whole && header_bytes > bytes {
        return Err(Reason::Malformed);
    }
    Ok((header.u16(2), kind(offset_and_flags & TCP_FLAGS, whole)))
}

#[inline(always)]
fn kind(flags: u16, whole: bool) -> Kind {
    if flags & (TCP_SYN | TCP_ACK) != TCP_SYN {
        Kind::Ongoing
    } else if whole && flags & TCP_RST == 0 {
        Kind::Open
    } else {
        Kind::Attempt
    }
}

/// A TCP header that its packet cuts short.
#[inline(always)]
fn tiny<F: Frame>(frame: &F, payload: Payload, bytes: usize) -> Result<(u16, Kind), Reason> {
    if payload.cut != Cut::First || bytes < 8 {
        return Err(Reason::Malformed);
    }
    let header = frame.window::<8>(payload.start).ok_or(Reason::Truncated)?;
    Ok((header.u16(2), Kind::Attempt))
}

/// RFC 768.
#[inline(always)]
fn udp<F: Frame>(frame: &F, payload: Payload) -> Result<(u16, Kind), Reason> {
    if payload.end - payload.start < 8 {
        return Err(Reason::Malformed);
    }
    let header = frame.window::<8>(payload.start).ok_or(Reason::Truncated)?;
    Ok((header.u16(2), Kind::Ongoing))
}
