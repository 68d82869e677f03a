//! ICMP messages, as far as the message alone says whether they may be acted on: discovery that must be discarded, and
//! errors about a packet that nobody sent. Rare, and never plain: the other parser knows nothing of this.

use std::net::IpAddr;

use weft_wire::{
    Scope, checksum,
    ip::{Ipv4, Ipv6, proto},
    nd,
};
use zerocopy::FromBytes;

use super::{Headers, L3};
use crate::{key::FlowKey, reason::DropReason};

const FRAGMENT: u16 = FlowKey::FIRST_FRAGMENT | FlowKey::LATER_FRAGMENT;

/// Looks at a message with its header. `ip` is the IP header with all its extensions, `message` the rest of the packet.
pub(super) fn read(ip: &[u8], message: &[u8], key: &mut FlowKey) -> Result<(), DropReason> {
    let is_discovery = key.nd_type().is_some();
    if is_discovery && (has_fragment_header(ip) || !is_valid_discovery(ip, message)) {
        return Err(DropReason::NdInvalid);
    }
    // An error is too short to be cut.
    if key.is_icmp_error() && key.tag & FRAGMENT == 0 && quotes_opposite(message, key) {
        key.set_quotes_opposite();
    }
    Ok(())
}

fn quotes_opposite(message: &[u8], key: &FlowKey) -> bool {
    let Some(quoted) = message.get(8..) else { return false };
    let (src, dst) = match quoted.first().map(|byte| byte >> 4) {
        Some(4) => match Ipv4::ref_from_prefix(quoted) {
            Ok((ip, _)) => (IpAddr::from(ip.src), IpAddr::from(ip.dst)),
            Err(_) => return false,
        },
        Some(6) => match Ipv6::ref_from_prefix(quoted) {
            Ok((ip, _)) => (IpAddr::from(ip.src), IpAddr::from(ip.dst)),
            Err(_) => return false,
        },
        _ => return false,
    };
    key.header_addresses() == Some((dst, src))
}

/// Whether the sum of a whole ICMP message is right (RFC 792; RFC 4443 §2.3). Of what is none, and of fragments, nothing
/// can be said: false.
pub fn icmp_sum_is_right(packet: &[u8], key: &FlowKey, headers: &Headers) -> bool {
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    let Some(ip) = packet.get(l3..).filter(|_| key.icmp_type().is_some() && key.tag & FRAGMENT == 0) else {
        return false;
    };
    let end = match headers.kind {
        L3::Ipv4 => Ipv4::ref_from_prefix(ip).map_or(0, |(ip, _)| ip.total_len.get().into()),
        _ => Ipv6::ref_from_prefix(ip)
            .map_or(0, |(ip, _)| size_of::<Ipv6>() + usize::from(ip.payload_len.get())),
    };
    let Some(message) = packet.get(l4..l3 + end) else { return false };
    match headers.kind {
        L3::Ipv4 => is_sum_right(message, 0),
        _ => is_sum_right(message, pseudo(ip, message.len())),
    }
}

/// The sum over a pseudo-header of ICMPv6.
fn pseudo(ip: &[u8], len: usize) -> u64 {
    checksum::pseudo(&ip[8..24], &ip[24..40], proto::ICMPV6, len)
}

fn is_sum_right(message: &[u8], pseudo: u64) -> bool {
    checksum::fold(checksum::sum(message, pseudo)) == 0xffff
}

/// RFC 6980 §5: discovery with a fragment header must be discarded, be it cut or not.
fn has_fragment_header(ip: &[u8]) -> bool {
    const AUTHENTICATION: u8 = 51;
    let (mut next, mut at) = (ip[6], size_of::<Ipv6>());
    while let Some([following, len]) = ip.get(at..).and_then(|header| header.first_chunk::<2>()) {
        at += match next {
            proto::FRAGMENT => return true,
            AUTHENTICATION => usize::from(*len) * 4 + 8,
            _ => usize::from(*len) * 8 + 8,
        };
        next = *following;
    }
    false
}

/// What RFC 4861 asks of every message (§6.1, §7.1, §8.1), and of each type. What it wants discarded is of no use to
/// anybody, so nobody gets it.
fn is_valid_discovery(ip: &[u8], message: &[u8]) -> bool {
    /// What was routed on the way is not valid.
    const HOP_LIMIT: u8 = 255;

    let (Ok((header, _)), Some(options)) = (Ipv6::ref_from_prefix(ip), nd::options(message)) else {
        return false;
    };
    let mut names_itself = false;
    for option in options {
        match option {
            Ok((kind, _)) => names_itself |= kind == nd::SOURCE_LINK_LAYER,
            Err(nd::Unsound) => return false,
        }
    }
    header.hop_limit == HOP_LIMIT
        && message[1] == 0 // the code
        && is_sum_right(message, pseudo(ip, message.len()))
        && fits_its_type(header, message, names_itself)
}

/// `names_itself`: there is an option with the sender's link-layer address.
fn fits_its_type(ip: &Ipv6, message: &[u8], names_itself: bool) -> bool {
    const SOLICITED: u8 = 0x40;

    let scope = |address: Option<[u8; 16]>| address.map(|bytes| Scope::of(IpAddr::from(bytes)));
    let (src, dst) = (scope(Some(ip.src)), scope(Some(ip.dst)));
    let target = scope(nd::target(message));
    // Who has no address yet has no link-layer address that goes with it.
    let is_nameless = src == Some(Scope::Unspecified);
    match message[0] {
        nd::ROUTER_SOLICITATION => !(is_nameless && names_itself),
        nd::ROUTER_ADVERTISEMENT => src == Some(Scope::LinkLocal),
        nd::NEIGHBOUR_SOLICITATION => {
            let is_detection = is_solicited_node(ip.dst) && !names_itself;
            target != Some(Scope::Group) && (!is_nameless || is_detection)
        }
        nd::NEIGHBOUR_ADVERTISEMENT => {
            let is_solicited = message[4] & SOLICITED != 0;
            target != Some(Scope::Group) && !(dst == Some(Scope::Group) && is_solicited)
        }
        _ => {
            let redirected = nd::redirected(message);
            let is_neighbour = target == Some(Scope::LinkLocal) || nd::target(message) == redirected;
            src == Some(Scope::LinkLocal) && scope(redirected) != Some(Scope::Group) && is_neighbour
        }
    }
}

/// ff02::1:ff00:0/104 (RFC 4291 §2.7.1).
fn is_solicited_node(address: [u8; 16]) -> bool {
    address[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]
}
