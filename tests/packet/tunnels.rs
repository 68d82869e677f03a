//! Tunnels: what goes out wrapped up, what is unwrapped, and what is not.

use expect_test::expect;
use weft_dataplane::reason::DropReason;
use weft_pmd::{Csum, Gso, GsoKind, Offload};
use weft_tests::{packets::eth, sim::Sim};

use crate::{NODE, check, check_with_offload, outcome};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const GATEWAY: &str = "02:00:00:00:00:01";
const DEVICE: &str = "02:de:00:00:00:01";
const HOP: &str = "02:99:00:00:00:00";
/// The peer's gateway MAC.
const PEER: &str = "02:77:00:00:00:01";

pub(crate) fn tunnelled(mode: &str) -> String {
    NODE.replace("mode = \"native\"", &format!("mode = \"{mode}\""))
        .replace("name = \"pods\"\n", "name = \"pods\"\nvni = 42\n")
        .replace("name = \"peer\"\n", "name = \"peer\"\nmac = \"02:77:00:00:00:01\"\n")
        .replace("name = \"peer6\"\n", "name = \"peer6\"\nmac = \"02:77:00:00:00:01\"\n")
}

const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];
const GENEVE: [u8; 8] = [0, 0, 0x65, 0x58, 0, 0, 42, 0];

/// From the IPv4 peer, to this node.
fn from_peer(shim: &[u8], port: u16, inner: &[u8]) -> (&'static str, Vec<u8>) {
    ("uplink", eth(HOP, DEVICE).wrap("192.0.2.2", "192.0.2.1", port, shim, inner))
}

fn from_its_pod() -> Vec<u8> {
    eth(PEER, GATEWAY).udp("10.244.1.7", "10.244.0.10", (2, 1), 63, 1)
}

#[test]
fn pods_reach_pods_of_other_nodes() {
    for (mode, shim, port) in [("vxlan", VXLAN, 4789), ("geneve", GENEVE, 6081)] {
        let expected = format!(
            "uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 {mode} 42 \
             {{02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.10>10.244.1.7 ttl 63 udp 1>2 len 1}}\n\
             uplink < 02:de:00:00:00:01>02:99:00:00:00:01 2001:db8::1>2001:db8::2 ttl 64 {mode} 42 \
             {{02:00:00:00:00:01>02:77:00:00:00:01 fd00:244::10>fd00:244:1::7 ttl 63 udp 1>2 len 1}}\n\
             a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.1.7>10.244.0.10 ttl 62 udp 2>1 len 1"
        );
        let mut sim = Sim::new(&tunnelled(mode));
        for (from, packet) in [
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.1.7", (1, 2), 64, 1)),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244:1::7", (1, 2), 64, 1)),
            from_peer(&shim, port, &from_its_pod()),
        ] {
            sim.put(from, packet);
            sim.run();
        }
        assert_eq!(outcome(&sim), expected);
        sim.check_laws();
        sim.finish();
    }
}

#[test]
fn nodes_reach_pods_of_other_nodes_with_their_own_address() {
    check(
        &tunnelled("vxlan"),
        vec![
            ("host", eth(DEVICE, GATEWAY).udp("192.0.2.1", "10.244.1.7", (1, 2), 64, 1)),
            from_peer(&VXLAN, 4789, &eth(PEER, GATEWAY).udp("192.0.2.2", "10.244.0.10", (2, 1), 63, 1)),
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "192.0.2.2", (1, 2), 64, 1)),
            from_peer(&VXLAN, 4789, &eth(PEER, GATEWAY).udp("10.244.1.7", "192.0.2.1", (2, 1), 63, 1)),
        ],
        expect![[r#"
            host < 02:00:00:00:00:01>02:de:00:00:00:01 10.244.1.7>192.0.2.1 ttl 62 udp 2>1 len 1
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 192.0.2.1>10.244.1.7 ttl 63 udp 1>2 len 1}
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.10>192.0.2.2 ttl 63 udp 1>2 len 1}
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 192.0.2.2>10.244.0.10 ttl 62 udp 2>1 len 1"#]],
    );
}

