//! What a pod has done to its namespace concerns its own port, and nobody else: not the start, no change, no other port.

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
    node::{Kind, Node, Plan},
    probe::{must_ping, ping},
};

fn state(weftd: &Weftd, port: &str) -> (String, String) {
    let shown = weftd.json(&["port", "show", port]);
    let text = |field: &str| shown["port"][field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("why"))
}

/// What a pod does, how it undoes it, what becomes of its port, and what is said of it.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: [Case; 7] = [
    (
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0",
        "degraded",
        "IPv6 is not configured",
    ),
    ("ip link add eth0 type veth peer name x1", "ip link del eth0", "waiting", "of this name already"),
    (
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip route add default dev d0",
        "ip link del d0",
        "degraded",
        "0.0.0.0/0 is routed already",
    ),
    (
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip -6 route add default dev d0 metric 1024",
        "ip link del d0",
        "degraded",
        "::/0 is routed already",
    ),
    (
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip route add 10.244.0.1/32 dev d0",
        "ip link del d0",
        "degraded",
        "10.244.0.1/32 is routed already",
    ),
    // What is no harm is no fault: an address may be on two devices.
    (
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip addr add 10.244.0.10/32 dev d0",
        "ip link del d0",
        "up",
        "",
    ),
    ("ip rule add pref 100 unreachable", "ip rule del pref 100", "up", ""),
];

#[test]
fn whatever_a_pod_has_in_its_namespace_weftd_starts_and_the_others_talk() {
    if !require_root() {
        return;
    }
    let mut node = Node::new(&Plan::new(&[Kind::Tap, Kind::Tap, Kind::Packet]));
    let hostile = node.pods[0].name.clone();
    for (does, undoes, becomes, says) in CASES {
        node.weftd.stop();
        node.pods[0].ns.must(&["sh", "-c", does]);
        node.weftd.run();
        let (is, why) = state(&node.weftd, &hostile);
        assert_eq!(is, becomes, "{does}: {why}");
        assert!(why.contains(says), "{does}: {why}");
        must_ping(&node.pods[1].ns, node.pods[2].v4(), 56);
        must_ping(&node.pods[1].ns, node.pods[2].v6(), 56);
        if is == "degraded" && says.contains("IPv6") {
            must_ping(&node.pods[1].ns, node.pods[0].v4(), 56);
        }
        node.pods[0].ns.must(&["sh", "-c", undoes]);
        node.weftd.wait_for("the port as it should be", |weftd| state(weftd, &hostile).0 == "up");
        must_ping(&node.pods[0].ns, node.pods[2].v4(), 56);
        must_ping(&node.pods[0].ns, node.pods[2].v6(), 56);
    }
}

