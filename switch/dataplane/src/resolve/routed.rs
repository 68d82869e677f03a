//! Routed networks: the switch is every pod's gateway.

use std::net::IpAddr;

use weft_wire::{NetworkId, ethertype, ip::proto};

use super::{Resolved, dropped};
use crate::{
    key::FlowKey,
    program::{Action, Program, Verdict},
    reason::{DropReason, PuntReason},
    snapshot::{PortView, Role, Snapshot},
    table::routes::Route,
};

/// ICMPv6 types of neighbour and router discovery (RFC 4861 §4).
pub(crate) mod nd {
    pub(crate) const ROUTER_SOLICITATION: u8 = 133;
    pub(crate) const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(crate) const REDIRECT: u8 = 137;
}

/// What neighbour discovery a packet is, if any.
pub(crate) fn nd_type(key: &FlowKey) -> Option<u8> {
    let kind = (key.dst_port() >> 8) as u8;
    (key.ethertype == ethertype::IPV6
        && key.protocol == proto::ICMPV6
        && (nd::ROUTER_SOLICITATION..=nd::REDIRECT).contains(&kind))
    .then_some(kind)
}

const ARP_REQUEST: u16 = 1;

/// `key` is the packet as it came, `now` as the rules left it.
pub(super) fn resolve(
    key: &FlowKey,
    now: &FlowKey,
    network: Option<NetworkId>,
    ingress: &PortView,
    snapshot: &Snapshot,
    mut program: Program,
) -> Resolved {
    if let Some(network) = network
        && !is_own(key, network, snapshot)
    {
        return dropped(program, DropReason::Spoofed);
    }
    if now.ethertype == ethertype::ARP {
        return match now.dst_port() {
            ARP_REQUEST => program.ending(Verdict::Punt(PuntReason::Arp)).into(),
            _ => dropped(program, DropReason::Ignored),
        };
    }
    if let Some(kind) = nd_type(now) {
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
    if !is_gateway_mac(now, network, ingress, snapshot) {
        return dropped(program, DropReason::NotForGateway);
    }
    match forward(now, network, ingress, snapshot) {
        Ok((port, rewrite)) => {
            program.push(Action::Route(rewrite));
            program.ending(Verdict::Forward(port)).into()
        }
        Err(end) => program.ending(end).into(),
    }
}

/// Where a routed packet leaves, and the rewrite for it.
fn forward(
    key: &FlowKey,
    network: Option<NetworkId>,
    ingress: &PortView,
    snapshot: &Snapshot,
) -> Result<(weft_wire::PortId, u16), Verdict> {
    let from_fabric = ingress.role == Role::Fabric;
    let unreachable = Verdict::Punt(PuntReason::Unreachable);
    let to_host = || {
        if ingress.role == Role::Host {
            return Err(unreachable); // never back to where it came from
        }
        snapshot.host.ok_or(Verdict::Drop(DropReason::NoRoute))
    };
    match snapshot.routes.lookup(key.dst()) {
        Some(Route::Endpoint { network: other, port, rewrite }) => match network {
            Some(network) if network != other => Err(Verdict::Drop(DropReason::Isolated)),
            _ => Ok((port, rewrite)),
        },
        Some(Route::Gateway { network: other }) => match network {
            Some(network) if network != other => Err(Verdict::Drop(DropReason::Isolated)),
            _ => Err(Verdict::Punt(PuntReason::Local)),
        },
        // What came over the fabric does not go back to it: a node is no transit for others.
        Some(Route::Fabric { .. } | Route::Unresolved) if from_fabric => {
            Err(Verdict::Drop(DropReason::NoRoute))
        }
        Some(Route::Fabric { port, rewrite }) => Ok((port, rewrite)),
        Some(Route::Unresolved) => Err(Verdict::Drop(DropReason::NeighbourUnresolved)),
        Some(Route::Unreachable) => Err(unreachable),
        Some(Route::Node) => to_host(),
        None if from_fabric => Err(Verdict::Drop(DropReason::NoRoute)),
        None => to_host(),
    }
}

/// Anti-spoofing: MAC and address must be one endpoint's, and that endpoint's port the one the packet came by.
fn is_own(key: &FlowKey, network: NetworkId, snapshot: &Snapshot) -> bool {
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

fn is_gateway_mac(
    key: &FlowKey,
    network: Option<NetworkId>,
    ingress: &PortView,
    snapshot: &Snapshot,
) -> bool {
    match (network, &ingress.role) {
        (Some(network), _) => {
            snapshot.network(network).is_some_and(|network| network.gateway_mac == key.dst_mac)
        }
        (None, Role::Fabric) => ingress.mac == key.dst_mac,
        (None, _) => snapshot.networks.iter().any(|network| network.gateway_mac == key.dst_mac),
    }
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}
