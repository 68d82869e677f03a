//! ICMP: echo replies for gateway addresses, and errors (RFC 792, RFC 1812 §4.3, RFC 4443).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use weft_dataplane::{
    key::FlowKey,
    parse::{L3, parse_packet},
    snapshot::{Mode, NetworkView, Snapshot},
};
use weft_wire::{
    ip::{Ipv4, Ipv6, proto},
    l4::Icmp,
};
use zerocopy::FromBytes;

use super::Packet;

/// What went wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Error {
    TimeExceeded,
    HostUnreachable,
    PortUnreachable,
    TooBig { mtu: u32 },
}

impl Error {
    /// Type, code and the second word, IPv4 (RFC 792, RFC 1191 §4).
    fn v4(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::TimeExceeded => (11, 0, [0; 4]),
            Self::HostUnreachable => (3, 1, [0; 4]),
            Self::PortUnreachable => (3, 3, [0; 4]),
            Self::TooBig { mtu } => (3, 4, mtu.min(u16::MAX.into()).to_be_bytes()),
        }
    }

    /// Type, code and the second word, IPv6 (RFC 4443 §3).
    fn v6(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::TimeExceeded => (3, 0, [0; 4]),
            Self::HostUnreachable => (1, 3, [0; 4]),
            Self::PortUnreachable => (1, 4, [0; 4]),
            Self::TooBig { mtu } => (2, 0, mtu.to_be_bytes()),
        }
    }
}

/// An error is at most so long (RFC 1812 §4.3.2.3), bytes of IPv4 packet.
const ERROR_MAX_V4: usize = 576;
/// The same for IPv6 (RFC 4443 §2.4 c).
const ERROR_MAX_V6: usize = 1280;
const TTL: u8 = 64;

/// Answers a packet to one of the switch's own addresses.
pub(super) fn answer_local(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<Vec<u8>> {
    const ECHO_V4: u8 = 8;
    const ECHO_V6: u8 = 128;
    if packet.key.tag & (FlowKey::FIRST_FRAGMENT | FlowKey::LATER_FRAGMENT) != 0 {
        return None; // `reassemble` makes whole ones of those that are answered
    }
    match packet.key.protocol {
        proto::ICMP | proto::ICMPV6 => {
            let (icmp, _) = Icmp::ref_from_prefix(packet.bytes.get(packet.headers.l4.into()..)?).ok()?;
            matches!((packet.headers.kind, icmp.kind), (L3::Ipv4, ECHO_V4) | (L3::Ipv6, ECHO_V6))
                .then(|| echo(packet, icmp.rest))?
        }
        proto::TCP | proto::UDP => error(packet, Error::PortUnreachable, snapshot),
        _ => None,
    }
}

fn echo(packet: &Packet<'_>, rest: [u8; 4]) -> Option<Vec<u8>> {
    let payload = packet.bytes.get(usize::from(packet.headers.l4) + size_of::<Icmp>()..l3_end(packet)?)?;
    let mut bytes = Vec::with_capacity(packet.bytes.len());
    let ethernet = PacketBuilder::ethernet2(packet.key.dst_mac.0, packet.key.src_mac.0);
    match (packet.key.dst_ip(), packet.key.src_ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ethernet
                .ipv4(from.octets(), to.octets(), TTL)
                .icmpv4_raw(0, 0, rest)
                .write(&mut bytes, payload)
                .ok()?;
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethernet
                .ipv6(from.octets(), to.octets(), TTL)
                .icmpv6_raw(129, 0, rest)
                .write(&mut bytes, payload)
                .ok()?;
        }
        _ => return None,
    }
    Some(bytes)
}

