//! Stage 1: headers → flow key; everything behind may rely on the headers that [`Headers`] tells of being whole. A frame
//! without MACs, or without a source to answer, is dropped here. One that is truncated or malformed further on is set aside:
//! whether it is dropped, too, depends on its network ([`Flaw`]).

use std::ops::Range;

use weft_pmd::{Csum, FramePool};
use weft_wire::{
    checksum,
    eth::{Arp, Ethernet, VlanTag, ethertype},
    ip::{Ipv4, Ipv6, Ipv6Fragment, proto},
    l4::{Icmp, Tcp},
};
use zerocopy::FromBytes;

use crate::{
    batch::Batch,
    key::{FlowKey, Origin},
    program::Verdict,
    reason::DropReason,
    table::flow::FlowTable,
};

mod control;
mod intent;
mod plain;

pub use control::icmp_sum_is_right;

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

impl Headers {
    /// There is a VLAN tag in front of them, which is the frame's own rather than payload.
    #[inline]
    pub(crate) fn is_tagged(&self) -> bool {
        usize::from(self.l3) > size_of::<Ethernet>()
    }
}

/// What is wrong with a frame that has MACs and a VLAN all the same: a bridge relays it, a router does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The IPv4 header's checksum is wrong; the fields are in the key as they are.
    Checksum,
    /// What follows the MACs and the tag can't be read, for this reason; nothing of it is in the key.
    Unreadable(DropReason),
}

impl Flaw {
    /// Whether the key says all that the frame does.
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::Checksum)
    }

    /// Why a router drops the frame.
    pub const fn reason(self) -> DropReason {
        match self {
            Self::Checksum => DropReason::Malformed,
            Self::Unreadable(reason) => reason,
        }
    }
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

/// Parses every packet of the batch, and hashes the keys while they are at hand.
pub(crate) fn parse(batch: &mut Batch, pool: &FramePool, flows: &FlowTable, wants_tcp_flags: bool) {
    // Copies of the loop: what a small flow table does not need would cost it a tenth of this stage, and what only
    // tunnels need, others nothing.
    match (flows.is_far(), batch.has_tunnelled) {
        (true, true) => parse_all::<true, true>(batch, pool, flows, wants_tcp_flags),
        (true, false) => parse_all::<true, false>(batch, pool, flows, wants_tcp_flags),
        (false, true) => parse_all::<false, true>(batch, pool, flows, wants_tcp_flags),
        (false, false) => parse_all::<false, false>(batch, pool, flows, wants_tcp_flags),
    }
}

#[inline(never)]
fn parse_all<const FAR: bool, const TUNNELLED: bool>(
    batch: &mut Batch,
    pool: &FramePool,
    flows: &FlowTable,
    wants_tcp_flags: bool,
) {
    let by_port = Origin::by_port(batch.ingress);
    let flags_mask = if wants_tcp_flags { u8::MAX } else { 0 };
    for i in batch.live() {
        let origin = if TUNNELLED { batch.origins[i] } else { by_port };
        let plain = plain::Parser::new(origin, flags_mask, flows.secret());
        let packet = pool.bytes(&batch.frames.as_slice()[i]);
        let is_plain = plain.parse(packet, &mut batch.keys[i], &mut batch.headers[i], &mut batch.hashes[i]);
        if !is_plain && !parse_odd(batch, i, pool, flows, origin, flags_mask) {
            continue;
        }
        if FAR {
            flows.prefetch(batch.hashes[i], &batch.keys[i]);
        }
        let frame = &mut batch.frames.as_mut_slice()[i];
        if !frame.is_complete() && !intent::settle(frame, &batch.keys[i], &batch.headers[i], pool) {
            batch.decide(i, Verdict::Drop(DropReason::BadOffload));
        }
    }
}

