//! Frame memory: for how many ports it does, who is told when it does not, and frames that no chunk holds.

use weft_tests::{
    netns::{require_root, veth},
    node::{Kind, Node, Plan},
    probe::{checksum_errors, iperf3, must_ping, tcp_round_trip},
};

/// More ports than there are large chunks: every one is served, and super-frames pass.
#[test]
fn ports_keep_no_memory() {
    if !require_root() {
        return;
    }
    let kinds = [[Kind::Tap; 18], [Kind::Packet; 18]].concat();
    let node = Node::new(&Plan { memory_mib: 8, ..Plan::new(&kinds) });
    let status = node.weftd.json(&["status"]);
    let large = &status["chunks"][1];
    assert_eq!(large["size"], "large", "{status}");
    assert!(large["total"].as_u64().is_some_and(|total| total < kinds.len() as u64), "{status}");
    for pod in &node.pods {
        must_ping(&pod.ns, "10.244.0.1".parse().expect("an address"), 56);
    }
    for (from, to) in [(0, 1), (0, 35), (34, 1)] {
        let (from, to) = (&node.pods[from], &node.pods[to]);
        tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v4(), 1 << 20);
    }
    assert!(!node.weftd.log().contains("scarce"), "{}", node.weftd.log());
}

/// Queues of kind xsk do keep some. Where it gets little for each that is said, where too little the change is refused, with
/// the number that would do.
#[test]
fn too_many_xsk_queues_are_told_and_refused() {
    if !require_root() {
        return;
    }
    let plan = Plan { memory_mib: 8, ..Plan::new(&[Kind::Xsk, Kind::Xsk]) };
    let node = Node::new(&plan);
    let log = node.weftd.log();
    assert!(
        log.contains("frame memory is scarce: 3 queues of kind xsk have 256 receive buffers each"),
        "{log}"
    );
    assert!(log.contains("pmd.memory_mib = 16"), "{log}");
    let mut config = Node::config(&plan, &node.pods);
    for index in 100..125 {
        let device = format!("v{index}");
        veth(&node.ns, &device, &node.outside, &format!("p{index}"), 1);
        config += &format!("[[port]]\nname = \"{device}\"\nkind = \"xsk\"\ndevice = \"{device}\"\n");
    }
    node.weftd.write(&config);
    let output = node.weftd.ctl(&["config", "reload"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("frame memory does not do for 28 queues of kind xsk"), "{text}");
    assert!(text.contains("set pmd.memory_mib to 10 or more (better 150)"), "{text}");
    must_ping(&node.pods[0].ns, node.pods[1].v4(), 56);
}

/// A pod that lets its stack build more than 64 KiB at once (BIG TCP) keeps its TCP; a tap does not let it.
#[test]
fn frames_larger_than_ip_can_tell_of_pass() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Packet, Kind::Packet, Kind::Tap, Kind::Xsk]));
    let big = ["link", "set", "eth0", "gso_max_size", "150000"];
    let tap = node.pods[2].ns.run(&[&["ip"][..], &big].concat());
    assert!(!tap.status.success(), "a tap takes 64 KiB and no more");
    let from = &node.pods[0];
    for to in &node.pods[1..] {
        let before = iperf3(&from.ns, &to.ns, to.v6(), 1);
        from.ns.ip(&big);
        let after = iperf3(&from.ns, &to.ns, to.v6(), 1);
        from.ns.ip(&["link", "set", "eth0", "gso_max_size", "65536"]);
        println!(
            "{} → {}: {before:.1} Gb/s, {after:.1} in frames of up to 150,000 bytes",
            from.name, to.name
        );
        assert!(after * 4.0 > before, "{} → {}: {before} Gb/s before, {after} after", from.name, to.name);
        tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v6(), 1 << 20);
        assert_eq!(checksum_errors(&to.ns), 0, "checksums as received by {}", to.name);
    }
    let drops = node.weftd.must(&["drops", &from.name]);
    for reason in ["truncated", "bad_offload", "malformed"] {
        assert!(!drops.contains(reason), "{drops}");
    }
}
