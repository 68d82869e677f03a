//! Where a packet's headers are, for those few packets that must be cut.

use weft_wire::{
    checksum,
    eth::{Ethernet, VlanTag, ethertype},
    ip::{Ipv4, Ipv6, Ipv6Fragment, proto},
    l4::{Tcp, Udp},
};
use zerocopy::FromBytes;

use super::{GsoKind, Offload, Unfit};

/// What cutting needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Start of the IP header.
    pub(super) l3: usize,
    /// Start of the L4 header.
    pub(super) l4: usize,
    /// Start of what L4 carries (super-frames).
    pub(super) payload: usize,
    /// End of the IP packet; what is behind is padding.
    pub(super) end: usize,
    /// IPv4 rather than IPv6, or neither.
    pub(super) version: Option<u8>,
    /// Length of the IP packet that goes on the wire: of one segment, for a super-frame.
    pub(super) wire_len: usize,
    /// What of that is in front of the inner IP packet, where there is an outer header; else 0.
    pub(super) overhead: usize,
    /// IPv4 without DF (the inner one).
    pub(super) may_fragment: bool,
}

/// Of what is to be cut: behind the outer header, if there is one.
pub(super) fn find(packet: &[u8], offload: &Offload) -> Result<Found, Unfit> {
    let Some(outer) = offload.outer else {
        return find_bare(packet, offload).or_else(|unfit| match offload.is_complete() {
            // A bridge relays what it can't read: of such a frame nothing is known but where the tags end.
            true => opaque(packet).ok_or(unfit),
            false => Err(unfit),
        });
    };
    let before = outer.len();
    let found = find_bare(packet.get(before..).ok_or(Unfit::Malformed)?, offload)?;
    let overhead = before - size_of::<Ethernet>() + found.l3;
    Ok(Found {
        l3: found.l3 + before,
        l4: found.l4 + before,
        payload: found.payload + before,
        end: found.end + before,
        wire_len: overhead + found.wire_len,
        overhead,
        ..found
    })
}

/// The EtherType behind all tags, and where its packet starts.
fn behind_tags(packet: &[u8]) -> Option<(u16, usize)> {
    let (ethernet, _) = Ethernet::ref_from_prefix(packet).ok()?;
    let (mut protocol, mut l3) = (ethernet.ethertype.get(), size_of::<Ethernet>());
    while matches!(protocol, ethertype::VLAN | ethertype::SERVICE_VLAN) {
        let (tag, _) = VlanTag::ref_from_prefix(&packet[l3..]).ok()?;
        (protocol, l3) = (tag.ethertype.get(), l3 + size_of::<VlanTag>());
    }
    Some((protocol, l3))
}

/// A frame that goes whole or not at all.
fn opaque(packet: &[u8]) -> Option<Found> {
    let ((_, l3), end) = (behind_tags(packet)?, packet.len());
    let wire_len = end - l3;
    Some(Found { l3, l4: l3, payload: l3, end, version: None, wire_len, overhead: 0, may_fragment: false })
}

fn find_bare(packet: &[u8], offload: &Offload) -> Result<Found, Unfit> {
    let malformed = |_| Unfit::Malformed;
    let (protocol, l3) = behind_tags(packet).ok_or(Unfit::Malformed)?;
    let (version, l4, end, may_fragment, l4_protocol) = match protocol {
        ethertype::IPV4 => {
            let (ip, _) = Ipv4::ref_from_prefix(&packet[l3..]).map_err(|_| Unfit::Malformed)?;
            let end = l3 + usize::from(ip.total_len.get());
            if ip.header_len() < size_of::<Ipv4>() {
                return Err(Unfit::Malformed);
            }
            let header = packet.get(l3..l3 + ip.header_len()).ok_or(Unfit::Malformed)?;
            // Fragments get a header checksum of their own: a wrong one must not be made right on the way.
            let is_right = checksum::fold(checksum::sum(header, 0)) == 0xffff;
            let may_fragment = ip.fragment.get() & Ipv4::DF == 0 && is_right;
            (Some(4), l3 + ip.header_len(), end, may_fragment, ip.protocol)
        }
        ethertype::IPV6 => {
            let (ip, _) = Ipv6::ref_from_prefix(&packet[l3..]).map_err(|_| Unfit::Malformed)?;
            let end = l3 + size_of::<Ipv6>() + usize::from(ip.payload_len.get());
            let (l4, l4_protocol) = behind_extensions(packet, l3, ip.next_header).ok_or(Unfit::Malformed)?;
            (Some(6), l4, end, false, l4_protocol)
        }
        _ => return opaque(packet).filter(|_| offload.gso.is_none()).ok_or(Unfit::Malformed),
    };
    if l4 > end || end > packet.len() {
        return Err(Unfit::Malformed);
    }
    let mut found =
        Found { l3, l4, payload: l4, end, version, wire_len: end - l3, overhead: 0, may_fragment };
    if let Some(gso) = offload.gso {
        let wanted = match gso.kind {
            GsoKind::Tcp4 => (Some(4), proto::TCP),
            GsoKind::Tcp6 => (Some(6), proto::TCP),
            GsoKind::Udp => (version, proto::UDP),
        };
        if wanted != (version, l4_protocol) || gso.size == 0 {
            return Err(Unfit::Malformed);
        }
        found.payload = l4
            + match gso.kind {
                GsoKind::Udp => size_of::<Udp>(),
                GsoKind::Tcp4 | GsoKind::Tcp6 => Tcp::ref_from_prefix(&packet[l4..])
                    .map(|(tcp, _)| tcp.header_len())
                    .map_err(|error| malformed(error.to_string()))?
                    .max(size_of::<Tcp>()),
            };
        if found.payload > end {
            return Err(Unfit::Malformed);
        }
        found.wire_len = (found.payload - l3 + usize::from(gso.size)).min(end - l3);
    }
    Ok(found)
}

/// The L4 header's place and protocol behind IPv6 extension headers.
pub(super) fn behind_extensions(packet: &[u8], l3: usize, first: u8) -> Option<(usize, u8)> {
    const EXTENSIONS_MAX: usize = 8;
    let (mut next, mut at) = (first, l3 + size_of::<Ipv6>());
    for _ in 0..EXTENSIONS_MAX {
        let step = match next {
            proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION => {
                usize::from(*packet.get(at + 1)?) * 8 + 8
            }
            proto::FRAGMENT => size_of::<Ipv6Fragment>(),
            _ => return Some((at, next)),
        };
        (next, at) = (*packet.get(at)?, at + step);
    }
    None
}
