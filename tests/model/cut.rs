//! Packets that are larger than their way takes: what arrives, put together again, is what was sent, and no piece was too
//! large. The way is a tunnel, whose MTU a router has said, or the uplink's; the packet is a pod's, the node's, or bridged.

use std::net::IpAddr;

use proptest::prelude::*;
use weft_pmd::{Csum, Gso, GsoKind, Offload};
use weft_tests::{
    packets::{describe, eth},
    sim::Sim,
};

const CONFIG: &str = r#"
[node]
name = "test"
addresses = ["192.0.2.1", "2001:db8::1"]
gateway_mac = "02:00:00:00:00:01"
[pmd]
cores = [0]
flows = 4096
[[network]]
name = "pods"
vni = 42
prefixes = ["10.244.0.0/24", "fd00:244::/64"]
gateways = ["10.244.0.1", "fd00:244::1"]
[[network]]
name = "lan"
mode = "bridged"
vni = 43
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
[[port]]
name = "a"
kind = "tap"
device = "a"
[[port]]
name = "x"
kind = "tap"
role = "access"
network = "lan"
device = "x"
[[endpoint]]
name = "a"
network = "pods"
port = "a"
mac = "02:00:00:00:00:0a"
addresses = ["10.244.0.10", "fd00:244::10"]
[fabric]
mode = "vxlan"
[[fabric.peer]]
name = "b"
address = "192.0.2.2"
prefixes = ["10.244.1.0/24"]
[[fabric.peer]]
name = "c"
address = "2001:db8::2"
prefixes = ["10.244.2.0/24"]
"#;

const X: &str = "02:00:00:00:00:11";
const REMOTE: &str = "02:00:00:00:00:22";
const GATEWAY: &str = "02:00:00:00:00:01";

/// Who sends, and how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Pod,
    Node,
    /// To a station that was learnt.
    Bridged,
    /// To one that was not: to every node.
    Flooded,
}

impl From {
    /// The port, the frame's MACs, the source address.
    fn ends(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Pod => ("a", "02:00:00:00:00:0a", GATEWAY, "10.244.0.10"),
            Self::Node => ("host", "02:de:00:00:00:01", GATEWAY, "192.0.2.1"),
            Self::Bridged => ("x", X, REMOTE, "10.9.0.7"),
            Self::Flooded => ("x", X, "02:00:00:00:00:33", "10.9.0.7"),
        }
    }

    fn is_routed(self) -> bool {
        matches!(self, Self::Pod | Self::Node)
    }
}

/// The way's largest packet, over IPv4 and IPv6.
const OVERHEAD: [usize; 2] = [50, 70];

fn sim(path: u32, is_v4: bool) -> Sim {
    let mut sim = Sim::with_memory(CONFIG, 1024, 8);
    let peers = [IpAddr::from([192, 0, 2, 2]), "2001:db8::2".parse().expect("an address")];
    sim.facts.path_mtus.extend(peers.map(|peer| (peer, path)));
    sim.publish();
    // Where the learnt station is.
    let (hop, shim) = (eth("02:99:00:00:00:00", "02:de:00:00:00:01"), [8, 0, 0, 0, 0, 0, 43, 0]);
    let inner = eth(REMOTE, X).udp("10.9.0.9", "10.9.0.7", (2, 1), 64, 1);
    let (from, to) = if is_v4 { ("192.0.2.2", "192.0.2.1") } else { ("2001:db8::2", "2001:db8::1") };
    sim.put("uplink", hop.wrap(from, to, 4789, &shim, &inner));
    sim.run();
    sim.tape("x").take();
    sim
}

/// What leaves by the uplink, unwrapped; that no packet is larger than the way takes. `only`: to one node.
fn unwrapped(sim: &Sim, path: usize, is_v4: bool) -> Vec<Vec<u8>> {
    let mut inner = Vec::new();
    for (bytes, left) in sim.tape("uplink").take() {
        assert!(left.is_complete());
        assert!(bytes.len() - 14 <= path.min(1500), "{} bytes", bytes.len() - 14);
        let words = describe(&bytes);
        assert!(!words.contains("BAD"), "{words}");
        let is_over_v4 = bytes[12..14] == [8, 0];
        if is_over_v4 == is_v4 {
            inner.push(bytes[OVERHEAD[usize::from(!is_v4)]..].to_vec());
        }
    }
    inner
}

