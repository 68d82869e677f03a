//! Stage 1: headers → flow key. What is truncated or malformed is dropped here; everything behind may rely on the
//! headers that [`Headers`] tells of being whole.

use weft_pmd::{Csum, FramePool, offload};
use weft_wire::{
    checksum,
    eth::{Arp, Ethernet, VlanTag, ethertype},
    ip::{Ipv4, Ipv6, Ipv6Fragment, proto},
    l4::{Icmp, Tcp},
};
use zerocopy::FromBytes;

use crate::{batch::Batch, key::FlowKey, program::Verdict, reason::DropReason};

/// Where a packet's headers start, bytes from the frame's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers {
    /// IP or ARP header: behind Ethernet and the outer VLAN tag.
    pub l3: u16,
    /// L4 header; for a later fragment, the payload.
    pub l4: u16,
    /// What the L3 header is.
    pub kind: L3,
    /// TCP flags; 0 for all else.
    pub tcp_flags: u8,
}

/// What follows Ethernet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum L3 {
    /// Neither of the following.
    #[default]
    Other,
    /// ARP for IPv4.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Parses every packet of the batch.
pub(crate) fn parse(batch: &mut Batch, pool: &FramePool, wants_tcp_flags: bool) {
    let ingress = batch.ingress.index() as u16;
    for i in batch.live() {
        let frame = &mut batch.frames.as_mut_slice()[i];
        match parse_packet(pool.bytes(frame)) {
            Ok((mut key, headers)) => {
                key.ingress = ingress;
                key.tcp_flags = if wants_tcp_flags { headers.tcp_flags } else { 0 };
                if frame.offload.csum == Csum::Unknown {
                    frame.offload.csum = find_checksum(pool.bytes(frame), &key, &headers);
                }
                batch.keys[i] = key;
                batch.headers[i] = headers;
            }
            Err(reason) => batch.decide(i, Verdict::Drop(reason)),
        }
    }
}

/// A frame from an AF_XDP veth does not say whether its checksum is complete; its headers do.
fn find_checksum(packet: &[u8], key: &FlowKey, headers: &Headers) -> Csum {
    if key.tag & (FlowKey::LATER_FRAGMENT | FlowKey::FIRST_FRAGMENT) != 0 {
        return Csum::Complete; // the kernel completes checksums before it fragments
    }
    offload::detect_partial(packet, headers.l3.into(), headers.l4.into(), key.protocol)
        .unwrap_or(Csum::Complete)
}

/// Parses one packet. Public for tests and fuzzing.
pub fn parse_packet(packet: &[u8]) -> Result<(FlowKey, Headers), DropReason> {
    let (ethernet, _) = Ethernet::ref_from_prefix(packet).map_err(|_| DropReason::Truncated)?;
    let mut key = FlowKey::default();
    (key.dst_mac, key.src_mac) = (ethernet.dst, ethernet.src);
    if ethernet.src.is_group() {
        return Err(DropReason::BadSource);
    }
    let mut l3 = size_of::<Ethernet>();
    key.ethertype = ethernet.ethertype.get();
    if key.ethertype == ethertype::VLAN {
        let (tag, _) = VlanTag::ref_from_prefix(&packet[l3..]).map_err(|_| DropReason::Truncated)?;
        key.tag = FlowKey::TAGGED | tag.vlan();
        key.ethertype = tag.ethertype.get();
        l3 += size_of::<VlanTag>();
    }
    let (kind, l4) = match key.ethertype {
        ethertype::IPV4 => (L3::Ipv4, l3 + parse_ipv4(&packet[l3..], &mut key)?),
        ethertype::IPV6 => (L3::Ipv6, l3 + parse_ipv6(&packet[l3..], &mut key)?),
        ethertype::ARP => (L3::Arp, l3 + parse_arp(&packet[l3..], &mut key)?),
        _ => (L3::Other, l3),
    };
    let mut headers = Headers { l3: l3 as u16, l4: l4 as u16, kind, tcp_flags: 0 };
    if matches!(kind, L3::Ipv4 | L3::Ipv6) && key.tag & FlowKey::LATER_FRAGMENT == 0 {
        headers.tcp_flags = parse_l4(&packet[l4..], &mut key)?;
    }
    Ok((key, headers))
}

fn parse_arp(bytes: &[u8], key: &mut FlowKey) -> Result<usize, DropReason> {
    let (arp, _) = Arp::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
    if arp.protocol.get() != ethertype::IPV4 || (arp.hardware_len, arp.protocol_len) != (6, 4) {
        return Err(DropReason::Malformed);
    }
    key.set_v4(arp.sender_ip, arp.target_ip);
    key.dst_port = arp.operation.get();
    Ok(size_of::<Arp>())
}

