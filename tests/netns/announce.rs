//! Whoever comes to a bridged network is announced: stacks that remember something else learn better.

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root, veth},
    packets::describe,
    wire::Wire,
};

const CONFIG: &str = r#"
[node]
name = "node"
control = "CONTROL"
[pmd]
cores = [1]
memory_mib = 64
[[network]]
name = "lan"
mode = "bridged"
vlan = 10
prefixes = ["10.0.0.0/24", "fd00::/64"]
[[port]]
name = "x"
kind = "packet"
role = "access"
network = "lan"
device = "x0"
[[port]]
name = "t"
kind = "packet"
role = "trunk"
networks = ["lan"]
device = "t0"
"#;

fn pod(netns: &NetNs, mac: &str) -> String {
    format!(
        "[[port]]\nname = \"pod\"\nkind = \"tap\"\ndevice = \"eth0\"\nnetns = \"{}\"\n[[endpoint]]\nname = \"pod\"\n\
         network = \"lan\"\nport = \"pod\"\nmac = \"{mac}\"\naddresses = [\"10.0.0.10\", \"fd00::10\"]\n",
        netns.name()
    )
}

/// Announcements of the pod, as they are described, until all four have come.
#[track_caller]
fn announced(wire: &mut Wire, mac: &str) -> Vec<String> {
    let is_announcement = |bytes: &[u8]| {
        let text = describe(bytes);
        text.starts_with(&format!("{mac}>"))
            && (text.contains("arp who 10.0.0.10@") && text.ends_with("to 10.0.0.10")
                || text.contains("fd00::10>ff02::1 ttl 255 icmp6 136/0"))
    };
    let frames = wire.frames(15.0, 4, is_announcement);
    frames.iter().map(|bytes| describe(bytes)).collect()
}

#[test]
fn a_tap_that_comes_or_changes_is_announced() {
    if !require_root() {
        return;
    }
    let [node, host, switch, netns] = ["node", "host", "switch", "pod"].map(NetNs::new);
    veth(&node, "x0", &host, "eth0", 1);
    veth(&node, "t0", &switch, "t0", 1);
    host.ip(&["addr", "add", "10.0.0.1/24", "dev", "eth0"]);
    host.ip(&["addr", "add", "fd00::1/64", "dev", "eth0", "nodad"]);
    // What the host remembers of whoever had the addresses before.
    for address in ["10.0.0.10", "fd00::10"] {
        let old = ["neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "eth0"];
        host.ip(&old);
    }
    let mut weftd = Weftd::start(&node, CONFIG);
    let (mut access, mut trunk) = (Wire::open(&host, "eth0"), Wire::open(&switch, "t0"));
    for mac in ["02:00:00:00:00:0a", "02:00:00:00:00:0b"] {
        weftd.write(&format!("{CONFIG}{}", pod(&netns, mac)));
        weftd.reload();
        let (to_host, to_trunk) = (announced(&mut access, mac), announced(&mut trunk, mac));
        assert_eq!((to_host.len(), to_trunk.len()), (4, 4), "{to_host:?} {to_trunk:?}\n{}", weftd.log());
        assert!(to_trunk.iter().all(|text| text.contains("vlan 10")), "{to_trunk:?}");
        assert!(!to_host.iter().chain(&to_trunk).any(|text| text.contains("BAD")), "{to_host:?}");
        let known = host.ip(&["neigh", "show", "dev", "eth0"]);
        for address in ["10.0.0.10", "fd00::10"] {
            assert!(known.contains(&format!("{address} lladdr {mac}")), "{known}");
        }
    }
    assert!(
        access.frames(3.0, 1, |bytes| describe(bytes).contains("arp who 10.0.0.10@")).is_empty(),
        "no more"
    );
}
