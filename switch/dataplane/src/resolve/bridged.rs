//! Bridged networks: a learning bridge (IEEE 802.1D-2004 §7.8).

use weft_wire::{NetworkId, VlanId, ethertype, nd};

use super::{Arrival, Note, Notes, Resolved, dropped, pod, scope};
use crate::{
    key::{FlowKey, Origin},
    mailbox::Learn,
    program::{Action, Program, Verdict},
    reason::{DropReason, PuntReason},
    snapshot::{NetworkView, Role, Snapshot, Station},
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
    if now.dst_mac.is_reserved() && !(network.forward_lldp && now.ethertype == ethertype::LLDP) {
        return dropped(program, DropReason::Reserved);
    }
    notes.add(Note::Source { mac: key.src_mac, learnt: arrival.ingress.role != Role::Pod });
    program.learnt = arrival.ingress.role != Role::Pod;
    let station = destination(now, id, snapshot);
    notes.add(Note::Station { mac: now.dst_mac, station });
    let end = match station {
        Some(Station::Local { port, .. }) if port == arrival.port => Verdict::Drop(DropReason::SamePort),
        Some(Station::Local { port, vlan }) => {
            match vlan {
                Some(vlan) => program.push(Action::SetVlan(vlan)),
                None => untag(now, &mut program),
            }
            Verdict::Forward(port)
        }
        // What came from another node does not go back to one: each reaches all others itself.
        Some(Station::Remote(_)) if arrival.peer.is_some() => Verdict::Drop(DropReason::SamePort),
        Some(Station::Remote(peer)) => match snapshot.tunnel_to(peer, Some(id)) {
            Some((port, tunnel)) => {
                untag(now, &mut program); // RFC 7348 §6.1
                program.push(Action::Encap(tunnel));
                Verdict::Forward(port)
            }
            None => Verdict::Drop(DropReason::NeighbourUnresolved),
        },
        // Each member's copy gets the tag that it needs.
        None => suppressed(now, id, network, snapshot).map_or(Verdict::Flood(id), Verdict::Punt),
    };
    Resolved { program: program.ending(end), learn }
}

/// Takes the tag off, if there is one. Its priority goes with it: what leaves untagged has none (802.1Q-2018 §6.9.2).
fn untag(now: &FlowKey, program: &mut Program) {
    if now.vlan().is_some() {
        program.push(Action::PopVlan);
    }
}

/// Checks the source address (pod ports) or learns it (access and trunk ports, tunnels).
fn source(
    key: &FlowKey,
    id: NetworkId,
    arrival: &Arrival<'_>,
    snapshot: &Snapshot,
) -> Result<Option<Learn>, DropReason> {
    match (snapshot.endpoint(id, key.src_mac), arrival.ingress.role == Role::Pod) {
        (Some(endpoint), _) if endpoint.port == arrival.port => {
            if arrival.is_read {
                scope::of_packet(key)?;
                pod::bridged(key, endpoint, snapshot)?;
            }
            Ok(None)
        }
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
        let known = snapshot.owners.contains_key(&(id, key.dst_ip()));
        return known.then_some(PuntReason::Arp);
    }
    // The target is in the message; the slow path floods what it can't answer.
    (key.nd_type() == Some(nd::NEIGHBOUR_SOLICITATION)).then_some(PuntReason::Nd)
}
