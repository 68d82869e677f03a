//! Changes under traffic, and what happens when things go away.

use weft_tests::{
    netns::require_root,
    node::{Kind, Node, Plan},
    probe::{Steady, must_ping},
};

#[test]
fn ports_come_and_go_without_loss_on_others() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Xsk]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    must_ping(&a.ns, b.v4(), 56);
    let steady = Steady::start(&a.ns, &b.ns, b.v4());
    for (round, kind) in [Kind::Tap, Kind::Packet, Kind::Xsk].into_iter().cycle().take(6).enumerate() {
        let pod = node.plug(kind, 20 + round);
        let spec = |word: &str| {
            pod.port_toml(1500, 1).lines().find_map(|line| {
                let (name, value) = line.split_once(" = ")?;
                (name == word).then(|| value.trim_matches('"').to_owned())
            })
        };
        let device = spec("device").expect("every pod has a device");
        let mut add = vec!["port", "add", &pod.name, "--kind", kind.word(), "--device", &device];
        if kind == Kind::Tap {
            add.extend(["--netns", pod.ns.name()]);
        }
        node.weftd.must(&add);
        let (v4, v6) = (pod.v4().to_string(), pod.v6().to_string());
        let mac = format!("02:00:0a:f4:00:{:02x}", 30 + round);
        node.weftd.must(&[
            "endpoint",
            "add",
            &pod.name,
            "--network",
            "pods",
            "--port",
            &pod.name,
            "--mac",
            &mac,
            "--address",
            &v4,
            "--address",
            &v6,
        ]);
        must_ping(&a.ns, pod.v4(), 56);
        must_ping(&pod.ns, b.v6(), 56);
        let refused = node.weftd.ctl(&["port", "del", &pod.name]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("still has endpoints"));
        node.weftd.must(&["port", "del", &pod.name, "--force"]);
    }
    let (sent, received) = steady.stop();
    assert_eq!(sent, received, "12 changes, {sent} datagrams");
    assert!(sent > 100, "{sent}");
}

#[test]
fn a_namespace_deleted_under_traffic_removes_its_port_only() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet, Kind::Xsk, Kind::Tap, Kind::Packet]));
    let survivors = (&node.pods[3], &node.pods[4]);
    must_ping(&survivors.0.ns, survivors.1.v4(), 56);
    let steady = Steady::start(&survivors.0.ns, &survivors.1.ns, survivors.1.v4());
    for pod in &node.pods[..3] {
        let to_it = survivors.0.ns.spawn(&["ping", "-n", "-q", "-i", "0.002", &pod.v4().to_string()]);
        must_ping(&survivors.1.ns, pod.v4(), 56);
        pod.ns.delete();
        // A veth goes with the namespace at its other end; a tap with its own.
        node.weftd.wait_for("removal", |weftd| {
            let port = weftd.json(&["port", "show", &pod.name]);
            port["port"]["state"] == "waiting"
                && port["port"]["why"].as_str().is_some_and(|why| why.contains("gone"))
        });
        assert!(node.weftd.log().contains("port removed"));
        drop(to_it);
    }
    let (sent, received) = steady.stop();
    assert_eq!(sent, received, "{sent} datagrams");
    must_ping(&survivors.1.ns, survivors.0.v6(), 56);
    assert_eq!(node.weftd.json(&["status"])["ports_waiting"], 3);
}

#[test]
fn a_rule_takes_effect_at_once_and_can_be_taken_back() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    must_ping(&a.ns, b.v4(), 56);
    let done = node.weftd.must(&[
        "flow",
        "add",
        "no-ping",
        "--priority",
        "5",
        "--match",
        "protocol=icmp",
        "--action",
        "drop",
    ]);
    assert!(done.contains("flow rule no-ping added at priority 5"), "{done}");
    assert_eq!(weft_tests::probe::ping(&a.ns, b.v4(), 2, 56), 0);
    assert_eq!(node.weftd.json(&["flow", "list"])["flows"][0]["packets"], 2);
    node.weftd.must(&["flow", "del", "no-ping"]);
    must_ping(&a.ns, b.v4(), 56);
}