/// A packet that is not plain; false: it is dropped.
#[cold]
#[inline(never)]
fn parse_odd(
    batch: &mut Batch,
    i: usize,
    pool: &FramePool,
    flows: &FlowTable,
    origin: Origin,
    flags_mask: u8,
) -> bool {
    match parse_frame(pool.bytes(&batch.frames.as_slice()[i])) {
        // RFC 7348 §6.1: a frame in a tunnel has no tag.
        Ok((key, ..)) if key.vlan().is_some() && origin.tunnel().is_some() => {
            batch.decide(i, Verdict::Drop(DropReason::VlanNotAllowed));
            false
        }
        Ok((mut key, headers, flaw)) => {
            origin.mark(&mut key);
            key.tcp_flags = headers.tcp_flags & flags_mask;
            batch.hashes[i] = flows.hash(&key);
            (batch.keys[i], batch.headers[i]) = (key, headers);
            flaw.inspect(|flaw| set_aside(batch, i, *flaw)).is_none()
        }
        Err(reason) => {
            batch.decide(i, Verdict::Drop(reason));
            false
        }
    }
}

/// A frame with a flaw is relayed as it is or not at all: nothing can be completed in it, or cut.
fn set_aside(batch: &mut Batch, i: usize, flaw: Flaw) {
    let frame = &mut batch.frames.as_mut_slice()[i];
    let mut offload = frame.offload();
    if offload.csum == Csum::Unknown {
        offload.csum = Csum::Complete;
        frame.set_offload(offload);
    }
    if offload.is_complete() {
        batch.set_aside(i, flaw);
    } else {
        batch.decide(i, Verdict::Drop(flaw.reason()));
    }
}

/// Parses one packet, whatever its shape; all of it must be sound.
pub fn parse_packet(packet: &[u8]) -> Result<(FlowKey, Headers), DropReason> {
    match parse_frame(packet)? {
        (key, headers, None) => Ok((key, headers)),
        (.., Some(flaw)) => Err(flaw.reason()),
    }
}

/// Parses one frame, whatever its shape, as far as it can be read. An error is what not even a bridge can do without.
pub fn parse_frame(packet: &[u8]) -> Result<(FlowKey, Headers, Option<Flaw>), DropReason> {
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
        // A priority tag says that the frame has no VLAN: one that follows would come to light when it is taken off.
        if tag.vlan() == 0 && key.ethertype == ethertype::VLAN {
            return Err(DropReason::VlanNotAllowed);
        }
    }
    let mut full = key;
    match parse_inside(packet, l3, &mut full) {
        Ok(headers) => {
            let flaw = headers.kind == L3::Ipv4 && !header_sum_is_right(&packet[l3..]);
            Ok((full, headers, flaw.then_some(Flaw::Checksum)))
        }
        // Whoever gets these can read them, and nobody has checked what they claim (RFC 7113 §2).
        Err(reason @ (DropReason::NdInvalid | DropReason::HeaderChain | DropReason::VlanNotAllowed)) => {
            Err(reason)
        }
        Err(reason) => {
            let headers = Headers { l3: l3 as u16, l4: l3 as u16, ..Headers::default() };
            Ok((key, headers, Some(Flaw::Unreadable(reason))))
        }
    }
}

/// Parses what follows the frame's own tag.
fn parse_inside(packet: &[u8], l3: usize, key: &mut FlowKey) -> Result<Headers, DropReason> {
    let (kind, payload) = match key.ethertype {
        ethertype::IPV4 => (L3::Ipv4, parse_ipv4(&packet[l3..], key)?),
        ethertype::IPV6 => (L3::Ipv6, parse_ipv6(&packet[l3..], key)?),
        ethertype::ARP => (L3::Arp, parse_arp(&packet[l3..], key)?),
        ethertype::VLAN | ethertype::SERVICE_VLAN => {
            check_inner_tag(&packet[l3..])?;
            (L3::Other, 0..0)
        }
        _ => (L3::Other, 0..0),
    };
    let l4 = l3 + payload.start;
    let mut headers = Headers { l3: l3 as u16, l4: l4 as u16, kind, tcp_flags: 0 };
    if matches!(kind, L3::Ipv4 | L3::Ipv6) && key.tag & FlowKey::LATER_FRAGMENT == 0 {
        headers.tcp_flags = parse_l4(&packet[l4..l3 + payload.end], key)?;
        if key.icmp_type().is_some() {
            let (ip, message) = packet[l3..l3 + payload.end].split_at(payload.start);
            control::read(ip, message, key)?;
        }
    }
    Ok(headers)
}

