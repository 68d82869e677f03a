//! Answers to punted packets: ARP, neighbour discovery, ping to a gateway, ICMP errors.
//!
//! [`answer`] is pure: a packet and a snapshot in, the frames to send out. [`thread`] is the loop around it, off the
//! packet path: PMD threads leave punts in a bounded ring and never wait for it. Replies are built with etherparse.

mod arp;
mod icmp;
mod nd;
pub mod thread;

use std::net::IpAddr;

use weft_dataplane::{
    key::FlowKey,
    parse::{Headers, parse_packet},
    reason::PuntReason,
    snapshot::{Mode, NetworkView, Role, Snapshot},
    table::routes::Route,
};
use weft_wire::{Mac, NetworkId, PortId, ethertype, ip};

/// A frame to send, and the port to send it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The port.
    pub port: PortId,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// A punted packet, read.
struct Packet<'a> {
    bytes: &'a [u8],
    key: FlowKey,
    headers: Headers,
    ingress: PortId,
    /// The packet's network, where its port and tag say one.
    network: Option<(NetworkId, &'a NetworkView)>,
}

/// What to send for a punted packet; often nothing.
pub fn answer(bytes: &[u8], ingress: PortId, reason: PuntReason, snapshot: &Snapshot) -> Vec<Reply> {
    let Ok((key, headers)) = parse_packet(bytes) else { return Vec::new() };
    let network = network_of(&key, ingress, snapshot).and_then(|id| Some((id, snapshot.network(id)?)));
    let packet = Packet { bytes, key, headers, ingress, network };
    match reason {
        PuntReason::Arp => reply(&packet, arp::answer(&packet, snapshot)),
        PuntReason::Nd => match nd::answer(&packet, snapshot) {
            nd::Answer::Reply(bytes) => reply(&packet, Some(bytes)),
            nd::Answer::Silence => Vec::new(),
            nd::Answer::Flood => flood(&packet),
        },
        PuntReason::Local => reply(&packet, icmp::answer_local(&packet, snapshot)),
        PuntReason::TtlExpired => reply(&packet, icmp::error(&packet, icmp::Error::TimeExceeded, snapshot)),
        PuntReason::Unreachable => {
            reply(&packet, icmp::error(&packet, icmp::Error::HostUnreachable, snapshot))
        }
        PuntReason::TooBig => {
            let mtu = egress_mtu(&packet, snapshot);
            reply(&packet, mtu.and_then(|mtu| icmp::error(&packet, icmp::Error::TooBig { mtu }, snapshot)))
        }
    }
}

/// Back by the port it came from, with the tag it came with.
fn reply(packet: &Packet<'_>, bytes: Option<Vec<u8>>) -> Vec<Reply> {
    let tagged = bytes.map(|bytes| match packet.key.vlan() {
        Some(vlan) => with_tag(&bytes, vlan),
        None => bytes,
    });
    tagged.map(|bytes| Reply { port: packet.ingress, bytes }).into_iter().collect()
}

/// To every other member of a bridged network.
fn flood(packet: &Packet<'_>) -> Vec<Reply> {
    let Some((_, network)) = packet.network else { return Vec::new() };
    let mut untagged = packet.bytes.to_vec();
    if packet.key.vlan().is_some() {
        untagged.drain(12..16);
    }
    let others = network.members.iter().filter(|(port, _)| *port != packet.ingress);
    let copy = |&(port, vlan): &(PortId, Option<weft_wire::VlanId>)| Reply {
        port,
        bytes: vlan.map_or_else(|| untagged.clone(), |vlan| with_tag(&untagged, vlan.get())),
    };
    others.map(copy).collect()
}

fn with_tag(bytes: &[u8], vlan: u16) -> Vec<u8> {
    let [vlan, protocol] = [vlan.to_be_bytes(), ethertype::VLAN.to_be_bytes()];
    [&bytes[..12], &protocol, &vlan, &bytes[12..]].concat()
}

fn network_of(key: &FlowKey, ingress: PortId, snapshot: &Snapshot) -> Option<NetworkId> {
    let port = snapshot.port(ingress)?;
    match &port.role {
        Role::Pod => port.network,
        Role::Access(network) => Some(*network),
        Role::Trunk(vlans) => {
            vlans.iter().find(|(id, _)| Some(id.get()) == key.vlan()).map(|(_, network)| *network)
        }
        Role::Host | Role::Fabric => None,
    }
}

/// The MTU that the packet was too big for: that of the port its destination is behind.
fn egress_mtu(packet: &Packet<'_>, snapshot: &Snapshot) -> Option<u32> {
    let port = match snapshot.routes.lookup(packet.key.dst()) {
        Some(Route::Endpoint { port, .. } | Route::Fabric { port, .. }) => port,
        Some(Route::Node) | None => snapshot.host?.0,
        Some(Route::Gateway { .. } | Route::Unresolved | Route::Unreachable) => return None,
    };
    snapshot.port(port).map(|port| port.caps.mtu)
}

/// The MAC to answer with for `target`, asked for by whoever sent `packet`; none: keep silent.
fn known_as(target: IpAddr, packet: &Packet<'_>, snapshot: &Snapshot) -> Option<Mac> {
    let asker = packet.key.src_mac;
    let Some((id, network)) = packet.network else {
        // The node asks for pods (host port). On the fabric the kernel answers for itself.
        let is_host = snapshot.port(packet.ingress).is_some_and(|port| port.role == Role::Host);
        let route = snapshot.routes.lookup(ip::mapped(target))?;
        let reachable =
            matches!(route, Route::Endpoint { .. } | Route::Gateway { .. } | Route::Fabric { .. });
        let gateway = snapshot.networks.iter().find(|network| network.mode == Mode::Routed)?;
        return (is_host && reachable).then_some(gateway.gateway_mac);
    };
    let owner = snapshot
        .endpoints
        .iter()
        .find(|((other, _), endpoint)| *other == id && endpoint.addresses.contains(&target));
    match (network.mode, owner) {
        // An address of the asker's own: duplicate address detection, or an announcement.
        (_, Some(((_, mac), _))) if *mac == asker => None,
        (Mode::Bridged, owner) => owner.map(|((_, mac), _)| *mac),
        (Mode::Routed, Some(_)) => Some(network.gateway_mac),
        (Mode::Routed, None) => match snapshot.routes.lookup(ip::mapped(target))? {
            Route::Gateway { network: other } => (other == id).then_some(network.gateway_mac),
            Route::Node | Route::Fabric { .. } | Route::Unresolved => Some(network.gateway_mac),
            // Another network's pods are not there for this one.
            Route::Endpoint { .. } | Route::Unreachable => None,
        },
    }
}
