//! What is everybody's is divided: whoever floods takes their own share, and others get theirs.

use expect_test::expect;
use weft_dataplane::reason::{DropReason, PuntReason};
use weft_tests::{
    packets::{describe, eth},
    sim::Sim,
};

use crate::{NODE, check, outcome};

const GATEWAY: &str = "02:00:00:00:00:01";
const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const ALL: &str = "ff:ff:ff:ff:ff:ff";

fn arp_of_a() -> Vec<u8> {
    eth(A, ALL).arp("10.244.0.10", "10.244.0.1")
}

/// A thousand requests at once of one pod: 256 are answered. Another pod's are.
#[test]
fn a_flood_of_requests_takes_its_own_share() {
    let mut sim = Sim::new(NODE);
    for _ in 0..1000 {
        sim.put("a", arp_of_a());
    }
    for _ in 0..20 {
        sim.put("b", eth(B, ALL).arp("10.244.0.11", "10.244.0.1"));
        sim.put("b", eth(B, GATEWAY).ping("10.244.0.11", "10.244.0.1", 64));
        sim.put("b", eth(B, "33:33:ff:00:00:01").solicit("fd00:244::11", "fd00:244::1"));
    }
    sim.run();
    assert_eq!(sim.tape("b").take().len(), 60);
    assert_eq!(sim.tape("a").take().len(), 256);
    assert_eq!(sim.drops("a", DropReason::PuntLimited), 744);
    assert_eq!(sim.endpoint_drops("a", DropReason::PuntLimited), 744);
    assert_eq!(sim.drops("b", DropReason::PuntLimited), 0);
    let (recorded, _) = sim.recorded();
    assert!(
        recorded.iter().all(|dropped| dropped.origin.and_then(|origin| origin.port()) == Some(sim.port("a")))
    );
    // A second later there is a full share again.
    sim.now_ns += 1_000_000_000;
    sim.put("a", arp_of_a());
    sim.run();
    assert_eq!(sim.tape("a").take().len(), 1);
    sim.check_laws();
    sim.finish();
}

/// What nobody answers holds places, and no more of them than leave room for others.
#[test]
fn what_waits_leaves_room_for_others() {
    let mut sim = Sim::new(NODE);
    for _ in 0..1000 {
        sim.put("a", arp_of_a());
    }
    for _ in 0..20 {
        sim.turn(); // the slow path has not come round
    }
    sim.put("b", eth(B, ALL).arp("10.244.0.11", "10.244.0.1"));
    sim.turn();
    assert_eq!(sim.drops("b", DropReason::PuntLimited) + sim.drops("b", DropReason::PuntFull), 0);
    sim.run();
    assert_eq!(sim.tape("b").take().len(), 1);
    sim.check_laws();
    sim.finish();
}

/// Whatever asks for an ICMP error: 60 at once are told, and whose they are not is told as ever.
#[test]
fn errors_are_limited_where_they_are_made() {
    let from_a = eth(A, GATEWAY);
    let udp = |dst: &str, ttl: u8, len: usize| from_a.udp("10.244.0.10", dst, (1, 2), ttl, len);
    for (reason, packet) in [
        (PuntReason::Local, udp("10.244.0.1", 64, 10)),
        (PuntReason::Local, from_a.tcp("10.244.0.10", "10.244.0.1", (1, 2), "s", 0)),
        (PuntReason::Local, from_a.udp("fd00:244::10", "fd00:244::1", (1, 2), 64, 10)),
        (PuntReason::TtlExpired, udp("10.244.0.11", 1, 10)),
        (PuntReason::Unreachable, udp("10.244.0.77", 64, 10)),
        (PuntReason::TooBig, udp("10.244.0.11", 64, 2000)),
    ] {
        let mut sim = Sim::new(&NODE.replacen("device = \"a\"", "device = \"a\"\nmtu = 9000", 1));
        for _ in 0..200 {
            sim.put("a", packet.clone());
        }
        sim.put("b", eth(B, GATEWAY).udp("10.244.0.11", "10.244.0.1", (1, 2), 64, 10));
        sim.run();
        assert_eq!(sim.tape("a").take().len(), 60, "{reason:?}");
        assert_eq!(sim.unanswered().errors_limited[reason as usize].get(), 140);
        assert_eq!(sim.tape("b").take().len(), 1);
        sim.check_laws();
        sim.finish();
    }
}

