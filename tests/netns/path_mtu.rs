//! Small links on the way to other nodes, and liars who say that there are some.

use std::{net::IpAddr, thread::sleep, time::Duration};

use etherparse::PacketBuilder;
use weft_pmd::{
    Burst, FramePool, Memory, PortQueue,
    port::{Stack, packet},
};
use weft_tests::{
    cluster::{Cluster, Shape},
    netns::{NetNs, require_root},
    node::Kind,
    probe::{must_ping, tcp_round_trip},
};

/// Sends a frame by a device.
fn send(ns: &NetNs, device: &str, frames: &[Vec<u8>]) {
    let memory = Memory::heap(1024, 16).expect("memory");
    let mut pool = FramePool::new(memory);
    let spec = packet::Spec {
        device: device.into(),
        netns: Some(ns.netns()),
        queues: 1,
        mtu: None,
        join: false,
        stack: Stack::Untaken,
    };
    let mut opened = packet::open(&spec).expect("a packet socket");
    for frame in frames {
        let mut burst = Burst::new();
        burst.push(pool.alloc_copy(frame).expect("memory")).expect("room");
        opened.queues[0].tx(&mut pool, &mut burst).expect("the device is there");
        burst.free_all(&mut pool);
    }
    opened.queues.iter_mut().for_each(|queue| queue.close(&mut pool));
}

/// Whoever it is says that node 0's packets of `len` bytes to node 1 are too large for some link of `mtu` bytes.
fn lie(cluster: &Cluster, mtu: u16, len: u16, src_port: u16) -> Vec<u8> {
    let (own, other) = (cluster.nodes[0].address(true), cluster.nodes[1].address(true));
    let (IpAddr::V4(own), IpAddr::V4(other)) = (own, other) else { panic!("IPv4") };
    let mac = cluster.nodes[0].ns.must(&["cat", "/sys/class/net/uplink0/address"]);
    let mac: weft_wire::Mac = mac.trim().parse().expect("a MAC");
    let mut quote = Vec::new();
    PacketBuilder::ipv4(own.octets(), other.octets(), 60)
        .udp(src_port, 4789)
        .write(&mut quote, &vec![0; usize::from(len) - 28])
        .expect("a packet");
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0x66], mac.0)
        .ipv4([203, 0, 113, 9], own.octets(), 60)
        .icmpv4_raw(3, 4, u32::from(mtu).to_be_bytes())
        .write(&mut bytes, &quote[..28])
        .expect("a packet");
    bytes
}