#[test]
fn a_pod_that_is_in_the_way_of_its_own_port_refuses_nobody_a_change() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Tap, Kind::Packet]);
    let mut node = Node::new(&plan);
    // A new pod of which the device's name is taken: by a verb, and in a file.
    let late = node.plug(Kind::Tap, 20);
    late.ns.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "x1"]);
    let said = node.weftd.must(&[
        "port",
        "add",
        "late",
        "--kind",
        "tap",
        "--device",
        "eth0",
        "--netns",
        late.ns.name(),
    ]);
    assert!(said.contains("port late (tap) added: it waits") && said.contains("warning: "), "{said}");
    assert!(said.contains("of this name already"), "{said}");
    assert_eq!(node.weftd.json(&["status"])["ports_waiting"], 1);
    let lost = node.plug(Kind::Tap, 21);
    let config = Node::config(&plan, &node.pods) + &late.port_toml(1500, 1) + &late.endpoint_toml();
    let config = config
        + &lost.port_toml(1500, 1).replace(lost.ns.name(), "no-such-namespace")
        + &lost.endpoint_toml();
    let extra = "[[flow]]\nname = \"x\"\nmatch = { protocol = \"icmp\", dst = \"203.0.113.1\" }\nactions = [\"drop\"]\n";
    node.weftd.write(&(config + extra));
    let said = node.weftd.must(&["config", "reload"]);
    assert!(said.contains(&format!("warning: port left out: \"{}\"", late.name)), "{said}");
    assert!(said.contains(&format!("warning: port left out: \"{}\"", lost.name)), "{said}");
    assert_eq!(node.weftd.json(&["flow", "list"])["flows"].as_array().map(Vec::len), Some(1));
    // The pod gives way, and is there.
    late.ns.ip(&["link", "del", "eth0"]);
    node.weftd.wait_for("the pod's port", |weftd| state(weftd, &late.name).0 == "up");
    must_ping(&late.ns, node.pods[1].v4(), 56);
    // An address for a pod that has switched the family off: the endpoint is there, and the reply says what is not.
    let pod = &node.pods[0];
    pod.ns.must(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
    let add =
        ["endpoint", "add", "more", "--network", "pods", "--port", &pod.name, "--mac", "02:00:00:00:03:01"];
    let said =
        node.weftd.must(&[&add[..], &["--address", "10.244.0.77", "--address", "fd00:244::77"]].concat());
    assert!(said.contains("IPv6 is not configured"), "{said}");
    assert!(pod.ns.ip(&["-br", "addr", "show", "eth0"]).contains("10.244.0.77/32"));
    assert_eq!(state(&node.weftd, &pod.name).0, "degraded");
    assert!(node.weftd.must(&["status"]).contains("1 degraded"));
    pod.ns.must(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0"]);
    node.weftd.wait_for("IPv6", |weftd| state(weftd, &pod.name).0 == "up");
    assert!(pod.ns.ip(&["-br", "addr", "show", "eth0"]).contains("fd00:244::77/128"));
    // Weftd comes up again with a pod whose veth is gone, and takes it in when it is back.
    node.ns.ip(&["link", "del", &node.pods[1].device()]);
    node.weftd.wait_for("the removal", |weftd| state(weftd, &node.pods[1].name).0 == "waiting");
    node.weftd.stop();
    node.weftd.run();
    must_ping(&late.ns, node.pods[0].v4(), 56);
    weft_tests::netns::veth(&node.ns, &node.pods[1].device(), &node.pods[1].ns, "eth0", 1);
    node.weftd.wait_for("the veth's port", |weftd| state(weftd, &node.pods[1].name).0 == "up");
    assert_eq!(ping(&node.pods[0].ns, late.v4(), 1, 56), 1);
}

#[test]
fn a_namespace_that_comes_back_gets_its_port_back() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Tap]));
    let (pod, name) = (&node.pods[0], node.pods[0].ns.name().to_owned());
    must_ping(&node.pods[1].ns, pod.v4(), 56);
    pod.ns.delete();
    node.weftd.wait_for("the removal", |weftd| state(weftd, &pod.name).0 == "waiting");
    let _again = NetNs::named(&name);
    node.weftd.wait_for("the port", |weftd| state(weftd, &pod.name).0 == "up");
    must_ping(&node.pods[1].ns, pod.v4(), 56);
    must_ping(&pod.ns, node.pods[1].v6(), 56);
}

#[test]
fn the_uplink_may_come_late_and_come_back() {
    if !require_root() {
        return;
    }
    let mut node = Node::new(&Plan::new(&[Kind::Tap]));
    node.weftd.stop();
    node.ns.ip(&["link", "set", "uplink0", "name", "later0"]);
    node.weftd.run();
    let (is, why) = state(&node.weftd, "uplink");
    assert!(is == "waiting" && why.contains("device uplink0 does not exist"), "{is}: {why}");
    let hops = node.weftd.log().matches("next hop ").count();
    node.ns.ip(&["link", "set", "later0", "down"]);
    node.ns.ip(&["link", "set", "later0", "name", "uplink0", "up"]);
    node.ns.ip(&["-6", "addr", "replace", "2001:db8::1/64", "dev", "uplink0", "nodad"]);
    node.weftd.wait_for("the uplink", |weftd| state(weftd, "uplink").0 == "up");
    node.weftd.wait_for("next hops", |weftd| weftd.log().matches("next hop ").count() >= hops + 2);
    must_ping(&node.pods[0].ns, "10.244.1.9".parse().expect("an address"), 56);
}
