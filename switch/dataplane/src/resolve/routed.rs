//! Routed networks: the switch is every pod's gateway.

use std::net::IpAddr;

use weft_wire::{NetworkId, PeerId, PortId, ethertype, ip, ip::proto, nd};

use super::{Arrival, Note, Notes, Resolved, dropped, pod, scope};
use crate::{
    key::FlowKey,
    program::{Action, Program, Verdict},
    reason::{DropReason, PuntReason},
    snapshot::{Hop, Role, Snapshot},
    table::routes::Route,
};

const ARP_REQUEST: u16 = 1;

/// `key` is the packet as it came, `now` as the rules left it.
pub(super) fn resolve(
    key: &FlowKey,
    now: &FlowKey,
    arrival: &Arrival<'_>,
    snapshot: &Snapshot,
    mut program: Program,
    notes: &mut impl Notes,
) -> Resolved {
    if let Err(reason) = scope::of_packet(key).and_then(|()| source(key, arrival, snapshot)) {
        return dropped(program, reason);
    }
    notes.add(Note::Source { mac: key.src_mac, learnt: false });
    // The underlay's neighbours are the node's.
    let is_native = arrival.ingress.role == Role::Fabric && arrival.peer.is_none();
    if is_native && (now.ethertype == ethertype::ARP || now.nd_type().is_some()) {
        return dropped(program, DropReason::NotOurs);
    }
    if now.ethertype == ethertype::ARP {
        return match now.dst_port() {
            ARP_REQUEST => program.ending(Verdict::Punt(PuntReason::Arp)).into(),
            _ => dropped(program, DropReason::Ignored),
        };
    }
    if let Some(kind) = now.nd_type() {
        return match kind {
            nd::NEIGHBOUR_SOLICITATION => program.ending(Verdict::Punt(PuntReason::Nd)).into(),
            _ => dropped(program, DropReason::Ignored),
        };
    }
    if !matches!(now.ethertype, ethertype::IPV4 | ethertype::IPV6) {
        return dropped(program, DropReason::NotIp);
    }
    if now.dst_mac.is_group() || is_group(now.dst_ip()) {
        return dropped(program, DropReason::Multicast);
    }
    if !is_gateway_mac(now, arrival, snapshot) {
        return dropped(program, DropReason::NotForGateway);
    }
    notes.add(Note::Gateway(now.dst_mac));
    if arrival.ingress.role == Role::Fabric
        && let Some(tunnels) = &snapshot.unwraps
    {
        if arrival.peer.is_some() && tunnels.is_wrapped(now) {
            return dropped(program, DropReason::TunnelNested);
        }
        if arrival.peer.is_none() {
            return match is_too_big_error(now) {
                true => program.ending(Verdict::Punt(PuntReason::PathMtu)).into(),
                false => dropped(program, DropReason::NotOurs),
            };
        }
    }
    if let Err(reason) = scope::of_routed(now, arrival, snapshot) {
        return dropped(program, reason);
    }
    notes.add(Note::Route { address: now.dst(), route: snapshot.route(now.dst()) });
    match forward(now, arrival, snapshot) {
        Ok(Way { port, rewrite, tunnel }) => {
            program.push(Action::Route(rewrite));
            if let Some(tunnel) = tunnel {
                program.push(Action::Encap(tunnel));
            }
            program.ending(Verdict::Forward(port)).into()
        }
        Err(end) => program.ending(end).into(),
    }
}

/// ICMP "fragmentation needed" (RFC 1191 §4) and ICMPv6 "packet too big" (RFC 8201 §3).
fn is_too_big_error(key: &FlowKey) -> bool {
    match (key.ethertype, key.protocol) {
        (ethertype::IPV4, proto::ICMP) => key.dst_port() == 0x0304,
        (ethertype::IPV6, proto::ICMPV6) => key.dst_port() == 0x0200,
        _ => false,
    }
}

/// How a routed packet leaves.
struct Way {
    port: PortId,
    rewrite: u16,
    tunnel: Option<u16>,
}

impl Way {
    fn to(port: PortId, rewrite: u16) -> Self {
        Self { port, rewrite, tunnel: None }
    }
}

