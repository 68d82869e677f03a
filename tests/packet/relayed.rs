//! What a bridge relays though no router would, and what it does not relay though it could.

use expect_test::expect;
use weft_dataplane::reason::DropReason;
use weft_pmd::{Csum, Gso, GsoKind, Offload};
use weft_tests::{packets::eth, sim::Sim};

use crate::{bridged::LAN, outcome};

const X: &str = "02:00:00:00:00:aa";
const Y: &str = "02:00:00:00:00:bb";
const T: &str = "02:00:00:00:00:cc";
const POD: &str = "02:00:00:00:00:0d";
const ALL: &str = "ff:ff:ff:ff:ff:ff";

/// Frames that are not sound, and why: of one source and destination, on the wire as they are.
fn unsound(src: &str, dst: &str, from: &str) -> Vec<(DropReason, Vec<u8>)> {
    let good = eth(src, dst).udp(from, "10.0.0.2", (1, 2), 64, 30);
    let change = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let six = eth(src, dst).udp("fd00::99", "fd00::2", (1, 2), 64, 30);
    let mut version = six.clone();
    version[14] = 0x40;
    let mut arp = eth(src, dst).arp("10.0.0.1", "10.0.0.2");
    arp[14..16].copy_from_slice(&[0, 6]); // IEEE 802,
    arp[18] = 8; // with addresses of another length
    vec![
        (DropReason::Malformed, change(24, &[0x12, 0x34])), // header checksum
        (DropReason::Malformed, change(14, &[0x55])),       // version 5
        (DropReason::Malformed, change(14, &[0x44])),       // header of 16 bytes
        (DropReason::Truncated, good[..50].to_vec()),
        (DropReason::Truncated, good[..20].to_vec()),
        (DropReason::Malformed, version),
        (DropReason::Truncated, six[..60].to_vec()),
        (DropReason::Malformed, arp.clone()),
        (DropReason::Truncated, arp[..30].to_vec()),
    ]
}