/// A ping that may be cut on the way, and whose answer may.
#[track_caller]
fn must_ping_without_df(from: &NetNs, to: IpAddr, size: u32) {
    let words =
        ["ping", "-M", "dont", "-c", "2", "-i", "0.1", "-W", "2", "-s", &size.to_string(), &to.to_string()];
    let output = from.run(&words);
    assert!(output.status.success(), "{size} bytes: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_the_link_on_the_way_does_not_take_is_cut() {
    if !require_root() {
        return;
    }
    for (mode, is_v4) in [("vxlan", true), ("vxlan", false), ("geneve", true)] {
        let shape = Shape { nodes: 2, is_routed: true, last_mtu: 1400, ..Shape::new(mode, is_v4) };
        let cluster = Cluster::new(shape);
        let (from, to) = (&cluster.nodes[0], &cluster.nodes[1].pods[0]);
        let left = if is_v4 { 1350 } else { 1330 };
        // The first that is too large makes the router say so.
        for pod in &from.pods {
            tcp_round_trip(&pod.ns.netns(), &to.ns.netns(), to.v4(), 1 << 20);
        }
        let peer = || from.weftd.json(&["fabric", "peer", "show", "n1"]);
        from.weftd.wait_for("the router's word, proven", |_| peer()["path_mtu_source"]["state"] == "proven");
        assert_eq!((peer()["path_mtu"].as_u64(), peer()["peer"]["mtu"].as_u64()), (Some(1400), Some(left)));
        let router = if is_v4 { "10.9.0.1" } else { "2001:db8:0::1" };
        assert_eq!(peer()["path_mtu_source"]["router"], router.replace(":0::", "::"));
        let words = from.weftd.must(&["fabric", "peer", "show", "n1"]);
        assert!(words.contains("1400, proven by "), "{words}");
        let messages = from.weftd.json(&["fabric", "show"]);
        assert!(messages["path_mtu_messages"]["proven"].as_u64() >= Some(1), "{messages}");
        for ns in from.pods.iter().map(|pod| &pod.ns).chain([&from.ns]) {
            // Fits the uplink, but not the way; neither; far too large.
            for size in [1400, 1472, 4000] {
                must_ping_without_df(ns, to.v4(), size);
            }
        }
        // And back: node 1's own link is the small one.
        for pod in &cluster.nodes[1].pods {
            must_ping_without_df(&pod.ns, from.pods[0].v4(), 1472);
            must_ping_without_df(&pod.ns, from.address(true), 1472);
        }
    }
}

#[test]
fn a_liar_in_the_underlay_harms_nobody_for_long() {
    if !require_root() {
        return;
    }
    let shape = Shape { nodes: 2, pods: &[Kind::Tap, Kind::Packet], ..Shape::new("vxlan", true) };
    let cluster = Cluster::new(shape);
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let messages = || node.weftd.json(&["fabric", "show"])["path_mtu_messages"].clone();
    let peer = || node.weftd.json(&["fabric", "peer", "show", "n1"]);
    // What can't be is refused, and counted by why.
    let mut spoilt = lie(&cluster, 1400, 1500, 50_000);
    spoilt[36] ^= 1;
    send(
        &cluster.underlay,
        "n0",
        &[
            lie(&cluster, 100, 1500, 50_000),
            lie(&cluster, 1400, 1500, 5555),
            lie(&cluster, 1400, 1400, 50_000),
            spoilt,
        ],
    );
    for why in ["below_minimum", "not_sent", "implausible"] {
        node.weftd.wait_for(why, |_| messages()["refused"][why] == 1);
    }
    node.weftd.wait_for("a wrong checksum", |weftd| weftd.drops("uplink", "bad_checksum") == 1);
    assert_eq!(peer()["path_mtu"], serde_json::Value::Null);
    // What may be is used, and asked for: the other node sees the question, as no router says that it is too large.
    send(&cluster.underlay, "n0", &[lie(&cluster, 600, 1500, 50_000)]);
    node.weftd.wait_for("the lie", |_| peer()["path_mtu"] == 600);
    assert_eq!(peer()["path_mtu_source"]["state"], "claimed");
    assert_eq!(peer()["path_mtu_source"]["router"], "203.0.113.9");
    other.weftd.wait_for("the question", |weftd| weftd.drops("uplink", "tunnel_probe") > 0);
    // Everything passes meanwhile: IPv6 is never less than 1280, IPv4 is told or cut.
    for pod in &node.pods {
        must_ping(&pod.ns, other.pods[0].v6(), 1280 - 48);
        must_ping_without_df(&pod.ns, other.pods[0].v4(), 1400);
        tcp_round_trip(&pod.ns.netns(), &other.pods[1].ns.netns(), other.pods[1].v4(), 1 << 20);
        tcp_round_trip(&pod.ns.netns(), &other.pods[1].ns.netns(), other.pods[1].v6(), 1 << 20);
    }
}

/// However many messages come, there is one publication in half a second.
#[test]
fn a_storm_of_messages_is_published_as_one_change() {
    if !require_root() {
        return;
    }
    let cluster = Cluster::new(Shape { nodes: 2, pods: &[Kind::Tap], ..Shape::new("vxlan", true) });
    let node = &cluster.nodes[0];
    let generation = || node.weftd.json(&["status"])["generation"].as_u64().expect("a number");
    let storm: Vec<_> = (0..800).map(|step| lie(&cluster, 1499 - step, 1500 - step, 50_000)).collect();
    let before = generation();
    let began = std::time::Instant::now();
    send(&cluster.underlay, "n0", &storm);
    sleep(Duration::from_secs(1));
    let ticks = began.elapsed().as_millis() as u64 / 500;
    let published = generation() - before;
    assert!((1..=ticks + 2).contains(&published), "{published} publications in {:?}", began.elapsed());
}
