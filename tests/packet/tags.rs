//! VLAN tags: whose they are, what of them stays on the way.

use expect_test::{Expect, expect};
use weft_pmd::{Csum, Offload};
use weft_tests::{
    packets::{eth, tags_of, with_tags},
    sim::Sim,
};

use crate::outcome;

/// Two trunks, two access ports, a pod with addresses and one without; another node that has the network, too.
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
vlan = 10
vni = 7
[[port]]
name = "t"
kind = "packet"
role = "trunk"
networks = ["lan"]
device = "t"
[[port]]
name = "u"
kind = "xsk"
role = "trunk"
networks = ["lan"]
device = "u"
[[port]]
name = "x"
kind = "packet"
role = "access"
network = "lan"
device = "x"
[[port]]
name = "y"
kind = "tap"
role = "access"
network = "lan"
device = "y"
[[port]]
name = "pod"
kind = "tap"
device = "pod"
[[endpoint]]
name = "pod"
network = "lan"
port = "pod"
mac = "02:00:00:00:00:0d"
addresses = ["10.0.0.13", "fd00::13"]
[[port]]
name = "free"
kind = "tap"
device = "free"
[[endpoint]]
name = "free"
network = "lan"
port = "free"
mac = "02:00:00:00:00:0f"
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
[fabric]
mode = "vxlan"
[[fabric.peer]]
name = "peer"
address = "192.0.2.2"
prefixes = []
"#;

const T: &str = "02:00:00:00:00:cc";
const U: &str = "02:00:00:00:00:dd";
const X: &str = "02:00:00:00:00:aa";
const POD: &str = "02:00:00:00:00:0d";
const FREE: &str = "02:00:00:00:00:0f";
const ALL: &str = "ff:ff:ff:ff:ff:ff";
const DEI: u32 = 0x1000;

/// Runs frames through a fresh switch; compares tags and EtherTypes of what comes out, by frame and port, and the drops.
#[track_caller]
fn check(config: &str, frames: &[(&str, Vec<u8>)], expect: Expect) {
    let mut sim = Sim::new(config);
    let mut lines = Vec::new();
    for (from, bytes) in frames {
        sim.put(from, bytes.clone());
        sim.run();
        let mut out = Vec::new();
        for port in &sim.desired.ports {
            for (sent, _) in sim.tape(&port.name).take() {
                let outer = if port.name == "uplink" { 50 } else { 0 };
                out.push(format!("{} {}", port.name, tags_of(&sent[outer..])));
            }
        }
        let out = if out.is_empty() { "nobody".to_owned() } else { out.join(", ") };
        lines.push(format!("{from} {} > {out}", tags_of(bytes)));
    }
    lines.push(outcome(&sim));
    expect.assert_eq(&lines.join("\n"));
    sim.check_laws();
    sim.finish();
}

fn udp(src: &str, dst: &str) -> Vec<u8> {
    eth(src, dst).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 1)
}

