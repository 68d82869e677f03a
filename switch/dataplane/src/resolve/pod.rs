//! What a pod may say: what comes from its port is held against its endpoint.

use weft_wire::{Scope, ethertype, ip::proto, l4::icmp, nd};

use crate::{
    key::FlowKey,
    reason::DropReason,
    snapshot::{Endpoint, Snapshot},
};

/// In a bridged network. An endpoint without addresses may have any that are not another's.
pub(super) fn bridged(key: &FlowKey, endpoint: &Endpoint, snapshot: &Snapshot) -> Result<(), DropReason> {
    // Behind a tag that is not the bridge's to read, addresses could be anybody's.
    let is_tagged = matches!(key.ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN);
    if is_tagged && !endpoint.addresses.is_empty() {
        return Err(DropReason::VlanNotAllowed);
    }
    let Some((src, _)) = key.header_addresses() else {
        let owns = key.ethertype != ethertype::ARP
            || Scope::of(key.src_ip()) == Scope::Unspecified // a probe (RFC 5227 §1.1)
            || snapshot.may_use(endpoint, key.src_ip());
        return if owns { Ok(()) } else { Err(DropReason::Spoofed) };
    };
    let owns = match Scope::of(src) {
        Scope::Unspecified => endpoint.addresses.is_empty() || may_be_nameless(key),
        _ => snapshot.may_use(endpoint, src),
    };
    if !owns {
        return Err(DropReason::Spoofed);
    }
    router(key)?;
    if endpoint.addresses.is_empty() { Ok(()) } else { error(key) }
}

/// Who has no address yet asks for one (RFC 2131 §4.1), takes part in discovery (RFC 4861 §4) and in multicast groups
/// (RFC 3376 §4.2.13, RFC 3590 §4).
fn may_be_nameless(key: &FlowKey) -> bool {
    const IGMP: u8 = 2;
    const DHCP_SERVER: u16 = 67;
    match (key.ethertype, key.protocol) {
        (ethertype::IPV4, proto::UDP) => key.dst_port() == DHCP_SERVER,
        (ethertype::IPV4, IGMP) | (ethertype::IPV6, proto::ICMPV6) => true,
        _ => false,
    }
}

/// A pod is no router: what only routers say leads its neighbours' traffic to it (RFC 6105; RFC 1256 and RFC 792 say the same
/// in IPv4).
pub(super) fn router(key: &FlowKey) -> Result<(), DropReason> {
    let says = match key.icmp_type() {
        Some(nd::ROUTER_ADVERTISEMENT | nd::REDIRECT) => key.ethertype == ethertype::IPV6,
        Some(icmp::ROUTER_ADVERTISEMENT | icmp::REDIRECT) => key.ethertype == ethertype::IPV4,
        _ => false,
    };
    if says { Err(DropReason::RogueRouter) } else { Ok(()) }
}

/// An ICMP error answers a packet that the pod got: it goes to that packet's sender, from the address that the packet was
/// for. Others break other people's connections (RFC 5927 §4).
pub(super) fn error(key: &FlowKey) -> Result<(), DropReason> {
    let is_stray = key.is_icmp_error() && !key.quotes_opposite();
    if is_stray { Err(DropReason::IcmpUnrelated) } else { Ok(()) }
}
