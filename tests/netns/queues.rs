//! Several queues, several threads, either way round.

use weft_tests::{
    netns::require_root,
    node::{Kind, Node, Plan},
    probe::{checksum_errors, must_ping, numbered, tcp_round_trip, udp_round_trip},
};

const KINDS: [Kind; 3] = [Kind::Tap, Kind::Packet, Kind::Xsk];

fn everyone_talks(node: &Node) {
    for from in &node.pods {
        for to in node.pods.iter().filter(|to| to.name != from.name) {
            must_ping(&from.ns, to.v4(), 56);
            udp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v6(), &[100; 20]);
            for _ in 0..4 {
                tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v4(), 1 << 18);
            }
        }
    }
    node.pods.iter().for_each(|pod| assert_eq!(checksum_errors(&pod.ns), 0));
}

#[test]
fn more_queues_than_threads() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan { queues: 4, ..Plan::new(&KINDS) });
    let ports = node.weftd.json(&["port", "list"]);
    let queues = |name: &str| {
        let rows = ports["ports"].as_array().expect("a list").iter();
        rows.filter(|row| row["name"] == name)
            .map(|row| row["cores"].as_array().map_or(0, Vec::len))
            .sum::<usize>()
    };
    assert!(node.pods.iter().all(|pod| queues(&pod.name) == 4), "{ports}");
    everyone_talks(&node);
}

#[test]
fn more_threads_than_queues() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan { cores: vec![0, 1], ..Plan::new(&KINDS) });
    let threads = node.weftd.json(&["pmd", "list"]);
    let threads = threads["threads"].as_array().expect("a list");
    assert!(threads.iter().all(|thread| !thread["queues"].as_array().expect("a list").is_empty()));
    everyone_talks(&node); // frames between ports of different threads are handed over
}

#[test]
fn queues_stay_on_the_cores_they_are_pinned_to() {
    if !require_root() {
        return;
    }
    let plan = Plan { cores: vec![0, 1], queues: 2, ..Plan::new(&[Kind::Tap]) };
    let node = Node::new(&plan);
    let config = Node::config(&plan, &node.pods).replace("queues = 2\n", "queues = 2\ncores = [0]\n");
    node.weftd.write(&config);
    node.weftd.must(&["config", "reload"]);
    let ports = node.weftd.json(&["port", "show", &node.pods[0].name]);
    assert_eq!(ports["port"]["cores"], serde_json::json!([0, 0]));
    must_ping(&node.pods[0].ns, "10.244.0.1".parse().expect("an address"), 56);
}

#[test]
fn queues_move_between_threads_without_loss() {
    if !require_root() {
        return;
    }
    const MOVES: u32 = 24;
    let node = Node::new(&Plan { cores: vec![0, 1], ..Plan::new(&KINDS) });
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (from, to) = (&node.pods[from], &node.pods[to]);
        let outcome = numbered(&from.ns, &to.ns, to.v4(), || {
            for step in 0..MOVES {
                // Each in turn to the other thread, so that the two meet and part again.
                let pod = if step % 2 == 0 { from } else { to };
                let queue = format!("{}:0", pod.name);
                let core = node.weftd.json(&["port", "show", &pod.name])["port"]["cores"][0] == 0;
                node.weftd.must(&["pmd", "set", &queue, "--core", if core { "1" } else { "0" }]);
            }
        });
        println!("{} → {}: {MOVES} moves, {outcome:?}", from.name, to.name);
        assert_eq!(outcome.received, outcome.sent, "{} → {}: {outcome:?}", from.name, to.name);
        // Mostly none; a move may let what is on its way through the old owner be overtaken: a burst, at most.
        let bound = MOVES * weft_pmd::BURST as u32;
        assert!(outcome.overtaken <= bound && outcome.sent > 500, "{} → {}: {outcome:?}", from.name, to.name);
        assert!(!node.weftd.must(&["drops"]).contains("port_gone"), "{}", node.weftd.must(&["drops"]));
    }
    everyone_talks(&node);
    let threads = node.weftd.json(&["pmd", "list"]);
    let queues: usize = threads["threads"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|thread| thread["queues"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(queues, 5, "each is somewhere, once: {threads}");
}
