//! What routers in the underlay say of the paths to other nodes: what is believed, and what is asked because of it.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use expect_test::expect;
use weft_dataplane::reason::DropReason;
use weft_tests::{packets::eth, sim::Sim};
use weftd::slowpath::path_mtu::{
    self, Claim, Refused,
    probe::{self, Question},
};

use crate::{check, outcome, tunnels::tunnelled};

const A: &str = "02:00:00:00:00:0a";
const GATEWAY: &str = "02:00:00:00:00:01";

/// A router's message that `quote` is larger than `mtu`.
fn message(from: &str, to: &str, mtu: u32, quote: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ethernet = PacketBuilder::ethernet2([2, 0x99, 0, 0, 0, 0], [2, 0xde, 0, 0, 0, 1]);
    match (from.parse().expect("an address"), to.parse().expect("an address")) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet
            .ipv4(from.octets(), to.octets(), 60)
            .icmpv4_raw(3, 4, mtu.to_be_bytes())
            .write(&mut bytes, quote),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet
            .ipv6(from.octets(), to.octets(), 60)
            .icmpv6_raw(2, 0, mtu.to_be_bytes())
            .write(&mut bytes, quote),
        _ => panic!("both addresses are of one family"),
    }
    .expect("a packet");
    bytes
}

/// What the switch sends to another node, from the outer IP header on: as long as the uplink takes.
fn sent(sim: &mut Sim, is_v4: bool) -> Vec<u8> {
    let (src, dst, len) =
        if is_v4 { ("10.244.0.10", "10.244.1.7", 1422) } else { ("fd00:244::10", "fd00:244:1::7", 1382) };
    sim.put("a", eth(A, GATEWAY).udp(src, dst, (1, 2), 64, len));
    sim.run();
    let (mut bytes, _) = sim.tape("uplink").take().pop().expect("a tunnel packet");
    assert_eq!(bytes.len(), 1514);
    bytes.split_off(14)
}

fn with(bytes: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        bytes[*at] = *value;
    }
    bytes
}

#[test]
fn only_what_this_node_could_have_sent_is_believed() {
    let mut sim = Sim::new(&tunnelled("vxlan"));
    let quote = sent(&mut sim, true);
    let from = |mtu, quote: &[u8]| message("198.51.100.1", "192.0.2.1", mtu, quote);
    let read = |bytes: &[u8]| path_mtu::read(bytes, &sim.snapshot());
    // Routers quote 28 bytes (RFC 792), or more (RFC 1812 §4.3.2.3).
    for len in [28, 36, 100, 548] {
        let claim = read(&from(1400, &quote[..len])).expect("it is ours");
        assert_eq!((claim.mtu, claim.quoted.len), (1400, 1500), "{len} bytes quoted");
        assert_eq!(claim.peer, IpAddr::from([192, 0, 2, 2]));
        assert_eq!(claim.router, IpAddr::from([198, 51, 100, 1]));
    }
    let quote = &quote[..40];
    let refused = |what: &str, bytes: Vec<u8>, expected: Refused| {
        assert_eq!(read(&bytes).expect_err(what), expected, "{what}");
    };
    let good = from(1400, quote);
    refused("a wrong checksum", with(&good, &[(37, good[37] ^ 1)]), Refused::Malformed);
    refused("cut short", good[..40].to_vec(), Refused::Malformed);
    refused("a fragment", with(&good, &[(20, 0x20), (24, 0), (25, 0)]), Refused::Malformed);
    let changed = |changes: &[(usize, u8)]| from(1400, &with(quote, changes));
    refused("27 bytes quoted", from(1400, &quote[..27]), Refused::NotSent);
    refused("another source", changed(&[(15, 9)]), Refused::NotSent);
    refused("no peer's address", changed(&[(19, 9)]), Refused::NotSent);
    refused("TCP", changed(&[(9, 6)]), Refused::NotSent);
    refused("another port", changed(&[(23, 0xb6)]), Refused::NotSent);
    refused("from a port that no tunnel packet comes from", changed(&[(20, 0x80)]), Refused::NotSent);
    refused("UDP shorter than IP", changed(&[(25, 0)]), Refused::NotSent);
    refused("options", changed(&[(0, 0x46)]), Refused::NotSent);
    refused("a fragment quoted", changed(&[(6, 0x20)]), Refused::NotSent);
    refused("less than any path carries", from(575, quote), Refused::BelowMinimum);
    refused("the packet would have passed", from(1500, quote), Refused::Implausible);
    let longer = changed(&[(2, 6), (3, 0), (24, 5), (25, 0xec)]);
    refused("longer than the uplink takes", longer, Refused::Implausible);
    let ok = read(&changed(&[(6, 0)])).map(|claim| claim.mtu);
    assert_eq!(ok, Ok(1400), "DF cleared on the way");
}

