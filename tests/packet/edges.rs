//! Edges: malformed packets, MTU, offloads, full ports, vanished devices, expiry.

use expect_test::expect;
use weft_dataplane::reason::DropReason;
use weft_pmd::{Csum, Gso, GsoKind, Offload};
use weft_tests::{packets::eth, sim::Sim};

use crate::{NODE, check, check_with_offload};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const GATEWAY: &str = "02:00:00:00:00:01";

#[test]
fn malformed_packets_have_their_reasons() {
    let good = eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 30);
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let mut tiny = eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (9, 80), "a", 30);
    tiny[21] = 1; // fragment offset 8
    let sum = !tiny[14..34].chunks(2).enumerate().filter(|(i, _)| *i != 5).fold(0_u32, |sum, (_, word)| {
        let sum = sum + u32::from(word[0]) * 256 + u32::from(word[1]);
        (sum & 0xffff) + (sum >> 16)
    }) as u16;
    tiny[24..26].copy_from_slice(&sum.to_be_bytes());
    check(
        NODE,
        vec![
            ("a", good[..13].to_vec()),
            ("a", good[..30].to_vec()),
            ("a", good[..50].to_vec()),
            ("a", change(14, 0x55)), // IP version 5
            ("a", change(14, 0x44)), // header of 16 bytes
            ("a", change(22, 63)),   // header checksum
            ("a", change(6, 0x03)),  // group source
            ("a", tiny),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244::11", (1, 2), 64, 30)[..60].to_vec()),
        ],
        expect![[r#"
            a drops 4 truncated
            a drops 3 malformed
            a drops 1 tiny_fragment
            a drops 1 bad_source"#]],
    );
}

#[test]
fn too_large_is_fragmented_or_told() {
    let mut may_fragment = eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3000);
    // etherparse sets DF; clear it and mend the header's checksum.
    may_fragment[20] = 0;
    let sum = u16::from_be_bytes([may_fragment[24], may_fragment[25]]);
    let mended = u32::from(sum) + 0x4000;
    may_fragment[24..26].copy_from_slice(&((mended & 0xffff) as u16 + (mended >> 16) as u16).to_be_bytes());
    check(
        NODE,
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3000)),
            ("a", may_fragment),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244::11", (9, 80), 64, 3000)),
        ],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 3/4 1500 len 548
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 icmp6 2/0 1500 len 1232
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 fragment 0+
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 fragment 1480+
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 fragment 2960"#]],
    );
}

/// A super-frame as a pod's stack makes it: the checksum field holds the pseudo-header's sum.
fn super_frame(src: &str, dst: &str, from: &str, len: usize, size: u16, kind: GsoKind) -> (Vec<u8>, Offload) {
    let mut bytes = eth(from, GATEWAY).tcp(src, dst, (9, 80), "pa", len);
    let l4 = if kind == GsoKind::Tcp4 { 34 } else { 54 };
    // Any value will do for a checksum that is computed anew; for one that is completed it must be the pseudo sum.
    bytes[l4 + 16..l4 + 18].copy_from_slice(&[0, 0]);
    let csum = Csum::Partial { start: l4 as u16, offset: 16 };
    (bytes, Offload { csum, gso: Some(Gso { kind, ecn: false, size }), ..Offload::default() })
}