#[test]
fn what_should_not_be_in_a_tunnel_is_dropped_with_its_reason() {
    let inner = from_its_pod();
    let spoofed = eth(PEER, GATEWAY).udp("10.244.2.7", "10.244.0.10", (2, 1), 63, 1);
    let not_for_us = eth(PEER, B).udp("10.244.1.7", "10.244.0.10", (2, 1), 63, 1);
    let transit = eth(PEER, GATEWAY).udp("10.244.1.7", "203.0.113.1", (2, 1), 63, 1);
    let tagged = eth(PEER, GATEWAY).vlan(7).udp("10.244.1.7", "10.244.0.10", (2, 1), 63, 1);
    let nested = eth(PEER, GATEWAY).wrap("10.244.1.7", "192.0.2.1", 4789, &VXLAN, &inner);
    let stranger = eth(HOP, DEVICE).wrap("192.0.2.9", "192.0.2.1", 4789, &VXLAN, &inner);
    check(
        &tunnelled("vxlan"),
        vec![
            from_peer(&[0, 0, 0, 0, 0, 0, 42, 0], 4789, &inner), // no VNI, it says
            from_peer(&VXLAN, 4789, &inner[..13]),
            from_peer(&VXLAN[..7], 4789, &[]),
            from_peer(&VXLAN, 4789, &inner[..20]),
            from_peer(&[8, 0, 0, 0, 0, 0, 43, 0], 4789, &inner),
            from_peer(&VXLAN, 4789, &spoofed),
            from_peer(&VXLAN, 4789, &not_for_us),
            from_peer(&VXLAN, 4789, &transit),
            from_peer(&VXLAN, 4789, &tagged),
            from_peer(&VXLAN, 4789, &nested),
            ("uplink", stranger),
        ],
        expect![[r#"
            uplink drops 1 truncated
            uplink drops 1 spoofed
            uplink drops 1 vlan_not_allowed
            uplink drops 1 not_for_gateway
            uplink drops 1 no_route
            uplink drops 3 tunnel_malformed
            uplink drops 1 tunnel_stranger
            uplink drops 1 tunnel_network
            uplink drops 1 tunnel_nested"#]],
    );
}

/// The node's own packets are of no network: they go as a routed one's, wherever a bridged one stands.
#[test]
fn the_nodes_packets_are_never_a_bridged_networks() {
    let lan = "[[network]]\nname = \"lan\"\nmode = \"bridged\"\nvni = 7\n[[network]]\nname = \"pods\"\n";
    let config = tunnelled("vxlan").replacen("[[network]]\nname = \"pods\"\n", lan, 1);
    check(
        &config,
        vec![("host", eth(DEVICE, GATEWAY).udp("192.0.2.1", "10.244.1.7", (1, 2), 64, 1))],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 192.0.2.1>10.244.1.7 ttl 63 udp 1>2 len 1}"#]],
    );
}

/// What stands behind the datagram's end is nobody's.
#[test]
fn padding_stays_outside() {
    let (port, mut padded) = from_peer(&VXLAN, 4789, &from_its_pod());
    padded.extend([0x55; 9]);
    let mut sim = Sim::new(&tunnelled("vxlan"));
    sim.put(port, padded);
    sim.run();
    let sent = sim.tape("a").take();
    assert_eq!(sent[0].0.len(), from_its_pod().len());
    sim.finish();
}

#[test]
fn geneve_options_are_skipped_unless_one_must_be_understood() {
    let inner = from_its_pod();
    let options = [0xff, 0xff, 0x01, 0x01, 1, 2, 3, 4];
    let with = |flags: u8, protocol: [u8; 2], len: u8| {
        let header = [len, flags, protocol[0], protocol[1], 0, 0, 42, 0];
        from_peer(&[&header[..], &options].concat(), 6081, &inner)
    };
    check(
        &tunnelled("geneve"),
        vec![
            with(0, [0x65, 0x58], 2),
            with(0x40, [0x65, 0x58], 2), // critical
            with(0x80, [0x65, 0x58], 2), // control
            with(0, [0x08, 0x00], 2),    // no Ethernet inside
            with(0, [0x65, 0x58], 0x42), // version 1
            with(0, [0x65, 0x58], 63),   // longer than the packet
        ],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.1.7>10.244.0.10 ttl 62 udp 2>1 len 1
            uplink drops 5 tunnel_malformed"#]],
    );
}

#[test]
fn errors_go_back_through_the_tunnel() {
    check(
        &tunnelled("vxlan"),
        vec![
            from_peer(&VXLAN, 4789, &eth(PEER, GATEWAY).udp("10.244.1.7", "10.244.0.10", (2, 1), 1, 1)),
            from_peer(&VXLAN, 4789, &eth(PEER, GATEWAY).udp("10.244.1.7", "10.244.0.99", (2, 1), 9, 1)),
            from_peer(&VXLAN, 4789, &eth(PEER, GATEWAY).ping("10.244.1.7", "10.244.0.1", 9)),
        ],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.1>10.244.1.7 ttl 64 icmp 11/0 0 len 29}
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.1>10.244.1.7 ttl 64 icmp 3/1 0 len 29}
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.1>10.244.1.7 ttl 64 icmp 0/0 65537 len 16}"#]],
    );
}

