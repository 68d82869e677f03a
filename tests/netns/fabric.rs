//! Several nodes, one flat pod network.

use std::net::IpAddr;

use weft_tests::{
    cluster::{Cluster, STRANGER_MAC, Shape},
    netns::{NetNs, must, require_root},
    node::Kind,
    probe::{Steady, checksum_errors, must_ping, ping, tcp_round_trip, udp_round_trip},
};

/// Returns the client's address as the server sees it.
fn talk(from: &NetNs, to: &NetNs, address: IpAddr) -> IpAddr {
    must_ping(from, address, 56);
    must_ping(from, address, 8000);
    udp_round_trip(&from.netns(), &to.netns(), address, &[1, 1400, 8000, 60_000]);
    tcp_round_trip(&from.netns(), &to.netns(), address, 1 << 20)
}

/// Every pod and node of one node with every pod and node of another, both families, without NAT.
fn all_talk(cluster: &Cluster) {
    let count = cluster.nodes.len();
    for (index, from) in cluster.nodes.iter().enumerate() {
        let to = &cluster.nodes[(index + 1) % count];
        for is_v4 in [true, false] {
            for client in &from.pods {
                for server in &to.pods {
                    let seen = talk(&client.ns, &server.ns, server.address(is_v4));
                    assert_eq!(seen, client.address(is_v4), "no NAT between pods");
                }
            }
            for pod in &to.pods {
                let seen = talk(&from.ns, &pod.ns, pod.address(is_v4));
                assert_eq!(seen, from.address(is_v4), "the node's own address");
                let seen = talk(&pod.ns, &from.ns, from.address(is_v4));
                assert_eq!(seen, pod.address(is_v4), "the pod's own address");
            }
        }
    }
    for node in &cluster.nodes {
        for ns in node.pods.iter().map(|pod| &pod.ns).chain([&node.ns]) {
            assert_eq!(checksum_errors(ns), 0, "checksums as received by {}", ns.name());
        }
    }
}

#[test]
fn pods_and_nodes_talk_natively() {
    if require_root() {
        all_talk(&Cluster::new(Shape::new("native", true)));
        all_talk(&Cluster::new(Shape::new("native", false)));
    }
}

#[test]
fn pods_and_nodes_talk_through_vxlan() {
    if require_root() {
        all_talk(&Cluster::new(Shape::new("vxlan", true)));
        all_talk(&Cluster::new(Shape::new("vxlan", false)));
    }
}

#[test]
fn pods_and_nodes_talk_through_geneve() {
    if require_root() {
        all_talk(&Cluster::new(Shape::new("geneve", true)));
        all_talk(&Cluster::new(Shape::new("geneve", false)));
    }
}

