//! The configuration as meant: names resolved, defaults filled in, everything that could contradict itself checked.
//!
//! Only [`Desired::try_from`] and a [`Checker`] make one, so whoever holds a `Desired` need not check again: every index
//! points at something, addresses are unique, roles fit their networks. Indices are places in the vectors.

mod addresses;
mod check;
mod fabric;
mod kinds;
mod peers;
mod rules;

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use weft_ctl_api::spec::{Config, PortSpec};
use weft_dataplane::{
    police::Unit,
    rules::Match,
    rules::SetField,
    share::Rate,
    snapshot::Mode,
    tunnel::{Dscp, Encapsulation},
};
use weft_pmd::Outer;
use weft_wire::{Mac, VlanId, Vni};

use crate::{bfd, roles::Roles, runtime::Settings};

/// The whole switch, as meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The node.
    pub node: Node,
    /// Who may do what over the control socket.
    pub roles: Roles,
    /// PMD threads.
    pub pmd: Settings,
    /// Flows unused for so long are forgotten, seconds.
    pub flow_idle_s: u64,
    /// Networks.
    pub networks: Vec<Network>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Pods.
    pub endpoints: Vec<Endpoint>,
    /// How other nodes are reached.
    pub fabric: Fabric,
    /// Other nodes.
    pub peers: Vec<Arc<Peer>>,
    /// How it is watched whether they are there, if at all.
    pub bfd: Option<bfd::Settings>,
    /// Operators' rules, in the order of the configuration.
    pub rules: Vec<Rule>,
}

/// The node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// How it forwards.
    pub mode: Mode,
    /// What the switch answers ARP and ND with.
    pub gateway_mac: Mac,
    /// Addresses that are local to this node.
    pub prefixes: Vec<IpNet>,
    /// The switch's own addresses.
    pub gateways: Vec<IpAddr>,
    /// Its tag on trunk ports.
    pub vlan: Option<VlanId>,
    /// Learnt addresses unused for so long are forgotten.
    pub ageing: Duration,
    /// Answer ARP and ND for known endpoints.
    pub suppress: bool,
    /// Its identifier in tunnels.
    pub vni: Option<Vni>,
    /// Learnt addresses that it holds at most.
    pub fdb_size: usize,
    /// Frames that each member may flood; none: any number.
    pub flood_rate: Option<Rate>,
}

/// What a port is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Pods.
    Pod,
    /// The node itself.
    Host,
    /// Other nodes.
    Fabric,
    /// Untagged member of a bridged network.
    Access(usize),
    /// Tagged member of bridged networks.
    Trunk(Vec<usize>),
}

/// A port.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// How it is opened.
    pub spec: PortSpec,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: usize,
    /// The port it is behind.
    pub port: usize,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// How other nodes are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fabric {
    /// Routed as it is.
    Native,
    /// In tunnels.
    Tunnels {
        /// What is between UDP and the frame.
        encapsulation: Encapsulation,
        /// UDP destination port.
        udp_port: u16,
        /// DSCP of the outer header.
        dscp: Dscp,
        /// Copies per second that a bridged network may flood to other nodes.
        flood_rate: u64,
    },
}

impl Fabric {
    /// Bytes by which a packet grows on its way to another node.
    pub fn overhead(&self, peer: IpAddr) -> u32 {
        match self {
            Self::Native => 0,
            Self::Tunnels { .. } if peer.is_ipv4() => Outer::V4.len() as u32,
            Self::Tunnels { .. } => Outer::V6.len() as u32,
        }
    }
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address in the underlay.
    pub address: IpAddr,
    /// Its other addresses.
    pub addresses: Vec<IpAddr>,
    /// The MAC that frames for it have inside of tunnels.
    pub mac: Mac,
    /// Its pods' prefixes.
    pub prefixes: Vec<IpNet>,
}

impl Peer {
    /// All its own addresses.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.address].into_iter().chain(self.addresses.iter().copied())
    }
}

/// An operator's rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Higher goes first.
    pub priority: u16,
    /// What it is about, but for the port.
    pub matching: Match,
    /// The port it is about.
    pub port: Option<usize>,
    /// What it does on the way.
    pub steps: Vec<RuleStep>,
    /// What becomes of the packet.
    pub end: RuleEnd,
}

/// One step of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleStep {
    /// Sets a field.
    Set(SetField),
    /// Puts a tag on.
    PushVlan(VlanId),
    /// Takes the outer tag off.
    PopVlan,
    /// Copies to a port.
    Mirror(usize),
    /// Drops what is over the rate.
    Police {
        /// What is counted.
        unit: Unit,
        /// Units per second.
        rate: u64,
        /// Units at once.
        burst: u64,
    },
}

/// What becomes of a packet a rule matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleEnd {
    /// On to the next rule, then the ordinary way.
    Continue,
    /// Dropped.
    Drop,
    /// Out by a port.
    Output(usize),
}

/// What is wrong with a configuration: where, what, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {remedy}")]
pub struct Invalid {
    /// The key, such as `port "web-1".netns`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do instead.
    pub remedy: String,
}

impl Invalid {
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl TryFrom<&Config> for Desired {
    type Error = Invalid;

    fn try_from(config: &Config) -> Result<Self, Invalid> {
        Checker::default().check(config)
    }
}

/// Checks configurations, one after the other. It remembers what it has found of other nodes, of which there may be
/// thousands, so that a change costs what it changes; the outcome is the same as without it.
#[derive(Debug, Default)]
pub struct Checker {
    peers: peers::Peers,
}

impl Checker {
    /// What a configuration means, or what is wrong with it.
    pub fn check(&mut self, config: &Config) -> Result<Desired, Invalid> {
        check::desired(config, &mut self.peers)
    }
}
