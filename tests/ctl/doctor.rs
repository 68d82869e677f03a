//! `weftctl doctor`: what is wrong is found, and what is well is left alone.

use std::process::Command;

use serde_json::Value;
use weft_tests::{
    cluster::{Cluster, Shape},
    daemon::{Weftd, binary},
    netns::{NetNs, require_root, veth},
    node::Kind,
};

use crate::CONFIG;

/// Exit code and findings.
fn doctor(node: &NetNs, socket: &str, args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let weftctl = binary("weftctl").display().to_string();
    let output = node.run(&[&[weftctl.as_str(), "--json", "--socket", socket, "doctor"], args].concat());
    let reply: Value = serde_json::from_slice(&output.stdout).expect("weftctl --json prints JSON");
    (output.status.code(), reply["findings"].as_array().expect("findings").clone())
}

fn of(findings: &[Value], about: &str, severity: &str) -> Vec<String> {
    let wanted = findings.iter().filter(|it| it["about"] == about && it["severity"] == severity);
    wanted.map(|it| format!("{}; {}", it["found"], it["remedy"])).collect()
}

#[test]
fn the_self_test_moves_tcp_between_every_kind_of_port_and_leaves_nothing() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let (code, findings) = doctor(&node, "/nowhere", &["--self-test"]);
    assert_eq!(of(&findings, "self-test", "good").len(), 3, "{findings:?}");
    assert_eq!(code, Some(0), "{findings:?}");
    assert_eq!(of(&findings, "weftd", "note").len(), 1, "no weftd is no problem: {findings:?}");
    let namespaces = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    assert!(!String::from_utf8_lossy(&namespaces.stdout).contains("weft-doctor"));
    // A weftd that can't start is a problem, with its own words.
    let (code, findings) = doctor(&node, "/nowhere", &["--self-test", "--weftd", "/bin/false"]);
    assert!(of(&findings, "self-test", "problem")[0].contains("weftd does not start"), "{findings:?}");
    assert_eq!(code, Some(1));
}

#[test]
fn what_is_wrong_with_a_running_switch_is_found_and_gone_when_mended() {
    if !require_root() {
        return;
    }
    let (node, pod) = (NetNs::new("ctl"), NetNs::new("pod"));
    veth(&node, "v0", &pod, "eth0", 1);
    veth(&node, "v1", &pod, "eth1", 1);
    let ports = "[[port]]\nname = \"web\"\nkind = \"packet\"\ndevice = \"v0\"\n[[port]]\nname = \"db\"\nkind = \"xsk\"\n\
                 device = \"v1\"\n";
    let weftd = Weftd::start(&node, &format!("{CONFIG}{ports}"));
    let socket = weftd.socket().display().to_string();
    let (code, findings) = doctor(&node, &socket, &["v0", "v1"]);
    assert!(of(&findings, "v1", "good").iter().any(|it| it.contains("native XDP")), "{findings:?}");
    assert_eq!(code, Some(0), "{findings:?}");
    node.ip(&["addr", "add", "10.9.9.9/24", "dev", "v0"]);
    node.ip(&["link", "del", "v1"]);
    weftd.wait_for("the port's removal", |weftd| weftd.json(&["status"])["ports_waiting"] == 1);
    let (code, findings) = doctor(&node, &socket, &[]);
    assert!(of(&findings, "v0", "problem")[0].contains("ip addr flush dev v0"), "{findings:?}");
    assert!(of(&findings, "weftd", "problem")[0].contains("port db is waiting: "), "{findings:?}");
    assert_eq!(code, Some(1));
}

/// Somebody else's XDP program: it lets everything pass.
fn other_program() -> tempfile::TempPath {
    const SOURCE: &str = "__attribute__((section(\"xdp\"))) int somebody(void *ctx) { return 2; }\n\
                          char allowed[] __attribute__((section(\"license\"))) = \"GPL\";\n";
    let source = tempfile::Builder::new().suffix(".c").tempfile().expect("a file");
    std::fs::write(source.path(), SOURCE).expect("writable");
    let object = tempfile::Builder::new().suffix(".o").tempfile().expect("a file").into_temp_path();
    let clang = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-c"])
        .args([source.path(), "-o".as_ref(), &object])
        .status();
    assert!(clang.is_ok_and(|status| status.success()), "clang compiles for BPF, as pmd needs it");
    object
}

