//! What ARP and neighbour discovery say of addresses: a lie leads somebody's traffic to the liar, or to nobody. Who sent a
//! message is known from its flow; what it says is in each packet.

use std::net::IpAddr;

use weft_wire::{
    Mac, NetworkId, Scope,
    eth::Arp,
    ip::Ipv6,
    nd::{self, Options},
};
use zerocopy::FromBytes;

use crate::{
    key::FlowKey,
    parse::{Headers, L3},
    reason::DropReason,
    snapshot::{Mode, Snapshot},
};

/// What a message says.
#[derive(Debug, Default)]
struct Message<'a> {
    /// Somebody has this address: the sender, or (redirect) the router to use.
    address: Option<IpAddr>,
    /// The sender is about to have this one, if nobody else has (RFC 4862 §5.4, RFC 5227 §2.1).
    tentative: Option<IpAddr>,
    /// ARP: the sender's MAC.
    arp_mac: Option<Mac>,
    /// Neighbour discovery: link-layer addresses are in here.
    options: Options<'a>,
    is_redirect: bool,
}

impl Message<'_> {
    /// All MACs that go with the address; none for what is no MAC.
    fn macs(&self) -> impl Iterator<Item = Option<Mac>> {
        let link_layer = |(kind, body): (u8, &[u8])| {
            matches!(kind, nd::SOURCE_LINK_LAYER | nd::TARGET_LINK_LAYER)
                .then(|| body.try_into().map(Mac).ok())
        };
        let options = self.options.clone().flatten().filter_map(link_layer);
        self.arp_mac.map(Some).into_iter().chain(options)
    }
}

/// Holds a message against the endpoints: an endpoint speaks for itself only, and nobody else for it. `key` is the packet
/// as it came.
pub(super) fn check(
    packet: &[u8],
    key: &FlowKey,
    headers: &Headers,
    network: NetworkId,
    snapshot: &Snapshot,
) -> Result<(), DropReason> {
    let Some(message) = read(packet, key, headers) else { return Ok(()) };
    let is_own = |mac: Option<Mac>| mac == Some(key.src_mac);
    let is_endpoints = |mac: &Mac| *mac != key.src_mac && snapshot.endpoint(network, *mac).is_some();
    let is_bridged = snapshot.network(network).is_some_and(|network| network.mode == Mode::Bridged);
    let endpoint = snapshot.endpoint(network, key.src_mac).filter(|it| key.ingress() == Some(it.port));
    let is_true = match endpoint {
        // A routed network's pods are heard by the switch alone: whom they ask for is no claim, and their own address is
        // held against them with every packet.
        Some(_) if !is_bridged => message.macs().all(is_own),
        Some(endpoint) => {
            let mut addresses = [message.address, message.tentative].into_iter().flatten();
            message.macs().all(is_own) && addresses.all(|address| snapshot.may_use(endpoint, address))
        }
        None => {
            let owner = message.address.and_then(|address| snapshot.owner(network, address));
            match owner.filter(is_endpoints) {
                None if message.is_redirect => true,
                // A router may say that an endpoint is on the link.
                Some(owner) if message.is_redirect => message.macs().all(|mac| mac == Some(owner)),
                owner => owner.is_none() && !message.macs().flatten().any(|mac| is_endpoints(&mac)),
            }
        }
    };
    if is_true { Ok(()) } else { Err(DropReason::Spoofed) }
}

fn read<'a>(packet: &'a [u8], key: &FlowKey, headers: &Headers) -> Option<Message<'a>> {
    let named = |address: IpAddr| Some(address).filter(|it| Scope::of(*it) != Scope::Unspecified);
    let l3 = packet.get(headers.l3.into()..)?;
    if headers.kind == L3::Arp {
        let (arp, _) = Arp::ref_from_prefix(l3).ok()?;
        let (address, target) = (named(arp.sender_ip.into()), named(arp.target_ip.into()));
        let tentative = target.filter(|_| address.is_none());
        return Some(Message { address, tentative, arp_mac: Some(arp.sender_mac), ..Message::default() });
    }
    let (kind, (ip, _)) = (key.nd_type()?, Ipv6::ref_from_prefix(l3).ok()?);
    let end = size_of::<Ipv6>() + usize::from(ip.payload_len.get());
    let message = l3.get(usize::from(headers.l4 - headers.l3)..end)?;
    let (source, target) = (named(key.header_addresses()?.0), nd::target(message).map(IpAddr::from));
    let (address, tentative) = match kind {
        nd::NEIGHBOUR_SOLICITATION if source.is_none() => (None, target),
        nd::NEIGHBOUR_ADVERTISEMENT | nd::REDIRECT => (target, None),
        _ => (source, None),
    };
    let options = nd::options(message)?;
    Some(Message { address, tentative, options, is_redirect: kind == nd::REDIRECT, ..Message::default() })
}