#[test]
fn a_priority_stays_from_trunk_to_trunk_and_ends_where_tags_do() {
    let tagged = |src: &str, dst: &str, tag: u32| with_tags(&udp(src, dst), &[tag]);
    check(
        LAN,
        &[
            ("t", tagged(T, ALL, 0x8100_a00a)),
            ("t", tagged(T, ALL, 0x8100_a00a | DEI)),
            ("u", tagged(U, T, 0x8100_e00a)), // learnt: by one port, with the id it is known by
            ("u", tagged(U, POD, 0x8100_e00a)),
            // A priority tag says no more than a priority.
            ("x", tagged(X, T, 0x8100_6000 | DEI)),
            ("x", tagged(X, ALL, 0x8100_6000)),
            ("free", tagged(FREE, U, 0x8100_4000)),
            ("x", udp(X, T)),
        ],
        expect![[r#"
            t 8100a00a 0800 > u 8100a00a 0800, x 0800, y 0800, pod 0800, free 0800, uplink 0800
            t 8100b00a 0800 > u 8100b00a 0800, x 0800, y 0800, pod 0800, free 0800, uplink 0800
            u 8100e00a 0800 > t 8100e00a 0800
            u 8100e00a 0800 > pod 0800
            x 81007000 0800 > t 8100700a 0800
            x 81006000 0800 > t 8100600a 0800, u 8100600a 0800, y 0800, pod 0800, free 0800, uplink 0800
            free 81004000 0800 > u 8100400a 0800
            x 0800 > t 8100000a 0800
        "#]],
    );
}

/// 802.1Q-2018 §5.5: to a bridge of customer VLANs a service tag is no tag.
#[test]
fn a_service_tag_is_payload() {
    check(
        LAN,
        &[
            ("t", with_tags(&udp(T, ALL), &[0x88a8_000a])), // no customer VLAN: nothing that the trunk carries
            ("t", with_tags(&udp(T, ALL), &[0x8100_000a, 0x88a8_0014])),
            ("x", with_tags(&udp(X, ALL), &[0x88a8_012c])),
            ("x", with_tags(&udp(X, ALL), &[0x88a8_012c, 0x8100_0005])),
            ("free", with_tags(&udp(FREE, ALL), &[0x88a8_012c])),
            // Behind it addresses could be anybody's.
            ("pod", with_tags(&eth(POD, ALL).udp("10.0.0.13", "10.0.0.2", (1, 2), 64, 1), &[0x88a8_012c])),
            ("pod", with_tags(&udp(POD, ALL), &[0x8100_0000, 0x88a8_012c])),
        ],
        expect![[r#"
            t 88a8000a 0800 > nobody
            t 8100000a 88a80014 0800 > u 8100000a 88a80014 0800, x 88a80014 0800, y 88a80014 0800, pod 88a80014 0800, free 88a80014 0800, uplink 88a80014 0800
            x 88a8012c 0800 > t 8100000a 88a8012c 0800, u 8100000a 88a8012c 0800, y 88a8012c 0800, pod 88a8012c 0800, free 88a8012c 0800, uplink 88a8012c 0800
            x 88a8012c 81000005 0800 > t 8100000a 88a8012c 81000005 0800, u 8100000a 88a8012c 81000005 0800, y 88a8012c 81000005 0800, pod 88a8012c 81000005 0800, free 88a8012c 81000005 0800, uplink 88a8012c 81000005 0800
            free 88a8012c 0800 > t 8100000a 88a8012c 0800, u 8100000a 88a8012c 0800, x 88a8012c 0800, y 88a8012c 0800, pod 88a8012c 0800, uplink 88a8012c 0800
            pod 88a8012c 0800 > nobody
            pod 81000000 88a8012c 0800 > nobody
            t drops 1 vlan_not_allowed
            pod drops 2 vlan_not_allowed"#]],
    );
}

/// Hosts take priority tags off, however many: what comes to light behind one must have been looked at.
#[test]
fn nothing_hides_behind_a_priority_tag() {
    let rule = "[[flow]]\nname = \"no-udp\"\nmatch = { network = \"lan\", protocol = \"udp\" }\nactions = [\"drop\"]\n";
    let nested: [&[u32]; 5] = [
        &[0x8100_0000, 0x8100_0000],
        &[0x8100_0000, 0x8100_012c], // would leave an untagged port with VLAN 300
        &[0x88a8_0000],
        &[0x8100_0000, 0x88a8_0000],
        &[0x88a8_0000, 0x8100_012c],
    ];
    let forged = eth(POD, ALL).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 1);
    let mut frames: Vec<(&str, Vec<u8>)> =
        nested.iter().map(|tags| ("pod", with_tags(&forged, tags))).collect();
    frames.extend(nested.iter().map(|tags| ("x", with_tags(&udp(X, ALL), tags))));
    frames.push(("t", with_tags(&udp(T, ALL), &[0x8100_000a, 0x8100_0000])));
    frames.push(("x", with_tags(&udp(X, ALL), &[0x8100_0000])));
    check(
        &format!("{LAN}{rule}"),
        &frames,
        expect![[r#"
            pod 81000000 81000000 0800 > nobody
            pod 81000000 8100012c 0800 > nobody
            pod 88a80000 0800 > nobody
            pod 81000000 88a80000 0800 > nobody
            pod 88a80000 8100012c 0800 > nobody
            x 81000000 81000000 0800 > nobody
            x 81000000 8100012c 0800 > nobody
            x 88a80000 0800 > nobody
            x 81000000 88a80000 0800 > nobody
            x 88a80000 8100012c 0800 > nobody
            t 8100000a 81000000 0800 > nobody
            x 81000000 0800 > nobody
            t drops 1 vlan_not_allowed
            x drops 5 vlan_not_allowed
            x drops 1 rule
            pod drops 5 vlan_not_allowed"#]],
    );
    // Nor where no rule looks: hosts do, and what it claims in ARP or discovery is nobody's to claim.
    check(
        LAN,
        &[
            ("x", with_tags(&udp(X, T), &[0x88a8_0000])),
            ("x", with_tags(&udp(X, FREE), &[0x8100_0000, 0x8100_0000])),
            ("t", with_tags(&udp(T, X), &[0x8100_000a, 0x8100_0000])),
        ],
        expect![[r#"
            x 88a80000 0800 > nobody
            x 81000000 81000000 0800 > nobody
            t 8100000a 81000000 0800 > nobody
            t drops 1 vlan_not_allowed
            x drops 2 vlan_not_allowed"#]],
    );
}

/// A tag inside of a tag is the customer's; other TPIDs are none that anybody here knows.
#[test]
fn tags_inside_of_tags_are_payload() {
    check(
        LAN,
        &[
            ("t", with_tags(&udp(T, ALL), &[0x8100_a00a, 0x8100_6014])),
            ("t", with_tags(&udp(T, ALL), &[0x9100_000a])),
            ("x", with_tags(&udp(X, T), &[0x9100_000a])),
            ("x", with_tags(&udp(X, T), &[0x8100_0014])), // no trunk
        ],
        expect![[r#"
            t 8100a00a 81006014 0800 > u 8100a00a 81006014 0800, x 81006014 0800, y 81006014 0800, pod 81006014 0800, free 81006014 0800, uplink 81006014 0800
            t 9100 > nobody
            x 9100 > t 8100000a 9100
            x 81000014 0800 > nobody
            t drops 1 vlan_not_allowed
            x drops 1 vlan_not_allowed"#]],
    );
}

#[test]
fn a_tag_that_a_rule_puts_on_and_takes_off_leaves_the_frames_own() {
    let rule = "[[flow]]\nname = \"copy\"\nmatch = { protocol = \"udp\", dst_port = 2 }\n\
                actions = [\"push_vlan:77\", \"mirror:y\", \"pop_vlan\", \"continue\"]\n";
    check(
        &format!("{LAN}{rule}"),
        &[
            ("x", udp(X, FREE)),
            ("t", with_tags(&udp(T, FREE), &[0x8100_a00a])),
            ("t", with_tags(&udp(T, X), &[0x8100_a00a])),
        ],
        expect![[r#"
            x 0800 > y 8100004d 0800, free 0800
            t 8100a00a 0800 > y 8100004d 8100a00a 0800, free 0800
            t 8100a00a 0800 > x 0800, y 8100004d 8100a00a 0800
        "#]],
    );
}

/// The slow path's answers, and what it passes on, have the priority of what came.
#[test]
fn the_slow_path_keeps_priorities() {
    let config = LAN.replacen("vlan = 10", "vlan = 10\nsuppress = true", 1);
    let solicit = eth(T, "33:33:ff:00:00:01").solicit("fe80::2", "fe80::1");
    check(
        &config,
        &[
            ("t", with_tags(&eth(T, ALL).arp("10.0.0.3", "10.0.0.13"), &[0x8100_a00a | DEI])),
            ("x", with_tags(&eth(X, ALL).arp("10.0.0.1", "10.0.0.13"), &[0x8100_a000])),
            ("t", with_tags(&solicit, &[0x8100_a00a | DEI])), // nobody's: flooded
        ],
        expect![[r#"
            t 8100b00a 0806 > t 8100a00a 0806
            x 8100a000 0806 > x 8100a000 0806
            t 8100b00a 86dd > u 8100b00a 86dd, x 86dd, y 86dd, pod 86dd, free 86dd, uplink 86dd
        "#]],
    );
}

/// Routed networks have no VLANs: a priority tag is taken off, nothing else is let in.
#[test]
fn routed_networks_take_priority_tags_off() {
    let packet =
        eth("02:00:00:00:00:0a", "02:00:00:00:00:01").udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3);
    check(
        crate::NODE,
        &[
            ("a", with_tags(&packet, &[0x8100_e000])),
            ("a", with_tags(&packet, &[0x8100_e000, 0x8100_0000])),
            ("a", with_tags(&packet, &[0x88a8_0000])),
            ("a", with_tags(&packet, &[0x88a8_0005])),
            ("a", with_tags(&packet, &[0x8100_0005])),
        ],
        expect![[r#"
            a 8100e000 0800 > b 0800
            a 8100e000 81000000 0800 > nobody
            a 88a80000 0800 > nobody
            a 88a80005 0800 > nobody
            a 81000005 0800 > nobody
            a drops 3 vlan_not_allowed
            a drops 1 not_ip"#]],
    );
}

/// What a customer's stack leaves to its device is done behind all tags.
#[test]
fn a_checksum_behind_tags_is_found_and_completed() {
    // The pseudo-header's sum: src + dst + protocol + length, folded.
    let mut bytes = udp(U, ALL);
    let sum = [0x0a00_u32, 0x0001, 0x0a00, 0x0002, 17, 9].iter().sum::<u32>();
    bytes[40..42].copy_from_slice(&(sum as u16).to_be_bytes());
    for tags in [&[0x8100_000a][..], &[0x8100_000a, 0x8100_0014], &[0x8100_000a, 0x88a8_0014, 0x8100_0014]] {
        let mut sim = Sim::new(LAN);
        sim.tape("u")
            .put(with_tags(&bytes, tags), Offload { csum: Csum::Unknown, gso: None, ..Offload::default() });
        sim.run();
        let sent = sim.tape("x").take();
        let (frame, offload) = &sent[0];
        let start = 34 + 4 * (tags.len() as u16 - 1);
        assert_eq!(offload.csum, Csum::Partial { start, offset: 6 }, "{}", tags_of(frame));
        sim.finish();
    }
}

/// A switch of the underlay may put a priority tag on what it passes on.
#[test]
fn a_priority_tag_around_a_tunnel_packet_is_taken_off() {
    let inner = udp(T, X);
    let wrapped = eth("02:99:00:00:00:00", "02:de:00:00:00:01").wrap(
        "192.0.2.2",
        "192.0.2.1",
        4789,
        &[8, 0, 0, 0, 0, 0, 7, 0],
        &inner,
    );
    for tags in [&[][..], &[0x8100_0000], &[0x8100_e000]] {
        let mut sim = Sim::new(LAN);
        sim.put("uplink", with_tags(&wrapped, tags));
        sim.run();
        let sent: Vec<_> = sim.tape("x").take().into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(sent, std::slice::from_ref(&inner), "{tags:08x?}");
        sim.check_laws();
        sim.finish();
    }
}