/// One with so many extension headers, each of eight bytes, in front of UDP.
fn chain(src: &str, dst: &str, headers: u8) -> Vec<u8> {
    let six = eth(src, dst).udp("fd00::99", "fd00::2", (1, 2), 64, 30);
    let mut chain = six[..54].to_vec();
    chain[20] = 60;
    chain[18..20].copy_from_slice(&(u16::from(headers) * 8 + 38).to_be_bytes());
    (1..=headers).for_each(|i| chain.extend([if i == headers { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]));
    chain.extend(&six[54..]);
    chain
}

/// What is behind it could be anything, such as discovery in an endpoint's name, and whoever gets it may well read it.
#[test]
fn nothing_passes_behind_more_headers_than_are_read() {
    let mut sim = Sim::new(LAN);
    sim.put("x", chain(X, ALL, 7));
    sim.put("x", chain(X, ALL, 8));
    sim.run();
    assert_eq!(got(&sim, "y"), [chain(X, ALL, 7)]);
    assert_eq!(sim.drops("x", DropReason::HeaderChain), 1);
    sim.finish();
}

/// Frames of no kind that the switch knows.
fn unknown(src: &str, dst: &str) -> Vec<Vec<u8>> {
    let of = |kind: u16, len: usize| {
        let good = eth(src, dst).arp("10.0.0.1", "10.0.0.2");
        [&good[..12], &kind.to_be_bytes(), &vec![0x42; len]].concat()
    };
    vec![of(46, 46), of(0x9000, 46), of(0x8864, 1500), of(0x600, 0), of(0x88f7, 46)]
}

/// What a port got, one after the other.
fn got(sim: &Sim, port: &str) -> Vec<Vec<u8>> {
    sim.tape(port).take().into_iter().map(|(bytes, _)| bytes).collect()
}

#[test]
fn a_bridge_relays_what_is_not_sound_as_it_is() {
    let mut sim = Sim::new(LAN);
    sim.put("t", eth(T, ALL).vlan(10).arp("10.0.0.3", "10.0.0.9"));
    sim.run();
    for port in ["x", "y", "pod"] {
        got(&sim, port);
    }
    for dst in [T, ALL] {
        let frames = unsound(X, dst, "10.0.0.1").into_iter().map(|(_, frame)| frame);
        for frame in frames.chain(unknown(X, dst)) {
            sim.put("x", frame.clone());
            sim.run();
            let tagged = weft_tests::packets::with_tags(&frame, &[0x8100_000a]);
            assert_eq!(got(&sim, "t"), [tagged], "to {dst}");
            let others = if dst == ALL { vec![frame] } else { vec![] };
            got(&sim, "y").into_iter().for_each(|bytes| assert_eq!([bytes], others[..]));
        }
    }
    // Back, out of a trunk.
    for (_, frame) in unsound(T, X, "10.0.0.3") {
        sim.put("t", weft_tests::packets::with_tags(&frame, &[0x8100_000a]));
        sim.run();
        assert_eq!(got(&sim, "x"), [frame]);
    }
    got(&sim, "y");
    got(&sim, "pod");
    assert_eq!(outcome(&sim), "", "nothing is dropped");
    sim.check_laws();
    sim.finish();
}

/// Its source is learnt as any other's.
#[test]
fn a_source_is_learnt_from_what_is_not_sound() {
    let mut sim = Sim::new(LAN);
    sim.put("x", unsound(X, ALL, "10.0.0.1").swap_remove(4).1);
    sim.run();
    for port in ["y", "t", "pod"] {
        got(&sim, port);
    }
    sim.put("y", eth(Y, X).udp("10.0.0.2", "10.0.0.1", (1, 2), 64, 1));
    sim.run();
    assert_eq!(["x", "t", "pod"].map(|port| got(&sim, port).len()), [1, 0, 0]);
    sim.finish();
}

/// A pod speaks for its addresses only: what can't be read is not relayed; a wrong checksum hides nothing.
#[test]
fn a_pod_with_addresses_is_held_to_what_can_be_read() {
    let mut sim = Sim::new(LAN);
    let frames = unsound(POD, X, "10.0.0.13");
    let (truncated, malformed) = (
        frames.iter().filter(|(reason, _)| *reason == DropReason::Truncated).count() as u64,
        frames.len() as u64,
    );
    for (_, frame) in &frames {
        sim.put("pod", frame.clone());
    }
    sim.put("pod", unsound(POD, X, "10.0.0.14").swap_remove(0).1); // a wrong checksum, and not its address
    sim.run();
    assert_eq!(got(&sim, "x"), [frames[0].1.clone()]);
    assert_eq!(sim.drops("pod", DropReason::Truncated), truncated);
    assert_eq!(sim.drops("pod", DropReason::Malformed), malformed - truncated - 1);
    assert_eq!(sim.drops("pod", DropReason::Spoofed), 1);
    sim.finish();
    // One that may send what it likes may send this, too.
    let mut sim = Sim::new(&LAN.replace("addresses = [\"10.0.0.13\"]", ""));
    for (_, frame) in &frames {
        sim.put("pod", frame.clone());
    }
    sim.run();
    assert_eq!(got(&sim, "x").len(), frames.len());
    sim.finish();
}

/// Nobody gets around a rule by a header that the switch can't read and somebody else can.
#[test]
fn a_rule_is_not_got_around_by_what_can_not_be_read() {
    let rule = |matching: &str| {
        let config = format!("{LAN}[[flow]]\nname = \"r\"\nmatch = {{ {matching} }}\nactions = [\"drop\"]\n");
        let mut sim = Sim::new(&config);
        for (_, frame) in unsound(X, Y, "10.0.0.1") {
            sim.put("x", frame);
            sim.run();
        }
        let relayed = got(&sim, "y").len();
        let dropped = sim.drops("x", DropReason::Rule);
        let closed = sim.drops("x", DropReason::Malformed) + sim.drops("x", DropReason::Truncated);
        sim.check_laws();
        sim.finish();
        (relayed, dropped, closed)
    };
    // The header with a wrong checksum is read; ARP is not what such a rule is about.
    assert_eq!(rule("protocol = \"udp\", dst_port = 2"), (2, 1, 6));
    assert_eq!(rule("network = \"lan\", src = \"10.9.0.0/16\""), (3, 0, 6));
    assert_eq!(rule("port = \"x\", protocol = \"tcp\", tcp_flags = \"syn\""), (3, 0, 6));
    // About other ports, other networks, or what Ethernet tells.
    assert_eq!(rule("port = \"y\", protocol = \"udp\""), (9, 0, 0));
    assert_eq!(rule("network = \"dmz\", protocol = \"udp\""), (9, 0, 0));
    assert_eq!(rule("dst_mac = \"02:00:00:00:00:bb\""), (0, 9, 0));
    assert_eq!(rule("ethertype = 0x0806"), (7, 2, 0));
}

/// A super-frame, or a checksum still to be made, is no frame of a wire that could be relayed as it is.
#[test]
fn what_is_not_sound_is_not_completed() {
    let mut sim = Sim::new(LAN);
    for offload in [
        Offload { csum: Csum::Partial { start: 34, offset: 6 }, gso: None, ..Offload::default() },
        Offload {
            csum: Csum::Complete,
            gso: Some(Gso { kind: GsoKind::Udp, ecn: false, size: 8 }),
            ..Offload::default()
        },
    ] {
        sim.tape("x").put(unsound(X, Y, "10.0.0.1").swap_remove(0).1, offload);
    }
    let unknown = Offload { csum: Csum::Unknown, gso: None, ..Offload::default() };
    let frame = unsound(X, Y, "10.0.0.1").swap_remove(0).1;
    sim.tape("x").put(frame.clone(), unknown);
    sim.run();
    assert_eq!(got(&sim, "y"), [frame]);
    assert_eq!(sim.drops("x", DropReason::Malformed), 2);
    sim.check_laws();
    sim.finish();
}

/// Relaying mends nothing: fragments would have right header checksums.
#[test]
fn a_wrong_checksum_is_not_made_right_by_cutting() {
    let mut sim = Sim::new(&LAN.replacen("device = \"y\"", "device = \"y\"\nmtu = 600", 1));
    let mut frame = eth(X, Y).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 1000);
    frame[20] = 0; // may be fragmented; the header's checksum is not brought in step
    sim.put("x", frame);
    sim.run();
    assert_eq!((got(&sim, "y").len(), sim.drops("y", DropReason::TooBig)), (0, 1));
    sim.check_laws();
    sim.finish();
}

