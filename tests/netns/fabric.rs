//! Several nodes, one flat pod network.

use std::net::IpAddr;

use weft_tests::{
    cluster::{Cluster, Shape},
    netns::{NetNs, require_root},
    probe::{checksum_errors, must_ping, tcp_round_trip, udp_round_trip},
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
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (from, to) = (&cluster.nodes[from], &cluster.nodes[to]);
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
