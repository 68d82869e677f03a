//! A configuration tried out under traffic, and what a plan says of pods before it happens.

use weft_tests::{
    netns::require_root,
    node::{Kind, Node, Plan},
    probe::{must_ping, ping},
};

/// Writes a configuration beside weftd's own.
fn beside(node: &Node, config: &str) -> String {
    let path = node.weftd.config().with_file_name("new.toml");
    std::fs::write(&path, node.weftd.own(config)).expect("writable");
    path.display().to_string()
}

#[test]
fn a_plan_says_which_pods_lose_what_and_so_it_happens() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Tap, Kind::Packet, Kind::Tap]);
    let node = Node::new(&plan);
    let (a, b, c) = (&node.pods[0], &node.pods[1], &node.pods[2]);
    must_ping(&a.ns, b.v4(), 56);
    let (old, new) = (format!("\"{}\", ", a.v4()), "\"10.244.0.99\", ");
    let good = Node::config(&plan, &node.pods);
    let device = format!("device = \"{}\"", b.device());
    let changed = good.replace(&old, new).replace(&device, &format!("{device}\nmtu = 1400"));
    let file = beside(&node, &changed);
    let said = node.weftd.must(&["config", "plan", &file]);
    for says in [
        format!("! port {} is closed and opened again (mtu changed): pods {} is interrupted", b.name, b.name),
        format!("! pod {} loses {}: connections from and to it end", a.name, a.v4()),
        format!("  pod {} gets 10.244.0.99", a.name),
        format!("! port {} addresses {}/32 go from its device", a.name, a.v4()),
        "would go another way".into(),
    ] {
        assert!(said.contains(&says), "{says}:\n{said}");
    }
    assert!(!said.contains(&c.name), "who is not touched is not named:\n{said}");
    must_ping(&b.ns, a.v4(), 56);
    let plan = node.weftd.json(&["config", "plan", &file]);
    assert!(plan["flows"]["changed"].as_u64().is_some_and(|changed| changed >= 2), "{}", plan["flows"]);
    node.weftd.must(&["config", "apply", &file]);
    assert_eq!(ping(&b.ns, a.v4(), 1, 56), 0);
    must_ping(&b.ns, "10.244.0.99".parse().expect("an address"), 56);
    assert_eq!(node.weftd.json(&["port", "show", &b.name])["port"]["mtu"], 1400);
    node.weftd.must(&["config", "rollback"]);
    must_ping(&b.ns, a.v4(), 56);
}

#[test]
fn whoever_cuts_the_uplink_gets_it_back() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Tap, Kind::Packet]);
    let node = Node::new(&plan);
    let pod = &node.pods[0];
    must_ping(&node.outside, pod.v4(), 56);
    // Without peers, an uplink and pods: nothing is left to tell weftd so from afar.
    let good = Node::config(&plan, &[]);
    let (head, rest) = good.split_once("[[port]]\nname = \"uplink\"").expect("an uplink");
    let (_, rest) = rest.split_once("[fabric]").expect("a fabric");
    let lonely =
        format!("{head}[fabric]\nmode = \"native\"\n{}", rest.rsplit_once("]\n").map_or("", |(_, end)| end));
    let file = beside(&node, &lonely);
    let said = node.weftd.must(&["config", "plan", &file]);
    for says in [
        "! port uplink is closed: all that goes to and comes from other nodes is cut off",
        "! peer outside is gone, and its pods with it: 10.244.1.0/24",
    ] {
        assert!(said.contains(says), "{says}:\n{said}");
    }
    node.weftd.must(&["config", "apply", &file, "--confirm-within", "2s"]);
    assert_eq!(ping(&node.outside, pod.v4(), 1, 56), 0);
    node.weftd.wait_for("what was before", |weftd| weftd.must(&["config", "history"]).contains("taken back"));
    for pod in &node.pods {
        must_ping(&node.outside, pod.v4(), 56);
        must_ping(&pod.ns, "10.244.1.9".parse().expect("an address"), 56);
    }
}
