//! MTU, ICMP errors, traceroute, tracepath: what a well-behaved router does.

use weft_tests::{
    netns::require_root,
    node::{Kind, Node, Plan},
    probe::{must_ping, tcp_round_trip},
};

#[test]
fn traceroute_and_tracepath_see_one_router() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Xsk]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    for (gateway, to) in [("10.244.0.1", b.v4().to_string()), ("fd00:244::1", b.v6().to_string())] {
        let family = if to.contains(':') { "-6" } else { "-4" };
        let trace = a.ns.must(&["traceroute", family, "-n", "-q", "1", "-w", "2", &to]);
        let hops: Vec<&str> =
            trace.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, [gateway, &to], "{trace}");
        let path = a.ns.must(&["tracepath", family, "-n", &to]);
        assert!(path.contains(gateway) && path.contains("pmtu 1500"), "{path}");
        assert!(path.contains("reached"), "{path}");
    }
}

#[test]
fn too_large_packets_are_told_and_tcp_adapts() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet, Kind::Xsk]));
    // Pods that may send more than the others take: the tap's own MTU stays 1500 in the switch.
    for (from, to) in [(1, 0), (2, 0)] {
        let (from, to) = (&node.pods[from], &node.pods[to]);
        from.ns.ip(&["link", "set", "eth0", "mtu", "3000"]);
        node.ns.ip(&["link", "set", &from.device(), "mtu", "3000"]); // or the veth itself would drop them
        let output =
            from.ns.run(&["ping", "-M", "do", "-c", "1", "-W", "2", "-s", "2000", &to.v4().to_string()]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("mtu") && text.contains("1500"), "{text}");
        let output = from.ns.run(&[
            "ping",
            "-6",
            "-M",
            "do",
            "-c",
            "1",
            "-W",
            "2",
            "-s",
            "2000",
            &to.v6().to_string(),
        ]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("mtu") && text.contains("1500"), "{text}");
        tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v4(), 1 << 20);
        // Without DF the switch fragments.
        let output = from.ns.run(&[
            "ping",
            "-M",
            "dont",
            "-c",
            "2",
            "-i",
            "0.1",
            "-W",
            "2",
            "-s",
            "2000",
            &to.v4().to_string(),
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn nobody_is_told_and_the_gateway_answers() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    let pod = &node.pods[0];
    must_ping(&pod.ns, "10.244.0.1".parse().expect("an address"), 56);
    must_ping(&pod.ns, "fd00:244::1".parse().expect("an address"), 1400);
    let output = pod.ns.run(&["ping", "-c", "1", "-W", "2", "10.244.0.200"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Destination Host Unreachable"), "{text}");
}

#[test]
fn spoofed_packets_do_not_get_through() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    a.ns.ip(&["addr", "add", "10.244.0.99/32", "dev", "eth0"]);
    let output =
        a.ns.run(&["ping", "-c", "2", "-i", "0.1", "-W", "1", "-I", "10.244.0.99", &b.v4().to_string()]);
    assert!(!output.status.success());
    assert_eq!(node.weftd.drops(&a.name, "spoofed"), 2);
}
