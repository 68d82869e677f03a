//! A pod's ways around the switch: what it sends to the switch's end of its veth, for the node's own stack to take, answer,
//! bridge or forward. None is open for as long as the configuration has the port, whether weftd runs or not.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use pcap::{Active, Capture, Direction};
use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root, veth},
    node::{Kind, Node, Plan, Pod},
    packets::eth,
    probe::{must_ping, ping},
};

/// No addresses of anybody here.
const SPOOFED: [&str; 2] = ["198.51.100.9", "2001:db8:bad::9"];
/// The other node.
const TARGET: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
/// By which frames are known.
const PORT: u16 = 9999;

/// Everything that arrives, as it lies on the device.
fn wire(ns: &NetNs, device: &str, filter: &str) -> Capture<Active> {
    let open = || {
        let capture = Capture::from_device(device)?.immediate_mode(true).snaplen(200).open()?;
        capture.direction(Direction::In)?;
        let mut capture = capture.setnonblock()?;
        capture.filter(filter, true)?;
        Ok::<_, pcap::Error>(capture)
    };
    ns.netns().run(open).expect("namespace").expect("a capture")
}

/// How many have arrived so far that match its filter.
fn seen(capture: &mut Capture<Active>) -> usize {
    std::iter::from_fn(|| capture.next_packet().ok().map(drop)).count()
}

/// A node that forwards, as Kubernetes nodes do.
fn router(node: &Node) {
    for setting in ["ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv4.conf.all.rp_filter=0"] {
        node.ns.must(&["sysctl", "-qw", &format!("net.{setting}")]);
    }
    node.ns.run(&["ping", "-c1", "-W1", TARGET[0]]);
    node.ns.run(&["ping", "-c1", "-W1", TARGET[1]]);
}

/// What the node's stack did with what a pod sent to it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Leaks {
    /// Packets that it forwarded to the other node.
    forwarded: usize,
    /// Answers to the pod's ARP requests for the node's address.
    answers: usize,
    /// IPv6 packets that it took from the device, whatever it did with them.
    taken: u64,
}

const NONE: Leaks = Leaks { forwarded: 0, answers: 0, taken: 0 };

/// That of its veth's switch end.
fn switch_mac(node: &Node, pod: &Pod) -> String {
    node.ns.must(&["cat", &format!("/sys/class/net/{}/address", pod.device())]).trim().to_owned()
}

fn frames(node: &Node, pod: &Pod) -> Vec<Vec<u8>> {
    let own = pod.ns.must(&["cat", "/sys/class/net/eth0/address"]);
    let to_switch = eth(own.trim(), &switch_mac(node, pod));
    let (v4, v6) = (pod.v4().to_string(), pod.v6().to_string());
    let mut frames = vec![eth(own.trim(), "ff:ff:ff:ff:ff:ff").arp(&v4, "192.0.2.1")];
    // Several ports, so that all of its queues are used.
    for source in 1..9 {
        for (src, dst) in
            [(SPOOFED[0], TARGET[0]), (SPOOFED[1], TARGET[1]), (&v4, TARGET[0]), (&v6, TARGET[1])]
        {
            frames.push(to_switch.udp(src, dst, (source, PORT), 64, 20));
            // A priority tag: the stack takes it off (802.1Q clause 6.9.1 of a VLAN-unaware station).
            frames.push(to_switch.vlan(0).udp(src, dst, (source, PORT), 64, 20));
        }
    }
    frames
}

