//! Geneve with somebody else's implementation at the other end: Open vSwitch with its userspace datapath (the kernel here
//! has no Geneve of its own).

use weft_tests::{
    cluster::{Cluster, STRANGER_MAC, Shape},
    netns::{NetNs, Running, require_root},
    probe::{checksum_errors, must_ping, tcp_round_trip, udp_round_trip},
};

/// Open vSwitch in a namespace of its own, run by hand; gone with the test.
struct Ovs<'a> {
    ns: &'a NetNs,
    dir: tempfile::TempDir,
    _running: [Running; 2],
}

impl<'a> Ovs<'a> {
    fn start(ns: &'a NetNs) -> Self {
        let dir = tempfile::TempDir::with_prefix("weft-ovs-").expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let set = |name: &str| format!("{name}={}", dir.path().display());
        let places = [set("OVS_RUNDIR"), set("OVS_LOGDIR"), set("OVS_DBDIR"), set("OVS_SYSCONFDIR")];
        let with_places = |words: &[&str]| {
            let words =
                ["env"].into_iter().chain(places.iter().map(String::as_str)).chain(words.iter().copied());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let run = |words: &[&str]| {
            let words = with_places(words);
            ns.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (database, socket) = (path("conf.db"), format!("unix:{}", path("db.sock")));
        ns.must(&["ovsdb-tool", "create", &database, "/usr/share/openvswitch/vswitch.ovsschema"]);
        let server = run(&["ovsdb-server", &format!("--remote=p{socket}"), &database]);
        let until = |name: &str| {
            let file = path(name);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while !std::path::Path::new(&file).exists() {
                assert!(std::time::Instant::now() < deadline, "{name} does not come");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        };
        until("db.sock");
        ns.must(&["ovs-vsctl", &format!("--db={socket}"), "--no-wait", "init"]);
        let switch = run(&["ovs-vswitchd", &socket, "--pidfile"]);
        until("ovs-vswitchd.pid");
        Self { ns, dir, _running: [server, switch] }
    }

    fn vsctl(&self, words: &[&str]) {
        let socket = format!("--db=unix:{}", self.dir.path().join("db.sock").display());
        self.ns.must(&[&["ovs-vsctl", &socket, "--timeout=20"], words].concat());
    }
}

/// The other node's addresses on a bridge with the uplink in it, pods' on one with the tunnel in it.
fn speak_geneve(ovs: &Ovs<'_>, cluster: &Cluster) {
    let (node, ns, is_v4) = (&cluster.nodes[0], ovs.ns, cluster.shape.is_v4);
    let (own, remote) = (cluster.shape.address(1, is_v4), node.address(is_v4).to_string());
    let gateway = node.weftd.json(&["fabric", "show"])["mac"].as_str().expect("a MAC").to_owned();
    let phy = |word: &'static str| ["--", "set", "bridge", word, "datapath_type=netdev"];
    let link = ns.must(&["cat", "/sys/class/net/uplink0/address"]);
    ovs.vsctl(&[&["add-br", "phy"][..], &phy("phy"), &["--", "add-port", "phy", "uplink0"]].concat());
    ovs.vsctl(&["set", "bridge", "phy", &format!("other-config:hwaddr=\"{}\"", link.trim())]);
    // Open vSwitch takes what comes by the uplink off a packet socket: the node's stack must not answer, too.
    let drop = "add table netdev t; add chain netdev t c { type filter hook ingress device uplink0 priority 0; policy drop; }";
    ns.must(&["nft", drop]);
    let len = if is_v4 { 24 } else { 64 };
    ns.ip(&["addr", "flush", "dev", "uplink0"]);
    ns.ip(&["addr", "add", &format!("{own}/{len}"), "dev", "phy"]);
    ns.ip(&["link", "set", "phy", "up"]);
    let options = [
        "type=geneve".to_owned(),
        format!("options:remote_ip=\"{remote}\""),
        "options:key=42".to_owned(),
        "options:csum=false".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let port = [&["--", "add-port", "pods", "gnv0", "--", "set", "interface", "gnv0"][..], &options].concat();
    ovs.vsctl(&[&["add-br", "pods"][..], &phy("pods"), &port].concat());
    ovs.vsctl(&["set", "bridge", "pods", &format!("other-config:hwaddr=\"{STRANGER_MAC}\"")]);
    let mtu = cluster.shape.pod_mtu().to_string();
    ovs.vsctl(&["set", "interface", "pods", &format!("mtu_request={mtu}")]);
    ns.ip(&["link", "set", "pods", "up"]);
    for (address, via, route) in [
        ("10.244.1.9/32", "10.244.0.1", "10.244.0.0/24"),
        ("fd00:244:1::9/128", "fd00:244::1", "fd00:244::/64"),
    ] {
        ns.ip(&["addr", "add", address, "dev", "pods"]);
        ns.ip(&["neigh", "add", via, "lladdr", &gateway, "dev", "pods"]);
        let src = address.split('/').next().expect("an address");
        ns.ip(&["route", "add", route, "via", via, "dev", "pods", "onlink", "src", src]);
    }
    // Its own neighbour table learns the underlay's addresses from what the node's stack sends and gets.
    must_ping(ns, node.address(is_v4), 56);
}

#[test]
fn open_vswitch_understands_our_geneve_and_we_its() {
    if !require_root() {
        return;
    }
    for is_v4 in [true, false] {
        let cluster = Cluster::new(Shape { nodes: 1, has_stranger: true, ..Shape::new("geneve", is_v4) });
        let (node, other) = (&cluster.nodes[0], cluster.stranger.as_ref().expect("a node without weftd"));
        let ovs = Ovs::start(other);
        speak_geneve(&ovs, &cluster);
        for pod in &node.pods {
            for (is_inner_v4, address) in [(true, "10.244.1.9"), (false, "fd00:244:1::9")] {
                let address = address.parse().expect("an address");
                must_ping(&pod.ns, address, 56);
                must_ping(&pod.ns, address, 8000);
                udp_round_trip(&pod.ns.netns(), &other.netns(), address, &[1, 1300, 8000]);
                let seen = tcp_round_trip(&pod.ns.netns(), &other.netns(), address, 200_000);
                assert_eq!(seen, pod.address(is_inner_v4));
                let seen = tcp_round_trip(&other.netns(), &pod.ns.netns(), pod.address(is_inner_v4), 200_000);
                assert_eq!(seen, address);
            }
            assert_eq!(checksum_errors(&pod.ns), 0);
        }
        assert_eq!(checksum_errors(other), 0, "inner checksums as the kernel behind Open vSwitch sees them");
        assert_eq!(node.weftd.drops("uplink", "tunnel_malformed"), 0);
    }
}
