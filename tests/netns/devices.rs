//! A device's MTU, MAC, queues and carrier are facts that change under an open port.

use serde_json::Value;
use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root, veth},
    node::{Kind, Node, Plan, Pod},
    probe::{must_ping, tcp_round_trip},
};

fn port(weftd: &Weftd, name: &str) -> Value {
    weftd.json(&["port", "show", name])["port"].clone()
}

/// Sends one echo of a size that must not be fragmented; what ping says.
fn whole(from: &Pod, to: &Pod, is_v4: bool, size: u32) -> (bool, String) {
    let (family, to) = (if is_v4 { "-4" } else { "-6" }, to.address(is_v4).to_string());
    let size = size.to_string();
    let ping = ["ping", family, "-n", "-M", "do", "-c", "1", "-W", "2", "-s", &size, &to];
    let output = from.ns.run(&ping);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn a_devices_mtu_is_followed_up_and_down_without_a_reload() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Packet, Kind::Xsk, Kind::Packet]));
    let set = |pod: &Pod, mtu: &str| {
        node.ns.ip(&["link", "set", &pod.device(), "mtu", mtu]);
        pod.ns.ip(&["link", "set", "eth0", "mtu", mtu]);
        let wanted: u64 = mtu.parse().expect("a number");
        node.weftd.wait_for("the new MTU", |weftd| port(weftd, &pod.name)["mtu"] == wanted);
    };
    node.pods.iter().for_each(|pod| set(pod, "3000"));
    for (from, to) in [(0, 1), (1, 0), (0, 2)] {
        for is_v4 in [true, false] {
            let (arrived, said) = whole(&node.pods[from], &node.pods[to], is_v4, 2800);
            assert!(arrived, "{from} to {to}: {said}");
        }
        let (from, to) = (&node.pods[from], &node.pods[to]);
        tcp_round_trip(&from.ns.netns(), &to.ns.netns(), to.v4(), 1 << 20);
    }
    // Smaller again at one end: whoever sends more is told so.
    set(&node.pods[1], "1400");
    for is_v4 in [true, false] {
        let (arrived, said) = whole(&node.pods[0], &node.pods[1], is_v4, 2800);
        assert!(!arrived && said.contains("mtu") && said.contains("1400"), "{said}");
    }
    let (arrived, said) = whole(&node.pods[0], &node.pods[2], true, 2800);
    assert!(arrived, "the others have their MTU: {said}");
    assert!(node.weftd.log().contains("the device's MTU has changed"));
}

#[test]
fn a_taps_mtu_is_what_its_pod_makes_of_it_and_no_more_than_the_port_says() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Tap]));
    let pod = &node.pods[0];
    pod.ns.ip(&["link", "set", "eth0", "mtu", "1300"]);
    node.weftd.wait_for("the smaller MTU", |weftd| port(weftd, &pod.name)["mtu"] == 1300);
    let (arrived, said) = whole(&node.pods[1], pod, true, 1400);
    assert!(!arrived && said.contains("1300"), "{said}");
    // Nor is it lost under another name.
    pod.ns.ip(&["link", "set", "eth0", "down"]);
    node.weftd.wait_for("the device being down", |weftd| port(weftd, &pod.name)["state"] == "degraded");
    pod.ns.ip(&["link", "set", "eth0", "name", "other", "mtu", "9000", "up"]);
    node.weftd.wait_for("the port's own MTU", |weftd| port(weftd, &pod.name)["mtu"] == 1500);
    assert_eq!(port(&node.weftd, &pod.name)["state"], "up");
    let second =
        ["endpoint", "add", "second", "--network", "pods", "--port", &pod.name, "--mac", "02:00:00:00:04:01"];
    node.weftd.must(&[&second[..], &["--address", "10.244.0.88"]].concat());
    assert!(pod.ns.ip(&["-br", "addr", "show", "other"]).contains("10.244.0.88/32"));
}

#[test]
fn a_pod_that_changes_its_mtu_all_the_time_makes_few_publications() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let generation = || node.weftd.json(&["status"])["generation"].as_u64().expect("a number");
    let before = generation();
    let flap = "for i in $(seq 2000); do echo link set eth0 mtu $((1300 + i % 2)); done > /tmp/flap-$$; \
                ip -batch /tmp/flap-$$; ip -batch /tmp/flap-$$; rm /tmp/flap-$$; ip link set eth0 mtu 1400";
    let flapping = node.pods[0].ns.spawn(&["sh", "-c", flap]);
    must_ping(&node.pods[1].ns, node.pods[0].v4(), 56);
    assert!(flapping.wait().status.success());
    node.weftd.wait_for("the last one", |weftd| port(weftd, &node.pods[0].name)["mtu"] == 1400);
    let made = generation() - before;
    assert!(made < 20, "{made} publications for 4,000 changes");
}

#[test]
fn an_uplinks_mac_is_the_one_packets_leave_with() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    let outside = "10.244.1.9".parse().expect("an address");
    must_ping(&node.pods[0].ns, outside, 56);
    node.ns.ip(&["link", "set", "uplink0", "address", "02:00:00:00:77:01"]);
    node.weftd.wait_for("the new MAC", |weftd| port(weftd, "uplink")["mac"] == "02:00:00:00:77:01");
    let seen = node.outside.tcpdump(&["-e", "-n", "-l", "-i", "eth0", "-c", "2", "icmp and dst 10.244.1.9"]);
    let pings = node.pods[0].ns.spawn(&["ping", "-c", "10", "-i", "0.2", "-n", "10.244.1.9"]);
    let seen = String::from_utf8_lossy(&seen.wait().stdout).into_owned();
    assert!(seen.lines().all(|line| line.contains("02:00:00:00:77:01 >")) && !seen.is_empty(), "{seen}");
    drop(pings);
}

#[test]
fn more_queues_are_told_and_a_reload_takes_them() {
    if !require_root() {
        return;
    }
    let (node, pod) = (NetNs::new("node"), NetNs::new("pod"));
    veth(&node, "v0", &pod, "eth0", 4);
    let channels = |count: &str| node.must(&["ethtool", "-L", "v0", "rx", count, "tx", "1"]);
    pod.must(&["ethtool", "-L", "eth0", "rx", "1", "tx", "1"]);
    channels("1");
    let config = "[node]\nname = \"node\"\ncontrol = \"CONTROL\"\n[pmd]\nmemory_mib = 64\n\
                  [[port]]\nname = \"web\"\nkind = \"xsk\"\ndevice = \"v0\"\n";
    let weftd = Weftd::start(&node, config);
    assert_eq!(
        (&port(&weftd, "web")["state"], port(&weftd, "web")["cores"].as_array().map(Vec::len)),
        (&"up".into(), Some(1))
    );
    channels("3");
    weftd.wait_for("the queues", |weftd| port(weftd, "web")["state"] == "degraded");
    let why = port(&weftd, "web")["why"].to_string();
    assert!(why.contains("has 3 receive queues, and had 1") && why.contains("config reload"), "{why}");
    weftd.must(&["config", "reload"]);
    assert_eq!(
        (&port(&weftd, "web")["state"], port(&weftd, "web")["cores"].as_array().map(Vec::len)),
        (&"up".into(), Some(3))
    );
    // A link that goes down is told, and that it is back.
    pod.ip(&["link", "set", "eth0", "down"]);
    weftd.wait_for("no carrier", |weftd| port(weftd, "web")["why"].to_string().contains("no carrier"));
    pod.ip(&["link", "set", "eth0", "up"]);
    weftd.wait_for("a carrier", |weftd| port(weftd, "web")["state"] == "up");
}