/// A pod sends what it can think of to its veth's other end.
fn attack(node: &Node, pod: &Pod) -> Leaks {
    let counter = format!("/proc/net/dev_snmp6/{}", pod.device());
    let taken = || {
        let text = node.ns.must(&["cat", &counter]);
        let line = text.lines().find(|line| line.starts_with("Ip6InReceives"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("a counter")
    };
    let before: u64 = taken();
    let mut outside = wire(&node.outside, "eth0", &format!("udp dst port {PORT}"));
    // The switch may answer, too, with its gateway's MAC.
    let mut pods = wire(&pod.ns, "eth0", &format!("arp[6:2] = 2 and ether src {}", switch_mac(node, pod)));
    for frame in frames(node, pod) {
        pods.sendpacket(frame).expect("the pod sends");
    }
    sleep(Duration::from_millis(400));
    Leaks { forwarded: seen(&mut outside), answers: seen(&mut pods), taken: taken() - before }
}

/// Without a switch, and with the test's own eyes, all ways are open.
fn is_open(leaks: Leaks) -> bool {
    leaks.forwarded >= 32 && leaks.answers == 1 && leaks.taken >= 32
}

#[test]
fn nothing_of_a_pods_veth_reaches_the_nodes_stack_and_port_del_gives_it_back() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    router(&node);
    node.weftd.must(&["network", "add", "lan", "--mode", "bridged", "--vlan", "7"]);
    for (index, kind, more) in [
        (20, Kind::Packet, &[][..]),
        (21, Kind::Xsk, &[]),
        (22, Kind::Xsk, &["--xdp-mode", "generic"]),
        (23, Kind::Packet, &["--role", "access", "--network", "lan"]),
        (24, Kind::Xsk, &["--role", "access", "--network", "lan"]),
        (25, Kind::Packet, &["--role", "trunk", "--trunk", "lan"]),
        (26, Kind::Xsk, &["--role", "trunk", "--trunk", "lan"]),
    ] {
        let pod = node.plug(kind, index);
        let leaks = attack(&node, &pod);
        assert!(is_open(leaks), "{}: without a port the stack has it: {leaks:?}", pod.name);
        let add = ["port", "add", &pod.name, "--kind", kind.word(), "--device", &pod.device()];
        node.weftd.must(&[&add[..], more].concat());
        assert_eq!(attack(&node, &pod), NONE, "{} {more:?}", pod.name);
        node.weftd.must(&["port", "del", &pod.name]);
        let leaks = attack(&node, &pod);
        assert!(is_open(leaks), "{}: given back: {leaks:?}", pod.name);
    }
}

#[test]
fn a_fabric_and_a_host_port_leave_the_node_its_device() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    router(&node);
    let pod = node.plug(Kind::Packet, 20);
    // A pod's first: what was kept then is not kept any more.
    node.weftd.must(&["port", "add", "p", "--kind", "packet", "--device", &pod.device()]);
    assert_eq!(attack(&node, &pod), NONE);
    node.weftd.must(&["port", "del", "p"]);
    node.weftd.must(&["port", "del", "host"]);
    node.weftd.must(&[
        "port",
        "add",
        "host",
        "--kind",
        "packet",
        "--role",
        "host",
        "--device",
        &pod.device(),
    ]);
    assert!(is_open(attack(&node, &pod)));
    must_ping(&node.outside, "192.0.2.1".parse().expect("an address"), 56);
}

#[test]
fn a_dead_weftd_leaves_pods_no_way_around_and_the_next_one_takes_over() {
    if !require_root() {
        return;
    }
    let plan = Plan { queues: 2, ..Plan::new(&[Kind::Packet, Kind::Xsk, Kind::Tap]) };
    let mut node = Node::new(&plan);
    router(&node);
    let veths = |node: &Node, when: &str| {
        for pod in &node.pods[..2] {
            assert_eq!(attack(node, pod), NONE, "{}, {when}", pod.name);
        }
        must_ping(&node.outside, "192.0.2.1".parse().expect("an address"), 56);
    };
    veths(&node, "weftd runs");
    node.weftd.kill();
    veths(&node, "weftd was killed");
    assert!(!node.pods[2].ns.ip(&["link"]).contains("eth0"), "a tap goes with weftd");
    node.weftd.run();
    veths(&node, "another weftd runs");
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        must_ping(&node.pods[from].ns, node.pods[to].v4(), 56);
        must_ping(&node.pods[from].ns, node.pods[to].v6(), 56);
    }
    node.weftd.stop();
    veths(&node, "weftd was stopped");
    // One of less queues: those without a socket are nobody's.
    let config = Node::config(&plan, &node.pods);
    node.weftd.write(&config.replace("device = \"v1\"\n", "device = \"v1\"\nqueues = [0]\n"));
    node.weftd.run();
    let port = node.weftd.json(&["port", "show", "xsk-1"]);
    assert!(port["port"]["why"].as_str().is_some_and(|why| why.contains("by others is dropped")), "{port}");
    veths(&node, "a queue has no socket");
    for pod in &node.pods[..2] {
        node.weftd.must(&["port", "del", &pod.name, "--force"]);
        assert!(is_open(attack(&node, pod)), "{} is given back, whoever kept it first", pod.name);
    }
}

