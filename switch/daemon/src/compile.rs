//! What is meant → what PMD threads read. Pure: the same [`Desired`] and [`Facts`] give the same snapshot; nothing is
//! opened, asked or logged here.
//!
//! A [`Compiler`] remembers the routes to other nodes, of which there may be a hundred thousand, so that a change costs what
//! it changes; the outcome is the same as without it.

mod fabric;
mod remote;

pub use fabric::flood_limits;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use ipnet::IpNet;
use weft_dataplane::police::Policer;
use weft_dataplane::{
    program::Verdict,
    reason::DropReason,
    rules::{Rule, RuleTable, Step},
    snapshot::{Endpoint, Fdb, Mode, NetworkView, PortView, Rewrite, Role, Snapshot, Station},
    stats::{EndpointStats, PeerStats, PortStats, RuleStats},
    table::routes::{Route, Routes},
};
use weft_pmd::Caps;
use weft_wire::{Mac, NetworkId, PeerId, PortId, ThreadId, VlanId};

use crate::desired::{self, Desired, RuleEnd, RuleStep};

/// What is so, whatever is meant: opened ports, the kernel's neighbours, learnt addresses, counters that live on.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Counts publications.
    pub generation: u64,
    /// Ports that are open, by name. A port that is not here is left out of the snapshot.
    pub ports: BTreeMap<String, PortFacts>,
    /// MACs to reach other nodes by, by the nodes' addresses.
    pub next_hops: BTreeMap<IpAddr, Mac>,
    /// Largest packets that the way to another node takes, where routers have said so, by its address.
    pub path_mtus: BTreeMap<IpAddr, u32>,
    /// Learnt addresses: (network, MAC) → where.
    pub fdb: HashMap<(String, Mac), Place>,
    /// Counters of endpoints, by name.
    pub endpoints: BTreeMap<String, Arc<EndpointStats>>,
    /// Other nodes, by name.
    pub peers: HashMap<String, PeerFacts>,
    /// What limits flooding to other nodes, by network.
    pub flood_limits: BTreeMap<String, Arc<Policer>>,
    /// Counters and policers of rules, by name.
    pub rules: BTreeMap<String, RuleFacts>,
}

/// Where a learnt address is, by names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Behind a port, with a tag.
    Port(String, Option<VlanId>),
    /// On another node.
    Peer(String),
}

impl Place {
    /// The same but for the tag.
    pub fn is_same_way(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Port(a, _), Self::Port(b, _)) | (Self::Peer(a), Self::Peer(b)) => a == b,
            _ => false,
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Port(port, None) => format!("at port {port}"),
            Self::Port(port, Some(vlan)) => format!("at port {port}, VLAN {vlan}"),
            Self::Peer(peer) => format!("on node {peer}"),
        }
    }
}

/// An open port.
#[derive(Debug, Clone)]
pub struct PortFacts {
    /// Its identifier.
    pub id: PortId,
    /// Its device's MAC.
    pub mac: Mac,
    /// What it can carry.
    pub caps: Caps,
    /// Which thread owns each queue.
    pub owners: Vec<ThreadId>,
    /// Its counters.
    pub stats: Arc<PortStats>,
}

/// What of another node lives on from snapshot to snapshot.
#[derive(Debug, Clone)]
pub struct PeerFacts {
    /// Its number.
    pub id: PeerId,
    /// Its counters.
    pub stats: Arc<PeerStats>,
}

/// What of a rule lives on from snapshot to snapshot.
#[derive(Debug, Clone)]
pub struct RuleFacts {
    /// Its hits.
    pub stats: Arc<RuleStats>,
    /// Its `police` steps' buckets, in order.
    pub policers: Vec<Arc<Policer>>,
}

/// Makes one snapshot.
pub fn compile(desired: &Desired, facts: &Facts) -> Snapshot {
    Compiler::default().compile(desired, facts)
}

/// Makes snapshots, one after the other.
#[derive(Debug, Default)]
pub struct Compiler {
    remote: remote::Remote,
}

impl Compiler {
    /// Makes the snapshot.
    pub fn compile(&mut self, desired: &Desired, facts: &Facts) -> Snapshot {
        let peers = fabric::peers(desired, facts);
        let remote_routes = self.remote.routes(desired, &peers);
        snapshot(desired, facts, &peers, remote_routes)
    }
}

