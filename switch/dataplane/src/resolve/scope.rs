//! Which addresses a packet may be from and for at all ([`Scope`] says why): looked at once for each flow, as it came and as
//! the rules left it, whoever it came from.

use std::net::IpAddr;

use weft_wire::{Scope, ip};

use super::Arrival;
use crate::{
    key::FlowKey,
    reason::DropReason,
    snapshot::{Role, Snapshot},
    table::routes::Route,
};

/// What may be in a packet. Link-local addresses may, and the unspecified one as a source; what is not IP has none.
pub(super) fn of_packet(key: &FlowKey) -> Result<(), DropReason> {
    let Some((src, dst)) = key.header_addresses() else { return Ok(()) };
    if !Scope::of(src).may_be_source() {
        return Err(DropReason::MartianSource);
    }
    if !Scope::of(dst).may_be_destination() {
        return Err(DropReason::MartianDestination);
    }
    Ok(())
}

/// What may be routed. Link-local addresses serve to talk to the switch itself, and IPv4 ones also to talk to the node, from
/// its pods, where they are the node's own, such as that of a DNS cache (RFC 3927 §7 forbids to forward them: nothing is).
pub(super) fn of_routed(key: &FlowKey, arrival: &Arrival<'_>, snapshot: &Snapshot) -> Result<(), DropReason> {
    of_packet(key)?;
    let Some((src, dst)) = key.header_addresses() else { return Ok(()) };
    let role = &arrival.ingress.role;
    let leads_to = |address: IpAddr| snapshot.route(ip::mapped(address)).filter(|_| *role != Role::Fabric);
    let is_nodes = |address: IpAddr| address.is_ipv4() && leads_to(address) == Some(Route::Node);
    let is_for_switch = || matches!(leads_to(dst), Some(Route::Gateway { .. }));
    let is_nodes_to_pod =
        || *role == Role::Host && is_nodes(src) && matches!(leads_to(dst), Some(Route::Endpoint { .. }));
    match Scope::of(src) {
        Scope::Unicast => {}
        Scope::LinkLocal if is_for_switch() || is_nodes_to_pod() => {}
        _ => return Err(DropReason::MartianSource),
    }
    match Scope::of(dst) {
        Scope::LinkLocal if !is_for_switch() && !is_nodes(dst) => Err(DropReason::MartianDestination),
        _ => Ok(()),
    }
}
