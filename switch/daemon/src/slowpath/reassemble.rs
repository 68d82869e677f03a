//! Reassembly of echo requests to the switch's own addresses (RFC 791 §3.2, RFC 8200 §4.5), and nothing else: other packets to
//! them need no answer that hangs on all of their bytes. Pure: time is an argument.
//!
//! What may wait is bounded by source, so that nobody's halves take the room of others. A datagram whose fragments overlap is
//! dropped with all that comes of it (RFC 5722 §3, for IPv4 likewise). No "reassembly time exceeded" is sent: whoever pings
//! misses the reply.

use weft_dataplane::{
    key::FlowKey,
    parse::{L3, parse_packet},
    share::Source,
};
use weft_wire::{
    checksum,
    ip::{Ipv4, Ipv6, Ipv6Fragment, proto},
};
use zerocopy::FromBytes;

/// Halves are kept so long, nanoseconds: as Linux does (net.ipv4.ipfrag_time, ip-sysctl); RFC 8200 §4.5 has 60 s.
const TIMEOUT_NS: u64 = 30_000_000_000;
/// Datagrams of one source that may wait at once.
const DATAGRAMS_OF_ONE: usize = 4;
/// Datagrams that may wait at once: 4 MiB. Beyond, whoever has most loses their oldest.
const DATAGRAMS_MAX: usize = 64;
/// Fragments of one datagram: 64 KiB over a link of 576 bytes, the least that IPv4 hosts take (RFC 791 §3.1), are 119.
const FRAGMENTS_MAX: usize = 128;
/// What the length field of an IP header can say.
const LEN_MAX: usize = 65_535;

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no fragment, or of nothing that is reassembled here.
    NotOurs,
    /// It waits for the others.
    Kept,
    /// It was the last one: the whole packet.
    Whole(Vec<u8>),
    /// It does not fit to the others, or there is no room for it.
    Refused,
}

/// What fragments of one datagram have in common (RFC 791 §3.2, RFC 8200 §4.5), and who sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    source: Source,
    src: [u8; 16],
    dst: [u8; 16],
    protocol: u8,
    id: u32,
}

/// A fragment, read.
struct Fragment<'a> {
    name: Name,
    /// Ethernet's header and IP's, in front of the data.
    head: &'a [u8],
    /// Where IP's header is.
    l3: usize,
    kind: L3,
    offset: usize,
    is_last: bool,
    data: &'a [u8],
}

/// A datagram of which fragments are missing.
#[derive(Debug)]
struct Datagram {
    name: Name,
    began_ns: u64,
    /// That of the first fragment, once it has come.
    head: Vec<u8>,
    l3: usize,
    kind: L3,
    /// Offset and data, by offset.
    pieces: Vec<(usize, Vec<u8>)>,
    /// How long it is, once the last fragment has come.
    len: Option<usize>,
    /// Its fragments contradict each other: what still comes of it is dropped, too.
    is_bad: bool,
}

/// Datagrams of which fragments are missing.
#[derive(Debug, Default)]
pub struct Reassembly {
    datagrams: Vec<Datagram>,
}

impl Reassembly {
    /// Takes a packet to one of the switch's own addresses.
    pub fn add(&mut self, source: Source, frame: &[u8], now_ns: u64) -> Outcome {
        let Some(fragment) = read(source, frame) else { return Outcome::NotOurs };
        self.expire(now_ns);
        let at = match self.datagrams.iter().position(|datagram| datagram.name == fragment.name) {
            Some(at) => at,
            None => self.begin(&fragment, now_ns),
        };
        let datagram = &mut self.datagrams[at];
        if !datagram.take(&fragment) {
            return Outcome::Refused;
        }
        if !datagram.is_whole() {
            return Outcome::Kept;
        }
        self.datagrams.swap_remove(at).join().map_or(Outcome::Refused, Outcome::Whole)
    }

    /// Forgets what has waited too long; how many datagrams that were.
    pub fn expire(&mut self, now_ns: u64) -> usize {
        let before = self.datagrams.len();
        self.datagrams.retain(|datagram| now_ns.saturating_sub(datagram.began_ns) < TIMEOUT_NS);
        before - self.datagrams.len()
    }