/// A tag that is not the frame's own (a customer's inside of another, or a service tag, which to a bridge of customer VLANs
/// is none: 802.1Q-2018 §5.5, §6.9.1) is payload. But hosts take priority tags off, however many, whatever their TPID:
/// behind one anything may be.
fn check_inner_tag(bytes: &[u8]) -> Result<(), DropReason> {
    let is_priority = VlanTag::ref_from_prefix(bytes).is_ok_and(|(tag, _)| tag.vlan() == 0);
    if is_priority { Err(DropReason::VlanNotAllowed) } else { Ok(()) }
}

fn parse_arp(bytes: &[u8], key: &mut FlowKey) -> Result<Range<usize>, DropReason> {
    let (arp, _) = Arp::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
    if arp.protocol.get() != ethertype::IPV4 || (arp.hardware_len, arp.protocol_len) != (6, 4) {
        return Err(DropReason::Malformed);
    }
    key.set_v4(arp.sender_ip, arp.target_ip);
    key.set_dst_port(arp.operation.get());
    Ok(size_of::<Arp>()..size_of::<Arp>())
}

/// Returns where the payload is, from the IP header: what pads the frame behind it is nobody's.
fn parse_ipv4(bytes: &[u8], key: &mut FlowKey) -> Result<Range<usize>, DropReason> {
    let (ip, _) = Ipv4::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
    let header_len = ip.header_len();
    let total_len = usize::from(ip.total_len.get());
    if ip.version_ihl >> 4 != 4 || header_len < size_of::<Ipv4>() || total_len < header_len {
        return Err(DropReason::Malformed);
    }
    if bytes.len() < total_len {
        return Err(DropReason::Truncated);
    }
    key.set_v4(ip.src, ip.dst);
    key.protocol = ip.protocol;
    mark_fragment(key, ip.fragment_offset(), ip.fragment.get() & Ipv4::MF != 0)?;
    Ok(header_len..total_len)
}

/// RFC 1812 §5.2.2: a router verifies the header checksum. A sum over a right header folds to all ones.
fn header_sum_is_right(bytes: &[u8]) -> bool {
    let header = Ipv4::ref_from_prefix(bytes).ok().and_then(|(ip, _)| bytes.get(..ip.header_len()));
    header.is_some_and(|header| checksum::fold(checksum::sum(header, 0)) == 0xffff)
}

/// Returns where the payload is, from the IP header, behind the extension headers (RFC 8200 §4).
fn parse_ipv6(bytes: &[u8], key: &mut FlowKey) -> Result<Range<usize>, DropReason> {
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
                    return Ok(at + size_of::<Ipv6Fragment>()..end);
                }
                (size_of::<Ipv6Fragment>(), fragment.next_header)
            }
            _ => {
                key.protocol = next;
                return Ok(at..end);
            }
        };
        at += step;
        next = following;
        if at > bytes.len() {
            return Err(DropReason::Truncated);
        }
    }
    Err(DropReason::HeaderChain)
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
            key.set_src_port(tcp.src.get());
            key.set_dst_port(tcp.dst.get());
            return Ok(tcp.flags);
        }
        proto::UDP | proto::SCTP => {
            let ports = bytes.get(..8).ok_or(DropReason::Truncated)?;
            key.set_src_port(u16::from_be_bytes([ports[0], ports[1]]));
            key.set_dst_port(u16::from_be_bytes([ports[2], ports[3]]));
        }
        proto::ICMP | proto::ICMPV6 => {
            let (icmp, _) = Icmp::ref_from_prefix(bytes).map_err(|_| DropReason::Truncated)?;
            key.set_dst_port(u16::from_be_bytes([icmp.kind, icmp.code]));
        }
        _ => {}
    }
    Ok(0)
}