#[test]
fn a_killed_weftd_leaves_the_node_its_network_and_comes_back() {
    if !require_root() {
        return;
    }
    let mut node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet, Kind::Xsk]));
    must_ping(&node.pods[1].ns, node.pods[2].v4(), 56);
    let own = Steady::start(&node.outside, &node.ns, "192.0.2.1".parse().expect("an address"));
    std::thread::sleep(std::time::Duration::from_millis(200));
    node.weftd.kill();
    must_ping(&node.outside, "192.0.2.1".parse().expect("an address"), 56);
    node.weftd.run();
    node.weftd.wait_for("next hops", |weftd| weftd.log().matches("next hop ").count() >= 4);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        must_ping(&node.pods[from].ns, node.pods[to].v4(), 56);
    }
    must_ping(&node.pods[0].ns, "10.244.1.9".parse().expect("an address"), 56);
    let (sent, received) = own.stop();
    assert_eq!(sent, received, "the node's own traffic loses nothing: {sent} datagrams");
}

#[test]
fn sigterm_removes_what_weftd_made() {
    if !require_root() {
        return;
    }
    let mut node = Node::new(&Plan::new(&[Kind::Tap, Kind::Xsk]));
    assert!(node.ns.ip(&["link"]).contains("weft0"));
    node.weftd.stop();
    assert!(!node.ns.ip(&["link"]).contains("weft0"), "the host port is gone");
    assert!(!node.pods[0].ns.ip(&["link"]).contains("eth0"), "the pod's tap is gone");
    assert!(!node.ns.ip(&["link", "show", "uplink0"]).contains("xdp"), "the program is detached");
    assert!(!node.weftd.socket().exists());
    assert!(!node.weftd.log().contains("frames were still"), "no frame is lost: {}", node.weftd.log());
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Tap, Kind::Packet]);
    let mut node = Node::new(&plan);
    let good = Node::config(&plan, &node.pods);
    let before = node.weftd.must(&["config", "show"]);
    for (bad, says) in [
        (good.replace("kind = \"packet\"", "kind = \"pocket\""), "pocket"),
        (good.replace("port = \"tap-0\"", "port = \"tap-9\""), "there is no port"),
        (good.replace("device = \"v1\"", "device = \"v7\""), "does not exist"),
        (good.replace("memory_mib = 128", "memory_mib = 64"), "restart"),
    ] {
        node.weftd.write(&bad);
        let refused = node.weftd.ctl(&["config", "reload"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1));
        assert!(text.contains(says), "{text}");
        assert_eq!(node.weftd.must(&["config", "show"]), before);
        must_ping(&node.pods[0].ns, node.pods[1].v4(), 56);
    }
    node.weftd
        .write(&(good + "\n[[flow]]\nname = \"x\"\nmatch = { protocol = \"icmp\" }\nactions = [\"drop\"]\n"));
    node.weftd.reload();
    node.weftd.wait_for("the reload", |weftd| weftd.must(&["flow", "list"]).contains("icmp"));
    assert_eq!(weft_tests::probe::ping(&node.pods[0].ns, node.pods[1].v4(), 2, 56), 0);
}

#[test]
fn a_refused_reload_that_touched_the_uplink_leaves_it_at_work() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Tap, Kind::Packet]);
    let node = Node::new(&plan);
    let good = Node::config(&plan, &node.pods);
    let touched = good.replace("device = \"uplink0\"", "device = \"uplink0\"\nmtu = 1400");
    let received = || node.weftd.json(&["stats", "uplink"])["queues"][0]["rx_packets"].as_u64().unwrap_or(0);
    must_ping(&node.outside, node.pods[0].v4(), 56);
    for (bad, says, is_untouched) in [
        (touched.replace("device = \"v1\"", "device = \"v7\""), "device v7 does not exist", true),
        // Only opening it tells that a veth has no zero-copy; by then the uplink has been closed.
        (
            touched.replace("device = \"uplink0\"", "device = \"uplink0\"\nzerocopy = \"require\""),
            "use zerocopy = \"prefer\"",
            false,
        ),
    ] {
        let before = received();
        node.weftd.write(&bad);
        let refused = node.weftd.ctl(&["config", "reload"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && text.contains(says), "{text}");
        assert!(!is_untouched || received() >= before.max(1), "its counters are as they were");
        for pod in &node.pods {
            must_ping(&node.outside, pod.v4(), 56);
            must_ping(&pod.ns, "10.244.1.9".parse().expect("an address"), 56);
        }
    }
}