/// RFC 1191 §5: routers older than that say 0; what is next below the packet's length, of those that there are, it is then.
#[test]
fn old_routers_say_nothing() {
    let mut sim = Sim::new(&tunnelled("vxlan"));
    let quote = sent(&mut sim, true);
    for (len, mtu) in [(1500, 1492), (1492, 1006), (1006, 576)] {
        let mut quote = quote[..28].to_vec();
        quote[2..4].copy_from_slice(&u16::to_be_bytes(len));
        quote[24..26].copy_from_slice(&u16::to_be_bytes(len - 20));
        let claim = path_mtu::read(&message("198.51.100.1", "192.0.2.1", 0, &quote), &sim.snapshot());
        assert_eq!(claim.expect("a guess").mtu, mtu, "{len}");
    }
}

#[test]
fn over_ipv6_nothing_below_1280_is_believed() {
    let mut sim = Sim::new(&tunnelled("vxlan"));
    let quote = sent(&mut sim, false);
    let read = |mtu, quote: &[u8]| {
        path_mtu::read(&message("2001:db8:9::1", "2001:db8::1", mtu, quote), &sim.snapshot())
    };
    let claim = read(1400, &quote[..1232]).expect("it is ours");
    assert_eq!((claim.mtu, claim.quoted.len), (1400, 1500));
    for mtu in [0, 68, 576, 1279] {
        assert_eq!(read(mtu, &quote[..1232]), Err(Refused::BelowMinimum), "{mtu}"); // RFC 8201 §4
    }
    assert_eq!(read(1280, &quote[..48]).map(|claim| claim.mtu), Ok(1280));
    assert_eq!(read(1400, &quote[..47]), Err(Refused::NotSent));
    assert_eq!(read(1400, &with(&quote[..48], &[(6, 44)])), Err(Refused::NotSent), "a fragment");
    assert_eq!(read(1500, &quote[..48]), Err(Refused::Implausible));
    assert_eq!(read(u32::MAX, &quote[..48]), Err(Refused::Implausible));
    let spoilt = message("2001:db8:9::2", "2001:db8::1", 1400, &quote[..48]);
    let moved = with(&spoilt, &[(37, 3)]); // another source than the checksum was made for
    assert_eq!(path_mtu::read(&moved, &sim.snapshot()), Err(Refused::Malformed));
}

