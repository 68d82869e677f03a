//! Bridged networks: a learning bridge (IEEE 802.1D-2004 §7.8).

use std::net::IpAddr;

use weft_wire::{NetworkId, PortId, VlanId, ethertype};

use super::{
    Resolved, dropped,
    routed::{nd, nd_type},
};
use crate::{
    key::FlowKey,
    mailbox::Learn,
    program::{Action, Program, Verdict},
    reason::{DropReason, PuntReason},
    snapshot::{Endpoint, NetworkView, PortView, Role, Snapshot, Station},
};

const ARP_REQUEST: u16 = 1;

/// `key` is the packet as it came, `now` as the rules left it.
pub(super) fn resolve(
    key: &FlowKey,
    now: &FlowKey,
    id: NetworkId,
    network: &NetworkView,
    ingress: &PortView,
    snapshot: &Snapshot,
    mut program: Program,
) -> Resolved {
    let Some(from) = key.ingress() else { return dropped(program, DropReason::PortGone) };
    let learn = match source(key, from, id, ingress, snapshot) {
        Ok(learn) => learn,
        Err(reason) => return dropped(program, reason),
    };
    program.learnt = ingress.role != Role::Pod;
    let end = match destination(now, id, snapshot) {
        Some((port, _)) if port == from => Verdict::Drop(DropReason::SamePort),
        Some((port, vlan)) => {
            if let Some(vlan) = vlan {
                program.push(Action::PushVlan(vlan));
            }
            Verdict::Forward(port)
        }
        None => suppressed(now, id, network, snapshot).map_or(Verdict::Flood(id), Verdict::Punt),
    };
    Resolved { program: program.ending(end), learn }
}

/// Checks the source address (pod ports) or learns it (access and trunk ports).
fn source(
    key: &FlowKey,
    from: PortId,
    id: NetworkId,
    ingress: &PortView,
    snapshot: &Snapshot,
) -> Result<Option<Learn>, DropReason> {
    match (snapshot.endpoint(id, key.src_mac), ingress.role == Role::Pod) {
        (Some(endpoint), _) if endpoint.port == from && owns_address(endpoint, key) => Ok(None),
        // A pod's MAC from elsewhere, or any other MAC from a pod's port.
        (Some(_), _) | (None, true) => Err(DropReason::Spoofed),
        (None, false) => {
            let vlan = key.vlan().unwrap_or(0);
            let known = snapshot.fdb.get(&(id, key.src_mac));
            let here = Station { port: from, vlan: VlanId::try_from(u32::from(vlan)).ok() };
            Ok((known != Some(&here)).then_some(Learn { mac: key.src_mac, port: from, vlan, refresh: false }))
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

/// Where a unicast address is, and the tag it needs there; none: flood.
fn destination(key: &FlowKey, id: NetworkId, snapshot: &Snapshot) -> Option<(PortId, Option<VlanId>)> {
    if key.dst_mac.is_group() {
        return None;
    }
    if let Some(endpoint) = snapshot.endpoint(id, key.dst_mac) {
        return Some((endpoint.port, None));
    }
    snapshot.fdb.get(&(id, key.dst_mac)).map(|station| (station.port, station.vlan))
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
        let known = snapshot
            .endpoints
            .iter()
            .any(|((network, _), endpoint)| *network == id && endpoint.addresses.contains(&key.dst_ip()));
        return known.then_some(PuntReason::Arp);
    }
    // The target is in the message; the slow path floods what it can't answer.
    (nd_type(key) == Some(nd::NEIGHBOUR_SOLICITATION)).then_some(PuntReason::Nd)
}