/// 802.1Q-2018 §8.6.3, table 8-1.
#[test]
fn reserved_addresses_are_forwarded_by_nobody() {
    let lldp = |src: &str, last: u8, kind: u16| {
        let mut frame = eth(src, ALL).arp("10.0.0.1", "10.0.0.2");
        frame[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, last]);
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frame
    };
    for (setting, relays_lldp) in [("", false), ("\nforward_lldp = true", true)] {
        let mut sim = Sim::new(&LAN.replacen("vlan = 10", &format!("vlan = 10{setting}"), 1));
        let mut dropped = 0;
        for last in 0..=0x10 {
            for (kind, is_lldp) in [(0x88cc, true), (0x8809, false)] {
                let is_relayed = last > 0xf || is_lldp && relays_lldp;
                sim.put("x", lldp(X, last, kind));
                sim.put("pod", lldp(POD, last, kind));
                sim.put("t", weft_tests::packets::with_tags(&lldp(T, last, kind), &[0x8100_000a]));
                sim.run();
                let counts = ["x", "y", "t", "pod"].map(|port| got(&sim, port).len());
                let expected = if is_relayed { [2, 3, 2, 2] } else { [0; 4] };
                assert_eq!(counts, expected, "01:80:c2:00:00:{last:02x} {kind:04x} {setting}");
                dropped += u64::from(!is_relayed);
            }
        }
        assert_eq!(["x", "t", "pod"].map(|port| sim.drops(port, DropReason::Reserved)), [dropped; 3]);
        sim.check_laws();
        sim.finish();
    }
}

/// An operator's rule comes first, as everywhere.
#[test]
fn a_rule_may_forward_a_reserved_address() {
    let rule = "[[flow]]\nname = \"lacp\"\nmatch = { dst_mac = \"01:80:c2:00:00:02\", port = \"x\" }\nactions = [\"output:y\"]\n";
    let mut sim = Sim::new(&format!("{LAN}{rule}"));
    let mut frame = eth(X, ALL).arp("10.0.0.1", "10.0.0.2");
    frame[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, 2]);
    sim.put("x", frame.clone());
    sim.run();
    assert_eq!(got(&sim, "y"), [frame]);
    sim.finish();
}

/// No station has the address of all zeros; it is neither learnt nor answered.
#[test]
fn a_source_of_zeros_is_nobodys() {
    const ZERO: &str = "00:00:00:00:00:00";
    let mut sim = Sim::new(LAN);
    sim.put("x", eth(ZERO, ALL).arp("10.0.0.1", "10.0.0.2"));
    sim.put("x", eth(ZERO, Y).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 5));
    sim.put("x", unsound(ZERO, Y, "10.0.0.1").swap_remove(4).1);
    sim.put("t", eth(ZERO, Y).vlan(10).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 5));
    sim.put("pod", eth(ZERO, Y).udp("10.0.0.13", "10.0.0.2", (1, 2), 64, 5));
    sim.put("x", eth(ALL, Y).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 5));
    sim.run();
    assert!(sim.facts.fdb.is_empty(), "{:?}", sim.facts.fdb);
    expect![[r#"
        x drops 4 bad_source
        t drops 1 bad_source
        pod drops 1 bad_source"#]]
    .assert_eq(&outcome(&sim));
    sim.check_laws();
    sim.finish();
}