#[test]
fn programs_of_others_are_found_where_they_are_in_the_way() {
    if !require_root() {
        return;
    }
    let (node, pod) = (NetNs::new("ctl"), NetNs::new("pod"));
    veth(&node, "v0", &pod, "eth0", 1);
    let object = other_program();
    let attach =
        || node.ip(&["link", "set", "dev", "v0", "xdp", "obj", &object.to_string_lossy(), "sec", "xdp"]);
    attach();
    let (code, findings) = doctor(&node, "/nowhere", &["v0"]);
    assert!(
        of(&findings, "v0", "problem")[0].contains("somebody else's, somebody, is attached"),
        "{findings:?}"
    );
    assert_eq!(code, Some(1));
    node.ip(&["link", "set", "dev", "v0", "xdp", "off"]);
    assert_eq!(of(&doctor(&node, "/nowhere", &["v0"]).1, "v0", "problem"), [""; 0]);
    // A port that needs no XDP: whoever is there looks first.
    let port = "[[port]]\nname = \"web\"\nkind = \"packet\"\ndevice = \"v0\"\n";
    let weftd = Weftd::start(&node, &format!("{CONFIG}{port}"));
    let socket = weftd.socket().display().to_string();
    assert_eq!(of(&doctor(&node, &socket, &[]).1, "v0", "note"), [""; 0]);
    attach();
    let (code, findings) = doctor(&node, &socket, &[]);
    assert!(of(&findings, "v0", "note")[0].contains("sees packets before weft does"), "{findings:?}");
    assert_eq!(code, Some(0), "{findings:?}");
}

#[test]
fn a_trunk_over_a_veth_is_told_to_look_at_the_other_end() {
    if !require_root() {
        return;
    }
    let (node, pod) = (NetNs::new("ctl"), NetNs::new("pod"));
    veth(&node, "v0", &pod, "eth0", 1);
    veth(&node, "v1", &pod, "eth1", 1);
    let trunk = |name: &str, kind: &str| {
        format!(
            "[[port]]\nname = \"{name}\"\nkind = \"{kind}\"\ndevice = \"{name}\"\nrole = \"trunk\"\n\
             networks = [\"lan\"]\n"
        )
    };
    let lan = "[[network]]\nname = \"lan\"\nmode = \"bridged\"\nvlan = 10\n";
    let config = format!("{CONFIG}{lan}{}{}", trunk("v0", "xsk"), trunk("v1", "packet"));
    let weftd = Weftd::start(&node, &config);
    let (code, findings) = doctor(&node, &weftd.socket().display().to_string(), &[]);
    let notes = of(&findings, "v0", "note");
    assert!(notes.iter().any(|note| note.contains("txvlan off")), "{findings:?}");
    assert_eq!(of(&findings, "v1", "note"), [""; 0], "AF_PACKET is told of tags");
    assert_eq!(code, Some(0), "{findings:?}");
}

#[test]
fn a_fabric_that_is_well_and_one_that_is_not() {
    if !require_root() {
        return;
    }
    let cluster = Cluster::new(Shape {
        nodes: 2,
        uplink: Kind::Packet,
        pods: &[Kind::Packet],
        ..Shape::new("vxlan", true)
    });
    let node = &cluster.nodes[0];
    let socket = node.weftd.socket().display().to_string();
    let (code, findings) = doctor(&node.ns, &socket, &[]);
    let good = of(&findings, "fabric", "good");
    assert!(good.iter().any(|it| it.contains("1 peer with a next hop")), "{findings:?}");
    assert!(good.iter().any(|it| it.contains("MTU 1450")), "{findings:?}");
    assert_eq!(of(&findings, "uplink0", "note"), [""; 0], "weft's own tcx program is nobody else's");
    assert_eq!(code, Some(0), "{findings:?}");
    // A pod's port of 1500 bytes, and a node that nobody knows the way to.
    node.weftd.must(&["port", "add", "large", "--kind", "tap", "--device", "large0", "--mtu", "1500"]);
    node.weftd.must(&[
        "fabric",
        "peer",
        "add",
        "far",
        "--address",
        "203.0.113.9",
        "--prefix",
        "10.244.9.0/24",
    ]);
    let state = |weftd: &Weftd| weftd.json(&["fabric", "peer", "show", "far"])["peer"]["state"].clone();
    node.weftd.wait_for("the kernel's answer", |weftd| state(weftd) == "unresolved");
    let (code, findings) = doctor(&node.ns, &socket, &[]);
    let note = &of(&findings, "fabric", "note")[0];
    assert!(note.contains("1450 that uplink carries to n1 (large: 1500)"), "{note}");
    assert!(note.contains("raise the underlay's by 50"), "{note}");
    let problem = &of(&findings, "fabric", "problem")[0];
    assert!(
        problem.contains("no next hop to far") && problem.contains("ip route get 203.0.113.9"),
        "{problem}"
    );
    assert_eq!(code, Some(1));
}