/// One piece: place, whether more follow, header with options, what it carries.
type Piece = (usize, bool, Vec<u8>, Vec<u8>);

fn piece(frame: &[u8]) -> Piece {
    let ip = &frame[14..];
    let header = usize::from(ip[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let field = u16::from_be_bytes([ip[6], ip[7]]);
    assert_eq!(field & 0xc000, 0, "neither DF nor the reserved bit");
    (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0, ip[..header].to_vec(), ip[header..total].to_vec())
}

/// All pieces, put together: they must follow one another without a gap, whatever they are pieces of.
fn together(frames: &[Vec<u8>]) -> Piece {
    let mut pieces = frames.iter().map(|frame| piece(frame));
    let (begin, mut more, header, mut carried) = pieces.next().expect("something arrives");
    for (at, next_more, next_header, next) in pieces {
        assert!(more, "a piece behind the last");
        assert_eq!(at, begin + carried.len(), "without a gap");
        assert_eq!(next_header[4..6], header[4..6], "one id");
        assert_eq!(next_header[8..10], header[8..10], "one TTL and protocol");
        assert_eq!(next_header[20..], copied(&header[20..]), "RFC 791 §3.1: options that are copied");
        more = next_more;
        carried.extend(next);
    }
    (begin, more, header, carried)
}

/// The options used here are of four bytes each.
fn copied(options: &[u8]) -> Vec<u8> {
    options.chunks(4).filter(|option| option[0] & 0x80 != 0).flatten().copied().collect()
}

fn finish_v4(packet: &mut [u8]) {
    let header = 14 + usize::from(packet[14] & 15) * 4;
    packet[24..26].fill(0);
    let sum = weft_wire::checksum::finish(weft_wire::checksum::sum(&packet[14..header], 0));
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A datagram with options, perhaps a fragment itself.
fn datagram(from: From, dst: &str, len: usize, options: &[bool], field: u16) -> Vec<u8> {
    let (_, src_mac, dst_mac, src) = from.ends();
    let mut packet = eth(src_mac, dst_mac).udp(src, dst, (1, 2), 64, len);
    let options: Vec<u8> =
        options.iter().flat_map(|copied| [if *copied { 0x88 } else { 0x44 }, 4, 5, 0]).collect();
    let total = packet.len() - 14 + options.len();
    packet.splice(34..34, options.iter().copied());
    packet[14] = 0x45 + (options.len() / 4) as u8;
    packet[16..18].copy_from_slice(&(total as u16).to_be_bytes());
    packet[18..20].copy_from_slice(&[0x12, 0x34]);
    packet[20..22].copy_from_slice(&field.to_be_bytes());
    finish_v4(&mut packet);
    packet
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![Just(From::Pod), Just(From::Node), Just(From::Bridged), Just(From::Flooded)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_arrives_in_pieces_is_what_was_sent(
        from in from(), is_v4 in any::<bool>(), path in 576_usize..2000, len in 0_usize..9000,
        options in prop::collection::vec(any::<bool>(), 0..=10), at in prop_oneof![Just(0_u16), 0_u16..6000], more in any::<bool>(),
    ) {
        let (path, dst) = if is_v4 { (path, "10.244.1.7") } else { (path.max(1280), "10.244.2.7") };
        let field = at | if more { 0x2000 } else { 0 };
        let packet = datagram(from, dst, len, &options, field);
        let mut sim = sim(path as u32, is_v4);
        sim.put(from.ends().0, packet.clone());
        sim.run();
        let (begin, is_more, header, carried) = together(&unwrapped(&sim, path, is_v4));
        let (expected_begin, expected_more, mut expected, payload) = piece(&packet);
        expected[8] -= u8::from(from.is_routed());
        prop_assert_eq!((begin, is_more), (expected_begin, expected_more));
        prop_assert!(carried == payload);
        // All but length, flags and checksum.
        prop_assert_eq!(&header[12..], &expected[12..]);
        prop_assert_eq!(&header[8..10], &expected[8..10]);
        prop_assert_eq!((&header[..2], &header[4..6]), (&expected[..2], &expected[4..6]));
        sim.check_laws();
        sim.finish();
    }

    /// Super-frames without DF whose segments are too large themselves, and packets whose checksum is still to be made.
    #[test]
    fn what_is_left_to_do_is_done_before_cutting(
        from in from(), is_v4 in any::<bool>(), path in 576_usize..1500, len in 1_usize..9000, size in 100_u16..1500,
        kind in 0..3_usize,
    ) {
        let (path, dst) = if is_v4 { (path, "10.244.1.7") } else { (path.max(1280), "10.244.2.7") };
        let (port, src_mac, dst_mac, src) = from.ends();
        let eth = eth(src_mac, dst_mac);
        let (mut packet, head, place) = match kind {
            0 => (eth.tcp(src, dst, (1, 2), "a", len), 20, 16),
            _ => (eth.udp(src, dst, (1, 2), 64, len), 8, 6),
        };
        packet[20..22].fill(0); // no DF
        finish_v4(&mut packet);
        let protocol = packet[23];
        let pseudo = weft_wire::checksum::pseudo(&packet[26..30], &packet[30..34], protocol, packet.len() - 34);
        packet[34 + place..36 + place].copy_from_slice(&weft_wire::checksum::fold(pseudo).to_be_bytes());
        let gso = [Some(GsoKind::Tcp4), Some(GsoKind::Udp), None][kind];
        let intent = Offload {
            csum: Csum::Partial { start: 34, offset: place as u8 },
            gso: gso.map(|kind| Gso { kind, ecn: false, size }),
            ..Offload::default()
        };
        let mut sim = sim(path as u32, is_v4);
        sim.tape(port).put(packet.clone(), intent);
        sim.run();
        // Segments are packets of their own: a new one begins where a piece is at its beginning.
        let pieces = unwrapped(&sim, path, is_v4);
        let mut stream: Vec<u8> = Vec::new();
        let mut count = 0;
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let end = rest.iter().skip(1).position(|frame| piece(frame).0 == 0).map_or(rest.len(), |more| more + 1);
            let (begin, more, mut header, carried) = together(&rest[..end]);
            prop_assert_eq!((begin, more), (0, false));
            stream.extend(&carried[head..]);
            // As its receiver has it: the checksums are right.
            let total = (header.len() + carried.len()) as u16;
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header[6..8].fill(0);
            let mut whole = [&rest[0][..14], &header, &carried].concat();
            finish_v4(&mut whole);
            prop_assert!(!describe(&whole).contains("BAD"), "{}", describe(&whole));
            count += 1;
            rest = &rest[end..];
        }
        prop_assert_eq!(count, gso.map_or(1, |_| len.div_ceil(usize::from(size))));
        prop_assert!(stream == packet[34 + head..]);
        sim.check_laws();
        sim.finish();
    }
}

/// Offsets have 13 bits: what would need a larger one is dropped rather than put elsewhere.
#[test]
fn a_fragment_behind_the_longest_datagram_is_not_cut() {
    for (from, field) in [(From::Pod, 0x1fff), (From::Bridged, 0x3fff), (From::Flooded, 0x1ff8)] {
        let mut sim = sim(576, true);
        sim.put(from.ends().0, datagram(from, "10.244.1.7", 1400, &[], field));
        sim.run();
        assert_eq!(sim.tape("uplink").take(), Vec::new(), "{from:?}");
        let copies = if from == From::Flooded { 2 } else { 1 };
        assert_eq!(sim.drops("uplink", weft_dataplane::reason::DropReason::TooBig), copies);
        sim.check_laws();
        sim.finish();
    }
}

/// A bridged frame that may not be cut is held to what the uplink takes, not to what somebody says of the way: nobody would be
/// told, and a lie would end what passes.
#[test]
fn what_may_not_be_cut_goes_as_far_as_the_uplink_takes_it() {
    let v6 = |len| eth(X, REMOTE).udp("fd09::7", "fd09::9", (1, 2), 64, len);
    let arp = |len| [eth(X, REMOTE).arp("10.9.0.7", "10.9.0.9"), vec![0; len]].concat();
    let v4 = |len| datagram(From::Bridged, "10.9.0.9", len, &[], 0x4000);
    for (frame, passes) in
        [(v4(1300), 1), (v6(1300), 1), (arp(1300), 1), (v4(1480), 0), (v6(1480), 0), (arp(1480), 0)]
    {
        let mut sim = sim(1300, true);
        sim.put("x", frame);
        sim.run();
        assert_eq!(sim.tape("uplink").take().len(), passes);
        assert_eq!(sim.drops("uplink", weft_dataplane::reason::DropReason::TooBig), 1 - passes as u64);
        sim.check_laws();
        sim.finish();
    }
}
