//! Super-frames of more than 64 KiB (BIG TCP), cut into such as a chunk holds and every port carries.
//!
//! Whoever owns an interface may raise what its stack builds at once above 64 KiB (`gso_max_size`, Linux 5.19;
//! `gso_ipv4_max_size`, 6.3; up to 512 KiB): the pod does, or its CNI plug-in. A tap refuses that; a veth hands such packets
//! over. They do not fit IP's length field, which is zero: over IPv6 a jumbo payload option tells the length (RFC 2675),
//! which the kernel puts in for its own use only; over IPv4 nothing but the frame's own length does.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use weft_wire::{
    checksum,
    eth::{Ethernet, VlanTag, ethertype},
    ip::{Ipv4, Ipv6, proto},
    l4::{Tcp, tcp_flags},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Csum, Gso, GsoKind, Offload, Unfit};
use crate::frame::{ChunkClass, Frame, FramePool};

/// The most bytes of an Ethernet frame: `GSO_MAX_SIZE` of linux/netdevice.h with Ethernet and two VLAN tags.
pub const FRAME_MAX: usize = 8 * 65_535 + 14 + 2 * size_of::<VlanTag>();
/// The most bytes of a frame whose length IP tells: what is longer may be a jumbo frame.
pub const IP_FRAME_MAX: usize = IP_MAX + size_of::<Ethernet>();
/// Largest IP packet, bytes.
const IP_MAX: usize = 65_535;
/// Ethernet with two tags, IP with options, TCP with options.
const HEAD_MAX: usize = 14 + 2 * size_of::<VlanTag>() + 60 + 60;
/// Hop-by-hop header with the jumbo payload option and nothing else (RFC 2675 §2).
const HOP_BY_HOP: usize = 8;
/// Place of the checksum in a TCP header.
const CHECKSUM: usize = 16;

/// Where a jumbo frame's headers are, and what every piece begins with.
#[derive(Debug)]
struct Layout {
    l3: usize,
    /// Start of the payload in the frame as received.
    payload: usize,
    /// Headers of a piece: those received, without the jumbo payload option.
    head: ArrayVec<u8, HEAD_MAX>,
    /// Start of the TCP header in `head`.
    l4: usize,
    gso: Gso,
}

/// Whether the IP header leaves it to others to tell the packet's length.
pub fn is_jumbo(packet: &[u8]) -> bool {
    let Some((kind, l3)) = ip_header(packet) else { return false };
    let place = if kind == ethertype::IPV4 { l3 + 2 } else { l3 + 4 };
    packet.get(place..place + 2) == Some(&[0, 0])
}

/// Cuts a jumbo frame. `front` holds as much of it as fits, `tail` the rest. The pieces, in order, go behind what is in
/// `out`: super-frames that fit IP's length field, or whose last is an ordinary segment. On an error `front` comes back, and
/// there are no pieces.
pub fn split(
    pool: &mut FramePool,
    mut front: Frame,
    tail: &[u8],
    offload: &Offload,
    out: &mut VecDeque<Frame>,
) -> Result<(), (Unfit, Frame)> {
    let total = front.len() + tail.len();
    let Some(layout) = Layout::read(pool.bytes(&front), total, offload) else {
        return Err((Unfit::Malformed, front));
    };
    let (head, size) = (layout.head.len(), usize::from(layout.gso.size));
    let room = (IP_MAX - (head - layout.l3)) / size * size;
    let payload_len = total - layout.payload;
    let part = |index: usize| {
        let skipped = index * room;
        let len = room.min(payload_len - skipped);
        Part { skipped, len, is_last: skipped + len == payload_len }
    };
    let count = payload_len.div_ceil(room);
    // The first stays where it is, so the others are copied before the frame is cut off behind it.
    for part in (1..count).map(part) {
        let piece = ChunkClass::for_len(head + part.len).and_then(|class| pool.alloc(class));
        let Some(mut piece) = piece else {
            let made = out.len() - (part.skipped / room - 1);
            out.drain(made..).for_each(|piece| pool.free(piece));
            return Err((Unfit::NoFrames, front));
        };
        pool.set_len(&mut piece, head + part.len);
        let bytes = pool.bytes_mut(&mut piece);
        gather(pool.bytes(&front), tail, layout.payload + part.skipped, &mut bytes[head..]);
        layout.finish(bytes, &part);
        piece.set_offload(layout.offload(&part));
        out.push_back(piece);
    }
    let first = part(0);
    pool.pull_front(&mut front, layout.payload - head);
    pool.set_len(&mut front, head + first.len);
    layout.finish(pool.bytes_mut(&mut front), &first);
    front.set_offload(layout.offload(&first));
    out.insert(out.len() - (count - 1), front);
    Ok(())
}

/// Which part of the payload a piece carries.
struct Part {
    skipped: usize,
    len: usize,
    is_last: bool,
}

/// Fills `to` with what is at `at` of a frame that lies in two places.
fn gather(front: &[u8], tail: &[u8], at: usize, to: &mut [u8]) {
    let from_front = front.len().saturating_sub(at).min(to.len());
    let (first, rest) = to.split_at_mut(from_front);
    first.copy_from_slice(&front[at.min(front.len())..][..from_front]);
    let at = (at + from_front).saturating_sub(front.len());
    rest.copy_from_slice(&tail[at..at + rest.len()]);
}

