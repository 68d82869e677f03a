//! ARP replies (RFC 826; proxy ARP, RFC 1027: in a routed network the switch answers for everyone it routes to).

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder};
use weft_dataplane::snapshot::Snapshot;

use super::{Packet, known_as};

pub(super) fn answer(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<Vec<u8>> {
    let (std::net::IpAddr::V4(sender), std::net::IpAddr::V4(target)) =
        (packet.key.src_ip(), packet.key.dst_ip())
    else {
        return None;
    };
    let mac = known_as(target.into(), packet, snapshot)?;
    let asker = packet.key.src_mac;
    let arp = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REPLY,
        &mac.0,
        &target.octets(),
        &asker.0,
        &sender.octets(),
    )
    .ok()?;
    let mut bytes = Vec::with_capacity(42);
    PacketBuilder::ethernet2(mac.0, asker.0).arp(arp).write(&mut bytes).ok()?;
    Some(bytes)
}