/// 1500 bytes of uplink less 50 (IPv4) or 70 (IPv6) of tunnel are what a pod may send.
#[test]
fn the_mtu_is_what_is_left_of_the_uplinks() {
    let mut large = eth(A, GATEWAY).udp("10.244.0.10", "10.244.1.7", (1, 2), 64, 1423);
    large[20] = 0x40; // don't fragment
    let sum = weft_wire::checksum::finish(
        weft_wire::checksum::sum(&large[14..24], 0) + weft_wire::checksum::sum(&large[26..34], 0),
    );
    large[24..26].copy_from_slice(&sum.to_be_bytes());
    check(
        &tunnelled("vxlan"),
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.1.7", (1, 2), 64, 1422)),
            ("a", large),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244:1::7", (1, 2), 64, 1382)),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244:1::7", (1, 2), 64, 1383)),
        ],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.10>10.244.1.7 ttl 63 udp 1>2 len 1422}
            uplink < 02:de:00:00:00:01>02:99:00:00:00:01 2001:db8::1>2001:db8::2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 fd00:244::10>fd00:244:1::7 ttl 63 udp 1>2 len 1382}
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 3/4 1450 len 548
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 icmp6 2/0 1430 len 1232"#]],
    );
}

#[test]
fn super_frames_are_cut_and_each_segment_is_wrapped_up() {
    for (src, dst, kind, start) in [
        ("10.244.0.10", "10.244.1.7", GsoKind::Tcp4, 34),
        ("fd00:244::10", "fd00:244:1::7", GsoKind::Tcp6, 54),
    ] {
        let super_frame = eth(A, GATEWAY).tcp(src, dst, (1, 2), "pa", 2500);
        let intent = Offload {
            csum: Csum::Partial { start, offset: 16 },
            gso: Some(Gso { kind, ecn: false, size: 1000 }),
            ..Offload::default()
        };
        let mut sim = Sim::new(&tunnelled("vxlan"));
        sim.tape("a").put(super_frame, intent);
        sim.run();
        let sent = outcome(&sim);
        let lens: Vec<_> = sent.lines().map(|line| line.rsplit_once(" len ").expect("TCP").1).collect();
        assert_eq!(lens, ["1000}", "1000}", "500}"], "{sent}");
        assert!(!sent.contains("BAD"), "{sent}");
        assert!(sent.contains("pa seq 3000") && sent.contains(" a seq 2000"), "{sent}");
        sim.check_laws();
        sim.finish();
    }
}

#[test]
fn partial_checksums_are_completed_before_wrapping() {
    let mut packet = eth(A, GATEWAY).udp("10.244.0.10", "10.244.1.7", (1, 2), 64, 10);
    let pseudo = weft_wire::checksum::pseudo(&packet[26..30], &packet[30..34], 17, 18);
    packet[40..42].copy_from_slice(&weft_wire::checksum::fold(pseudo).to_be_bytes());
    let partial = Offload { csum: Csum::Partial { start: 34, offset: 6 }, ..Offload::default() };
    check_with_offload(
        &tunnelled("vxlan"),
        vec![("a", packet, partial)],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 10.244.0.10>10.244.1.7 ttl 63 udp 1>2 len 10}"#]],
    );
}

