//! What a pod says of its frames (virtio-net headers), true and false.

use expect_test::expect;
use weft_dataplane::reason::DropReason;
use weft_pmd::{Csum, Gso, GsoKind, Offload};
use weft_tests::{packets::eth, sim::Sim};

use crate::{NODE, check_with_offload};

const A: &str = "02:00:00:00:00:0a";
const GATEWAY: &str = "02:00:00:00:00:01";
const V4: (&str, &str) = ("10.244.0.10", "10.244.0.11");
const V6: (&str, &str) = ("fd00:244::10", "fd00:244::11");

fn partial(start: u16, offset: u8) -> Offload {
    Offload { csum: Csum::Partial { start, offset }, ..Offload::default() }
}

fn cut(start: u16, kind: GsoKind, size: u16) -> Offload {
    let offset = if kind == GsoKind::Udp { 6 } else { 16 };
    Offload { gso: Some(Gso { kind, ecn: false, size }), ..partial(start, offset) }
}

fn udp((src, dst): (&str, &str), len: usize) -> Vec<u8> {
    eth(A, GATEWAY).udp(src, dst, (9, 80), 64, len)
}

fn tcp((src, dst): (&str, &str), len: usize) -> Vec<u8> {
    eth(A, GATEWAY).tcp(src, dst, (9, 80), "a", len)
}

/// Sets the IPv4 header's fragment field.
fn fragment(mut packet: Vec<u8>, field: u16) -> Vec<u8> {
    packet[20..22].copy_from_slice(&field.to_be_bytes());
    mend(&mut packet);
    packet
}