/// EtherType of an IP packet behind up to two VLAN tags, and where the IP header starts.
fn ip_header(packet: &[u8]) -> Option<(u16, usize)> {
    let (ethernet, _) = Ethernet::ref_from_prefix(packet).ok()?;
    let (mut kind, mut l3) = (ethernet.ethertype.get(), size_of::<Ethernet>());
    for _ in 0..2 {
        if !matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            break;
        }
        let (tag, _) = VlanTag::ref_from_prefix(packet.get(l3..)?).ok()?;
        (kind, l3) = (tag.ethertype.get(), l3 + size_of::<VlanTag>());
    }
    matches!(kind, ethertype::IPV4 | ethertype::IPV6).then_some((kind, l3))
}

impl Layout {
    /// Of a TCP super-frame of `total` bytes; none for anything else, and where headers and intent contradict each other.
    fn read(packet: &[u8], total: usize, offload: &Offload) -> Option<Self> {
        let gso = offload.gso.filter(|gso| gso.size >= Gso::TCP_LEAST)?;
        let (kind, l3) = ip_header(packet)?;
        let header = packet.get(l3..)?;
        let (ip_len, option) = if kind == ethertype::IPV4 {
            let (ip, _) = Ipv4::ref_from_prefix(header).ok()?;
            let is_tcp = ip.protocol == proto::TCP && ip.fragment.get() & !Ipv4::DF == 0;
            let is_whole = ip.total_len.get() == 0 && ip.header_len() >= size_of::<Ipv4>();
            (is_tcp && is_whole && gso.kind == GsoKind::Tcp4).then_some((ip.header_len(), 0))?
        } else {
            let (ip, _) = Ipv6::ref_from_prefix(header).ok()?;
            let option = match ip.next_header {
                proto::TCP => 0,
                proto::HOP_BY_HOP => {
                    let len = total - l3 - size_of::<Ipv6>();
                    let wanted = [proto::TCP, 0, JUMBO_PAYLOAD, 4];
                    let option = header.get(size_of::<Ipv6>()..)?.first_chunk::<HOP_BY_HOP>()?;
                    (option[..4] == wanted && option[4..] == (len as u32).to_be_bytes())
                        .then_some(HOP_BY_HOP)?
                }
                _ => return None,
            };
            let is_whole = ip.payload_len.get() == 0 && gso.kind == GsoKind::Tcp6;
            is_whole.then_some((size_of::<Ipv6>(), option))?
        };
        let received_l4 = l3 + ip_len + option;
        let is_own = offload.csum == Csum::Partial { start: received_l4 as u16, offset: CHECKSUM as u8 };
        let payload = gso.payload(packet, received_l4).filter(|payload| is_own && *payload < total)?;
        let l4 = l3 + ip_len;
        let mut head = ArrayVec::new();
        head.try_extend_from_slice(packet.get(..l4)?).ok()?;
        head.try_extend_from_slice(packet.get(received_l4..payload)?).ok()?;
        if option > 0 {
            head[l3 + 6] = proto::TCP;
        }
        (head.len() - l3 + usize::from(gso.size) <= IP_MAX).then_some(Self { l3, payload, head, l4, gso })
    }

    /// Writes a piece's headers.
    fn finish(&self, bytes: &mut [u8], part: &Part) {
        bytes[..self.head.len()].copy_from_slice(&self.head);
        let (l3_len, l4_len) = (bytes.len() - self.l3, bytes.len() - self.l4);
        let pseudo = if self.gso.kind == GsoKind::Tcp4 {
            let Ok((ip, rest)) = Ipv4::mut_from_prefix(&mut bytes[self.l3..]) else { return };
            ip.total_len.set(l3_len as u16);
            // RFC 6864: with DF the id means nothing; without it, each segment that will be cut needs its own.
            ip.id.set(ip.id.get().wrapping_add((part.skipped / usize::from(self.gso.size)) as u16));
            ip.checksum.set(0);
            let options = &rest[..self.l4 - self.l3 - size_of::<Ipv4>()];
            let sum = checksum::finish(checksum::sum(options, checksum::sum(ip.as_bytes(), 0)));
            ip.checksum.set(sum);
            checksum::pseudo(&ip.src, &ip.dst, proto::TCP, l4_len)
        } else {
            let Ok((ip, _)) = Ipv6::mut_from_prefix(&mut bytes[self.l3..]) else { return };
            ip.payload_len.set(l4_len as u16);
            checksum::pseudo(&ip.src, &ip.dst, proto::TCP, l4_len)
        };
        let Ok((tcp, _)) = Tcp::mut_from_prefix(&mut bytes[self.l4..]) else { return };
        tcp.seq.set(tcp.seq.get().wrapping_add(part.skipped as u32));
        if !part.is_last {
            tcp.flags &= !(tcp_flags::FIN | tcp_flags::PSH);
        }
        // RFC 3168 §6.1.2: CWR is said once.
        if part.skipped > 0 && self.gso.ecn {
            tcp.flags &= !tcp_flags::CWR;
        }
        tcp.checksum.set(checksum::fold(pseudo));
    }

    fn offload(&self, part: &Part) -> Offload {
        let csum = Csum::Partial { start: self.l4 as u16, offset: CHECKSUM as u8 };
        let gso = (part.len > usize::from(self.gso.size)).then_some(self.gso);
        Offload { csum, gso, ..Offload::default() }
    }
}

/// The jumbo payload option's type (RFC 2675 §2).
const JUMBO_PAYLOAD: u8 = 0xc2;