/// An ICMP error to the packet's sender, unless RFC 1122 §3.2.2 or RFC 4443 §2.4 (e) forbid one.
pub(super) fn error(packet: &Packet<'_>, error: Error, snapshot: &Snapshot) -> Option<Vec<u8>> {
    if !may_complain(packet) {
        return None;
    }
    let quoted = packet.bytes.get(packet.headers.l3.into()..l3_end(packet)?)?;
    let (from_mac, to_mac) = (packet.key.dst_mac.0, packet.key.src_mac.0);
    let mut bytes = Vec::with_capacity(ERROR_MAX_V6 + 14);
    let ethernet = PacketBuilder::ethernet2(from_mac, to_mac);
    match (own_address(packet, snapshot)?, packet.key.src_ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let quoted = &quoted[..quoted.len().min(ERROR_MAX_V4 - size_of::<Ipv4>() - size_of::<Icmp>())];
            let (kind, code, rest) = error.v4();
            ethernet
                .ipv4(from.octets(), to.octets(), TTL)
                .icmpv4_raw(kind, code, rest)
                .write(&mut bytes, quoted)
                .ok()?;
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let quoted = &quoted[..quoted.len().min(ERROR_MAX_V6 - size_of::<Ipv6>() - size_of::<Icmp>())];
            let (kind, code, rest) = error.v6();
            ethernet
                .ipv6(from.octets(), to.octets(), TTL)
                .icmpv6_raw(kind, code, rest)
                .write(&mut bytes, quoted)
                .ok()?;
        }
        _ => return None,
    }
    Some(bytes)
}

/// Where the IP packet ends; what lies behind is padding.
fn l3_end(packet: &Packet<'_>) -> Option<usize> {
    let l3 = usize::from(packet.headers.l3);
    let bytes = packet.bytes.get(l3..)?;
    let len = match packet.headers.kind {
        L3::Ipv4 => usize::from(Ipv4::ref_from_prefix(bytes).ok()?.0.total_len.get()),
        L3::Ipv6 => size_of::<Ipv6>() + usize::from(Ipv6::ref_from_prefix(bytes).ok()?.0.payload_len.get()),
        L3::Arp | L3::Other => return None,
    };
    Some(l3 + len)
}

/// Whether a frame that was built here is an error (RFC 792; RFC 4443 §2.1: types below 128).
pub(super) fn is_error(frame: &[u8]) -> bool {
    const ECHO_REPLY: u8 = 0;
    let Ok((key, _)) = parse_packet(frame) else { return false };
    let kind = (key.dst_port() >> 8) as u8;
    match key.protocol {
        proto::ICMP => kind != ECHO_REPLY,
        proto::ICMPV6 => kind < 128,
        _ => false,
    }
}

fn may_complain(packet: &Packet<'_>) -> bool {
    const ECHO: [u8; 2] = [0, 8];
    let sender_is_one_host = match packet.key.src_ip() {
        IpAddr::V4(v4) => {
            v4 != Ipv4Addr::UNSPECIFIED && !v4.is_multicast() && !v4.is_broadcast() && !v4.is_loopback()
        }
        IpAddr::V6(v6) => v6 != Ipv6Addr::UNSPECIFIED && !v6.is_multicast() && !v6.is_loopback(),
    };
    let kind = (packet.key.dst_port() >> 8) as u8;
    let is_first = packet.key.tag & FlowKey::LATER_FRAGMENT == 0;
    let is_error = is_first
        && match packet.key.protocol {
            proto::ICMP => !ECHO.contains(&kind),
            proto::ICMPV6 => kind < 128,
            _ => false,
        };
    sender_is_one_host && is_first && !is_error && !packet.key.dst_mac.is_group()
}

/// The address the switch speaks with: the gateway of the packet's network, else that of any routed one.
fn own_address(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<IpAddr> {
    let is_v4 = packet.headers.kind == L3::Ipv4;
    let of =
        |network: &NetworkView| network.gateways.iter().copied().find(|address| address.is_ipv4() == is_v4);
    let own = packet.network.and_then(|(_, network)| of(network));
    own.or_else(|| {
        let routed = snapshot.networks.iter().filter(|network| network.mode == Mode::Routed);
        routed.map(|network| &**network).find_map(of)
    })
}
