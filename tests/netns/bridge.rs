//! A bridged network between real stacks: learning, flooding, a host that moves.

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root, veth},
    probe::{checksum_errors, must_ping, tcp_round_trip},
};

const CONFIG: &str = r#"
[node]
name = "node"
control = "CONTROL"
[pmd]
cores = [1]
memory_mib = 128
[[network]]
name = "lan"
mode = "bridged"
[[port]]
name = "x"
kind = "xsk"
role = "access"
network = "lan"
device = "x"
[[port]]
name = "p"
kind = "packet"
role = "access"
network = "lan"
device = "p"
[[port]]
name = "q"
kind = "packet"
role = "access"
network = "lan"
device = "q"
"#;

#[test]
fn hosts_find_each_other_and_are_followed() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("node");
    let hosts: Vec<NetNs> = ["x", "p", "q"]
        .into_iter()
        .enumerate()
        .map(|(i, name)| {
            let host = NetNs::new(name);
            veth(&node, name, &host, "eth0", 1);
            host.ip(&["addr", "add", &format!("10.0.0.{}/24", i + 1), "dev", "eth0"]);
            host.ip(&["addr", "add", &format!("fd00::{}/64", i + 1), "dev", "eth0", "nodad"]);
            host
        })
        .collect();
    let weftd = Weftd::start(&node, CONFIG);
    for (i, from) in hosts.iter().enumerate() {
        for (j, to) in hosts.iter().enumerate().filter(|(j, _)| *j != i) {
            for address in [format!("10.0.0.{}", j + 1), format!("fd00::{}", j + 1)] {
                let address = address.parse().expect("an address");
                must_ping(from, address, 56);
                tcp_round_trip(&from.netns(), &to.netns(), address, 1 << 18);
            }
        }
    }
    hosts.iter().for_each(|host| assert_eq!(checksum_errors(host), 0));
    let known = weftd.json(&["fdb", "list"])["stations"].as_array().map(Vec::len);
    assert_eq!(known, Some(3));

    // The first host's MAC and address move behind another port.
    let mac = hosts[0].must(&["cat", "/sys/class/net/eth0/address"]);
    hosts[0].ip(&["link", "set", "eth0", "down"]);
    hosts[2].ip(&["link", "set", "eth0", "address", mac.trim()]);
    hosts[2].ip(&["addr", "add", "10.0.0.1/24", "dev", "eth0"]);
    must_ping(&hosts[2], "10.0.0.2".parse().expect("an address"), 56);
    must_ping(&hosts[1], "10.0.0.1".parse().expect("an address"), 56);
    let stations = weftd.json(&["fdb", "list"]);
    let moved = stations["stations"].as_array().expect("a list").iter().find(|row| row["mac"] == mac.trim());
    let moved = moved.expect("the MAC is known");
    assert_eq!((&moved["port"], &moved["moves"]), (&"q".into(), &1.into()));

    weftd.must(&["fdb", "flush", "--port", "q"]);
    assert!(!weftd.must(&["fdb", "list"]).contains(mac.trim()));
    must_ping(&hosts[1], "10.0.0.1".parse().expect("an address"), 56); // flooded, learnt again
}
