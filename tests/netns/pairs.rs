//! Every pair of port kinds × what pods do.

use std::net::IpAddr;

use weft_tests::{
    netns::{NetNs, require_root},
    node::{Kind, NODE, Node, OUTSIDE, Plan},
    probe::{checksum_errors, iperf3, must_ping, tcp_round_trip, udp_round_trip},
};

const KINDS: [Kind; 3] = [Kind::Tap, Kind::Packet, Kind::Xsk];

fn parse(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

fn talk(from: &NetNs, to: &NetNs, address: IpAddr) -> IpAddr {
    must_ping(from, address, 56);
    must_ping(from, address, 8000);
    udp_round_trip(&from.netns(), &to.netns(), address, &[1, 100, 1400, 8000, 60_000]);
    tcp_round_trip(&from.netns(), &to.netns(), address, 1 << 20)
}

#[test]
fn every_pair_of_kinds_talks() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[KINDS, KINDS].concat()));
    for from in &node.pods[..3] {
        for to in &node.pods[3..] {
            for is_v4 in [true, false] {
                let source = talk(&from.ns, &to.ns, to.address(is_v4));
                assert_eq!(source, from.address(is_v4), "no NAT between pods");
                println!("{} → {} {}: ping, ping 8000, UDP, TCP", from.name, to.name, to.address(is_v4));
            }
        }
    }
    for pod in &node.pods {
        assert_eq!(checksum_errors(&pod.ns), 0, "checksums as received by {}", pod.name);
    }
}

#[test]
fn the_node_and_another_node_talk_with_every_kind_without_nat() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&KINDS));
    for pod in &node.pods {
        for (i, is_v4) in [true, false].into_iter().enumerate() {
            assert_eq!(talk(&node.ns, &pod.ns, pod.address(is_v4)), parse(NODE[i]), "the node's own address");
            assert_eq!(talk(&pod.ns, &node.ns, parse(NODE[i])), pod.address(is_v4), "the pod's own address");
            assert_eq!(talk(&node.outside, &pod.ns, pod.address(is_v4)), parse(OUTSIDE[i]));
            assert_eq!(talk(&pod.ns, &node.outside, parse(OUTSIDE[i])), pod.address(is_v4));
        }
    }
    for ns in node.pods.iter().map(|pod| &pod.ns).chain([&node.ns, &node.outside]) {
        assert_eq!(checksum_errors(ns), 0, "checksums as received by {}", ns.name());
    }
    // What is the node's own passes the uplink's program by.
    must_ping(&node.outside, parse(NODE[0]), 56);
    must_ping(&node.ns, parse("192.0.2.2"), 56);
}

#[test]
fn jumbo_frames_pass_whole() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan { mtu: 9000, ..Plan::new(&[KINDS, KINDS].concat()) });
    for from in &node.pods[..3] {
        for to in &node.pods[3..] {
            // Not to be fragmented: 8972 bytes of payload are a packet of 9000.
            let output = from.ns.run(&[
                "ping",
                "-M",
                "do",
                "-c",
                "2",
                "-i",
                "0.01",
                "-s",
                "8972",
                &to.v4().to_string(),
            ]);
            assert!(output.status.success(), "{} → {}", from.name, to.name);
            tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v6(), 1 << 20);
        }
    }
}

#[test]
fn super_frames_stay_whole_between_ports_that_take_them() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Tap, Kind::Packet, Kind::Packet]));
    for (from, to) in [(0, 1), (2, 3), (0, 2), (3, 1)] {
        let (from, to) = (&node.pods[from], &node.pods[to]);
        let sent = |name: &str| {
            let stats = node.weftd.json(&["stats", name]);
            let row = &stats["queues"][0];
            (row["tx_packets"].as_u64().unwrap_or(0), row["tx_bytes"].as_u64().unwrap_or(0))
        };
        let before = sent(&to.name);
        let rate = iperf3(&from.ns, &to.ns, to.v4(), 1);
        let after = sent(&to.name);
        let mean = (after.1 - before.1) / (after.0 - before.0).max(1);
        println!("{} → {}: {rate:.1} Gb/s in frames of {mean} bytes", from.name, to.name);
        assert!(mean > 5000, "{} → {}: frames of {mean} bytes on average", from.name, to.name);
    }
}

#[test]
fn segments_that_arrive_one_by_one_are_joined_for_ports_that_take_super_frames() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Xsk, Kind::Tap, Kind::Packet]));
    let received = |ns: &NetNs| {
        let counter = |name: &str| -> u64 {
            let text = ns.must(&["cat", &format!("/sys/class/net/eth0/statistics/{name}")]);
            text.trim().parse().expect("a number")
        };
        (counter("rx_packets"), counter("rx_bytes"))
    };
    let from = &node.pods[0];
    for to in &node.pods[1..] {
        for is_v4 in [true, false] {
            let before = received(&to.ns);
            let rate = iperf3(&from.ns, &to.ns, to.address(is_v4), 1);
            let after = received(&to.ns);
            let mean = (after.1 - before.1) / (after.0 - before.0).max(1);
            println!("{} → {}: {rate:.1} Gb/s, received as frames of {mean} bytes", from.name, to.name);
            assert!(mean > 2 * 1514, "{} → {}: frames of {mean} bytes on average", from.name, to.name);
        }
        assert_eq!(checksum_errors(&to.ns), 0, "checksums as received by {}", to.name);
    }
}