    /// A place for a new datagram: a source that has its share, else whoever has most, loses their oldest.
    fn begin(&mut self, fragment: &Fragment<'_>, now_ns: u64) -> usize {
        let held = |source: Source| self.datagrams.iter().filter(|held| held.name.source == source).count();
        let loser = if held(fragment.name.source) >= DATAGRAMS_OF_ONE {
            Some(fragment.name.source)
        } else if self.datagrams.len() >= DATAGRAMS_MAX {
            self.datagrams.iter().map(|datagram| datagram.name.source).max_by_key(|source| held(*source))
        } else {
            None
        };
        let oldest = self.datagrams.iter().enumerate().filter(|(_, held)| Some(held.name.source) == loser);
        if let Some((at, _)) = oldest.min_by_key(|(_, held)| held.began_ns) {
            self.datagrams.swap_remove(at);
        }
        self.datagrams.push(Datagram {
            name: fragment.name,
            began_ns: now_ns,
            head: Vec::new(),
            l3: fragment.l3,
            kind: fragment.kind,
            pieces: Vec::new(),
            len: None,
            is_bad: false,
        });
        self.datagrams.len() - 1
    }
}

impl Datagram {
    /// Takes a fragment in; false: it does not fit. One that is there already changes nothing.
    fn take(&mut self, fragment: &Fragment<'_>) -> bool {
        let (offset, len) = (fragment.offset, fragment.data.len());
        let end = offset + len;
        if self.is_bad {
            return false;
        }
        let at = self.pieces.partition_point(|(other, _)| *other < offset);
        if self.pieces.get(at).is_some_and(|(other, data)| *other == offset && data == fragment.data) {
            return true;
        }
        let before = at.checked_sub(1).map(|at| &self.pieces[at]);
        let overlaps = before.is_some_and(|(other, data)| other + data.len() > offset)
            || self.pieces.get(at).is_some_and(|(other, _)| end > *other);
        let end_of_all = self.pieces.last().map_or(0, |(other, data)| other + data.len());
        let contradicts = match (self.len, fragment.is_last) {
            (Some(len), true) => len != end,
            (Some(len), false) => end > len,
            (None, true) => end < end_of_all,
            (None, false) => false,
        };
        // All but the last are whole units of eight bytes.
        let is_ragged = len == 0 || !fragment.is_last && !len.is_multiple_of(8);
        // IPv6's length is that of what follows the header.
        let header = if fragment.kind == L3::Ipv4 { fragment.head.len() - fragment.l3 } else { 0 };
        let is_large = header + end > LEN_MAX || self.pieces.len() >= FRAGMENTS_MAX;
        if overlaps || contradicts || is_ragged || is_large {
            self.is_bad = true;
            self.pieces = Vec::new();
            return false;
        }
        if offset == 0 {
            self.l3 = fragment.l3;
            self.head = fragment.head.to_vec();
        }
        if fragment.is_last {
            self.len = Some(end);
        }
        self.pieces.insert(at, (offset, fragment.data.to_vec()));
        true
    }

    fn is_whole(&self) -> bool {
        // They do not overlap: they are all there when they are as long as the whole.
        self.len == Some(self.pieces.iter().map(|(_, data)| data.len()).sum())
    }

    /// The packet as if it had never been cut.
    fn join(self) -> Option<Vec<u8>> {
        let Self { name, head: mut frame, l3, kind, pieces, .. } = self;
        pieces.iter().for_each(|(_, data)| frame.extend(data));
        let packet = frame.get_mut(l3..)?;
        let total = packet.len();
        if kind == L3::Ipv6 {
            let (ip, data) = Ipv6::mut_from_prefix(packet).ok()?;
            ip.payload_len.set(u16::try_from(data.len()).ok()?);
            ip.next_header = name.protocol;
            return Some(frame);
        }
        let (ip, _) = Ipv4::mut_from_prefix(packet).ok()?;
        ip.total_len.set(u16::try_from(total).ok()?);
        ip.fragment.set(0);
        ip.checksum.set(0);
        let header_len = ip.header_len();
        let sum = checksum::finish(checksum::sum(packet.get(..header_len)?, 0));
        Ipv4::mut_from_prefix(packet).ok()?.0.checksum.set(sum);
        Some(frame)
    }
}