fn forward(key: &FlowKey, arrival: &Arrival<'_>, snapshot: &Snapshot) -> Result<Way, Verdict> {
    let from_fabric = arrival.ingress.role == Role::Fabric;
    let unreachable = Verdict::Punt(PuntReason::Unreachable);
    // Another node itself, like this one, reaches the pods of every network.
    let is_nodes = arrival.peer.is_some_and(|peer| is_node(peer, key, snapshot));
    let network = arrival.network.filter(|_| !is_nodes);
    let to_host = || {
        if arrival.ingress.role == Role::Host {
            return Err(unreachable); // never back to where it came from
        }
        let (port, rewrite) = snapshot.host.ok_or(Verdict::Drop(DropReason::NoRoute))?;
        Ok(Way::to(port, rewrite))
    };
    match snapshot.route(key.dst()) {
        Some(Route::Endpoint { network: other, port, rewrite }) => match network {
            Some(network) if network != other => Err(Verdict::Drop(DropReason::Isolated)),
            _ => Ok(Way::to(port, rewrite)),
        },
        Some(Route::Gateway { network: other }) => match network {
            Some(network) if network != other => Err(Verdict::Drop(DropReason::Isolated)),
            _ => Err(Verdict::Punt(PuntReason::Local)),
        },
        // What came over the fabric does not go back to it: a node is no transit for others.
        Some(Route::Peer(_)) if from_fabric => Err(Verdict::Drop(DropReason::NoRoute)),
        Some(Route::Peer(peer)) => {
            to_peer(peer, network, snapshot).ok_or(Verdict::Drop(DropReason::NeighbourUnresolved))
        }
        Some(Route::Unreachable) => Err(unreachable),
        Some(Route::Node) if from_fabric && arrival.peer.is_none() => Err(Verdict::Drop(DropReason::NotOurs)),
        Some(Route::Node) => to_host(),
        None if from_fabric => Err(Verdict::Drop(DropReason::NoRoute)),
        None => to_host(),
    }
}

fn to_peer(peer: PeerId, network: Option<NetworkId>, snapshot: &Snapshot) -> Option<Way> {
    match snapshot.peer(peer)?.hop? {
        Hop::Native { port, rewrite } => Some(Way::to(port, rewrite)),
        Hop::Tunnel { .. } => {
            let (port, tunnel) = snapshot.tunnel_to(peer, network)?;
            let rewrite = snapshot.tunnels.get(usize::from(tunnel))?.rewrite;
            Some(Way { port, rewrite, tunnel: Some(tunnel) })
        }
    }
}

/// Anti-spoofing. From a pod's port, MAC and address must be one endpoint's, and that endpoint's port the one the packet
/// came by. Through a tunnel, the address must be of the node that sent it, or of its pods. What comes by the host port or
/// natively over the fabric is the underlay's to police.
fn source(key: &FlowKey, arrival: &Arrival<'_>, snapshot: &Snapshot) -> Result<(), DropReason> {
    let is_own = match (arrival.peer, arrival.network) {
        (Some(peer), _) => snapshot.route(key.src()) == Some(Route::Peer(peer)),
        (None, Some(network)) => is_pods_own(key, network, snapshot),
        (None, None) => return Ok(()),
    };
    match (is_own, arrival.peer) {
        (false, _) => Err(DropReason::Spoofed),
        (true, Some(_)) => Ok(()),
        (true, None) => pod::router(key).and_then(|()| pod::error(key)),
    }
}

/// Whether a packet through a tunnel comes from the other node itself.
fn is_node(peer: PeerId, key: &FlowKey, snapshot: &Snapshot) -> bool {
    snapshot.peer(peer).is_some_and(|peer| peer.addresses.contains(&ip::unmapped(key.src())))
}

fn is_pods_own(key: &FlowKey, network: NetworkId, snapshot: &Snapshot) -> bool {
    let Some(endpoint) = snapshot.endpoint(network, key.src_mac) else { return false };
    if key.ingress() != Some(endpoint.port) {
        return false;
    }
    let source = key.src_ip();
    if endpoint.addresses.contains(&source) {
        return true;
    }
    match key.ethertype {
        // An ARP probe (RFC 5227 §1.1) has no sender address yet.
        ethertype::ARP => source == IpAddr::from([0, 0, 0, 0]),
        // Discovery and multicast listener reports come from link-local addresses, duplicate address detection from
        // the unspecified one (RFC 4861 §4, RFC 4862 §5.4.2, RFC 2710 §3).
        ethertype::IPV6 => {
            key.protocol == proto::ICMPV6
                && matches!(source, IpAddr::V6(v6) if v6.is_unspecified() || v6.is_unicast_link_local())
        }
        ethertype::IPV4 => false,
        // Neither IP nor ARP has no address to forge; it is dropped further on.
        _ => true,
    }
}

fn is_gateway_mac(key: &FlowKey, arrival: &Arrival<'_>, snapshot: &Snapshot) -> bool {
    match (arrival.network, &arrival.ingress.role) {
        (Some(network), _) => {
            snapshot.network(network).is_some_and(|network| network.gateway_mac == key.dst_mac)
        }
        (None, Role::Fabric) => arrival.ingress.mac == key.dst_mac,
        (None, _) => snapshot.networks.iter().any(|network| network.gateway_mac == key.dst_mac),
    }
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}
