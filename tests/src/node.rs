//! A node with pods, and another node behind it, in namespaces:
//!
//! ```text
//!  pod ── tap / veth ──┐
//!  pod ── tap / veth ──┤ weftd, in `node` ── uplink0 (xsk) ── eth0 `outside` (another node: 10.244.1.0/24, fd00:244:1::/64)
//!          weft0 (host)┘ 192.0.2.1, 2001:db8::1             192.0.2.2, 2001:db8::2
//! ```

use std::net::IpAddr;

use crate::{
    daemon::Weftd,
    netns::{NetNs, veth},
};

/// What a pod's port is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tap made by weftd.
    Tap,
    /// AF_PACKET on a veth.
    Packet,
    /// AF_XDP on a veth.
    Xsk,
}

impl Kind {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Packet => "packet",
            Self::Xsk => "xsk",
        }
    }
}

/// A pod.
#[derive(Debug)]
pub struct Pod {
    /// Its namespace; its interface there is `eth0`.
    pub ns: NetNs,
    /// Its port's and endpoint's name.
    pub name: String,
    /// What its port is made of.
    pub kind: Kind,
    /// Its node's number: its addresses are of that node's prefixes.
    node: usize,
    index: usize,
}

impl Pod {
    /// In a fresh namespace, not plugged in yet.
    pub(crate) fn new(kind: Kind, node: usize, index: usize) -> Self {
        Self { ns: NetNs::new(kind.word()), name: format!("{}-{index}", kind.word()), kind, node, index }
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        IpAddr::from([10, 244, self.node as u8, 10 + self.index as u8])
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> IpAddr {
        format!("fd00:244:{}::{:x}", self.node, 0x10 + self.index).parse().expect("an address")
    }

    /// Its address of a family.
    pub fn address(&self, is_v4: bool) -> IpAddr {
        if is_v4 { self.v4() } else { self.v6() }
    }

    fn mac(&self) -> String {
        format!("02:00:0a:f4:{:02x}:{:02x}", self.node, 10 + self.index)
    }

    /// Its endpoint, as configured.
    pub fn endpoint_toml(&self) -> String {
        let (name, mac, v4, v6) = (&self.name, self.mac(), self.v4(), self.v6());
        format!(
            "[[endpoint]]\nname = \"{name}\"\nnetwork = \"pods\"\nport = \"{name}\"\nmac = \"{mac}\"\n\
             addresses = [\"{v4}\", \"{v6}\"]\n"
        )
    }

    /// Its port, as configured.
    pub fn port_toml(&self, mtu: u32, queues: u16) -> String {
        let (name, kind, device) = (&self.name, self.kind.word(), self.device());
        let mut text = format!("[[port]]\nname = \"{name}\"\nkind = \"{kind}\"\ndevice = \"{device}\"\n");
        match self.kind {
            Kind::Tap => {
                text += &format!("netns = \"{}\"\nmtu = {mtu}\nqueues = {queues}\n", self.ns.name());
            }
            Kind::Packet => text += &format!("queues = {queues}\n"),
            Kind::Xsk => {}
        }
        text
    }

    /// The device its port names.
    pub fn device(&self) -> String {
        if self.kind == Kind::Tap { "eth0".into() } else { format!("v{}", self.index) }
    }

    /// Makes the pod's end of a veth, and configures it as a CNI plug-in would: host addresses, all by the gateway.
    pub(crate) fn plug(&self, node: &NetNs, mtu: u32, queues: u16) {
        if self.kind == Kind::Tap {
            return;
        }
        veth(node, &self.device(), &self.ns, "eth0", queues);
        node.ip(&["link", "set", &self.device(), "mtu", &mtu.to_string()]);
        self.ns.ip(&["link", "set", "eth0", "address", &self.mac(), "mtu", &mtu.to_string()]);
        self.ns.ip(&["addr", "add", &format!("{}/32", self.v4()), "dev", "eth0"]);
        let [v4, v6] = [format!("10.244.{}.1", self.node), format!("fd00:244:{}::1", self.node)];
        self.ns.ip(&["route", "add", &v4, "dev", "eth0", "scope", "link"]);
        self.ns.ip(&["route", "add", "default", "via", &v4]);
        self.ns.ip(&["addr", "add", &format!("{}/128", self.v6()), "dev", "eth0", "nodad"]);
        self.ns.ip(&["-6", "route", "add", &v6, "dev", "eth0"]);
        self.ns.ip(&["-6", "route", "add", "default", "via", &v6]);
    }
}

/// The node, its pods, and another node.
pub struct Node {
    /// The node's namespace.
    pub ns: NetNs,
    /// The other node's.
    pub outside: NetNs,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// weftd.
    pub weftd: Weftd,
}

/// How the node is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A pod each.
    pub pods: Vec<Kind>,
    /// MTU of pods and uplink.
    pub mtu: u32,
    /// Queues of each pod's port.
    pub queues: u16,
    /// PMD threads' cores.
    pub cores: Vec<usize>,
    /// Frame memory, MiB.
    pub memory_mib: usize,
    /// More configuration.
    pub more: String,
}