/// Returns the L4 header's offset from the IP header.
fn parse_ipv4(bytes: &[u8], key: &mut FlowKey) -> Result<usize, DropReason> {
    let (ip, _) = Ipv4::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
    let header_len = ip.header_len();
    let total_len = usize::from(ip.total_len.get());
    if ip.version_ihl >> 4 != 4 || header_len < size_of::<Ipv4>() || total_len < header_len {
        return Err(DropReason::Malformed);
    }
    if bytes.len() < total_len {
        return Err(DropReason::Truncated);
    }
    // RFC 1812 §5.2.2: a router verifies the header checksum. A sum over a right header folds to all ones.
    if checksum::fold(checksum::sum(&bytes[..header_len], 0)) != 0xffff {
        return Err(DropReason::Malformed);
    }
    key.set_v4(ip.src, ip.dst);
    key.protocol = ip.protocol;
    mark_fragment(key, ip.fragment_offset(), ip.fragment.get() & Ipv4::MF != 0)?;
    Ok(header_len)
}

/// Returns the L4 header's offset from the IP header, behind the extension headers (RFC 8200 §4).
fn parse_ipv6(bytes: &[u8], key: &mut FlowKey) -> Result<usize, DropReason> {
    const AUTHENTICATION: u8 = 51;
    /// More extension headers than any sender has reason to use; a bound on the work.
    const MAX_EXTENSIONS: usize = 8;

    let (ip, _) = Ipv6::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
    if ip.version_class_label.get() >> 28 != 6 {
        return Err(DropReason::Malformed);
    }
    let end = size_of::<Ipv6>() + usize::from(ip.payload_len.get());
    let Some(bytes) = bytes.get(..end) else { return Err(DropReason::Truncated) };
    key.set_v6(ip.src, ip.dst);
    let (mut next, mut at) = (ip.next_header, size_of::<Ipv6>());
    for _ in 0..MAX_EXTENSIONS {
        let (step, following) = match next {
            proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION => {
                let header = bytes.get(at..at + 2).ok_or(DropReason::Truncated)?;
                (usize::from(header[1]) * 8 + 8, header[0])
            }
            AUTHENTICATION => {
                let header = bytes.get(at..at + 2).ok_or(DropReason::Truncated)?;
                (usize::from(header[1]) * 4 + 8, header[0])
            }
            proto::FRAGMENT => {
                let header = bytes.get(at..).ok_or(DropReason::Truncated)?;
                let (fragment, _) =
                    Ipv6Fragment::ref_from_prefix(header).map_err(|_| DropReason::Truncated)?;
                let offset = usize::from(fragment.offset_more.get() & !7);
                key.protocol = fragment.next_header;
                mark_fragment(key, offset, fragment.offset_more.get() & 1 == 1)?;
                if offset > 0 {
                    return Ok(at + size_of::<Ipv6Fragment>());
                }
                (size_of::<Ipv6Fragment>(), fragment.next_header)
            }
            _ => {
                key.protocol = next;
                return Ok(at);
            }
        };
        at += step;
        next = following;
        if at > bytes.len() {
            return Err(DropReason::Truncated);
        }
    }
    Err(DropReason::Malformed)
}

fn mark_fragment(key: &mut FlowKey, offset: usize, more: bool) -> Result<(), DropReason> {
    match (offset, more) {
        (0, false) => {}
        (0, true) => key.tag |= FlowKey::FIRST_FRAGMENT,
        // RFC 1858 §3 and RFC 3128: a fragment at offset 8 would rewrite the TCP flags that a rule has looked at.
        (8, _) if key.protocol == proto::TCP => return Err(DropReason::TinyFragment),
        _ => key.tag |= FlowKey::LATER_FRAGMENT,
    }
    Ok(())
}

/// Fills the key's ports; returns the TCP flags.
fn parse_l4(bytes: &[u8], key: &mut FlowKey) -> Result<u8, DropReason> {
    match key.protocol {
        proto::TCP => {
            let (tcp, _) = Tcp::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
            (key.src_port, key.dst_port) = (tcp.src.get(), tcp.dst.get());
            return Ok(tcp.flags);
        }
        proto::UDP | proto::SCTP => {
            let ports = bytes.get(..8).ok_or(DropReason::Truncated)?;
            key.src_port = u16::from_be_bytes([ports[0], ports[1]]);
            key.dst_port = u16::from_be_bytes([ports[2], ports[3]]);
        }
        proto::ICMP | proto::ICMPV6 => {
            let (icmp, _) = Icmp::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
            key.dst_port = u16::from_be_bytes([icmp.kind, icmp.code]);
        }
        _ => {}
    }
    Ok(0)
}
