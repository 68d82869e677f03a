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

/// Pods that find each other by what they truly say, and one that answers for another's addresses, as its stack does once it
/// is given them.
#[test]
fn pods_speak_for_themselves() {
    if !require_root() {
        return;
    }
    let (node, host) = (NetNs::new("node"), NetNs::new("x"));
    let pods = ["a", "b"].map(NetNs::new);
    veth(&node, "x", &host, "eth0", 1);
    host.ip(&["addr", "add", "10.9.0.9/24", "dev", "eth0"]);
    host.ip(&["addr", "add", "fd09::9/64", "dev", "eth0", "nodad"]);
    let pod = |(i, pod): (usize, &NetNs)| {
        let (name, last) = (["a", "b"][i], i + 5);
        format!(
            "[[port]]\nname = \"{name}\"\nkind = \"tap\"\ndevice = \"eth0\"\nnetns = \"{}\"\n[[endpoint]]\nname = \"{name}\"\n\
             network = \"lan\"\nport = \"{name}\"\nmac = \"02:00:0a:09:00:0{last}\"\naddresses = [\"10.9.0.{last}\", \"fd09::{last}\"]\n",
            pod.name()
        )
    };
    let lan = "[[network]]\nname = \"lan\"\nmode = \"bridged\"\nprefixes = [\"10.9.0.0/24\", \"fd09::/64\"]\n\
               [[port]]\nname = \"x\"\nkind = \"packet\"\nrole = \"access\"\nnetwork = \"lan\"\ndevice = \"x\"\n";
    let head = &CONFIG[..CONFIG.find("[[network]]").expect("a network")];
    let pods_text: String = pods.iter().enumerate().map(pod).collect();
    let weftd = Weftd::start(&node, &format!("{head}{lan}{pods_text}"));
    for address in ["10.9.0.6", "fd09::6"] {
        must_ping(&pods[0], address.parse().expect("an address"), 56);
    }
    for address in ["10.9.0.5", "fd09::5"] {
        must_ping(&host, address.parse().expect("an address"), 56);
        must_ping(&pods[1], address.parse().expect("an address"), 56);
    }
    for reason in ["spoofed", "nd_invalid", "rogue_router", "icmp_unrelated", "martian_source"] {
        assert_eq!((weftd.drops("a", reason), weftd.drops("b", reason)), (0, 0), "{reason}");
    }

    pods[0].ip(&["addr", "add", "10.9.0.6/24", "dev", "eth0"]);
    pods[0].ip(&["addr", "add", "fd09::6/64", "dev", "eth0", "nodad"]);
    host.ip(&["neigh", "flush", "all"]);
    for address in ["10.9.0.6", "fd09::6"] {
        must_ping(&host, address.parse().expect("an address"), 56);
        let known = host.ip(&["neigh", "show", address]);
        assert!(known.contains("02:00:0a:09:00:06"), "{known}");
    }
    assert!(weftd.drops("a", "spoofed") >= 2, "{}", weftd.must(&["drops"]));
}