/// A bridged network of two members and two other nodes.
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
suppress = true
fdb_size = 100
flood_rate = 100
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
[[port]]
name = "y"
kind = "xsk"
role = "access"
network = "lan"
device = "y"
[fabric]
mode = "vxlan"
[[fabric.peer]]
name = "b"
address = "192.0.2.2"
[[fabric.peer]]
name = "c"
address = "192.0.2.3"
"#;

const X: &str = "02:00:00:00:00:11";
const Y: &str = "02:00:00:00:00:22";

/// What each member may flood, by PMD threads and by the slow path; `flood_rate` of the fabric aside.
#[test]
fn a_storm_is_limited_by_member() {
    let broadcast = |mac: &str| eth(mac, ALL).arp("10.0.0.1", "10.0.0.2");
    let multicast = |mac: &str| eth(mac, "01:00:5e:00:00:05").udp("10.0.0.1", "224.0.0.5", (1, 2), 1, 10);
    let unknown = |mac: &str| eth(mac, "02:00:00:00:00:99").udp("10.0.0.1", "10.0.0.9", (1, 2), 64, 10);
    let nobody = |mac: &str| eth(mac, "33:33:ff:00:00:99").solicit("fd00::1", "fd00::99");
    for (what, packet) in [
        ("broadcast", &broadcast as &dyn Fn(&str) -> Vec<u8>),
        ("multicast", &multicast),
        ("unknown", &unknown),
        ("solicitation", &nobody),
    ] {
        let mut sim = Sim::new(LAN);
        for _ in 0..50 {
            sim.put("x", packet(X));
        }
        sim.put("y", packet(Y));
        sim.run();
        assert_eq!(sim.tape("y").take().len(), 10, "{what}");
        assert_eq!(sim.tape("x").take().len(), 1, "{what}");
        assert_eq!(sim.tape("uplink").take().len(), 22, "{what}: two nodes");
        let limited = sim.drops("x", DropReason::StormLimited) + sim.unanswered().storm_limited.get();
        assert_eq!((limited, sim.drops("y", DropReason::StormLimited)), (40, 0), "{what}");
        sim.check_laws();
        sim.finish();
    }
}

/// Copies for other nodes: half of the rate is divided by member, and solicitations that the slow path floods count.
#[test]
fn copies_for_other_nodes_are_divided() {
    let config =
        LAN.replacen("flood_rate = 100", "", 1).replacen("\"vxlan\"", "\"vxlan\"\nflood_rate = 400", 1);
    let mut sim = Sim::new(&config);
    // 40 at once: 20 for whoever wants them; of the others 5 each at the PMD thread and 5 at the slow path.
    for _ in 0..50 {
        sim.put("x", eth(X, ALL).arp("10.0.0.1", "10.0.0.2"));
    }
    sim.run();
    assert_eq!(sim.tape("uplink").take().len(), 25);
    assert_eq!(sim.drops("uplink", DropReason::FloodLimited), 75);
    sim.put("y", eth(Y, ALL).arp("10.0.0.2", "10.0.0.1"));
    sim.run();
    assert_eq!(sim.tape("uplink").take().len(), 2, "y has its own");
    for _ in 0..50 {
        sim.put("x", eth(X, "33:33:ff:00:00:99").solicit("fd00::1", "fd00::99"));
    }
    sim.run();
    assert_eq!(sim.tape("uplink").take().len(), 5);
    assert_eq!(sim.unanswered().copies_limited.get(), 95);
    sim.check_laws();
    sim.finish();
}