#[test]
fn no_frame_slips_through_while_ports_are_made_again_and_weftd_dies() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Packet, Kind::Xsk]);
    let mut node = Node::new(&plan);
    router(&node);
    let config = Node::config(&plan, &node.pods);
    let mut outside = wire(&node.outside, "eth0", &format!("udp dst port {PORT}"));
    let floods: Vec<_> =
        node.pods.iter().map(|pod| (wire(&pod.ns, "eth0", "udp dst port 1"), frames(&node, pod))).collect();
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    scope(|scope| {
        for (mut from, frames) in floods {
            let (done, sent) = (&done, &sent);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for frame in &frames {
                        // Without room it is lost.
                        sent.fetch_add(u64::from(from.sendpacket(&frame[..]).is_ok()), Ordering::Relaxed);
                    }
                    sleep(Duration::from_micros(500));
                }
            });
        }
        for round in 0..6 {
            let swapped = match round % 3 {
                0 => config.replace("device = \"v", "mtu = 1400\ndevice = \"v"),
                1 => config.replace("kind = \"packet\"", "kind = \"xsk\""),
                _ => config.clone(),
            };
            node.weftd.write(&swapped);
            node.weftd.must(&["config", "reload"]);
            // Refused: what it opened goes, what was there stays.
            node.weftd.write(&swapped.replace("device = \"v0\"", "device = \"v9\""));
            assert_eq!(node.weftd.ctl(&["config", "reload"]).status.code(), Some(1));
        }
        for _ in 0..2 {
            node.weftd.write(&config);
            node.weftd.kill();
            sleep(Duration::from_millis(100));
            node.weftd.run();
        }
        done.store(true, Ordering::Relaxed);
    });
    sleep(Duration::from_millis(200));
    let sent = sent.into_inner();
    assert!(sent > 10_000, "{sent} sent");
    assert_eq!(seen(&mut outside), 0, "of {sent}");
}

#[test]
fn what_others_take_off_is_put_back_and_a_device_that_returns_is_kept() {
    if !require_root() {
        return;
    }
    let mut node = Node::new(&Plan::new(&[Kind::Packet, Kind::Xsk]));
    router(&node);
    let away = NetNs::new("away");
    let put_back = |weftd: &Weftd| weftd.log().matches("put back").count();
    for (n, index) in [0, 1].into_iter().enumerate() {
        let device = node.pods[index].device();
        node.ns.must(&["tc", "qdisc", "del", "dev", &device, "clsact"]);
        assert_eq!(attack(&node, &node.pods[index]), NONE, "while the port is open there is tcx");
        node.weftd.wait_for("the filter", |weftd| put_back(weftd) > n);
    }
    // A bridge on top takes frames ahead of the stack, and behind what keeps them.
    node.ns.ip(&["link", "add", "br0", "type", "bridge"]);
    node.ns.ip(&["link", "set", "br0", "up"]);
    for pod in &node.pods {
        node.ns.ip(&["link", "set", &pod.device(), "master", "br0"]);
    }
    for pod in &node.pods {
        assert_eq!(attack(&node, pod), NONE, "{} in a bridge", pod.name);
    }
    let bridged = node.ns.must(&["cat", "/sys/class/net/br0/statistics/rx_packets"]);
    assert_eq!(bridged.trim(), "0");
    node.weftd.kill();
    for pod in &node.pods {
        assert_eq!(attack(&node, pod), NONE, "{} in a bridge, weftd is dead", pod.name);
    }
    node.ns.ip(&["link", "del", "br0"]);
    node.weftd.run();
    for pod in &node.pods {
        let device = pod.device();
        node.ns.ip(&["link", "set", &device, "netns", away.name()]);
        node.weftd.wait_for("removal", |weftd| {
            weftd.json(&["port", "show", &pod.name])["port"]["state"] == "waiting"
        });
        away.ip(&["link", "set", &device, "netns", node.ns.name()]);
        let kept =
            || node.ns.must(&["tc", "filter", "show", "dev", &device, "ingress"]).contains("weft_keep");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !kept() {
            assert!(Instant::now() < deadline, "{device} came back: {}", node.weftd.log());
            sleep(Duration::from_millis(20));
        }
        node.ns.ip(&["link", "set", &device, "up"]);
        assert_eq!(attack(&node, pod), NONE, "{} came back", pod.name);
    }
    node.weftd.must(&["config", "reload"]);
    assert!(ping(&node.pods[0].ns, node.pods[1].v4(), 3, 56) > 0, "the ports are open again");
}

#[test]
fn a_device_that_can_not_be_kept_is_refused_and_left_as_it_was() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    router(&node);
    let other = NetNs::new("other");
    veth(&node.ns, "v30", &other, "eth0", 1);
    node.ns.must(&["tc", "qdisc", "add", "dev", "v30", "clsact"]);
    let filter = ["tc", "filter", "add", "dev", "v30", "ingress", "prio", "1", "protocol", "ip"];
    node.ns.must(&[&filter[..], &["u32", "match", "u32", "0", "0", "classid", "1:1"]].concat());
    for kind in ["packet", "xsk"] {
        let refused = node.weftd.ctl(&["port", "add", "p", "--kind", kind, "--device", "v30"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(text.contains("another tc filter has priority 1") && text.contains("v30"), "{text}");
    }
    node.ns.must(&["tc", "filter", "del", "dev", "v30", "ingress"]);
    // Whoever is refused for another reason has changed nothing either.
    let refused =
        node.weftd.ctl(&["port", "add", "p", "--kind", "xsk", "--device", "v30", "--zerocopy", "require"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(node.ns.must(&["tc", "filter", "show", "dev", "v30", "ingress"]), "");
}