#[test]
fn the_nodes_own_routes_are_left_alone_and_its_taps_come_and_go() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    let route = |prefix: &str| node.ns.ip(&["route", "show", prefix]);
    let refused = |args: &[&str], says: &str| {
        let output = node.weftd.ctl(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(says), "{args:?}: {text}");
    };
    refused(&["network", "add", "flat", "--prefix", "192.0.2.0/24"], "contains the node's address 192.0.2.1");
    node.ns.ip(&["route", "add", "10.9.0.0/24", "dev", "uplink0"]);
    let nine = ["network", "add", "nine", "--prefix", "10.9.0.0/24"];
    refused(&nine, "10.9.0.0/24 is routed already, and not over weft0");
    assert!(route("10.9.0.0/24").contains("dev uplink0"));
    assert_eq!(node.weftd.json(&["network", "list"])["networks"].as_array().map(Vec::len), Some(1));
    node.ns.ip(&["route", "del", "10.9.0.0/24"]);
    node.weftd.must(&nine);
    assert!(route("10.9.0.0/24").contains("dev weft0"));
    node.weftd.must(&["network", "del", "nine"]);
    assert_eq!(route("10.9.0.0/24"), "", "what is no longer wanted goes");
    assert!(route("10.244.1.0/24").contains("dev weft0") && route("10.244.0.0/24").contains("dev weft0"));
    must_ping(&node.ns, node.pods[0].v4(), 56);
}

#[test]
fn a_pods_tap_loses_the_address_of_an_endpoint_that_is_gone() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let pod = &node.pods[0];
    let addresses = || pod.ns.ip(&["-br", "addr", "show", "eth0"]);
    let add =
        ["endpoint", "add", "second", "--network", "pods", "--port", &pod.name, "--mac", "02:00:00:00:02:02"];
    node.weftd.must(&[&add[..], &["--address", "10.244.0.77", "--address", "fd00:244::77"]].concat());
    assert!(
        addresses().contains("10.244.0.77/32") && addresses().contains("fd00:244::77/128"),
        "{}",
        addresses()
    );
    node.weftd.must(&["endpoint", "del", "second"]);
    assert!(!addresses().contains("77/"), "{}", addresses());
    must_ping(&pod.ns, node.pods[1].v4(), 56);
    must_ping(&pod.ns, node.pods[1].v6(), 56);
    // A namespace that is gone already keeps nobody from removing what was in it.
    let late = node.plug(Kind::Tap, 21);
    let port = ["port", "add", &late.name, "--kind", "tap", "--device", "eth0", "--netns", late.ns.name()];
    node.weftd.must(&port);
    let add =
        ["endpoint", "add", "late", "--network", "pods", "--port", &late.name, "--mac", "02:00:00:00:02:03"];
    node.weftd.must(&[&add[..], &["--address", "10.244.0.78"]].concat());
    late.ns.delete();
    node.weftd.must(&["endpoint", "del", "late"]);
    node.weftd.must(&["port", "del", &late.name]);
    // The last one takes the way out with it.
    node.weftd.must(&["endpoint", "del", &pod.name]);
    assert!(!addresses().contains("10.244.0."), "{}", addresses());
    assert!(!pod.ns.ip(&["route"]).contains("default"), "{}", pod.ns.ip(&["route"]));
    assert!(!pod.ns.ip(&["-6", "route"]).contains("default"), "{}", pod.ns.ip(&["-6", "route"]));
}
