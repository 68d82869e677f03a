//! What a port says of a frame (checksum to complete, segments to cut) held against what the packet is.
//!
//! Behind a port is a pod, or whoever writes to its device, and what it says may be a lie: a checksum "completed" at its word
//! would rewrite ports or addresses after rules and anti-spoofing have looked at them; a frame cut at its word would keep a
//! thread busy for as long as it likes. So only what the packet's own headers bear out gets past here (`bad_offload`), and
//! everything behind may act on it. What Linux itself says of its packets always does: it sums TCP, UDP and SCTP only, never
//! in fragments, and cuts TCP and UDP.

use weft_pmd::{Csum, Frame, FramePool, Gso, GsoKind, Offload, offload};
use weft_wire::{
    checksum,
    eth::{VlanTag, ethertype},
    ip::{Ipv4, Ipv6, proto},
};
use zerocopy::FromBytes;

use super::{Headers, L3, parse_ipv4, parse_ipv6};
use crate::key::FlowKey;

/// A packet's L4 part.
#[derive(Debug, Clone, Copy)]
struct Transport {
    is_v4: bool,
    /// Where the IP header starts.
    l3: usize,
    protocol: u8,
    start: usize,
    /// Of the IP packet: what is behind it pads the frame.
    end: usize,
}

/// Finds out what was not said, and checks what was. False: it is not so, and the packet must be dropped.
#[cold]
#[inline(never)]
pub(super) fn settle(frame: &mut Frame, key: &FlowKey, headers: &Headers, pool: &FramePool) -> bool {
    let Offload { csum, gso, .. } = frame.offload();
    match csum {
        Csum::Unknown => {
            frame.set_csum(find_checksum(pool.bytes(frame), key, headers));
            gso.is_none()
        }
        Csum::Complete => gso.is_none_or(|gso| {
            let known = transport(pool.bytes(frame), key, headers).filter(|_| headers.kind != L3::Other);
            known.is_some_and(|transport| {
                is_cuttable(pool.bytes(frame), &transport, &gso)
                    && make_partial(frame, headers, &transport, pool)
            })
        }),
        Csum::Invalid => false,
        Csum::Partial { start, offset } => {
            let packet = pool.bytes(frame);
            let Some(transport) = transport(packet, key, headers) else { return false };
            if usize::from(start) == transport.start {
                Some(offset) == checksum_place(transport.protocol)
                    && transport.start + usize::from(offset) + 2 <= transport.end
                    && gso.is_none_or(|gso| is_cuttable(packet, &transport, &gso))
            } else {
                gso.is_none() && complete_within(frame, &transport, start.into(), offset.into(), pool)
            }
        }
    }
}

/// A frame from an AF_XDP veth does not say whether its checksum is complete; its headers do. In fragments it is: the kernel
/// completes checksums before it cuts.
fn find_checksum(packet: &[u8], key: &FlowKey, headers: &Headers) -> Csum {
    let partial =
        |Transport { l3, start, protocol, .. }| offload::detect_partial(packet, l3, start, protocol);
    transport(packet, key, headers).and_then(partial).unwrap_or(Csum::Complete)
}

fn is_fragment(key: &FlowKey) -> bool {
    key.tag & (FlowKey::LATER_FRAGMENT | FlowKey::FIRST_FRAGMENT) != 0
}

/// Where a protocol has its checksum, bytes from its header's start.
const fn checksum_place(protocol: u8) -> Option<u8> {
    match protocol {
        proto::TCP => Some(16),
        proto::UDP => Some(6),
        proto::SCTP => Some(8),
        _ => None,
    }
}

fn transport(packet: &[u8], key: &FlowKey, headers: &Headers) -> Option<Transport> {
    let l3 = usize::from(headers.l3);
    match headers.kind {
        L3::Arp => None,
        L3::Other => behind_tags(packet, key.ethertype, l3),
        L3::Ipv4 | L3::Ipv6 if is_fragment(key) => None,
        L3::Ipv4 => {
            let (ip, _) = Ipv4::ref_from_prefix(packet.get(l3..)?).ok()?;
            let end = l3 + usize::from(ip.total_len.get());
            Some(Transport { is_v4: true, l3, protocol: key.protocol, start: headers.l4.into(), end })
        }
        L3::Ipv6 => {
            let (ip, _) = Ipv6::ref_from_prefix(packet.get(l3..)?).ok()?;
            let end = l3 + size_of::<Ipv6>() + usize::from(ip.payload_len.get());
            Some(Transport { is_v4: false, l3, protocol: key.protocol, start: headers.l4.into(), end })
        }
    }
}

