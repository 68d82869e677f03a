//! TCP segments of one stream that leave together, joined to one super-frame (generic receive offload).
//!
//! The opposite of [`mod@super::segment`], and exactly so: a super-frame made here and cut again gives the segments back,
//! but for the IPv4 id (which means nothing in packets with DF, RFC 6864 §4.1) and the checksum's state. So it joins only
//! what differs in nothing but sequence number, id, PSH and checksum: no SYN, FIN, RST, URG, ECE or CWR, the same window,
//! acknowledgement and options, the same DSCP, ECN and TTL. A segment whose checksum is wrong is left as it is, for the
//! receiver to find.
//!
//! Payloads are not copied: the port gives the kernel the new headers, then each segment's payload where it lies.

use arrayvec::ArrayVec;
use weft_wire::{
    checksum,
    eth::ethertype,
    ip::{Ipv4, Ipv6, proto},
    l4::{Tcp, tcp_flags},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Csum, Gso, GsoKind, Offload};
use crate::{
    burst::BURST,
    frame::{Frame, FramePool},
};

/// Ethernet, IPv6, TCP with all its options.
const HEADERS_MAX: usize = L3 + size_of::<Ipv6>() + 60;
/// Largest IP packet, bytes.
const IP_MAX: usize = 65_535;
/// Start of the IP header: tagged frames are not joined.
const L3: usize = 14;
/// Place of the checksum in a TCP header.
const CHECKSUM: usize = 16;

/// A segment that may be joined with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    l4: u16,
    payload: u16,
    end: u16,
    /// Addresses and ports, mixed: segments of different streams mostly differ in it.
    stream: u32,
    seq: u32,
    is_pushed: bool,
}

impl Segment {
    fn len(&self) -> usize {
        usize::from(self.end - self.payload)
    }

    /// Its payload.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[usize::from(self.payload)..usize::from(self.end)]
    }

    fn is_v4(&self) -> bool {
        usize::from(self.l4) == L3 + size_of::<Ipv4>()
    }
}

/// What a frame is to joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing that keeps others from being joined.
    Other,
    /// A segment of a stream (its [`Segment::stream`]) that can't be joined, nor overtaken by what follows it.
    Alone(u32),
    /// May be joined.
    Joins(Segment),
}

/// What each frame of a burst is.
pub type Survey = ArrayVec<Look, BURST>;

/// A super-frame's headers, and which frames' payloads follow them.
#[derive(Debug)]
pub struct Joined {
    /// Ethernet, IP and TCP header.
    pub headers: ArrayVec<u8, HEADERS_MAX>,
    /// What the kernel is told.
    pub offload: Offload,
    /// The frames, a bit each.
    pub members: u64,
}

/// Looks at every frame of a burst; nothing where there are not two segments to join.
pub fn survey(pool: &FramePool, frames: &[Frame]) -> Option<Survey> {
    if frames.len() < 2 {
        return None;
    }
    let survey: Survey = frames.iter().map(|frame| look(pool.bytes(frame), frame)).collect();
    (survey.iter().filter(|look| matches!(look, Look::Joins(_))).count() > 1).then_some(survey)
}

fn look(packet: &[u8], frame: &Frame) -> Look {
    let Some((l3_len, ip_len, addresses)) = ip(packet) else { return Look::Other };
    let l4 = L3 + l3_len;
    let Some((tcp, _)) = packet.get(l4..).and_then(|bytes| Tcp::ref_from_prefix(bytes).ok()) else {
        return Look::Other;
    };
    let ports = u32::from(tcp.src.get()) << 16 | u32::from(tcp.dst.get());
    let stream = ports ^ u32::from_ne_bytes(addresses[0]) ^ u32::from_ne_bytes(addresses[1]).rotate_left(16);
    let (payload, end) = (l4 + tcp.header_len(), L3 + ip_len);
    let is_plain = tcp.flags & !tcp_flags::PSH == tcp_flags::ACK
        && tcp.data_offset & 0xf == 0
        && tcp.header_len() >= size_of::<Tcp>();
    let offload = frame.offload();
    if !is_plain
        || payload >= end
        || end > packet.len().min(u16::MAX.into())
        || offload.gso.is_some()
        || offload.csum == Csum::Unknown
    {
        return Look::Alone(stream);
    }
    Look::Joins(Segment {
        l4: l4 as u16,
        payload: payload as u16,
        end: end as u16,
        stream,
        seq: tcp.seq.get(),
        is_pushed: tcp.flags & tcp_flags::PSH != 0,
    })
}

/// Of a TCP packet without tags, IP options and extension headers that is no fragment and is not to become one: the IP
/// header's length, the packet's, and the last four bytes of each address.
fn ip(packet: &[u8]) -> Option<(usize, usize, [[u8; 4]; 2])> {
    let network = packet.get(L3..)?;
    match u16::from_be_bytes([packet[12], packet[13]]) {
        ethertype::IPV4 => {
            let (ip, _) = Ipv4::ref_from_prefix(network).ok()?;
            let is_plain =
                ip.version_ihl == 0x45 && ip.fragment.get() == Ipv4::DF && ip.protocol == proto::TCP;
            is_plain.then(|| (size_of::<Ipv4>(), ip.total_len.get().into(), [ip.src, ip.dst]))
        }
        ethertype::IPV6 => {
            let (ip, _) = Ipv6::ref_from_prefix(network).ok()?;
            let last = |address: &[u8; 16]| std::array::from_fn(|i| address[12 + i]);
            let len = size_of::<Ipv6>() + usize::from(ip.payload_len.get());
            (ip.next_header == proto::TCP).then(|| (size_of::<Ipv6>(), len, [last(&ip.src), last(&ip.dst)]))
        }
        _ => None,
    }
}

