//! The nouns as users type them: in the configuration file (TOML), in the protocol and in `weftctl`, the same words.
//!
//! Types guarantee syntax (a prefix is a prefix, a VLAN id is 1–4094). Whether names lead anywhere is checked by the
//! daemon, which knows what there is.

mod action;
mod fabric;
mod matching;
mod watching;

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_wire::{Mac, VlanId, Vni};

pub use action::{ActionSpec, Rate, RateUnit, SetSpec};
pub use fabric::{BfdSpec, FabricSpec, PeerSpec};
pub use matching::{MatchSpec, PortRange, Protocol, TcpFlags};
pub use watching::{Listen, LogFormat, LogSpec, MetricsSpec};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node.
    pub node: NodeSpec,
    /// Who may do what over the control socket.
    #[serde(default, skip_serializing_if = "is_default")]
    pub roles: RolesSpec,
    /// PMD threads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pmd: PmdSpec,
    /// The log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: LogSpec,
    /// Metrics for Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsSpec>,
    /// Networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<NetworkSpec>,
    /// Ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<PortSpec>,
    /// Endpoints (pods).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoint: Vec<EndpointSpec>,
    /// How other nodes are reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricSpec>,
    /// Operators' flow rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flow: Vec<FlowSpec>,
}

/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/weft/control.sock";

/// The node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// The node's name.
    pub name: String,
    /// The node's own addresses: the source of host traffic to pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The control socket's path.
    #[serde(default = "default_socket", skip_serializing_if = "is_default_socket")]
    pub control: PathBuf,
    /// A group whose members may open the control socket, and view what is; `[roles]` may give them more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_group: Option<String>,
    /// Where weftd keeps what outlives it: the configuration last confirmed, the history, the audit log.
    #[serde(default = "default_state", skip_serializing_if = "is_default_state")]
    pub state: PathBuf,
    /// The MAC the switch answers with as gateway; made from the node's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_mac: Option<Mac>,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            name: "node".into(),
            addresses: Vec::new(),
            control: default_socket(),
            control_group: None,
            state: default_state(),
            gateway_mac: None,
        }
    }
}

fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

fn is_default_socket(path: &PathBuf) -> bool {
    *path == default_socket()
}

/// Where weftd keeps its state unless the configuration says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/weft";

fn default_state() -> PathBuf {
    DEFAULT_STATE.into()
}

fn is_default_state(path: &PathBuf) -> bool {
    *path == default_state()
}

/// Who may do what over the control socket, beside root and weftd's own user, who may do all: users by name or number, groups
/// as `@name` or `@number`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolesSpec {
    /// May do all: change the configuration as a whole, and have weftd open files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub admin: Vec<String>,
    /// May change ports, networks, endpoints, peers and flow rules, and view.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operate: Vec<String>,
    /// May look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub view: Vec<String>,
}

/// PMD threads and their memory. Read at start; a change needs a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PmdSpec {
    /// Cores, one PMD thread each; empty: weftd takes the last core it may run on.
    pub cores: Vec<usize>,
    /// What a thread without work does.
    pub idle: IdleSpec,
    /// Memory for frames, MiB; a quarter of it for 64 KiB super-frames.
    pub memory_mib: usize,
    /// Flows each thread's table holds.
    pub flows: usize,
    /// Flows without packets for so long are forgotten, seconds.
    pub flow_idle_timeout_s: u64,
}

impl Default for PmdSpec {
    fn default() -> Self {
        Self {
            cores: Vec::new(),
            idle: IdleSpec::Adaptive,
            memory_mib: 256,
            flows: 1 << 20,
            flow_idle_timeout_s: 30,
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] #[cfg_attr(feature = "clap", value(name = $word))] $variant,)+
        }

