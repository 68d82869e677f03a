//! What a pod can do to its tap: root there owns the network device.

use weft_pmd::sys::net;
use weft_tests::{
    netns::require_root,
    node::{Kind, Node, Plan, Pod},
    probe::must_ping,
};

/// The port is closed, the tap is gone whoever has a queue of it, and another takes its place by itself.
fn made_anew(node: &Node, pod: &Pod, says: &str, ifindex: &str) {
    node.weftd.wait_for("the log", |weftd| weftd.log().contains(says));
    node.weftd.wait_for("another tap", |weftd| {
        let is_up = weftd.json(&["port", "show", &pod.name])["port"]["state"] == "up";
        is_up && self::ifindex(pod).is_some_and(|now| now != ifindex)
    });
}

fn ifindex(pod: &Pod) -> Option<String> {
    let output = pod.ns.run(&["cat", "/sys/class/net/eth0/ifindex"]);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_tap_that_its_pod_changes_behind_weftd_is_closed_and_made_anew() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan { queues: 2, ..Plan::new(&[Kind::Tap, Kind::Tap]) });
    let (pod, other) = (&node.pods[0], &node.pods[1]);
    must_ping(&pod.ns, other.v4(), 56);
    // A queue alone, and what is only its own, harms nobody else.
    let queue = pod.ns.netns().run(|| net::open_tap("eth0", true)).expect("namespace").expect("a queue");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(node.weftd.json(&["port", "show", &pod.name])["port"]["state"], "up");
    let first = ifindex(pod).expect("a tap");
    net::set_tap_header_size(&queue, 1024).expect("the device's header");
    made_anew(&node, pod, "header to 1024 bytes (TUNSETVNETHDRSZ)", &first);
    drop(queue);
    must_ping(&pod.ns, other.v4(), 56);
    // A queue attached (TUNSETIFF), the device made persistent (TUNSETPERSIST), and let go.
    let second = ifindex(pod).expect("a tap");
    pod.ns.must(&[
        "perl",
        "-e",
        "open $f, '+<', '/dev/net/tun' or die; $r = pack 'a16sx22', 'eth0', 0x5102; \
         ioctl $f, 0x400454ca, $r or die $!; ioctl $f, 0x400454cb, 1 or die $!",
    ]);
    made_anew(&node, pod, "made it outlive weftd (TUNSETPERSIST)", &second);
    must_ping(&other.ns, pod.v6(), 56);
}

#[test]
fn a_queue_of_the_pods_own_does_not_keep_a_tap_that_weftd_lets_go() {
    if !require_root() {
        return;
    }
    let plan = Plan { queues: 2, ..Plan::new(&[Kind::Tap, Kind::Tap]) };
    let mut node = Node::new(&plan);
    let attach = |pod: &Pod| pod.ns.netns().run(|| net::open_tap("eth0", true)).expect("namespace");
    let queue = attach(&node.pods[0]).expect("a queue");
    // Made again otherwise: it needs its name.
    node.weftd.write(&Node::config(&Plan { mtu: 1400, ..plan.clone() }, &node.pods));
    node.weftd.must(&["config", "reload"]);
    must_ping(&node.pods[0].ns, node.pods[1].v4(), 56);
    drop(queue);
    // The next weftd needs it, too.
    let queue = attach(&node.pods[0]).expect("a queue");
    node.weftd.kill();
    assert!(node.pods[0].ns.ip(&["link"]).contains("eth0"), "the pod's queue keeps it");
    node.weftd.run();
    must_ping(&node.pods[0].ns, node.pods[1].v4(), 56);
    drop(queue);
    let queue = attach(&node.pods[0]).expect("a queue");
    node.weftd.stop();
    assert!(!node.pods[0].ns.ip(&["link"]).contains("eth0"), "SIGTERM removes what weftd made");
    drop(queue);
}

#[test]
fn nobody_gets_a_queue_of_a_tap_with_one() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap]));
    let pod = &node.pods[0];
    for several in [false, true] {
        let queue = pod.ns.netns().run(|| net::open_tap("eth0", several)).expect("namespace");
        let errno = queue.expect_err("it has one queue").raw_os_error();
        assert!(matches!(errno, Some(16 | 22)), "EBUSY or EINVAL: {errno:?}");
    }
    must_ping(&pod.ns, "10.244.0.1".parse().expect("an address"), 56);
}