/// AF_PACKET instead of AF_XDP: the node's stack must not see what is the switch's, nor the switch what is the node's.
#[test]
fn an_uplink_without_xdp_serves_too() {
    if !require_root() {
        return;
    }
    for mode in ["native", "vxlan"] {
        let cluster = Cluster::new(Shape { nodes: 2, uplink: Kind::Packet, ..Shape::new(mode, true) });
        let node = &cluster.nodes[0];
        for node in &cluster.nodes {
            // A stack that saw the pods' packets would pass them on, a second time.
            node.ns.must(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        }
        all_talk(&cluster);
        must_ping(&node.ns, cluster.nodes[1].address(true), 56);
        assert!(node.weftd.drops("uplink", "not_ours") > 0, "{mode}");
        let ports = node.weftd.json(&["port", "list"]);
        let uplink = ports["ports"].as_array().expect("ports").iter().find(|port| port["name"] == "uplink");
        assert_eq!(uplink.expect("an uplink")["why"], "");
    }
}

/// The Linux kernel's own vxlan device at the other end: addresses of its on it, everything by hand.
fn speak_vxlan(cluster: &Cluster, vni: u32) {
    let (node, other) = (&cluster.nodes[0], cluster.stranger.as_ref().expect("a node without weftd"));
    let is_v4 = cluster.shape.is_v4;
    let (own, remote) = (cluster.shape.address(1, is_v4).to_string(), node.address(is_v4).to_string());
    let gateway = node.weftd.json(&["fabric", "show"])["mac"].as_str().expect("a MAC").to_owned();
    let (vni, words) = (vni.to_string(), ["dstport", "4789", "nolearning"]);
    other.ip(&[
        &["link", "add", "vx0", "type", "vxlan", "id", &vni, "local", &own, "remote", &remote],
        &words[..],
    ]
    .concat());
    other.ip(&[
        "link",
        "set",
        "vx0",
        "address",
        STRANGER_MAC,
        "up",
        "mtu",
        &cluster.shape.pod_mtu().to_string(),
    ]);
    for (address, via, route) in [
        ("10.244.1.9/32", "10.244.0.1", "10.244.0.0/24"),
        ("fd00:244:1::9/128", "fd00:244::1", "fd00:244::/64"),
    ] {
        other.ip(&["addr", "add", address, "dev", "vx0"]);
        other.ip(&["neigh", "add", via, "lladdr", &gateway, "dev", "vx0"]);
        let src = address.split('/').next().expect("an address");
        other.ip(&["route", "add", route, "via", via, "dev", "vx0", "onlink", "src", src]);
    }
}

#[test]
fn the_kernels_own_vxlan_understands_ours_and_we_its() {
    if !require_root() {
        return;
    }
    for is_v4 in [true, false] {
        let shape = Shape { nodes: 1, has_stranger: true, ..Shape::new("vxlan", is_v4) };
        let cluster = Cluster::new(shape);
        speak_vxlan(&cluster, 42);
        let (node, other) = (&cluster.nodes[0], cluster.stranger.as_ref().expect("a node without weftd"));
        for pod in &node.pods {
            for (is_inner_v4, address) in [(true, "10.244.1.9"), (false, "fd00:244:1::9")] {
                let address = address.parse().expect("an address");
                assert_eq!(talk(&pod.ns, other, address), pod.address(is_inner_v4));
                assert_eq!(talk(other, &pod.ns, pod.address(is_inner_v4)), address);
            }
            assert_eq!(checksum_errors(&pod.ns), 0);
        }
        assert_eq!(checksum_errors(other), 0, "outer and inner checksums as the kernel sees them");
    }
}

#[test]
fn a_network_that_is_not_here_is_not_let_in() {
    if !require_root() {
        return;
    }
    let shape = Shape { nodes: 1, has_stranger: true, ..Shape::new("vxlan", true) };
    let cluster = Cluster::new(shape);
    speak_vxlan(&cluster, 43);
    let (node, other) = (&cluster.nodes[0], cluster.stranger.as_ref().expect("a node without weftd"));
    assert_eq!(ping(other, node.pods[0].v4(), 3, 56), 0);
    assert!(
        node.weftd.drops("uplink", "tunnel_network") >= 3,
        "the kernel sends some of its own accord, too"
    );
}

/// What tshark finds in a capture: a line per packet.
fn tshark(file: &str, filter: &str, fields: &[&str]) -> Vec<String> {
    let fields: Vec<&str> = fields.iter().flat_map(|field| ["-e", field]).collect();
    let base = ["tshark", "-r", file, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];
    let more = ["-o", "udp.check_checksum:TRUE", "-Y", filter, "-T", "fields"];
    must(&[&base[..], &more, &fields].concat()).lines().map(str::to_owned).collect()
}

#[test]
fn tunnel_packets_are_as_others_expect_them() {
    if !require_root() {
        return;
    }
    for (mode, is_v4) in [("vxlan", true), ("vxlan", false), ("geneve", true), ("geneve", false)] {
        let cluster = Cluster::new(Shape { nodes: 2, ..Shape::new(mode, is_v4) });
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("underlay.pcap").display().to_string();
        let capture = cluster.underlay.tcpdump(&["-i", "br0", "-U", "-w", &file, "udp"]);
        let (from, to) = (&cluster.nodes[0].pods[0], &cluster.nodes[1].pods[1]);
        tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v4(), 400_000);
        udp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v6(), &[100, 8000]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(capture.signal("-INT"));
        let all = tshark(&file, mode, &["frame.number"]);
        assert!(all.len() > 200, "{mode}: {} packets", all.len());
        let bad = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0";
        assert_eq!(
            tshark(&file, bad, &["_ws.col.Info"]),
            Vec::<String>::new(),
            "{mode}: malformed, or a wrong checksum"
        );
        let inner = format!("ip.src == {} && ip.dst == {} && tcp", from.v4(), to.v4());
        assert!(
            !tshark(&file, &inner, &["tcp.dstport"]).is_empty(),
            "{mode}: the pods' own addresses inside"
        );
        let ports: std::collections::BTreeSet<String> =
            tshark(&file, &format!("{mode} && {inner}"), &["udp.srcport"]).into_iter().collect();
        assert_eq!(ports.len(), 1, "{mode}: one flow, one path: {ports:?}");
    }
}

