//! The underlay changes under traffic: routes, routers that come and go, nodes that are not there any more.

use std::{net::IpAddr, thread::sleep, time::Duration};

use weft_tests::{
    cluster::{Cluster, Shape},
    netns::{NetNs, require_root, veth},
    probe::{Steady, must_ping},
};

/// A router on the bridged underlay, by which node 0 may reach node 1.
struct Router {
    ns: NetNs,
    address: String,
    mac: String,
}

impl Router {
    fn new(cluster: &Cluster, index: usize) -> Self {
        let ns = NetNs::new("router");
        let (port, address) = (format!("r{index}"), format!("10.9.0.{}", 200 + index));
        let mac = format!("02:00:00:00:99:0{index}");
        veth(&ns, "eth0", &cluster.underlay, &port, 1);
        ns.ip(&["link", "set", "eth0", "address", &mac]);
        ns.ip(&["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        // It sends back where packets came from, which is what it is here for.
        ns.must(&[
            "sysctl",
            "-qw",
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.send_redirects=0",
            "net.ipv4.conf.eth0.send_redirects=0",
        ]);
        for node in 0..2 {
            let via = cluster.shape.address(node, true).to_string();
            ns.ip(&["route", "add", &format!("10.244.{node}.0/24"), "via", &via]);
        }
        cluster.underlay.ip(&["link", "set", &port, "master", "br0"]);
        Self { ns, address, mac }
    }
}

fn next_hop(cluster: &Cluster) -> String {
    let peers = cluster.nodes[0].weftd.json(&["fabric", "peer", "list"]);
    peers["peers"][0]["next_hop"].as_str().unwrap_or("none").to_owned()
}

#[track_caller]
fn wait_for_next_hop(cluster: &Cluster, mac: &str) {
    cluster.nodes[0].weftd.wait_for(&format!("next hop {mac}"), |_| next_hop(cluster) == mac);
}

/// Two routers; node 0's stack notices the end of one within a few seconds rather than a minute.
fn with_routers(mode: &'static str) -> (Cluster, [Router; 2]) {
    let cluster = Cluster::new(Shape { nodes: 2, ..Shape::new(mode, true) });
    let routers = [1, 2].map(|index| Router::new(&cluster, index));
    cluster.nodes[0].ns.must(&[
        "sysctl",
        "-qw",
        "net.ipv4.conf.all.accept_redirects=0",
        "net.ipv4.conf.uplink0.accept_redirects=0",
        "net.ipv4.neigh.uplink0.base_reachable_time_ms=1000",
        "net.ipv4.neigh.uplink0.delay_first_probe_time=1",
        "net.ipv4.neigh.uplink0.retrans_time_ms=200",
        "net.ipv4.fib_multipath_use_neigh=1",
    ]);
    (cluster, routers)
}

#[test]
fn a_route_that_is_replaced_under_traffic_loses_next_to_nothing() {
    if !require_root() {
        return;
    }
    for mode in ["vxlan", "native"] {
        let (cluster, [first, second]) = with_routers(mode);
        let (node, other) = (&cluster.nodes[0], cluster.nodes[1].address(true).to_string());
        node.ns.ip(&["route", "add", &other, "via", &first.address]);
        wait_for_next_hop(&cluster, &first.mac);
        let (from, to) = (&node.pods[0], &cluster.nodes[1].pods[0]);
        let steady = Steady::start(&from.ns, &to.ns, to.v4());
        for router in [&second, &first, &second] {
            sleep(Duration::from_millis(300));
            node.ns.ip(&["route", "replace", &other, "via", &router.address]);
            wait_for_next_hop(&cluster, &router.mac);
        }
        node.ns.ip(&["route", "del", &other]); // on the link again
        node.weftd.wait_for("the node itself", |_| next_hop(&cluster) != second.mac);
        sleep(Duration::from_millis(300));
        let (sent, received) = steady.stop();
        // All ways work at all times: what is lost is lost while a neighbour that was never asked for is resolved.
        assert!(sent > 300 && received + sent / 10 >= sent, "{mode}: {received} of {sent}");
    }
}

#[test]
fn with_two_equal_ways_the_end_of_one_leaves_the_other() {
    if !require_root() {
        return;
    }
    let (cluster, [first, second]) = with_routers("vxlan");
    let (node, other) = (&cluster.nodes[0], cluster.nodes[1].address(true).to_string());
    let ways = ["nexthop", "via", &first.address, "nexthop", "via", &second.address];
    node.ns.ip(&[&["route", "add", &other][..], &ways].concat());
    node.weftd.wait_for("one of the two", |_| [&first.mac, &second.mac].contains(&&next_hop(&cluster)));
    let (from, to) = (&node.pods[0], &cluster.nodes[1].pods[0]);
    must_ping(&from.ns, to.v4(), 56);
    let (gone, left) = if next_hop(&cluster) == first.mac { (first, second) } else { (second, first) };
    gone.ns.ip(&["link", "set", "eth0", "down"]);
    wait_for_next_hop(&cluster, &left.mac);
    must_ping(&from.ns, to.v4(), 56);
    // And with it gone, too, the peer is said to be out of reach, until there is a way again.
    left.ns.ip(&["link", "set", "eth0", "down"]);
    let state = |state: &str| {
        node.weftd
            .wait_for(state, |weftd| weftd.json(&["fabric", "peer", "list"])["peers"][0]["state"] == state);
    };
    state("unresolved");
    for router in [&gone, &left] {
        router.ns.ip(&["link", "set", "eth0", "up"]);
    }
    state("up");
    must_ping(&from.ns, to.v4(), 56);
}

#[test]
fn nodes_that_watch_each_other_notice_when_one_is_gone() {
    if !require_root() {
        return;
    }
    for is_v4 in [true, false] {
        let fabric = "bfd = { interval_ms = 100, multiplier = 3 }";
        let mut cluster = Cluster::new(Shape { nodes: 2, fabric, ..Shape::new("vxlan", is_v4) });
        let session = |cluster: &Cluster, state: &str| {
            for node in &cluster.nodes {
                node.weftd.wait_for(&format!("BFD {state}"), |weftd| {
                    weftd.json(&["fabric", "peer", "list"])["peers"][0]["bfd"] == state
                });
            }
        };
        session(&cluster, "up");
        // As others read it: version, state and multiplier, from a port of the dynamic range.
        let ports = "udp port 4784";
        let capture = cluster.underlay.spawn(&["tcpdump", "-i", "br0", "-c", "10", "-U", "-w", "-", ports]);
        let capture = capture.wait().stdout;
        assert_sound(&capture, cluster.nodes[0].address(is_v4));
        cluster.nodes[1].weftd.kill();
        let node = &cluster.nodes[0].weftd;
        node.wait_for("BFD down", |weftd| {
            weftd.json(&["fabric", "peer", "list"])["peers"][0]["bfd"] == "down"
        });
        assert!(node.log().contains("peer is not there any more"), "{}", node.log());
        cluster.nodes[1].weftd.run();
        session(&cluster, "up");
        // A way that is cut, with both ends alive.
        cluster.underlay.ip(&["link", "set", "n1", "down"]);
        session(&cluster, "down");
        cluster.underlay.ip(&["link", "set", "n1", "up"]);
        session(&cluster, "up");
    }
}

fn assert_sound(capture: &[u8], own: IpAddr) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bfd.pcap");
    std::fs::write(&file, capture).expect("writable");
    let file = file.display().to_string();
    let fields = ["-T", "fields", "-e", "bfd.sta", "-e", "bfd.detect_time_multiplier"];
    let text = weft_tests::netns::must(&[&["tshark", "-r", &file, "-Y", "bfd"], &fields[..]].concat());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 10, "tshark takes all for BFD: {text}");
    assert!(lines.iter().all(|line| *line == "0x03\t3"), "from {own}: {text}");
    let bad = weft_tests::netns::must(&["tshark", "-r", &file, "-Y", "_ws.malformed"]);
    assert_eq!(bad, "");
}