/// Whoever makes addresses up is learnt from at a rate of their own; others are learnt meanwhile.
#[test]
fn made_up_addresses_take_their_own_share() {
    let mut sim = Sim::new(&LAN.replacen("flood_rate = 100", "flood_rate = 0", 1));
    for i in 0..1000 {
        let mac = format!("02:66:00:00:{:02x}:{:02x}", i >> 8, i & 0xff);
        sim.put("x", eth(&mac, "02:00:00:00:00:99").udp("10.0.0.1", "10.0.0.9", (1, 2), 64, 10));
    }
    sim.put("y", eth(Y, "02:00:00:00:00:99").udp("10.0.0.2", "10.0.0.9", (1, 2), 64, 10));
    sim.run();
    let known = sim.facts.fdb.len();
    assert!((257..=260).contains(&known), "{known}");
    sim.tape("y").take();
    sim.put("x", eth("02:66:00:00:00:00", Y).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 10));
    sim.run();
    assert_eq!(sim.tape("y").take().len(), 1);
    sim.check_laws();
    sim.finish();
}

/// Cuts a packet into pieces of so many bytes of data, as a sender does whose link takes no more.
fn cut(packet: &[u8], step: usize) -> Vec<Vec<u8>> {
    let is_v4 = packet[12..14] == [8, 0];
    let (head, data) = packet.split_at(if is_v4 { 34 } else { 54 });
    let last = data.len().div_ceil(step) - 1;
    let piece = |(i, part): (usize, &[u8])| {
        let mut head = head.to_vec();
        let offset = (i * step) as u16;
        if is_v4 {
            head[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
            head[18..20].copy_from_slice(&77_u16.to_be_bytes());
            head[20..22].copy_from_slice(&((offset / 8) | if i < last { 0x2000 } else { 0 }).to_be_bytes());
            head[24..26].fill(0);
            let sum: u32 =
                head[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            head[24..26].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
            return [&head, part].concat();
        }
        let [a, b] = (offset | u16::from(i < last)).to_be_bytes();
        head[18..20].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
        let fragment = [std::mem::replace(&mut head[20], 44), 0, a, b, 0, 0, 0, 77];
        [&head, &fragment[..], part].concat()
    };
    data.chunks(step).enumerate().map(piece).collect()
}

#[test]
fn a_fragmented_echo_request_is_answered_in_fragments() {
    let ping = |src: &str, dst: &str, len: usize| eth(A, GATEWAY).large_ping(src, dst, len);
    let v4 = cut(&ping("10.244.0.10", "10.244.0.1", 4000), 1480);
    let v6 = cut(&ping("fd00:244::10", "fd00:244::1", 4000), 1448);
    let packets = v4.into_iter().rev().chain(v6).map(|packet| ("a", packet)).collect();
    check(
        NODE,
        packets,
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 fragment 0+
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 fragment 1480+
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 fragment 2960
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 fragment 0+
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 fragment 1448+
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 fragment 2896"#]],
    );
}

/// The largest there is, from the other end of the switch; halves get no answer, and overlapping ones neither.
#[test]
fn large_echo_requests_are_answered_and_halves_are_not() {
    let mut sim = Sim::new(NODE);
    let whole = eth(A, GATEWAY).large_ping("10.244.0.10", "10.244.0.1", 65_507);
    let pieces = cut(&whole, 1480);
    for piece in &pieces {
        sim.put("a", piece.clone());
    }
    sim.run();
    let replies: Vec<Vec<u8>> = sim.tape("a").take().into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(replies.len(), pieces.len());
    let data: Vec<u8> = replies.iter().flat_map(|reply| reply[34..].to_vec()).collect();
    assert_eq!(data[8..], whole[42..]);
    assert!(replies.iter().all(|reply| reply.len() <= 1514 && !describe(reply).contains("BAD")));
    sim.put("a", pieces[0].clone());
    sim.put("a", pieces[2].clone());
    let mut overlapping = cut(&whole, 1400);
    sim.put("a", overlapping.swap_remove(1));
    sim.put("a", pieces[1].clone());
    sim.run();
    assert_eq!(outcome(&sim), "");
    assert_eq!(sim.unanswered().not_reassembled.get(), 2);
    sim.check_laws();
    sim.finish();
}