/// Of a frame with more tags than `parse` looks behind: its sender's kernel does, and leaves checksums there, too.
fn behind_tags(packet: &[u8], mut kind: u16, mut l3: usize) -> Option<Transport> {
    const TAGS_MOST: usize = 2;
    for _ in 0..TAGS_MOST {
        if !matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            break;
        }
        let (tag, _) = VlanTag::ref_from_prefix(packet.get(l3..)?).ok()?;
        (kind, l3) = (tag.ethertype.get(), l3 + size_of::<VlanTag>());
    }
    let mut key = FlowKey::default();
    let ip = packet.get(l3..)?;
    let payload = match kind {
        ethertype::IPV4 => parse_ipv4(ip, &mut key).ok()?,
        ethertype::IPV6 => parse_ipv6(ip, &mut key).ok()?,
        _ => return None,
    };
    let (start, end) = (l3 + payload.start, l3 + payload.end);
    let found = Transport { is_v4: kind == ethertype::IPV4, l3, protocol: key.protocol, start, end };
    (!is_fragment(&key)).then_some(found)
}

/// Whether a super-frame is of the kind that it is said to be, whole, and not of more segments than anybody has reason to
/// send.
fn is_cuttable(packet: &[u8], transport: &Transport, gso: &Gso) -> bool {
    let is_of_kind = match gso.kind {
        GsoKind::Tcp4 => transport.is_v4 && transport.protocol == proto::TCP,
        GsoKind::Tcp6 => !transport.is_v4 && transport.protocol == proto::TCP,
        GsoKind::Udp => transport.protocol == proto::UDP,
    };
    let Some(payload) = gso.payload(packet, transport.start).filter(|_| is_of_kind) else { return false };
    let size = usize::from(gso.size.max(1));
    let segments = transport.end.saturating_sub(payload).div_ceil(size);
    let is_bounded = match gso.kind {
        GsoKind::Tcp4 | GsoKind::Tcp6 => gso.size >= Gso::TCP_LEAST && segments <= Gso::TCP_MOST,
        GsoKind::Udp => segments <= Gso::UDP_MOST,
    };
    payload <= transport.end && transport.end == packet.len() && is_bounded
}

/// A super-frame whose checksum is said to be right, as a NIC that joins segments by itself may do (LRO): as each segment
/// needs a checksum of its own anyway, it is told as all others are (virtio 1.2 §5.1.6.2 knows no other way).
fn make_partial(frame: &mut Frame, headers: &Headers, transport: &Transport, pool: &FramePool) -> bool {
    let Some(offset) = checksum_place(transport.protocol) else { return false };
    let packet = pool.bytes_mut(frame);
    let addresses = if transport.is_v4 { 12..20 } else { 8..40 };
    let Some(addresses) = packet.get(headers.l3.into()..).and_then(|ip| ip.get(addresses)) else {
        return false;
    };
    let (src, dst) = addresses.split_at(addresses.len() / 2);
    let len = transport.end - transport.start;
    let sum = checksum::fold(checksum::pseudo(src, dst, transport.protocol, len));
    let place = transport.start + usize::from(offset);
    let Some(field) = packet.get_mut(place..place + 2) else { return false };
    field.copy_from_slice(&sum.to_be_bytes());
    frame.set_csum(Csum::Partial { start: transport.start as u16, offset });
    true
}

/// A checksum inside of what the packet carries is that of a packet in the pod's own tunnel, which nobody here parses. It is
/// completed at once: from then on the packet is as its sender might have sent it in the first place.
fn complete_within(
    frame: &mut Frame,
    transport: &Transport,
    start: usize,
    offset: usize,
    pool: &FramePool,
) -> bool {
    const IP_IN_IP: u8 = 4;
    const IPV6_IN_IP: u8 = 41;
    const GRE: u8 = 47;
    let header_len = match transport.protocol {
        proto::UDP => 8,
        GRE => 4,
        IP_IN_IP | IPV6_IN_IP => 20,
        _ => return false,
    };
    let is_inside = start >= transport.start + header_len && start + offset + 2 <= transport.end;
    is_inside && offload::complete_checksum(pool, frame)
}