/// The probe goes the way of the packet that was too large, and what a router quotes of it is known again, however little
/// that is; what quotes the packet itself is not.
#[test]
fn a_probe_is_known_by_what_routers_quote() {
    for (mode, is_v4) in [("vxlan", true), ("vxlan", false), ("geneve", true), ("geneve", false)] {
        let mut sim = Sim::new(&tunnelled(mode));
        let quote = sent(&mut sim, is_v4);
        let ends = if is_v4 { ("198.51.100.1", "192.0.2.1") } else { ("2001:db8:9::1", "2001:db8::1") };
        let read = |bytes: &[u8]| -> Claim {
            let bytes = message(ends.0, ends.1, 1400, bytes);
            path_mtu::read(&bytes, &sim.snapshot()).expect("it is ours")
        };
        let heard = read(&quote[..64]);
        let question = Question {
            peer: heard.peer,
            len: heard.quoted.len,
            src_port: heard.quoted.src_port,
            label: heard.quoted.label,
            random: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        };
        let (probe, mark) = probe::build(&question, &sim.snapshot()).expect("there is a tunnel");
        assert_eq!(probe.port, sim.port("uplink"));
        let packet = &probe.bytes[14..];
        assert_eq!(packet.len(), 1500);
        let words = weft_tests::packets::describe(&probe.bytes);
        assert!(!words.contains("BAD"), "{words}");
        let (least, most) = if is_v4 { (28, 548) } else { (64, 1232) };
        for len in [least, most] {
            let again = read(&packet[..len]);
            assert_eq!((again.quoted.src_port, again.quoted.label), (question.src_port, question.label));
            assert!(mark.is_in(&again.quoted.mark, is_v4), "{mode} {is_v4} {len}");
        }
        assert!(!mark.is_in(&heard.quoted.mark, is_v4), "the packet itself");
        let guessed =
            with(&packet[..most], &[(packet.len().min(most) - 1, 1), (if is_v4 { 27 } else { 47 }, 0)]);
        assert!(!mark.is_in(&read(&guessed).quoted.mark, is_v4), "a checksum guessed wrong");
        sim.finish();
    }
}

/// The other node knows what it is.
#[test]
fn a_probe_is_dropped_where_it_arrives() {
    for (mode, shim, port) in [("vxlan", [0; 8], 4789), ("geneve", [0, 0x80, 0, 0, 0, 0, 0, 0], 6081)] {
        let probe = eth("02:99:00:00:00:00", "02:de:00:00:00:01");
        let probe = probe.wrap("192.0.2.2", "192.0.2.1", port, &shim, &[7; 1000]);
        let mut sim = Sim::new(&tunnelled(mode));
        sim.put("uplink", probe);
        sim.run();
        assert_eq!(outcome(&sim), "uplink drops 1 tunnel_probe");
        assert_eq!(sim.drops("uplink", DropReason::TunnelProbe), 1);
        sim.check_laws();
        sim.finish();
    }
}

/// A pod's IPv6 never goes below 1280 bytes, whatever its way is said to take, and no pod is told so (RFC 8200 §5).
#[test]
fn ipv6_pods_are_told_no_less_than_1280() {
    let mut sim = Sim::new(&tunnelled("vxlan"));
    let peers = [IpAddr::from([192, 0, 2, 2]), "2001:db8::2".parse().expect("an address")];
    sim.facts.path_mtus.extend(peers.map(|peer| (peer, 1280)));
    sim.publish();
    for (is_v4, len) in [(false, 1232), (false, 1233)] {
        let (src, dst) =
            if is_v4 { ("10.244.0.10", "10.244.1.7") } else { ("fd00:244::10", "fd00:244:1::7") };
        sim.put("a", eth(A, GATEWAY).udp(src, dst, (1, 2), 64, len));
    }
    sim.run();
    expect![[r#"
        uplink < 02:de:00:00:00:01>02:99:00:00:00:01 2001:db8::1>2001:db8::2 ttl 64 vxlan 42 {02:00:00:00:00:01>02:77:00:00:00:01 fd00:244::10>fd00:244:1::7 ttl 63 udp 1>2 len 1232}
        a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 icmp6 2/0 1280 len 1232"#]]
    .assert_eq(&outcome(&sim));
    sim.check_laws();
    sim.finish();
}

/// With a native fabric the node has no say: what routers tell the pods goes to the pods.
#[test]
fn natively_pods_hear_routers_themselves() {
    let to_pod = {
        let quote = eth(A, GATEWAY).udp("10.244.0.10", "10.244.1.7", (1, 2), 64, 1400);
        message("198.51.100.1", "10.244.0.10", 1400, &quote[14..60])
    };
    check(
        crate::NODE,
        vec![("uplink", to_pod)],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 198.51.100.1>10.244.0.10 ttl 59 icmp 3/4 1400 len 46"#]],
    );
}
