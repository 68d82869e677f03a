//! Pods that flood the slow path and the tables take their own share: others get theirs.

use std::{path::Path, time::Duration};

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root, veth},
    node::{Kind, Node, Plan},
    packets::eth,
    probe::{must_ping, ping},
};

/// A capture of these frames, without times.
fn capture(path: &Path, frames: impl IntoIterator<Item = Vec<u8>>) {
    let mut bytes: Vec<u8> = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).expect("writable");
}

const FLOOD: &str = "02:00:0a:f4:00:99";

/// A pod whose port is always full of packets for the slow path: ARP requests, echo requests, packets to be complained of.
#[test]
fn a_pod_that_floods_the_slow_path_keeps_nobody_from_it() {
    if !require_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("flood.pcap");
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    must_ping(&node.pods[0].ns, "10.244.0.1".parse().expect("an address"), 56);
    let neighbour = node.pods[0].ns.ip(&["neigh", "show", "10.244.0.1"]);
    let gateway = neighbour.split_whitespace().nth(4).expect("a MAC").to_owned();
    let (arp, sent) = (eth(FLOOD, "ff:ff:ff:ff:ff:ff"), eth(FLOOD, &gateway));
    let own = "10.244.0.99";
    for (what, frame) in [
        ("arp", arp.arp(own, "10.244.0.1")),
        ("ping", sent.ping(own, "10.244.0.1", 64)),
        ("udp", sent.udp(own, "10.244.0.1", (1, 2), 64, 10)),
        ("ttl", sent.udp(own, &node.pods[0].v4().to_string(), (1, 2), 1, 10)),
        ("unreachable", sent.udp(own, "10.244.0.77", (1, 2), 64, 10)),
    ] {
        capture(&file, vec![frame; 64]);
        let file = file.display().to_string();
        node.weftd.must(&["port", "add", "flood", "--kind", "pcap", "--repeat", "--rx-file", &file]);
        let pod = ["endpoint", "add", "flood", "--network", "pods", "--port", "flood", "--mac", FLOOD];
        node.weftd.must(&[&pod[..], &["--address", own]].concat());
        node.weftd.wait_for("a flood", |weftd| weftd.drops("flood", "punt_limited") > 10_000);
        for pod in &node.pods {
            pod.ns.ip(&["neigh", "flush", "all"]);
            for address in ["10.244.0.1", "fd00:244::1"] {
                let address = address.parse().expect("an address");
                assert!(ping(&pod.ns, address, 10, 56) >= 9, "{what}: {} {address}", pod.name);
            }
            // Others' errors are told, too.
            let trace =
                pod.ns.must(&["traceroute", "-n", "-q", "1", "-w", "2", &node.pods[0].v4().to_string()]);
            assert!(pod.name == node.pods[0].name || trace.contains("10.244.0.1 "), "{what}: {trace}");
        }
        node.weftd.must(&["endpoint", "del", "flood"]);
        node.weftd.must(&["port", "del", "flood"]);
    }
    let drops = node.weftd.must(&["drops"]);
    for word in ["icmp_limited_port", "icmp_limited_ttl_expired", "icmp_limited_unreachable"] {
        assert!(drops.contains(word), "{drops}");
    }
    assert!(!drops.contains("punt_full") && !drops.contains("answer_handoff_full"), "{drops}");
}

#[test]
fn the_gateway_answers_what_comes_in_fragments() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet, Kind::Xsk]));
    for pod in &node.pods {
        for address in ["10.244.0.1", "fd00:244::1"] {
            for size in [1472, 1473, 4000] {
                must_ping(&pod.ns, address.parse().expect("an address"), size);
            }
            // Each is 45 packets for the slow path: three at once, again and again, would be more than a pod's share.
            assert_eq!(ping(&pod.ns, address.parse().expect("an address"), 1, 65_000), 1, "{}", pod.name);
        }
    }
}

const LANS: &str = r#"
[node]
name = "node"
control = "CONTROL"
[pmd]
cores = [1]
memory_mib = 128
[[network]]
name = "crowd"
mode = "bridged"
fdb_size = 1000
[[network]]
name = "lan"
mode = "bridged"
"#;

/// A member that makes addresses up fills its own network's table, and learning goes on elsewhere and for others.
#[test]
fn made_up_addresses_keep_nobody_from_being_learnt() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("node");
    let mut config = LANS.to_owned();
    let hosts: Vec<NetNs> = [("x", "crowd"), ("p", "lan"), ("q", "lan")]
        .into_iter()
        .enumerate()
        .map(|(i, (name, network))| {
            let host = NetNs::new(name);
            veth(&node, name, &host, "eth0", 1);
            host.ip(&["addr", "add", &format!("10.0.0.{}/24", i + 1), "dev", "eth0"]);
            config += &format!(
                "[[port]]\nname = \"{name}\"\nkind = \"packet\"\nrole = \"access\"\nnetwork = \"{network}\"\n\
                 device = \"{name}\"\n"
            );
            host
        })
        .collect();
    let weftd = Weftd::start(&node, &config);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("flood.pcap");
    let frame = |i: u32| {
        eth(&format!("02:66:00:{:02x}:{:02x}:{:02x}", i >> 16, i >> 8 & 0xff, i & 0xff), "02:99:00:00:00:01")
    };
    capture(&file, (0..100_000).map(|i| frame(i).udp("10.0.0.9", "10.0.0.1", (1, 2), 64, 10)));
    let file = file.display().to_string();
    let port =
        ["port", "add", "storm", "--kind", "pcap", "--role", "access", "--network", "crowd", "--repeat"];
    weftd.must(&[&port[..], &["--rx-file", &file]].concat());
    let learnt = |weftd: &Weftd, name: &str, what: &str| {
        let rows = weftd.json(&["network", "list"]);
        let rows = rows["networks"].as_array().expect("a list");
        rows.iter()
            .find(|row| row["spec"]["name"] == name)
            .and_then(|row| row[what].as_u64())
            .expect("a number")
    };
    weftd.wait_for("a full table", |weftd| learnt(weftd, "crowd", "refused") > 0);
    assert_eq!(learnt(&weftd, "crowd", "learnt"), 1000);
    must_ping(&hosts[1], "10.0.0.3".parse().expect("an address"), 56);
    weftd.wait_for("others that are learnt", |weftd| learnt(weftd, "lan", "learnt") >= 2);
    // A member of the full network has its part of the table.
    let mac = hosts[0].must(&["cat", "/sys/class/net/eth0/address"]);
    hosts[0].run(&["ping", "-c", "3", "-i", "0.2", "-W", "1", "10.0.0.77"]);
    let knows = |weftd: &Weftd| weftd.must(&["fdb", "list", "--network", "crowd"]).contains(mac.trim());
    weftd.wait_for("a neighbour of the crowd that is learnt", knows);
    assert!(weftd.log().contains("no room for more learnt addresses"), "{}", weftd.log());
    assert!(weftd.drops("storm", "storm_limited") > 0);
    std::thread::sleep(Duration::from_millis(500));
    let before = weftd.json(&["status"])["generation"].as_u64().expect("a number");
    std::thread::sleep(Duration::from_secs(1));
    let after = weftd.json(&["status"])["generation"].as_u64().expect("a number");
    assert!(after - before < 20, "a full table is not published again and again: {before} to {after}");
}