fn snapshot(desired: &Desired, facts: &Facts, peers: &[PeerFacts], remote_routes: Arc<Routes>) -> Snapshot {
    let mut rewrites = Rewrites::default();
    let ids: Vec<Option<PortId>> =
        desired.ports.iter().map(|port| facts.ports.get(&port.name).map(|facts| facts.id)).collect();
    let host = host(desired, facts, &mut rewrites);
    let endpoints = endpoints(desired, &ids);
    let routes = routes(desired, facts, &mut rewrites);
    let fabric = fabric::compile(desired, facts, peers, &mut rewrites);
    Snapshot {
        generation: facts.generation,
        ports: ports(desired, facts),
        networks: networks(desired, facts, &ids, &fabric),
        addresses: Arc::new(addresses(&endpoints)),
        endpoints: Arc::new(endpoints),
        routes: Arc::new(routes),
        remote_routes,
        rewrites: Arc::new(rewrites.list),
        peers: Arc::new(fabric.peers),
        tunnels: Arc::new(fabric.tunnels),
        unwraps: fabric.unwraps.map(Arc::new),
        fdb: Arc::new(fdb(desired, facts)),
        rules: Arc::new(rules(desired, facts, &ids)),
        host,
        flow_idle_ms: u32::try_from(desired.flow_idle_s.saturating_mul(1000)).unwrap_or(u32::MAX),
    }
}

fn network_id(index: usize) -> NetworkId {
    NetworkId(index as u16)
}

/// Distinct rewrites, in the order of first use.
#[derive(Default)]
struct Rewrites {
    list: Vec<Rewrite>,
    known: HashMap<Rewrite, u16>,
}

impl Rewrites {
    fn index(&mut self, dst: Mac, src: Mac, mtu: u32) -> u16 {
        let rewrite = Rewrite::new(dst, src, mtu);
        *self.known.entry(rewrite).or_insert_with(|| {
            self.list.push(rewrite);
            (self.list.len() - 1) as u16
        })
    }
}

fn host(desired: &Desired, facts: &Facts, rewrites: &mut Rewrites) -> Option<(PortId, u16)> {
    let port = desired.ports.iter().find(|port| port.role == desired::Role::Host)?;
    let port = facts.ports.get(&port.name)?;
    let gateway = desired.networks.iter().find(|network| network.mode == Mode::Routed)?;
    Some((port.id, rewrites.index(port.mac, gateway.gateway_mac, port.caps.mtu)))
}

fn ports(desired: &Desired, facts: &Facts) -> Vec<Option<Arc<PortView>>> {
    let (mut ports, homes) = (Vec::new(), homes(desired));
    for (index, port) in desired.ports.iter().enumerate() {
        let Some(open) = facts.ports.get(&port.name) else { continue };
        let at = open.id.index();
        if ports.len() <= at {
            ports.resize_with(at + 1, || None);
        }
        ports[at] = Some(Arc::new(PortView {
            role: role(desired, &port.role),
            mac: open.mac,
            caps: open.caps,
            owners: open.owners.clone(),
            network: homes[index].map(network_id),
            stats: open.stats.clone(),
            pods: pods(desired, facts, index),
        }));
    }
    ports
}

/// By port: the network of the endpoints behind it.
fn homes(desired: &Desired) -> Vec<Option<usize>> {
    let mut homes = vec![None; desired.ports.len()];
    desired.endpoints.iter().for_each(|endpoint| homes[endpoint.port] = Some(endpoint.network));
    homes
}

fn pods(desired: &Desired, facts: &Facts, port: usize) -> Vec<(Mac, Arc<EndpointStats>)> {
    let own = desired.endpoints.iter().filter(|endpoint| endpoint.port == port);
    let stats =
        |endpoint: &desired::Endpoint| Some((endpoint.mac, facts.endpoints.get(&endpoint.name)?.clone()));
    let mut pods: Vec<_> = own.filter_map(stats).collect();
    pods.sort_unstable_by_key(|(mac, _)| *mac);
    pods
}

fn role(desired: &Desired, role: &desired::Role) -> Role {
    match role {
        desired::Role::Pod => Role::Pod,
        desired::Role::Host => Role::Host,
        desired::Role::Fabric => Role::Fabric,
        desired::Role::Access(network) => Role::Access(network_id(*network)),
        desired::Role::Trunk(networks) => Role::Trunk(
            networks
                .iter()
                .filter_map(|&index| Some((desired.networks[index].vlan?, network_id(index))))
                .collect(),
        ),
    }
}

fn networks(
    desired: &Desired,
    facts: &Facts,
    ids: &[Option<PortId>],
    fabric: &fabric::Compiled,
) -> Vec<Arc<NetworkView>> {
    let homes = homes(desired);
    let view = |(index, network): (usize, &desired::Network)| {
        let member = |(at, port): (usize, &desired::Port)| {
            let id = ids[at]?;
            match &port.role {
                desired::Role::Pod => (homes[at] == Some(index)).then_some((id, None)),
                desired::Role::Access(network) => (*network == index).then_some((id, None)),
                desired::Role::Trunk(networks) => networks.contains(&index).then_some((id, network.vlan)),
                desired::Role::Host | desired::Role::Fabric => None,
            }
        };
        let members: Vec<_> = desired.ports.iter().enumerate().filter_map(member).collect();
        Arc::new(NetworkView {
            mode: network.mode,
            gateway_mac: network.gateway_mac,
            gateways: network.gateways.clone(),
            suppress: network.suppress,
            tunnel: fabric.slots.get(index).copied().flatten(),
            remotes: if network.mode == Mode::Bridged { fabric.remotes(index) } else { Vec::new() },
            copy_limit: fabric::copy_limit(desired, facts, network, members.len()),
            flood_rate: network.flood_rate,
            members,
        })
    };
    desired.networks.iter().enumerate().map(view).collect()
}

