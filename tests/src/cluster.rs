//! Several nodes with pods on one underlay, in namespaces:
//!
//! ```text
//!  pod ── tap ──┐                                                               ┌── tap ── pod
//!  pod ── veth ─┤ weftd, node 0 ── uplink0 ── bridge, or router ── uplink0 ── node 1, weftd ├─ veth ── pod
//!   weft0 (host)┘                          `underlay`                           └ weft0 (host)
//! ```
//! Pods of node `i` have addresses in 10.244.i.0/24 and fd00:244:i::/64; the node's own are 10.9.0.(10+i) and
//! 2001:db8::(10+i), or, behind a router, 10.9.i.10 and 2001:db8:i::10.

use std::{fmt::Write, net::IpAddr};

use crate::{
    daemon::Weftd,
    netns::{NetNs, veth},
    node::{Kind, Pod},
};

/// What a cluster is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Nodes.
    pub nodes: usize,
    /// `fabric.mode`.
    pub mode: &'static str,
    /// The underlay is IPv4 rather than IPv6.
    pub is_v4: bool,
    /// What uplinks are made of.
    pub uplink: Kind,
    /// MTU of the underlay, bytes.
    pub mtu: u32,
    /// MTU of the last node's link to it.
    pub last_mtu: u32,
    /// Pods of each node.
    pub pods: &'static [Kind],
    /// The underlay routes between the nodes rather than bridges.
    pub is_routed: bool,
    /// More lines of `[fabric]`.
    pub fabric: &'static str,
    /// Another node that has no weftd: see [`Cluster::stranger`].
    pub has_stranger: bool,
}

impl Shape {
    /// Three nodes with a pod on a tap and one on an AF_XDP veth each, uplinks of 1500 bytes over AF_XDP.
    pub const fn new(mode: &'static str, is_v4: bool) -> Self {
        Self {
            nodes: 3,
            mode,
            is_v4,
            uplink: Kind::Xsk,
            mtu: 1500,
            last_mtu: 1500,
            pods: &[Kind::Tap, Kind::Xsk],
            is_routed: false,
            fabric: "",
            has_stranger: false,
        }
    }

    /// An address of a node.
    pub fn address(&self, index: usize, is_v4: bool) -> IpAddr {
        let text = match (self.is_routed, is_v4) {
            (false, true) => format!("10.9.0.{}", 10 + index),
            (false, false) => format!("2001:db8::{:x}", 0x10 + index),
            (true, true) => format!("10.9.{index}.10"),
            (true, false) => format!("2001:db8:{index}::10"),
        };
        text.parse().expect("an address")
    }

    /// Nodes with and without weftd.
    fn all(&self) -> usize {
        self.nodes + usize::from(self.has_stranger)
    }

    /// What the underlay leaves to pods.
    pub const fn pod_mtu(&self) -> u32 {
        match (self.mode.as_bytes(), self.is_v4) {
            (b"native", _) => self.mtu,
            (_, true) => self.mtu - 50,
            (_, false) => self.mtu - 70,
        }
    }
}

/// A node.
pub struct Member {
    /// Its namespace; the uplink there is `uplink0`.
    pub ns: NetNs,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// weftd.
    pub weftd: Weftd,
    addresses: [IpAddr; 2],
}

impl Member {
    /// Its own address of a family.
    pub fn address(&self, is_v4: bool) -> IpAddr {
        self.addresses[usize::from(!is_v4)]
    }
}

/// The MAC that frames for the node without weftd have inside of tunnels.
pub const STRANGER_MAC: &str = "02:77:00:00:00:01";

/// The nodes, and what connects them.
pub struct Cluster {
    /// The underlay: a bridge `br0`, and `n0`, `n1`, … towards the nodes.
    pub underlay: NetNs,
    /// The nodes.
    pub nodes: Vec<Member>,
    /// The node without weftd, if there is one: a peer all the same, whose pods are 10.244.N.0/24 and fd00:244:N::/64, N
    /// being the number of the others.
    pub stranger: Option<NetNs>,
    /// What it is like.
    pub shape: Shape,
}

