//! Bridged networks: a learning bridge (IEEE 802.1D-2004 §7.8).

use std::net::IpAddr;

use weft_wire::{NetworkId, VlanId, ethertype};

use super::{
    Arrival, Note, Notes, Resolved, dropped,
    routed::{nd, nd_type},
};
use crate::{
    key::{FlowKey, Origin},
    mailbox::Learn,
    program::{Action, Program, Verdict},
    reason::{DropReason, PuntReason},
    snapshot::{Endpoint, NetworkView, Role, Snapshot, Station},
};

const ARP_REQUEST: u16 = 1;

/// `key` is the packet as it came, `now` as the rules left it.
pub(super) fn resolve(
    (key, now): (&FlowKey, &FlowKey),
    (id, network): (NetworkId, &NetworkView),
    arrival: &Arrival<'_>,
    snapshot: &Snapshot,
    mut program: Program,
    notes: &mut impl Notes,
) -> Resolved {
    let learn = match source(key, id, arrival, snapshot) {
        Ok(learn) => learn,
        Err(reason) => return dropped(program, reason),
    };
    notes.add(Note::Source { mac: key.src_mac, learnt: arrival.ingress.role != Role::Pod });
    program.learnt = arrival.ingress.role != Role::Pod;
    let station = destination(now, id, snapshot);
    notes.add(Note::Station { mac: now.dst_mac, station });
    let end = match station {
        Some(Station::Local { port, .. }) if port == arrival.port => Verdict::Drop(DropReason::SamePort),
        Some(Station::Local { port, vlan }) => {
            if let Some(vlan) = vlan {
                program.push(Action::PushVlan(vlan));
            }
            Verdict::Forward(port)
        }
        // What came from another node does not go back to one: each reaches all others itself.
        Some(Station::Remote(_)) if arrival.peer.is_some() => Verdict::Drop(DropReason::SamePort),
        Some(Station::Remote(peer)) => match snapshot.tunnel_to(peer, Some(id)) {
            Some((port, tunnel)) => {
                program.push(Action::Encap(tunnel));
                Verdict::Forward(port)
            }
            None => Verdict::Drop(DropReason::NeighbourUnresolved),
        },
        None => suppressed(now, id, network, snapshot).map_or(Verdict::Flood(id), Verdict::Punt),
    };
    Resolved { program: program.ending(end), learn }
}

/// Checks the source address (pod ports) or learns it (access and trunk ports, tunnels).
fn source(
    key: &FlowKey,
    id: NetworkId,
    arrival: &Arrival<'_>,
    snapshot: &Snapshot,
) -> Result<Option<Learn>, DropReason> {
    match (snapshot.endpoint(id, key.src_mac), arrival.ingress.role == Role::Pod) {
        (Some(endpoint), _) if endpoint.port == arrival.port && owns_address(endpoint, key) => Ok(None),
        // A pod's MAC from elsewhere, or any other MAC from a pod's port.
        (Some(_), _) | (None, true) => Err(DropReason::Spoofed),
        (None, false) => {
            let vlan = key.vlan().unwrap_or(0);
            let known = snapshot.fdb.get(&(id, key.src_mac));
            let (here, origin) = match arrival.peer {
                Some(peer) => (Station::Remote(peer), Origin::by_tunnel(peer, id)),
                None => {
                    let vlan = VlanId::try_from(u32::from(vlan)).ok();
                    (Station::Local { port: arrival.port, vlan }, Origin::by_port(arrival.port))
                }
            };
            Ok((known != Some(&here)).then_some(Learn { mac: key.src_mac, origin, vlan, refresh: false }))
        }
    }
}

/// An endpoint that has addresses speaks for these only; link-local ones are its own business.
fn owns_address(endpoint: &Endpoint, key: &FlowKey) -> bool {
    let source = key.src_ip();
    let applies = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP);
    let local = match source {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local(),
    };
    !applies || local || endpoint.addresses.is_empty() || endpoint.addresses.contains(&source)
}

/// Where a unicast address is; none: flood.
fn destination(key: &FlowKey, id: NetworkId, snapshot: &Snapshot) -> Option<Station> {
    if key.dst_mac.is_group() {
        return None;
    }
    if let Some(endpoint) = snapshot.endpoint(id, key.dst_mac) {
        return Some(Station::Local { port: endpoint.port, vlan: None });
    }
    snapshot.fdb.get(&(id, key.dst_mac)).copied()
}

/// With suppression, ARP and ND for a known endpoint is answered instead of flooded (RFC 7432 §10 describes the idea).
fn suppressed(
    key: &FlowKey,
    id: NetworkId,
    network: &NetworkView,
    snapshot: &Snapshot,
) -> Option<PuntReason> {
    if !network.suppress || !key.dst_mac.is_group() {
        return None;
    }
    if key.ethertype == ethertype::ARP && key.dst_port() == ARP_REQUEST {
        return snapshot.addresses.contains_key(&(id, key.dst_ip())).then_some(PuntReason::Arp);
    }
    // The target is in the message; the slow path floods what it can't answer.
    (nd_type(key) == Some(nd::NEIGHBOUR_SOLICITATION)).then_some(PuntReason::Nd)
}