#[test]
fn super_frames_pass_whole_where_they_can_and_are_cut_where_not() {
    let (v4, intent4) = super_frame("10.244.0.10", "10.244.0.11", A, 3000, 1448, GsoKind::Tcp4);
    let (v6, intent6) = super_frame("fd00:244::10", "fd00:244::11", A, 3000, 1428, GsoKind::Tcp6);
    let (host, intent) = super_frame("10.244.0.10", "192.0.2.1", A, 3000, 1448, GsoKind::Tcp4);
    check_with_offload(
        NODE,
        vec![("a", v4, intent4), ("a", v6, intent6), ("a", host, intent)],
        expect![[r#"
            host < 02:00:00:00:00:01>02:de:00:00:00:01 10.244.0.10>192.0.2.1 ttl 63 tcp 9>80 pa seq 1000 len 3000 BAD-L4-CHECKSUM gso 1448
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 9>80 a seq 1000 len 1448
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 9>80 a seq 2448 len 1448
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 9>80 pa seq 3896 len 104
            b < 02:00:00:00:00:01>02:00:00:00:00:0b fd00:244::10>fd00:244::11 ttl 63 tcp 9>80 a seq 1000 len 1428
            b < 02:00:00:00:00:01>02:00:00:00:00:0b fd00:244::10>fd00:244::11 ttl 63 tcp 9>80 a seq 2428 len 1428
            b < 02:00:00:00:00:01>02:00:00:00:00:0b fd00:244::10>fd00:244::11 ttl 63 tcp 9>80 pa seq 3856 len 144"#]],
    );
}

#[test]
fn a_super_frame_of_too_large_segments_is_told() {
    let (bytes, intent) = super_frame("10.244.0.10", "10.244.0.11", A, 9000, 8948, GsoKind::Tcp4);
    check_with_offload(
        NODE,
        vec![("a", bytes, intent)],
        expect![
            "a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 3/4 1500 len 548"
        ],
    );
}

#[test]
fn a_partial_checksum_is_found_and_completed() {
    // The far end of an AF_XDP veth leaves the pseudo-header's sum: src + dst + protocol + length, folded.
    let mut bytes = eth(B, GATEWAY).udp("10.244.0.11", "192.0.2.2", (9, 80), 64, 3);
    let sum = [0x0af4_u32, 0x000b, 0xc000, 0x0202, 17, 11].iter().sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    bytes[40..42].copy_from_slice(&(folded as u16).to_be_bytes());
    let unknown = Offload { csum: Csum::Unknown, ..Offload::default() };
    let right = eth(B, GATEWAY).udp("10.244.0.11", "10.244.1.2", (9, 80), 64, 3);
    check_with_offload(
        NODE,
        vec![("b", bytes, unknown), ("b", right, unknown)],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 10.244.0.11>192.0.2.2 ttl 63 udp 9>80 len 3
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 10.244.0.11>10.244.1.2 ttl 63 udp 9>80 len 3"#]],
    );
}

#[test]
fn a_full_port_drops_what_it_must_and_says_so() {
    let mut sim = Sim::new(NODE);
    sim.tape("b").limit(Some(10));
    for _ in 0..200 {
        sim.put("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3));
    }
    for _ in 0..20 {
        sim.turn();
    }
    sim.tape("b").limit(None);
    sim.run();
    let sent = sim.tape("b").take().len() as u64;
    assert_eq!(sent + sim.drops("b", DropReason::TxFull), 200);
    assert!(sent >= 10 + 64, "what was pending waits for room: {sent}");
    sim.check_laws();
    sim.finish();
}

/// A port that sends nothing but new flows, while another keeps the thread busy with established ones: it loses what is
/// over its share, the other nothing; alone it loses nothing.
#[test]
fn a_flood_of_new_flows_takes_its_share_and_no_more() {
    let established = || eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3);
    let new = |n: usize| {
        let ports = (1 + (n % 60_000) as u16, 1 + (n / 60_000) as u16);
        eth(B, GATEWAY).udp("10.244.0.11", "10.244.0.10", ports, 64, 3)
    };
    let mut sim = Sim::new(NODE);
    let mut flows = 0;
    let mut rounds = 0;
    while sim.drops("b", DropReason::ResolveLimited) == 0 {
        rounds += 1;
        assert!(rounds < 10_000, "{flows} new flows, none refused");
        for _ in 0..64 {
            sim.put("a", established());
            sim.put("b", new(flows));
            flows += 1;
        }
        sim.run();
        sim.check_laws();
        assert_eq!(sim.tape("b").take().len(), 64, "established flows lose nothing");
        sim.tape("a").take();
    }
    for _ in 0..64 * 20 {
        sim.put("b", new(flows));
        flows += 1;
    }
    sim.run();
    let refused = sim.drops("b", DropReason::ResolveLimited);
    sim.put("b", new(flows));
    sim.run();
    assert_eq!(sim.drops("b", DropReason::ResolveLimited), refused, "nobody else wants the thread any more");
    sim.check_laws();
    sim.finish();
}

#[test]
fn frames_for_a_vanished_device_are_counted() {
    let mut sim = Sim::new(NODE);
    sim.tape("b").vanish();
    for _ in 0..3 {
        sim.put("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3));
    }
    sim.run();
    assert_eq!(sim.drops("b", DropReason::PortGone), 3);
    sim.check_laws();
    sim.finish();
}

#[test]
fn used_up_memory_loses_frames_with_a_reason_and_recovers() {
    let mut sim = Sim::with_memory(NODE, 70, 2);
    let (bytes, intent) = super_frame("10.244.0.10", "10.244.0.11", A, 60_000, 500, GsoKind::Tcp4);
    sim.tape("a").put(bytes, intent); // 120 segments do not fit 70 chunks
    sim.run();
    assert_eq!(sim.drops("b", DropReason::NoFrames), 1);
    sim.put("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3));
    sim.run();
    assert_eq!(sim.tape("b").take().len(), 1);
    sim.check_laws();
    sim.finish();
}

#[test]
fn a_change_of_configuration_reaches_flows_that_are_cached() {
    let mut sim = Sim::new(NODE);
    let packet = eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3);
    sim.put("a", packet.clone());
    sim.run();
    assert_eq!(sim.tape("b").take().len(), 1);
    sim.desired.endpoints.retain(|endpoint| endpoint.name != "b");
    sim.publish();
    sim.put("a", packet);
    sim.run();
    assert_eq!(sim.tape("b").take().len(), 0, "no stale entry is used");
    assert_eq!(sim.tape("a").take().len(), 1, "host unreachable");
    sim.check_laws();
    sim.finish();
}