        impl $name {
            /// Its word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words! {
    /// What a PMD thread without work does.
    IdleSpec {
        /// Sleeps in poll() after a short spin.
        Adaptive = "adaptive",
        /// Polls on: lowest latency, a whole core.
        Spin = "spin",
    }
}

words! {
    /// How a network forwards.
    ModeSpec {
        /// The switch is every pod's gateway.
        Routed = "routed",
        /// The switch is a learning bridge.
        Bridged = "bridged",
    }
}

words! {
    /// What a port is made of.
    PortKind {
        /// AF_XDP on a NIC or veth.
        Xsk = "xsk",
        /// AF_PACKET with virtio-net headers on a veth: 64 KiB TCP segments stay whole.
        Packet = "packet",
        /// A tap device made by weftd: 64 KiB TCP segments stay whole.
        Tap = "tap",
        /// Takes everything, gives nothing (benchmarks).
        Null = "null",
        /// Makes UDP flows in memory (benchmarks).
        Gen = "gen",
        /// Reads frames from a capture file, writes frames to another.
        Pcap = "pcap",
    }
}

words! {
    /// What a port is for.
    RoleSpec {
        /// Pods.
        Pod = "pod",
        /// The node itself.
        Host = "host",
        /// Other nodes.
        Fabric = "fabric",
        /// Untagged member of a bridged network.
        Access = "access",
        /// Tagged member of bridged networks.
        Trunk = "trunk",
    }
}

words! {
    /// Which XDP mode an xsk port uses.
    XdpMode {
        /// Native where the driver can, else generic.
        Auto = "auto",
        /// Native or fail.
        Native = "native",
        /// Generic (skb) mode.
        Generic = "generic",
    }
}

words! {
    /// Whether an xsk port uses zero-copy.
    Zerocopy {
        /// Where the driver offers it, else copy.
        Prefer = "prefer",
        /// Or fail.
        Require = "require",
        /// Copy.
        Off = "off",
    }
}

/// A network: an L2 or L3 domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct NetworkSpec {
    /// The network's name.
    pub name: String,
    /// How it forwards.
    #[serde(default = "routed", skip_serializing_if = "is_routed")]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value = "routed"))]
    pub mode: ModeSpec,
    /// Its identifier in tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub vni: Option<Vni>,
    /// Its tag on trunk ports (bridged).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub vlan: Option<VlanId>,
    /// Prefixes whose addresses are pods of this node (routed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "prefix"))]
    pub prefixes: Vec<IpNet>,
    /// The switch's own addresses in it (routed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "gateway"))]
    pub gateways: Vec<IpAddr>,
    /// The MAC the switch answers with, if not the node's gateway MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub gateway_mac: Option<Mac>,
    /// Learnt addresses unused for so long are forgotten, seconds (bridged; IEEE 802.1D-2004 table 7-5: 300).
    #[serde(default = "ageing", skip_serializing_if = "is_ageing")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = ageing()))]
    pub ageing_s: u64,
    /// Answer ARP and ND for known endpoints instead of flooding (bridged).
    #[serde(default, skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub suppress: bool,
    /// Learnt addresses that it holds at most (bridged). When it is full, whoever shows most of them is not learnt from.
    #[serde(default = "fdb_size", skip_serializing_if = "is_fdb_size")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = fdb_size()))]
    pub fdb_size: u32,
    /// Frames per second that each member may flood (bridged); 0: any number.
    #[serde(default = "storm_rate", skip_serializing_if = "is_storm_rate")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = storm_rate()))]
    pub flood_rate: u64,
}

const fn fdb_size() -> u32 {
    8192
}

fn is_fdb_size(size: &u32) -> bool {
    *size == fdb_size()
}

const fn storm_rate() -> u64 {
    10_000
}

fn is_storm_rate(rate: &u64) -> bool {
    *rate == storm_rate()
}

const fn routed() -> ModeSpec {
    ModeSpec::Routed
}

fn is_routed(mode: &ModeSpec) -> bool {
    *mode == ModeSpec::Routed
}

const fn ageing() -> u64 {
    300
}

fn is_ageing(ageing_s: &u64) -> bool {
    *ageing_s == ageing()
}

/// Which queues of a device a port takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "write queues = \"all\", a number, or a list such as [0, 1]")]
pub enum QueuesSpec {
    /// xsk: every queue the device has. packet, tap and the others: one.
    #[default]
    #[serde(with = "all")]
    All,
    /// So many (packet, tap and the others).
    Count(u16),
    /// These (xsk).
    List(Vec<u16>),
}

mod all {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("all")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "all" => Ok(()),
            other => Err(D::Error::custom(format!("`{other}` is not `all`"))),
        }
    }
}

impl std::str::FromStr for QueuesSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = |part: &str| {
            part.trim()
                .parse::<u16>()
                .map_err(|_| format!("`{text}` is neither `all`, a number of queues, nor a list such as 0,1"))
        };
        if text.contains(',') {
            text.trim_end_matches(',').split(',').map(number).collect::<Result<_, _>>().map(Self::List)
        } else {
            number(text).map(Self::Count)
        }
    }
}

