//! `weftctl doctor`: what is wrong is found, and what is well is left alone.

use std::process::Command;

use serde_json::Value;
use weft_tests::{
    daemon::{Weftd, binary},
    netns::{NetNs, require_root, veth},
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
    weftd.wait_for("the port's removal", |weftd| weftd.json(&["status"])["ports_removed"] == 1);
    let (code, findings) = doctor(&node, &socket, &[]);
    assert!(of(&findings, "v0", "problem")[0].contains("ip addr flush dev v0"), "{findings:?}");
    assert!(of(&findings, "weftd", "problem")[0].contains("port db is removed"), "{findings:?}");
    assert_eq!(code, Some(1));
}
