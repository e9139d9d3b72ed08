//! Questions to rtnetlink: interfaces with the XDP program on them, and the addresses of this network namespace.
//! Never changes an interface; attaching goes through BPF links.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::decide::report::nic::AttachMode;

/// Multicast groups of rtnetlink that say a link or an address has changed
/// (`RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR` of linux/rtnetlink.h).
const GROUPS: [u32; 3] = [1, 5, 9];

/// What went wrong while asking the kernel about interfaces or addresses.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket failed.
    #[error("rtnetlink: {0}")]
    Socket(std::io::Error),
    /// The kernel refused the question.
    #[error("rtnetlink refused the question: {0}")]
    Refused(std::io::Error),
    /// An answer that is not understood.
    #[error("rtnetlink answered something that is not understood: {0}")]
    Decode(netlink_packet_core::DecodeError),
}

impl From<std::io::Error> for NetlinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Socket(error)
    }
}

/// One interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    /// The XDP programs on it: usually none or one; native and generic may be there at once.
    pub(crate) programs: Vec<AttachedProgram>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttachedProgram {
    pub(crate) id: u32,
    pub(crate) mode: AttachMode,
}

/// All interfaces of this network namespace, in the kernel's order.
pub(crate) fn interfaces() -> Result<Vec<Interface>, NetlinkError> {
    let mut found = Vec::new();
    dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
        if let RouteNetlinkMessage::NewLink(link) = message {
            found.push(interface(&link));
        }
    })?;
    Ok(found)
}

/// All addresses of this network namespace that packets may be addressed to; tentative ones too, since they become usable unannounced.
pub(crate) fn addresses() -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let mut found = BTreeSet::new();
    dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(address) = message {
            found.extend(local_address(&address));
        }
    })?;
    Ok(found)
}

/// A socket that becomes readable when a link or an address changes; set to not block.
pub(crate) fn changes() -> Result<Socket, NetlinkError> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn dump(
    question: RouteNetlinkMessage,
    mut each: impl FnMut(RouteNetlinkMessage),
) -> Result<(), NetlinkError> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(question), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(NetlinkError::Decode)?;
            let length = aligned(message.header.length).min(rest.len()).max(1);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(NetlinkError::Refused(error.to_io()));
                }
                NetlinkPayload::InnerMessage(inner) => each(inner),
                _ => {}
            }
            rest = &rest[length..];
        }
    }
}

fn request(question: RouteNetlinkMessage) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Messages start at multiples of four (`NLMSG_ALIGN`).
fn aligned(length: u32) -> usize {
    usize::try_from(length).map_or(usize::MAX, |length| length.next_multiple_of(4))
}

fn interface(link: &LinkMessage) -> Interface {
    let mut found = Interface {
        name: String::new(),
        index: link.header.index,
        up: link.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        programs: Vec::new(),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::Xdp(parts) => found.programs = programs(parts),
            _ => {}
        }
    }
    found
}

/// With one program the kernel gives its mode and id; with several (`XDP_ATTACHED_MULTI`) one id for each mode.
fn programs(parts: &[LinkXdp]) -> Vec<AttachedProgram> {
    let mut found: Vec<AttachedProgram> = parts
        .iter()
        .filter_map(|part| match *part {
            LinkXdp::DrvProgId(id) => Some(AttachedProgram { id, mode: AttachMode::Native }),
            LinkXdp::SkbProgId(id) => Some(AttachedProgram { id, mode: AttachMode::Generic }),
            LinkXdp::HwProgId(id) => Some(AttachedProgram { id, mode: AttachMode::Offloaded }),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        found.extend(single_program(parts));
    }
    found
}

fn single_program(parts: &[LinkXdp]) -> Option<AttachedProgram> {
    let id = parts.iter().find_map(|part| if let LinkXdp::ProgId(id) = part { Some(*id) } else { None })?;
    let mode = parts.iter().find_map(|part| match part {
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(AttachMode::Offloaded),
        LinkXdp::Attached(XdpAttached::Driver) => Some(AttachMode::Native),
        _ => None,
    })?;
    Some(AttachedProgram { id, mode })
}

/// On point-to-point links `IFA_LOCAL` is ours and `IFA_ADDRESS` the other end's; IPv6 has only the latter. An address that failed duplicate
/// detection is not ours.
fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    if message.header.flags.contains(AddressHeaderFlags::Dadfailed) {
        return None;
    }
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => return Some(*local),
            AddressAttribute::Address(other) => address = Some(*other),
            AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Dadfailed) => return None,
            _ => {}
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_and_its_address_are_seen() {
        let interfaces = interfaces().unwrap();
        let loopback = interfaces.iter().find(|interface| interface.name == "lo").unwrap();
        assert_eq!(loopback.index, 1);
        assert!(!loopback.up || addresses().unwrap().contains(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn native_and_generic_programs_are_told_apart() {
        let native = [LinkXdp::Attached(XdpAttached::Driver), LinkXdp::ProgId(7), LinkXdp::DrvProgId(7)];
        assert_eq!(programs(&native), [AttachedProgram { id: 7, mode: AttachMode::Native }]);
        let both = [LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::DrvProgId(7), LinkXdp::SkbProgId(9)];
        assert_eq!(programs(&both).len(), 2);
        assert!(programs(&[LinkXdp::Attached(XdpAttached::None)]).is_empty());
        let old = [LinkXdp::Attached(XdpAttached::SocketBuffer), LinkXdp::ProgId(5)];
        assert_eq!(programs(&old), [AttachedProgram { id: 5, mode: AttachMode::Generic }]);
    }
}
