//! Several nodes with pods on one underlay, in namespaces:
//!
//! ```text
//!  pod ── tap ──┐                                                ┌── tap ── pod
//!  pod ── veth ─┤ weftd, node 0 ── uplink ── bridge ── uplink ── node 1, weftd ├─ veth ── pod
//!   weft0 (host)┘ 192.0.2.10         `underlay`                  └ weft0 (host)
//! ```
//! Pods of node `i` have addresses in 10.244.i.0/24 and fd00:244:i::/64.

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
    /// Pods of each node.
    pub pods: &'static [Kind],
}

impl Shape {
    /// Three nodes with a pod on a tap and one on an AF_XDP veth each, uplinks of 1500 bytes over AF_XDP.
    pub const fn new(mode: &'static str, is_v4: bool) -> Self {
        Self { nodes: 3, mode, is_v4, uplink: Kind::Xsk, mtu: 1500, pods: &[Kind::Tap, Kind::Xsk] }
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
    index: usize,
}

impl Member {
    /// Its own address of a family.
    pub fn address(&self, is_v4: bool) -> IpAddr {
        address(self.index, is_v4)
    }
}

fn address(index: usize, is_v4: bool) -> IpAddr {
    let text =
        if is_v4 { format!("192.0.2.{}", 10 + index) } else { format!("2001:db8::{:x}", 0x10 + index) };
    text.parse().expect("an address")
}

/// The nodes, and what connects them.
pub struct Cluster {
    /// The underlay: a bridge `br0`, and `n0`, `n1`, … towards the nodes.
    pub underlay: NetNs,
    /// The nodes.
    pub nodes: Vec<Member>,
    /// What it is like.
    pub shape: Shape,
}

impl Cluster {
    /// Makes it all, starts every weftd, and waits until each knows how to reach the others.
    pub fn new(shape: Shape) -> Self {
        let underlay = NetNs::new("under");
        underlay.ip(&["link", "add", "br0", "type", "bridge"]);
        underlay.ip(&["link", "set", "br0", "up"]);
        let nodes: Vec<Member> =
            (0..shape.nodes).map(|index| Self::member(&shape, index, &underlay)).collect();
        let cluster = Self { underlay, nodes, shape };
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
        let (port, mtu) = (format!("n{index}"), shape.mtu.to_string());
        veth(&ns, "uplink0", underlay, &port, 1);
        ns.ip(&["link", "set", "uplink0", "mtu", &mtu]);
        underlay.ip(&["link", "set", &port, "mtu", &mtu, "master", "br0"]);
        for (is_v4, len) in [(true, 24), (false, 64)] {
            ns.ip(&["addr", "add", &format!("{}/{len}", address(index, is_v4)), "dev", "uplink0"]);
        }
        let pods = shape.pods.iter().enumerate();
        let pods: Vec<Pod> = pods.map(|(pod, kind)| Pod::new(*kind, index, pod)).collect();
        for pod in &pods {
            pod.plug(&ns, shape.pod_mtu(), 1);
        }
        let weftd = Weftd::start(&ns, &config(shape, index, &pods));
        Member { ns, pods, weftd, index }
    }
}

/// The configuration of one node.
pub fn config(shape: &Shape, index: usize, pods: &[Pod]) -> String {
    let Shape { mode, uplink, .. } = shape;
    let (v4, v6) = (address(index, true), address(index, false));
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
"#,
        core = index % 2,
        uplink = uplink.word(),
    );
    for pod in pods {
        text += &pod.port_toml(shape.pod_mtu(), 1);
        text += &pod.endpoint_toml();
    }
    for other in (0..shape.nodes).filter(|other| *other != index) {
        let (own, also) = (address(other, shape.is_v4), address(other, !shape.is_v4));
        let _ = write!(
            text,
            "[[fabric.peer]]\nname = \"n{other}\"\naddress = \"{own}\"\naddresses = [\"{also}\"]\n\
             prefixes = [\"10.244.{other}.0/24\", \"fd00:244:{other}::/64\"]\n"
        );
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