#[test]
fn a_smaller_link_on_the_way_is_found_out() {
    if !require_root() {
        return;
    }
    for is_v4 in [true, false] {
        // Node 0 does not see it: only node 1 and the router before it do.
        let shape = Shape { nodes: 2, is_routed: true, last_mtu: 1400, ..Shape::new("vxlan", is_v4) };
        let cluster = Cluster::new(shape);
        let (from, to) = (&cluster.nodes[0], &cluster.nodes[1].pods[0]);
        for pod in &from.pods {
            for is_inner_v4 in [true, false] {
                tcp_round_trip(&pod.ns.netns(), &to.ns.netns(), to.address(is_inner_v4), 1 << 20);
            }
        }
        let left = if is_v4 { 1350 } else { 1330 };
        let peers = from.weftd.json(&["fabric", "peer", "list"]);
        assert_eq!(peers["peers"][0]["mtu"], left, "{peers}");
        // The pod is told, and told the right number.
        let output = from.pods[0].ns.run(&[
            "ping",
            "-M",
            "do",
            "-c",
            "1",
            "-W",
            "2",
            "-s",
            "1380",
            &to.v4().to_string(),
        ]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&format!("mtu={left}")) || text.contains(&format!("mtu = {left}")), "{text}");
    }
}

#[test]
fn a_next_hop_that_changes_is_followed() {
    if !require_root() {
        return;
    }
    let cluster = Cluster::new(Shape { nodes: 2, is_routed: true, ..Shape::new("vxlan", true) });
    let (from, to) = (&cluster.nodes[0].pods[0], &cluster.nodes[1].pods[0]);
    let steady = Steady::start(&from.ns, &to.ns, to.v4());
    // Another router takes over: the same address with another MAC, which it announces.
    cluster.underlay.ip(&["link", "set", "n0", "address", "02:00:00:00:99:01"]);
    cluster.underlay.ip(&["neigh", "flush", "dev", "n0"]);
    must_ping(&cluster.underlay, cluster.nodes[0].address(true), 56);
    let node = &cluster.nodes[0];
    node.weftd.wait_for("the new next hop", |weftd| {
        weftd.json(&["fabric", "peer", "list"])["peers"][0]["next_hop"] == "02:00:00:00:99:01"
    });
    must_ping(&from.ns, to.v4(), 56);
    std::thread::sleep(std::time::Duration::from_secs(1)); // longer than the change takes
    let (sent, received) = steady.stop();
    assert!(received > sent / 2, "{received} of {sent}");
}

#[test]
fn killing_weftd_leaves_the_node_its_own_traffic_and_the_others_theirs() {
    if !require_root() {
        return;
    }
    let mut cluster = Cluster::new(Shape::new("vxlan", true));
    let steady = {
        let (from, to) = (&cluster.nodes[1], &cluster.nodes[0]);
        let (others_from, others_to) = (&cluster.nodes[1].pods[0], &cluster.nodes[2].pods[1]);
        [
            Steady::start(&from.ns, &to.ns, to.address(true)),
            Steady::start(&others_from.ns, &others_to.ns, others_to.v4()),
        ]
    };
    std::thread::sleep(std::time::Duration::from_millis(200));
    cluster.nodes[0].weftd.kill();
    std::thread::sleep(std::time::Duration::from_millis(500));
    cluster.nodes[0].weftd.run();
    cluster.wait_until_resolved();
    for (what, steady) in ["the node's own traffic", "other nodes' pods"].into_iter().zip(steady) {
        let (sent, received) = steady.stop();
        assert_eq!(sent, received, "{what}");
        assert!(sent > 100, "{what}: {sent}");
    }
    let pod = &cluster.nodes[0].pods[1]; // a tap went with its weftd, a veth did not
    must_ping(&cluster.nodes[2].pods[0].ns, pod.v4(), 56);
    must_ping(&pod.ns, cluster.nodes[1].pods[1].v6(), 56);
}