/// Joins to frame `first` what of its stream follows among the frames of `left`; nothing where nothing does.
pub fn join(pool: &FramePool, frames: &[Frame], survey: &Survey, first: usize, left: u64) -> Option<Joined> {
    let Look::Joins(head) = survey[first] else { return None };
    if head.is_pushed {
        return None;
    }
    let packet = pool.bytes(&frames[first]);
    let room = IP_MAX - (usize::from(head.payload) - L3);
    let (mut len, mut last, mut members) = (head.len(), head, 1_u64 << first);
    for (at, look) in survey.iter().enumerate().skip(first + 1) {
        let next = match look {
            _ if left & (1 << at) == 0 => continue,
            Look::Joins(next) if next.stream == head.stream => next,
            Look::Alone(stream) if *stream == head.stream => break,
            _ => continue,
        };
        // A segment of the stream that can't be joined ends it: the order stays.
        let fits = next.seq == head.seq.wrapping_add(len as u32)
            && next.len() <= head.len()
            && len + next.len() <= room;
        let other = pool.bytes(&frames[at]);
        if !fits || !same_headers(packet, other, &head, next) || !is_sound(other, next, &frames[at]) {
            break;
        }
        if members.count_ones() == 1 && !is_sound(packet, &head, &frames[first]) {
            return None;
        }
        (len, last, members) = (len + next.len(), *next, members | 1 << at);
        if next.is_pushed || next.len() < head.len() {
            break;
        }
    }
    (members.count_ones() > 1).then(|| joined(packet, &head, len, last.is_pushed, members))
}

/// Everything in front of the payload is the same, but for what joining may change.
fn same_headers(a: &[u8], b: &[u8], first: &Segment, next: &Segment) -> bool {
    /// Both header's bytes of a range.
    fn same(a: &[u8], b: &[u8], range: std::ops::Range<usize>) -> bool {
        a[range.clone()] == b[range]
    }
    let (l4, payload) = (usize::from(first.l4), usize::from(first.payload));
    if (first.l4, first.payload) != (next.l4, next.payload) {
        return false;
    }
    let ip = if first.is_v4() {
        // All but total length, id and checksum.
        same(a, b, L3..L3 + 2) && same(a, b, L3 + 6..L3 + 10) && same(a, b, L3 + 12..l4)
    } else {
        // All but the payload's length.
        same(a, b, L3..L3 + 4) && same(a, b, L3 + 6..l4)
    };
    // Ports; acknowledgement and data offset; window; urgent pointer and options. The flags were looked at.
    let tcp = same(a, b, l4..l4 + 4)
        && same(a, b, l4 + 8..l4 + 13)
        && same(a, b, l4 + 14..l4 + CHECKSUM)
        && same(a, b, l4 + 18..payload);
    same(a, b, 0..L3) && ip && tcp
}

/// Its checksum is right, or is still to be made.
fn is_sound(packet: &[u8], segment: &Segment, frame: &Frame) -> bool {
    let (l4, end) = (usize::from(segment.l4), usize::from(segment.end));
    frame.offload().csum != Csum::Complete
        || checksum::fold(checksum::sum(&packet[l4..end], pseudo(packet, segment, end - l4))) == 0xffff
}

fn pseudo(packet: &[u8], segment: &Segment, len: usize) -> u64 {
    let addresses = if segment.is_v4() { &packet[L3 + 12..L3 + 20] } else { &packet[L3 + 8..L3 + 40] };
    let (src, dst) = addresses.split_at(addresses.len() / 2);
    checksum::pseudo(src, dst, proto::TCP, len)
}

fn joined(packet: &[u8], head: &Segment, len: usize, is_pushed: bool, members: u64) -> Joined {
    let (l4, payload) = (usize::from(head.l4), usize::from(head.payload));
    let mut headers: ArrayVec<u8, HEADERS_MAX> = packet[..payload].iter().copied().collect();
    let l4_len = payload - l4 + len;
    if let Ok((ip, _)) = Ipv4::mut_from_prefix(&mut headers[L3..])
        && head.is_v4()
    {
        ip.total_len.set((l4 - L3 + l4_len) as u16);
        ip.checksum.set(0);
        let sum = checksum::finish(checksum::sum(ip.as_bytes(), 0));
        ip.checksum.set(sum);
    } else if let Ok((ip, _)) = Ipv6::mut_from_prefix(&mut headers[L3..]) {
        ip.payload_len.set(l4_len as u16);
    }
    let pseudo = checksum::fold(pseudo(packet, head, l4_len));
    if let Ok((tcp, _)) = Tcp::mut_from_prefix(&mut headers[l4..]) {
        tcp.flags |= if is_pushed { tcp_flags::PSH } else { 0 };
        tcp.checksum.set(pseudo);
    }
    let kind = if head.is_v4() { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
    let offload = Offload {
        csum: Csum::Partial { start: head.l4, offset: CHECKSUM as u8 },
        gso: Some(Gso { kind, ecn: false, size: head.len() as u16 }),
        ..Offload::default()
    };
    Joined { headers, offload, members }
}