impl Cluster {
    /// Makes it all, starts every weftd, and waits until each knows how to reach the others.
    pub fn new(shape: Shape) -> Self {
        let underlay = NetNs::new("under");
        if shape.is_routed {
            underlay.must(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        } else {
            underlay.ip(&["link", "add", "br0", "type", "bridge"]);
            underlay.ip(&["link", "set", "br0", "up"]);
        }
        let stranger = shape.has_stranger.then(|| NetNs::new("other"));
        if let Some(ns) = &stranger {
            connect(&shape, shape.nodes, ns, &underlay);
        }
        let nodes: Vec<Member> =
            (0..shape.nodes).map(|index| Self::member(&shape, index, &underlay)).collect();
        let cluster = Self { underlay, nodes, stranger, shape };
        cluster.wait_until_resolved();
        cluster
    }

    /// Waits until every node knows the next hop to every other.
    #[track_caller]
    pub fn wait_until_resolved(&self) {
        for node in &self.nodes {
            node.weftd.wait_for("a way to the other nodes", |weftd| {
                let peers = weftd.json(&["fabric", "peer", "list"]);
                peers["peers"].as_array().is_some_and(|peers| peers.iter().all(|peer| peer["state"] == "up"))
            });
        }
    }

    fn member(shape: &Shape, index: usize, underlay: &NetNs) -> Member {
        let ns = NetNs::new("node");
        connect(shape, index, &ns, underlay);
        let pods = shape.pods.iter().enumerate();
        let pods: Vec<Pod> = pods.map(|(pod, kind)| Pod::new(*kind, index, pod)).collect();
        for pod in &pods {
            pod.plug(&ns, shape.pod_mtu(), 1);
        }
        let weftd = Weftd::start(&ns, &config(shape, index, &pods));
        Member { ns, pods, weftd, addresses: [shape.address(index, true), shape.address(index, false)] }
    }
}

/// Connects a node's namespace to the underlay, with its addresses.
fn connect(shape: &Shape, index: usize, ns: &NetNs, underlay: &NetNs) {
    let mtu = if index + 1 == shape.all() { shape.last_mtu } else { shape.mtu };
    let (port, mtu) = (format!("n{index}"), mtu.to_string());
    veth(ns, "uplink0", underlay, &port, 1);
    ns.ip(&["link", "set", "uplink0", "mtu", &mtu]);
    underlay.ip(&["link", "set", &port, "mtu", &mtu]);
    if !shape.is_routed {
        underlay.ip(&["link", "set", &port, "master", "br0"]);
    }
    for (is_v4, len, gateway) in
        [(true, 24, format!("10.9.{index}.1")), (false, 64, format!("2001:db8:{index}::1"))]
    {
        // As in `Node::new`: an address that may yet turn out to be somebody else's can't be bound to.
        let nodad: &[&str] = if is_v4 { &[] } else { &["nodad"] };
        let own = format!("{}/{len}", shape.address(index, is_v4));
        ns.ip(&[&["addr", "add", &own, "dev", "uplink0"], nodad].concat());
        if shape.is_routed {
            underlay.ip(&["addr", "add", &format!("{gateway}/{len}"), "dev", &port]);
            ns.ip(&["route", "add", "default", "via", &gateway]);
        }
    }
}

/// The configuration of one node.
pub fn config(shape: &Shape, index: usize, pods: &[Pod]) -> String {
    let Shape { mode, uplink, fabric, .. } = shape;
    let (v4, v6) = (shape.address(index, true), shape.address(index, false));
    let mut text = format!(
        r#"
[node]
name = "n{index}"
addresses = ["{v4}", "{v6}"]
control = "CONTROL"
[pmd]
cores = [{core}]
memory_mib = 64
[[network]]
name = "pods"
vni = 42
prefixes = ["10.244.{index}.0/24", "fd00:244:{index}::/64"]
gateways = ["10.244.{index}.1", "fd00:244:{index}::1"]
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
[[port]]
name = "uplink"
kind = "{uplink}"
role = "fabric"
device = "uplink0"
[fabric]
mode = "{mode}"
{fabric}
"#,
        core = index % 2,
        uplink = uplink.word(),
    );
    for pod in pods {
        text += &pod.port_toml(shape.pod_mtu(), 1);
        text += &pod.endpoint_toml();
    }
    for other in (0..shape.all()).filter(|other| *other != index) {
        let (own, also) = (shape.address(other, shape.is_v4), shape.address(other, !shape.is_v4));
        let _ = write!(
            text,
            "[[fabric.peer]]\nname = \"n{other}\"\naddress = \"{own}\"\naddresses = [\"{also}\"]\n\
             prefixes = [\"10.244.{other}.0/24\", \"fd00:244:{other}::/64\"]\n"
        );
        if other == shape.nodes {
            let _ = writeln!(text, "mac = \"{STRANGER_MAC}\"");
        }
    }
    text
}

impl Drop for Member {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for words in [&["drops"][..], &["fabric", "peer", "list"], &["stats"]] {
                eprintln!("{}:\n{}", self.ns.name(), String::from_utf8_lossy(&self.weftd.ctl(words).stdout));
            }
        }
    }
}