impl Plan {
    /// Pods of these kinds, MTU 1500, one queue, one thread.
    pub fn new(pods: &[Kind]) -> Self {
        Self {
            pods: pods.to_vec(),
            mtu: 1500,
            queues: 1,
            cores: vec![1],
            memory_mib: 128,
            more: String::new(),
        }
    }
}

/// The node's own addresses.
pub const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// Addresses of a pod on the other node.
pub const OUTSIDE: [&str; 2] = ["10.244.1.9", "fd00:244:1::9"];

impl Node {
    /// Makes it all and starts weftd.
    pub fn new(plan: &Plan) -> Self {
        let (ns, outside) = (NetNs::new("node"), NetNs::new("out"));
        veth(&ns, "uplink0", &outside, "eth0", 1);
        let mtu = plan.mtu.to_string();
        ns.ip(&["link", "set", "uplink0", "mtu", &mtu]);
        outside.ip(&["link", "set", "eth0", "mtu", &mtu]);
        for (prefix, own, other) in [("24", NODE[0], "192.0.2.2"), ("64", NODE[1], "2001:db8::2")] {
            // The kernel finds out in its own time that there is nothing to detect: until then it is no source of a route.
            let nodad: &[&str] = if own.contains(':') { &["nodad"] } else { &[] };
            ns.ip(&[&["addr", "add", &format!("{own}/{prefix}"), "dev", "uplink0"], nodad].concat());
            outside.ip(&[&["addr", "add", &format!("{other}/{prefix}"), "dev", "eth0"], nodad].concat());
        }
        outside.ip(&["addr", "add", &format!("{}/32", OUTSIDE[0]), "dev", "lo"]);
        outside.ip(&["addr", "add", &format!("{}/128", OUTSIDE[1]), "dev", "lo", "nodad"]);
        outside.ip(&["route", "add", "10.244.0.0/24", "via", NODE[0], "src", OUTSIDE[0]]);
        outside.ip(&["-6", "route", "add", "fd00:244::/64", "via", NODE[1], "src", OUTSIDE[1]]);
        let pods: Vec<Pod> =
            plan.pods.iter().enumerate().map(|(index, kind)| Pod::new(*kind, 0, index)).collect();
        for pod in &pods {
            pod.plug(&ns, plan.mtu, plan.queues);
        }
        let weftd = Weftd::start(&ns, &Self::config(plan, &pods));
        let node = Self { ns, outside, pods, weftd };
        node.weftd.wait_for("a next hop", |weftd| weftd.log().matches("next hop ").count() >= 2);
        node
    }

    /// One more pod, not yet in the configuration.
    pub fn plug(&self, kind: Kind, index: usize) -> Pod {
        let pod = Pod::new(kind, 0, index);
        pod.plug(&self.ns, 1500, 1);
        pod
    }

    /// The configuration.
    pub fn config(plan: &Plan, pods: &[Pod]) -> String {
        let (cores, memory_mib, mtu, more) = (&plan.cores, plan.memory_mib, plan.mtu, &plan.more);
        let ports: String =
            pods.iter().map(|pod| pod.port_toml(mtu, plan.queues) + &pod.endpoint_toml()).collect();
        format!(
            r#"
[node]
name = "node"
addresses = ["{}", "{}"]
control = "CONTROL"
[pmd]
cores = {cores:?}
memory_mib = {memory_mib}
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24", "fd00:244::/64"]
gateways = ["10.244.0.1", "fd00:244::1"]
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
mtu = {mtu}
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "uplink0"
{ports}
[fabric]
mode = "native"
[[fabric.peer]]
name = "outside"
address = "192.0.2.2"
prefixes = ["10.244.1.0/24"]
[[fabric.peer]]
name = "outside-v6"
address = "2001:db8::2"
prefixes = ["fd00:244:1::/64"]
{more}
"#,
            NODE[0], NODE[1]
        )
    }
}