/// Makes the IPv4 header's checksum right.
fn mend(packet: &mut [u8]) {
    packet[24..26].fill(0);
    let sum = packet[14..34].chunks(2).fold(0_u32, |sum, word| {
        let sum = sum + (u32::from(word[0]) << 8 | u32::from(word[1]));
        (sum & 0xffff) + (sum >> 16)
    });
    packet[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Runs one packet; how many frames left, and how many were dropped because of what was said of them.
fn outcome(packet: Vec<u8>, said: Offload) -> (usize, u64) {
    let mut sim = Sim::new(NODE);
    sim.tape("a").put(packet, said);
    sim.run();
    let left = ["a", "b", "host", "uplink"].iter().map(|port| sim.tape(port).take().len()).sum();
    let dropped = sim.drops("a", DropReason::BadOffload);
    sim.check_laws();
    sim.finish();
    (left, dropped)
}

fn refused(what: &str, packet: Vec<u8>, said: Offload) {
    assert_eq!(outcome(packet, said), (0, 1), "{what}");
}

#[test]
fn checksums_that_are_not_the_packets_own_are_refused() {
    refused("over the destination port", udp(V4, 40), partial(34, 2));
    refused("over the IPv6 source", udp(V6, 40), partial(22, 14));
    refused("over the IPv4 source", tcp(V4, 40), partial(14, 12));
    refused("over the MACs", tcp(V4, 40), partial(0, 6));
    refused("UDP's place in TCP", tcp(V4, 40), partial(34, 6));
    refused("TCP's place in UDP", udp(V6, 40), partial(54, 16));
    refused("SCTP's place in UDP", udp(V4, 40), partial(34, 8));
    refused("inside of TCP's payload", tcp(V4, 400), partial(54, 16));
    refused("across the end of UDP's header", udp(V4, 40), partial(36, 6));
    refused("behind the packet, in its padding", [udp(V4, 40), vec![0; 30]].concat(), partial(82, 6));
    refused("nobody can say what", udp(V4, 40), Offload::INVALID);
    let ping = eth(A, GATEWAY).ping(V4.0, V4.1, 64);
    refused("ICMP, which no sender leaves to a device", ping, partial(34, 2));
    refused("a first fragment", fragment(udp(V4, 400), 0x2000), partial(34, 6));
    refused("a later fragment", fragment(udp(V4, 400), 0x0040), partial(34, 6));
    refused("ARP", eth(A, "ff:ff:ff:ff:ff:ff").arp(V4.0, "10.244.0.1"), partial(34, 2));
    let mut unknown = udp(V4, 40);
    unknown[12..14].copy_from_slice(&[0x88, 0xb5]);
    refused("no packet that anybody knows", unknown, partial(34, 6));
}

#[test]
fn segments_that_the_packet_does_not_have_are_refused() {
    refused("of IPv6, but IPv4", tcp(V4, 3000), cut(34, GsoKind::Tcp6, 1000));
    refused("of IPv4, but IPv6", tcp(V6, 3000), cut(54, GsoKind::Tcp4, 1000));
    refused(
        "of TCP, but UDP",
        udp(V4, 3000),
        Offload { gso: cut(34, GsoKind::Tcp4, 1000).gso, ..partial(34, 6) },
    );
    refused(
        "of UDP, but TCP",
        tcp(V4, 3000),
        Offload { gso: cut(34, GsoKind::Udp, 1000).gso, ..partial(34, 16) },
    );
    refused("with padding", [tcp(V4, 3000), vec![0; 9]].concat(), cut(34, GsoKind::Tcp4, 1000));
    refused("of a byte", tcp(V4, 60_000), cut(34, GsoKind::Tcp4, 1));
    refused("smaller than any TCP's", tcp(V6, 3000), cut(54, GsoKind::Tcp6, 47));
    refused("more segments than anybody's", tcp(V4, 257 * 60), cut(34, GsoKind::Tcp4, 60));
    refused("more datagrams than any sender's", udp(V4, 129 * 8), cut(34, GsoKind::Udp, 8));
    let mut short = tcp(V4, 3000);
    short[46] = 0x40; // a TCP header of 16 bytes
    refused("a header that is none", short, cut(34, GsoKind::Tcp4, 1000));
    let mut long = tcp(V4, 10);
    long[46] = 0xf0; // of 60, of which 30 are there
    refused("a header that is not there", long, cut(34, GsoKind::Tcp4, 1000));
    refused("a fragment", fragment(tcp(V4, 3000), 0x2000), cut(34, GsoKind::Tcp4, 1000));
    // Whose checksum is said to be right: each segment gets its own.
    let said = |kind, l4| Offload { csum: Csum::Complete, ..cut(l4, kind, 1000) };
    assert_eq!(outcome(tcp(V4, 3000), said(GsoKind::Tcp4, 34)), (3, 0));
    assert_eq!(outcome(tcp(V6, 3000), said(GsoKind::Tcp6, 54)), (3, 0));
    refused("of the other family", tcp(V4, 3000), said(GsoKind::Tcp6, 34));
    // What is as small, or as many, as it may be.
    assert_eq!(outcome(tcp(V4, 480), cut(34, GsoKind::Tcp4, 48)), (10, 0));
    assert_eq!(outcome(tcp(V6, 256 * 60), cut(54, GsoKind::Tcp6, 60)), (256, 0));
    assert_eq!(outcome(udp(V6, 128 * 8), cut(54, GsoKind::Udp, 8)), (128, 0));
}

/// A rule that only sends from port to port does not look at packets, but at what is said of them.
#[test]
fn a_cross_connect_refuses_lies_too() {
    let config = format!(
        "{NODE}\n[[flow]]\nname = \"wire\"\npriority = 9\nmatch = {{ port = \"a\" }}\nactions = [\"output:b\"]\n"
    );
    check_with_offload(
        &config,
        vec![
            ("a", udp(V4, 40), Offload::default()),
            ("a", udp(V4, 40), partial(34, 2)),
            ("a", tcp(V4, 3000), cut(34, GsoKind::Tcp4, 1)),
            ("a", tcp(V4, 1500), cut(34, GsoKind::Tcp4, 1000)),
        ],
        expect![[r#"
            b < 02:00:00:00:00:0a>02:00:00:00:00:01 10.244.0.10>10.244.0.11 ttl 64 udp 9>80 len 40
            b < 02:00:00:00:00:0a>02:00:00:00:00:01 10.244.0.10>10.244.0.11 ttl 64 tcp 9>80 a seq 1000 len 1000
            b < 02:00:00:00:00:0a>02:00:00:00:00:01 10.244.0.10>10.244.0.11 ttl 64 tcp 9>80 a seq 2000 len 500
            a drops 2 bad_offload"#]],
    );
}

/// A pod has a tunnel of its own, and leaves the checksum inside of it to its device: it is completed, and nothing else of the
/// packet changes.
#[test]
fn a_checksum_inside_of_a_pods_own_tunnel_is_completed() {
    let right =
        eth("02:00:00:00:00:77", "02:00:00:00:00:78").tcp("172.16.0.1", "172.16.0.2", (1, 2), "a", 100);
    let mut inner = right.clone();
    let sum = [0xac10_u32, 1, 0xac10, 2, 6, 120].iter().sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    inner[50..52].copy_from_slice(&(folded as u16).to_be_bytes());
    let shim = [8, 0, 0, 0, 0, 0, 9, 0];
    let mut outer = eth(A, GATEWAY).wrap(V4.0, V4.1, 4789, &shim, &inner);
    outer[40..42].fill(0); // RFC 7348 §5
    let mut sim = Sim::new(NODE);
    sim.tape("a").put(outer, partial(42 + 8 + 34, 16));
    sim.run();
    let sent = sim.tape("b").take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].1.is_complete() && sent[0].0[50..] == right, "{:02x?}", sent[0].0);
    sim.check_laws();
    sim.finish();
}

/// Two tags are more than the switch looks behind; the checksum behind them is known all the same.
#[test]
fn a_checksum_behind_two_tags_is_known() {
    const LAN: &str = r#"
[node]
name = "test"
[pmd]
cores = [0]
flows = 64
[[network]]
name = "lan"
mode = "bridged"
[[port]]
name = "x"
kind = "tap"
role = "access"
network = "lan"
device = "x"
[[port]]
name = "y"
kind = "xsk"
role = "access"
network = "lan"
device = "y"
"#;
    let tags = |mut packet: Vec<u8>| {
        packet.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]);
        packet
    };
    let mut sim = Sim::new(LAN);
    sim.tape("x").put(tags(udp(V4, 40)), partial(42, 6));
    sim.tape("x").put(tags(udp(V4, 40)), partial(42, 2));
    sim.run();
    assert_eq!(sim.tape("y").take().len(), 1);
    assert_eq!(sim.drops("x", DropReason::BadOffload), 1);
    sim.check_laws();
    sim.finish();
}

/// A rate counts what goes over the wire: a super-frame of ten segments is ten packets.
#[test]
fn a_super_frame_is_charged_as_its_segments() {
    for (rate, passed) in [("20pps,burst=20", 2), ("160kbit,burst=24kb", 2)] {
        let config = format!(
            "{NODE}\n[[flow]]\nname = \"limit\"\npriority = 9\nmatch = {{ port = \"a\" }}\n\
             actions = [\"police:{rate}\", \"continue\"]\n"
        );
        let mut sim = Sim::new(&config);
        for _ in 0..5 {
            sim.tape("a").put(tcp(V4, 9500), cut(34, GsoKind::Tcp4, 950));
        }
        sim.run();
        assert_eq!(sim.tape("b").take().len(), passed * 10, "{rate}");
        assert_eq!(sim.drops("a", DropReason::Policed), 5 - passed as u64, "{rate}");
        sim.check_laws();
        sim.finish();
    }
}