/// A port: a way in and out of the switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PortSpec {
    /// The port's name.
    pub name: String,
    /// What it is made of.
    #[cfg_attr(feature = "clap", arg(long, value_enum))]
    pub kind: PortKind,
    /// What it is for.
    #[serde(default = "pod", skip_serializing_if = "is_pod")]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value = "pod"))]
    pub role: RoleSpec,
    /// The device: a tap is made under this name; any other must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub device: Option<String>,
    /// The device's network namespace: a name, an absolute path or a process id. For a tap: where to put it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub netns: Option<String>,
    /// Largest IP packet, bytes. tap: set on the device (1500 unless given); others: the device's own unless smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub mtu: Option<u32>,
    /// Queues: `all`, a number, or a list.
    #[serde(default, skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", arg(long, default_value = "all"))]
    pub queues: QueuesSpec,
    /// PMD cores its queues may be polled on; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "core"))]
    pub cores: Vec<usize>,
    /// Its network (role access).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub network: Option<String>,
    /// Its networks, each with a VLAN id (role trunk).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "trunk"))]
    pub networks: Vec<String>,
    /// The device's MAC (tap); a pod's tap takes its endpoint's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub mac: Option<Mac>,
    /// Addresses to set on the device (tap), beside its endpoints'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "address"))]
    pub addresses: Vec<IpNet>,
    /// Leave the pod's default routes alone (tap).
    #[serde(default, skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub no_default_route: bool,
    /// Hand TCP segments to the pod one by one, not joined to super-frames (tap, packet).
    #[serde(default, skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub no_gro: bool,
    /// XDP mode (xsk).
    #[serde(default = "auto", skip_serializing_if = "is_auto")]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value = "auto"))]
    pub xdp_mode: XdpMode,
    /// Zero-copy (xsk).
    #[serde(default = "prefer", skip_serializing_if = "is_prefer")]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value = "prefer"))]
    pub zerocopy: Zerocopy,
    /// Distinct flows to make (gen).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub flows: Option<u32>,
    /// Frame length without FCS, bytes (gen).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub size: Option<u16>,
    /// Frames to make or read before it stops (gen).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub limit: Option<u64>,
    /// Capture file to read frames from (pcap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub rx_file: Option<PathBuf>,
    /// Capture file to write frames to (pcap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub tx_file: Option<PathBuf>,
    /// Begin again at the capture file's end (pcap).
    #[serde(default, skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub repeat: bool,
}

const fn pod() -> RoleSpec {
    RoleSpec::Pod
}

fn is_pod(role: &RoleSpec) -> bool {
    *role == RoleSpec::Pod
}

const fn auto() -> XdpMode {
    XdpMode::Auto
}

fn is_auto(mode: &XdpMode) -> bool {
    *mode == XdpMode::Auto
}

const fn prefer() -> Zerocopy {
    Zerocopy::Prefer
}

fn is_prefer(zerocopy: &Zerocopy) -> bool {
    *zerocopy == Zerocopy::Prefer
}

/// An endpoint: a pod's addresses, and the port it is behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct EndpointSpec {
    /// The endpoint's name, such as default/web-1.
    pub name: String,
    /// Its network.
    #[cfg_attr(feature = "clap", arg(long))]
    pub network: String,
    /// The port it is behind.
    #[cfg_attr(feature = "clap", arg(long))]
    pub port: String,
    /// Its MAC.
    #[cfg_attr(feature = "clap", arg(long))]
    pub mac: Mac,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "address"))]
    pub addresses: Vec<IpAddr>,
}

words! {
    /// How pod traffic crosses the underlay.
    FabricMode {
        /// Routed as it is, to the other node's address.
        Native = "native",
        /// In VXLAN (RFC 7348).
        Vxlan = "vxlan",
        /// In Geneve (RFC 8926).
        Geneve = "geneve",
    }
}

/// An operator's flow rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FlowSpec {
    /// The rule's name.
    pub name: String,
    /// Higher goes first, 0 to 65535; among equals, the older rule.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 0))]
    pub priority: u16,
    /// What it is about, such as network=pods,protocol=tcp,dst_port=23; nothing: everything.
    #[serde(rename = "match", default, skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", arg(long = "match", default_value = "", hide_default_value = true))]
    pub matching: MatchSpec,
    /// What to do, in order; the last is drop, output:PORT or continue.
    #[cfg_attr(feature = "clap", arg(long = "action", required = true))]
    pub actions: Vec<ActionSpec>,
}
