//! Neighbour advertisements (RFC 4861 §7.2.4).

use std::net::{IpAddr, Ipv6Addr};

use etherparse::PacketBuilder;
use weft_dataplane::snapshot::{Mode, Snapshot};
use weft_wire::{Mac, nd};

use super::{Packet, known_as};

/// What to do about a solicitation.
pub(super) enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// The bridge does not know: let everyone else answer.
    Flood,
    /// Nothing to say.
    Silence,
}

/// RFC 4861 §7.1.2: what was routed on the way is not valid.
const HOP_LIMIT: u8 = 255;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES: (Ipv6Addr, Mac) =
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), Mac([0x33, 0x33, 0, 0, 0, 1]));

pub(super) fn answer(packet: &Packet<'_>, snapshot: &Snapshot) -> Answer {
    let Some(target) = target(packet) else { return Answer::Silence };
    let is_bridged = packet.network.is_some_and(|(_, network)| network.mode == Mode::Bridged);
    match known_as(IpAddr::V6(target), packet, snapshot).and_then(|mac| advertise(packet, target, mac)) {
        Some(bytes) => Answer::Reply(bytes),
        None if is_bridged => Answer::Flood,
        None => Answer::Silence,
    }
}

/// The address asked for. What is no valid solicitation (RFC 4861 §7.1.1) was not parsed.
fn target(packet: &Packet<'_>) -> Option<Ipv6Addr> {
    (packet.key.nd_type() == Some(nd::NEIGHBOUR_SOLICITATION))
        .then(|| packet.bytes.get(packet.headers.l4.into()..).and_then(nd::target))?
        .map(Into::into)
}

fn advertise(packet: &Packet<'_>, target: Ipv6Addr, mac: Mac) -> Option<Vec<u8>> {
    let IpAddr::V6(asker) = packet.key.src_ip() else { return None };
    // Duplicate address detection asks from `::` and is answered to all nodes (RFC 4862 §5.4.3).
    let is_detection = asker.is_unspecified();
    let (to, to_mac) = if is_detection { ALL_NODES } else { (asker, packet.key.src_mac) };
    let is_router = packet.network.is_none_or(|(_, network)| network.mode == Mode::Routed);
    let flags = OVERRIDE | if is_detection { 0 } else { SOLICITED } | if is_router { ROUTER } else { 0 };
    advertisement(target, mac, flags, (to, to_mac))
}

/// Unasked, to everybody (RFC 4861 §7.2.6).
pub(super) fn announcement(target: Ipv6Addr, mac: Mac, is_router: bool) -> Option<Vec<u8>> {
    advertisement(target, mac, OVERRIDE | if is_router { ROUTER } else { 0 }, ALL_NODES)
}

fn advertisement(target: Ipv6Addr, mac: Mac, flags: u8, (to, to_mac): (Ipv6Addr, Mac)) -> Option<Vec<u8>> {
    let mut body = target.octets().to_vec();
    body.extend([nd::TARGET_LINK_LAYER, 1]);
    body.extend(mac.0);
    let mut bytes = Vec::with_capacity(86);
    PacketBuilder::ethernet2(mac.0, to_mac.0)
        .ipv6(target.octets(), to.octets(), HOP_LIMIT)
        .icmpv6_raw(nd::NEIGHBOUR_ADVERTISEMENT, 0, [flags, 0, 0, 0])
        .write(&mut bytes, &body)
        .ok()?;
    Some(bytes)
}