fn endpoints(desired: &Desired, ids: &[Option<PortId>]) -> HashMap<(NetworkId, Mac), Endpoint> {
    let entry = |endpoint: &desired::Endpoint| {
        let network = network_id(endpoint.network);
        let view = Endpoint {
            network,
            port: ids[endpoint.port]?,
            mac: endpoint.mac,
            addresses: endpoint.addresses.clone(),
        };
        Some(((network, endpoint.mac), view))
    };
    desired.endpoints.iter().filter_map(entry).collect()
}

fn addresses(endpoints: &HashMap<(NetworkId, Mac), Endpoint>) -> HashMap<(NetworkId, IpAddr), Mac> {
    let of = |endpoint: &Endpoint| {
        let (network, mac) = (endpoint.network, endpoint.mac);
        endpoint.addresses.clone().into_iter().map(move |address| ((network, address), mac))
    };
    endpoints.values().flat_map(of).collect()
}

fn routes(desired: &Desired, facts: &Facts, rewrites: &mut Rewrites) -> Routes {
    let mut routes = Routes::default();
    let routed = |index: usize| desired.networks[index].mode == Mode::Routed;
    for network in desired.networks.iter().filter(|network| network.mode == Mode::Routed) {
        for prefix in &network.prefixes {
            routes.insert(*prefix, Route::Unreachable);
        }
    }
    for address in &desired.node.addresses {
        routes.insert(IpNet::from(*address), Route::Node);
    }
    for endpoint in desired.endpoints.iter().filter(|endpoint| routed(endpoint.network)) {
        let Some(port) = facts.ports.get(&desired.ports[endpoint.port].name) else { continue };
        let gateway_mac = desired.networks[endpoint.network].gateway_mac;
        let rewrite = rewrites.index(endpoint.mac, gateway_mac, port.caps.mtu);
        let route = Route::Endpoint { network: network_id(endpoint.network), port: port.id, rewrite };
        for address in &endpoint.addresses {
            routes.insert(IpNet::from(*address), route);
        }
    }
    for (index, network) in desired.networks.iter().enumerate().filter(|(index, _)| routed(*index)) {
        for gateway in &network.gateways {
            routes.insert(IpNet::from(*gateway), Route::Gateway { network: network_id(index) });
        }
    }
    routes
}

fn fdb(desired: &Desired, facts: &Facts) -> Fdb {
    let station = |((network, mac), place): (&(String, Mac), &Place)| {
        let index = desired.networks.iter().position(|other| other.name == *network)?;
        let station = match place {
            Place::Port(port, vlan) => Station::Local { port: facts.ports.get(port)?.id, vlan: *vlan },
            Place::Peer(name) => Station::Remote(facts.peers.get(name)?.id),
        };
        Some(((network_id(index), *mac), station))
    };
    facts.fdb.iter().filter_map(station).collect()
}

fn rules(desired: &Desired, facts: &Facts, ids: &[Option<PortId>]) -> RuleTable {
    let rule = |rule: &desired::Rule| {
        let facts = facts.rules.get(&rule.name)?;
        let mut matching = rule.matching.clone();
        if let Some(port) = rule.port {
            matching.port = Some(ids[port]?); // a port that is gone matches nothing: the rule is left out
        }
        let mut policers = facts.policers.iter();
        let step = |step: &RuleStep| match step {
            RuleStep::Set(field) => Some(Step::Set(*field)),
            RuleStep::PushVlan(vlan) => Some(Step::PushVlan(*vlan)),
            RuleStep::PopVlan => Some(Step::PopVlan),
            RuleStep::Mirror(port) => ids[*port].map(Step::Mirror),
            RuleStep::Police { .. } => policers.next().cloned().map(Step::Police),
        };
        let steps = rule.steps.iter().filter_map(step).collect();
        let end = match rule.end {
            RuleEnd::Continue => None,
            RuleEnd::Drop => Some(Verdict::Drop(DropReason::Rule)),
            RuleEnd::Output(port) => {
                Some(ids[port].map_or(Verdict::Drop(DropReason::PortGone), Verdict::Forward))
            }
        };
        Some(Rule { priority: rule.priority, matching, steps, end, stats: facts.stats.clone() })
    };
    RuleTable::new(desired.rules.iter().filter_map(rule).collect())
}
