//! Version 2: a binary header. Never looks into extensions.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Fault, MOST_BYTES, Progress};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Fault> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else {
        return Ok(Progress::Incomplete(FIXED_BYTES));
    };
    let speaks_for_itself = match fixed[12] {
        0x20 => true,
        0x21 => false,
        version if version >> 4 != 2 => return Err(Fault::Binary("the version must be 2")),
        _ => return Err(Fault::Binary("the command must be LOCAL or PROXY")),
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let whole = FIXED_BYTES + length;
    if whole > MOST_BYTES {
        return Err(Fault::Binary("the header is longer than 4096 bytes"));
    }
    let Some(block) = rest.get(..length) else { return Ok(Progress::Incomplete(whole)) };
    let ends = if speaks_for_itself { None } else { ends(fixed[13], block)? };
    Ok(Progress::Complete { bytes: whole, ends })
}

/// The ends in an address block; extensions follow it.
fn ends(family: u8, block: &[u8]) -> Result<Option<Ends>, Fault> {
    const SHORT: Fault = Fault::Binary("the address block is shorter than its family needs");
    match family {
        0x11 => v4(block).map(Some).ok_or(SHORT),
        0x21 => v6(block).map(Some).ok_or(SHORT),
        // Unspecified, datagrams and UNIX sockets: nothing to be learned about a TCP client.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(None),
        _ => Err(Fault::Binary("the family or transport is unknown")),
    }
}

fn v4(block: &[u8]) -> Option<Ends> {
    let (source, rest) = block.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some(Ends {
        source: SocketAddr::new(Ipv4Addr::from(*source).into(), source_port),
        destination: SocketAddr::new(Ipv4Addr::from(*destination).into(), destination_port),
    })
}

fn v6(block: &[u8]) -> Option<Ends> {
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some(Ends {
        source: SocketAddr::new(Ipv6Addr::from(*source).into(), source_port),
        destination: SocketAddr::new(Ipv6Addr::from(*destination).into(), destination_port),
    })
}

fn ports(rest: &[u8]) -> Option<(u16, u16)> {
    let (source, rest) = rest.split_first_chunk::<2>()?;
    let (destination, _) = rest.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*source), u16::from_be_bytes(*destination)))
}