/// A fragment of an ICMP message. Of IPv6 packets, those whose fragment header comes first: no sender puts anything in front of
/// it for an echo request.
fn read(source: Source, frame: &[u8]) -> Option<Fragment<'_>> {
    let (key, headers) = parse_packet(frame).ok()?;
    let is_fragment = key.tag & (FlowKey::FIRST_FRAGMENT | FlowKey::LATER_FRAGMENT) != 0;
    if !is_fragment || !matches!(key.protocol, proto::ICMP | proto::ICMPV6) {
        return None;
    }
    let l3 = usize::from(headers.l3);
    let packet = frame.get(l3..)?;
    let (head_len, data, id, offset, is_last) = match headers.kind {
        L3::Ipv4 => {
            let (ip, _) = Ipv4::ref_from_prefix(packet).ok()?;
            let data = packet.get(ip.header_len()..usize::from(ip.total_len.get()))?;
            let is_last = ip.fragment.get() & Ipv4::MF == 0;
            (ip.header_len(), data, ip.id.get().into(), ip.fragment_offset(), is_last)
        }
        L3::Ipv6 => {
            let (ip, rest) = Ipv6::ref_from_prefix(packet).ok()?;
            let rest = rest.get(..usize::from(ip.payload_len.get()))?;
            let (fragment, data) = Ipv6Fragment::ref_from_prefix(rest).ok()?;
            let (offset, is_last) = (fragment.offset_more.get() & !7, fragment.offset_more.get() & 1 == 0);
            let comes_first = ip.next_header == proto::FRAGMENT;
            let head_len = comes_first.then_some(size_of::<Ipv6>())?;
            (head_len, data, fragment.id.get(), offset.into(), is_last)
        }
        L3::Arp | L3::Other => return None,
    };
    let name = Name { source, src: key.src(), dst: key.dst(), protocol: key.protocol, id };
    let head = frame.get(..l3 + head_len)?;
    Some(Fragment { name, head, l3, kind: headers.kind, offset, is_last, data })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_dataplane::key::Origin;
    use weft_wire::PortId;

    use super::*;
    use crate::slowpath::fragment::fragments;

    fn source(port: u16) -> Source {
        Source::at(Origin::by_port(PortId::from_index(port).expect("few ports")), 0)
    }

    /// An echo request of so many bytes.
    fn echo(is_v4: bool, id: u16, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let mut bytes = Vec::new();
        let ethernet = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let [a, b] = id.to_be_bytes();
        match is_v4 {
            true => ethernet
                .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
                .icmpv4_raw(8, 0, [0, 1, a, b])
                .write(&mut bytes, &payload),
            false => ethernet
                .ipv6([1; 16], [2; 16], 64)
                .icmpv6_raw(128, 0, [0, 1, a, b])
                .write(&mut bytes, &payload),
        }
        .expect("it can be written");
        bytes
    }

    /// The same but for what cutting changes for good: DF and the identification.
    fn plain(mut frame: Vec<u8>) -> Vec<u8> {
        if frame[12..14] == [8, 0] {
            frame[18..22].fill(0);
            frame[24..26].fill(0);
        }
        frame
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_order(
            is_v4: bool,
            len in 0_usize..65_508,
            mtu in 1280_usize..9000,
            order in any::<u64>(),
            twice: bool,
        ) {
            let whole = echo(is_v4, 7, len);
            let mut pieces = fragments(whole.clone(), mtu, 7);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= 14 + mtu));
            if pieces.len() == 1 {
                prop_assert_eq!(&pieces[0], &whole);
                return Ok(());
            }
            if twice {
                pieces.insert(1, pieces[0].clone());
            }
            // Any order that leaves a piece which is not there yet for the end.
            let last = pieces.len() - 1;
            let places = pieces.len();
            pieces[..last].rotate_left((order as usize) % places.min(last.max(1)));
            let mut reassembly = Reassembly::default();
            for piece in &pieces[..last] {
                prop_assert_eq!(reassembly.add(source(1), piece, 0), Outcome::Kept);
            }
            let Outcome::Whole(found) = reassembly.add(source(1), &pieces[last], 1) else {
                return Err(TestCaseError::fail("not whole"));
            };
            parse_packet(&found).expect("a sound packet");
            prop_assert_eq!(plain(found), plain(whole));
            prop_assert!(reassembly.datagrams.is_empty());
        }

        /// Others' floods of halves never cost a source what it has waiting.
        #[test]
        fn halves_take_no_others_room(floods in 1_u16..200, each in 1_u16..20) {
            let mut reassembly = Reassembly::default();
            let own = fragments(echo(true, 1, 3000), 1500, 1);
            prop_assert_eq!(reassembly.add(source(0), &own[0], 0), Outcome::Kept);
            let mut now_ns = 0;
            for id in 0..each {
                for flood in 1..=floods {
                    now_ns += 1000;
                    let half = &fragments(echo(true, 2, 3000), 1500, u32::from(id) + 10)[0];
                    prop_assert_eq!(reassembly.add(source(flood), half, now_ns), Outcome::Kept);
                }
            }
            prop_assert!(reassembly.datagrams.len() <= DATAGRAMS_MAX);
            let is_there = reassembly.datagrams.iter().any(|datagram| datagram.name.source == source(0));
            // Where more sources than datagrams fit send halves at once, the oldest of equals goes.
            prop_assert!(is_there || usize::from(floods) >= DATAGRAMS_MAX);
        }
    }

    #[test]
    fn what_overlaps_is_dropped_with_all_that_comes_of_it() {
        for is_v4 in [true, false] {
            let mut reassembly = Reassembly::default();
            let (narrow, wide) =
                (fragments(echo(is_v4, 1, 4000), 1300, 5), fragments(echo(is_v4, 1, 4000), 1500, 5));
            assert_eq!(reassembly.add(source(1), &narrow[0], 0), Outcome::Kept);
            assert_eq!(reassembly.add(source(1), &wide[0], 0), Outcome::Refused);
            for piece in &narrow[1..] {
                assert_eq!(reassembly.add(source(1), piece, 0), Outcome::Refused, "IPv4: {is_v4}");
            }
            // Somebody else's of the same name are another matter.
            for piece in &narrow[1..] {
                assert_eq!(reassembly.add(source(2), piece, 0), Outcome::Kept);
            }
            assert!(matches!(reassembly.add(source(2), &narrow[0], 0), Outcome::Whole(_)));
        }
    }

    #[test]
    fn halves_are_forgotten() {
        let pieces = fragments(echo(true, 1, 3000), 1500, 1);
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(source(1), &pieces[0], 0), Outcome::Kept);
        assert_eq!(reassembly.expire(TIMEOUT_NS - 1), 0);
        assert_eq!(reassembly.expire(TIMEOUT_NS), 1);
        for id in 0..10 {
            let half = &fragments(echo(true, 1, 3000), 1500, id)[0];
            assert_eq!(reassembly.add(source(1), half, u64::from(id)), Outcome::Kept);
        }
        assert_eq!(reassembly.datagrams.len(), DATAGRAMS_OF_ONE);
    }

    #[test]
    fn other_packets_are_not_ours() {
        let whole = echo(true, 1, 3000);
        assert_eq!(Reassembly::default().add(source(1), &whole, 0), Outcome::NotOurs);
        let mut udp = fragments(whole, 1500, 1).remove(1);
        // UDP, with the header checksum that goes with it.
        udp[23] = proto::UDP;
        udp[24..26].fill(0);
        let sum = checksum::finish(checksum::sum(&udp[14..34], 0));
        udp[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Reassembly::default().add(source(1), &udp, 0), Outcome::NotOurs);
    }
}