/// A bridged network on three nodes: an access port here, two peers.
const LAN: &str = r#"
[node]
name = "test"
addresses = ["192.0.2.1"]
[pmd]
cores = [0]
flows = 4096
[[network]]
name = "lan"
mode = "bridged"
vni = 7
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
[[port]]
name = "x"
kind = "xsk"
role = "access"
network = "lan"
device = "x"
[fabric]
mode = "vxlan"
flood_rate = 100
[[fabric.peer]]
name = "b"
address = "192.0.2.2"
[[fabric.peer]]
name = "c"
address = "192.0.2.3"
"#;

const LAN_SHIM: [u8; 8] = [8, 0, 0, 0, 0, 0, 7, 0];
const X: &str = "02:00:00:00:00:11";
const REMOTE: &str = "02:00:00:00:00:22";
const ALL: &str = "ff:ff:ff:ff:ff:ff";

fn from_b(inner: &[u8]) -> (&'static str, Vec<u8>) {
    ("uplink", eth(HOP, DEVICE).wrap("192.0.2.2", "192.0.2.1", 4789, &LAN_SHIM, inner))
}

/// What is unknown is flooded to every node, once; a station of another node is learnt from what comes, and reached by one
/// tunnel from then on; what came from one node goes to none.
#[test]
fn a_bridged_network_spans_nodes() {
    check(
        LAN,
        vec![
            ("x", eth(X, ALL).arp("10.0.0.1", "10.0.0.2")),
            from_b(&eth(REMOTE, X).udp("10.0.0.2", "10.0.0.1", (2, 1), 64, 1)),
            ("x", eth(X, REMOTE).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 1)),
            from_b(&eth(REMOTE, ALL).arp("10.0.0.2", "10.0.0.9")),
            from_b(&eth(REMOTE, "02:00:00:00:00:99").udp("10.0.0.2", "10.0.0.9", (2, 1), 64, 1)),
        ],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 7 {02:00:00:00:00:11>ff:ff:ff:ff:ff:ff arp who 10.0.0.1@02:00:00:00:00:11 to 10.0.0.2}
            uplink < 02:de:00:00:00:01>02:99:00:00:00:01 192.0.2.1>192.0.2.3 ttl 64 vxlan 7 {02:00:00:00:00:11>ff:ff:ff:ff:ff:ff arp who 10.0.0.1@02:00:00:00:00:11 to 10.0.0.2}
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 192.0.2.1>192.0.2.2 ttl 64 vxlan 7 {02:00:00:00:00:11>02:00:00:00:00:22 10.0.0.1>10.0.0.2 ttl 64 udp 1>2 len 1}
            x < 02:00:00:00:00:22>02:00:00:00:00:11 10.0.0.2>10.0.0.1 ttl 64 udp 2>1 len 1
            x < 02:00:00:00:00:22>ff:ff:ff:ff:ff:ff arp who 10.0.0.2@02:00:00:00:00:22 to 10.0.0.9
            x < 02:00:00:00:00:22>02:00:00:00:00:99 10.0.0.2>10.0.0.9 ttl 64 udp 2>1 len 1"#]],
    );
}

/// 100 copies a second, a tenth of that at once: two peers get five broadcasts, the rest is dropped with its reason.
#[test]
fn flooding_to_other_nodes_is_limited() {
    let mut sim = Sim::new(LAN);
    for _ in 0..20 {
        sim.put("x", eth(X, ALL).arp("10.0.0.1", "10.0.0.2"));
    }
    sim.run();
    assert_eq!(sim.tape("uplink").take().len(), 10);
    assert_eq!(sim.drops("uplink", DropReason::FloodLimited), 30);
    sim.check_laws();
    sim.finish();
}

/// A super-frame costs the underlay its segments: of ten a second, ten at once, two peers get one of five segments each.
#[test]
fn flooding_counts_what_goes_over_the_wire() {
    let mut sim = Sim::new(LAN);
    for _ in 0..4 {
        let gso = Gso { kind: GsoKind::Tcp4, ecn: false, size: 1000 };
        let said =
            Offload { csum: Csum::Partial { start: 34, offset: 16 }, gso: Some(gso), ..Offload::default() };
        sim.tape("x").put(eth(X, REMOTE).tcp("10.0.0.1", "10.0.0.2", (1, 2), "a", 5000), said);
    }
    sim.run();
    assert_eq!(sim.tape("uplink").take().len(), 10);
    assert_eq!(sim.drops("uplink", DropReason::FloodLimited), 6);
    sim.check_laws();
    sim.finish();
}
