//! The configuration as PMD threads see it: immutable, published whole. Built by `weftd`'s `compile`, which is pure.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use ipnet::IpNet;
use weft_pmd::Caps;
use weft_wire::{Mac, NetworkId, PeerId, PortId, ThreadId, VlanId, ip};

use crate::{
    police::Policer,
    rules::RuleTable,
    share::Rate,
    stats::{EndpointStats, PeerStats, PortStats},
    table::routes::{Route, Routes},
    tunnel::{Tunnel, Tunnels},
};

/// What a port is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Endpoints (pods) of one network are behind it; untagged.
    Pod,
    /// The node itself.
    Host,
    /// Other nodes.
    Fabric,
    /// Untagged member of one bridged network; addresses are learnt.
    Access(NetworkId),
    /// Tagged member of bridged networks; addresses are learnt.
    Trunk(Vec<(VlanId, NetworkId)>),
}

/// A port, as the packet's path needs it.
#[derive(Debug, Clone)]
pub struct PortView {
    /// What it is for.
    pub role: Role,
    /// The MAC that frames to a fabric port carry; else informative.
    pub mac: Mac,
    /// What it can carry.
    pub caps: Caps,
    /// Which thread owns each queue, in queue order.
    pub owners: Vec<ThreadId>,
    /// The network of its endpoints (pod ports).
    pub network: Option<NetworkId>,
    /// Its counters.
    pub stats: Arc<PortStats>,
    /// The endpoints behind it, by MAC in ascending order, and their counters.
    pub pods: Vec<(Mac, Arc<EndpointStats>)>,
}

impl PortView {
    fn shadow(&self) -> Self {
        let pods = self.pods.iter().map(|(mac, _)| (*mac, Arc::new(EndpointStats::new(1))));
        Self {
            owners: vec![ThreadId(0); self.owners.len()],
            stats: Arc::new(PortStats::new(self.owners.len(), 1)),
            pods: pods.collect(),
            ..self.clone()
        }
    }

    /// The counters of the endpoint with this MAC; where there is only one, it is that one's whatever MAC it shows.
    pub(crate) fn pod(&self, mac: Mac) -> Option<&EndpointStats> {
        match &*self.pods {
            [] => None,
            [(_, only)] => Some(only),
            many => many.binary_search_by_key(&mac, |(mac, _)| *mac).ok().map(|at| &*many[at].1),
        }
    }
}

/// How a network forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The switch is every pod's gateway.
    Routed,
    /// The switch is a learning bridge.
    Bridged,
}

/// A network, as the packet's path needs it.
#[derive(Debug, Clone)]
pub struct NetworkView {
    /// How it forwards.
    pub mode: Mode,
    /// The MAC the switch answers with.
    pub gateway_mac: Mac,
    /// The switch's own addresses in it.
    pub gateways: Vec<IpAddr>,
    /// Answer ARP and ND for known endpoints (bridged).
    pub suppress: bool,
    /// Where flooded frames go, with the tag they need there.
    pub members: Vec<(PortId, Option<VlanId>)>,
    /// Its place among the networks that each peer has tunnels for.
    pub tunnel: Option<u16>,
    /// Tunnels by which flooded frames leave for other nodes (bridged).
    pub remotes: Vec<u16>,
    /// How many copies may do so.
    pub copy_limit: Option<CopyLimit>,
    /// Frames that each source may flood, to members here and on other nodes; none: any number.
    pub flood_rate: Option<Rate>,
}

/// Copies to other nodes: one half of the rate is divided among those who may flood, so that each has some of it whatever
/// others do; the other half is for whoever wants it.
#[derive(Debug, Clone)]
pub struct CopyLimit {
    /// Each source's own.
    pub own: Rate,
    /// What all have in common.
    pub common: Arc<Policer>,
}

/// Another node, as the packet's path needs it.
#[derive(Debug, Clone)]
pub struct PeerView {
    /// How it is reached; none: the next hop's MAC is not known (yet).
    pub hop: Option<Hop>,
    /// The other node's own addresses.
    pub addresses: Vec<IpAddr>,
    /// Its counters.
    pub stats: Arc<PeerStats>,
}

/// How another node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// Routed as it is.
    Native {
        /// The uplink.
        port: PortId,
        /// Index of the rewrite to the next hop.
        rewrite: u16,
    },
    /// Wrapped up.
    Tunnel {
        /// The uplink.
        port: PortId,
        /// The first of its tunnels, one for each network that has a [`NetworkView::tunnel`].
        first: u16,
    },
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its network.
    pub network: NetworkId,
    /// The port it is behind.
    pub port: PortId,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The MACs a routed packet leaves with, and how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Destination and source, as they lie in a frame.
    pub macs: [u8; 12],
    /// MTU of the port it leaves by.
    pub mtu: u32,
}

impl Rewrite {
    /// From its parts.
    pub fn new(dst: Mac, src: Mac, mtu: u32) -> Self {
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&dst.0);
        macs[6..].copy_from_slice(&src.0);
        Self { macs, mtu }
    }

    /// Destination MAC.
    pub fn dst(&self) -> Mac {
        Mac(std::array::from_fn(|i| self.macs[i]))
    }
}

/// Learnt addresses.
pub type Fdb = HashMap<(NetworkId, Mac), Station>;

/// Where a learnt address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Station {
    /// Behind a port of this node.
    Local {
        /// The port.
        port: PortId,
        /// Its tag there.
        vlan: Option<VlanId>,
    },
    /// On another node.
    Remote(PeerId),
}

/// Everything the packet's path reads. Tables are `Arc`s: a change copies only the ones it touches.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications; flow entries of an older one are resolved again.
    pub generation: u64,
    /// By [`PortId::index`].
    pub ports: Vec<Option<Arc<PortView>>>,
    /// By [`NetworkId::index`].
    pub networks: Vec<Arc<NetworkView>>,
    /// Pods, by network and MAC.
    pub endpoints: Arc<HashMap<(NetworkId, Mac), Endpoint>>,
    /// Pods' MACs, by network and address.
    pub addresses: Arc<HashMap<(NetworkId, IpAddr), Mac>>,
    /// Addresses and prefixes of the routed networks and the node.
    pub routes: Arc<Routes>,
    /// Those of other nodes; where both know a prefix of one length, the node's own count.
    pub remote_routes: Arc<Routes>,
    /// What [`crate::program::Action::Route`] names.
    pub rewrites: Arc<Vec<Rewrite>>,
    /// Other nodes, by [`PeerId::index`].
    pub peers: Arc<Vec<Option<PeerView>>>,
    /// What [`crate::program::Action::Encap`] names.
    pub tunnels: Arc<Vec<Tunnel>>,
    /// What is unwrapped, where the fabric has tunnels.
    pub unwraps: Option<Arc<Tunnels>>,
    /// Learnt addresses of bridged networks.
    pub fdb: Arc<Fdb>,
    /// Operators' rules.
    pub rules: Arc<RuleTable>,
    /// The port towards the node itself, and the rewrite for it.
    pub host: Option<(PortId, u16)>,
    /// Flow entries unused for so long are forgotten, milliseconds.
    pub flow_idle_ms: u32,
}

impl Snapshot {
    /// The same tables with counters and buckets of their own, all ports with one thread: packets that go by it leave no trace
    /// in this one.
    pub fn shadow(&self) -> Self {
        let peer = |peer: &Option<PeerView>| {
            let peer = peer.clone()?;
            Some(PeerView { stats: Arc::new(PeerStats::new(1)), ..peer })
        };
        let network = |network: &Arc<NetworkView>| {
            let shadow =
                |limit: &CopyLimit| CopyLimit { own: limit.own, common: Arc::new(limit.common.shadow()) };
            let copy_limit = network.copy_limit.as_ref().map(shadow);
            Arc::new(NetworkView { copy_limit, ..(**network).clone() })
        };
        Self {
            generation: self.generation,
            ports: self.ports.iter().map(|port| port.as_ref().map(|port| Arc::new(port.shadow()))).collect(),
            networks: self.networks.iter().map(network).collect(),
            endpoints: self.endpoints.clone(),
            addresses: self.addresses.clone(),
            routes: self.routes.clone(),
            remote_routes: self.remote_routes.clone(),
            rewrites: self.rewrites.clone(),
            peers: Arc::new(self.peers.iter().map(peer).collect()),
            tunnels: Arc::new(self.tunnels.iter().map(Tunnel::shadow).collect()),
            unwraps: self.unwraps.clone(),
            fdb: self.fdb.clone(),
            rules: Arc::new(self.rules.shadow()),
            host: self.host,
            flow_idle_ms: self.flow_idle_ms,
        }
    }

    /// A port, if it (still) exists.
    #[inline]
    pub fn port(&self, id: PortId) -> Option<&PortView> {
        self.ports.get(id.index())?.as_deref()
    }

    /// A network.
    pub fn network(&self, id: NetworkId) -> Option<&NetworkView> {
        self.networks.get(id.index()).map(|network| &**network)
    }

    /// Another node.
    #[inline]
    pub fn peer(&self, id: PeerId) -> Option<&PeerView> {
        self.peers.get(id.index())?.as_ref()
    }

    /// What is unwrapped of what comes by a port.
    #[inline]
    pub fn unwraps_at(&self, port: PortId) -> Option<&Tunnels> {
        self.unwraps.as_deref().filter(|tunnels| tunnels.port == port)
    }

    /// The tunnel to another node for packets of a network; for those of none, such as the node's own, that of the first
    /// routed network.
    pub fn tunnel_to(&self, peer: PeerId, network: Option<NetworkId>) -> Option<(PortId, u16)> {
        let Hop::Tunnel { port, first } = self.peer(peer)?.hop? else { return None };
        let slot = match network {
            Some(network) => self.network(network)?.tunnel?,
            None => self.networks.iter().find(|network| network.mode == Mode::Routed)?.tunnel?,
        };
        Some((port, first + slot))
    }

    /// The node that a tunnel leads to.
    pub fn peer_of_tunnel(&self, index: u16) -> Option<PeerId> {
        let first = |peer: &Option<PeerView>| match peer.as_ref()?.hop? {
            Hop::Tunnel { first, .. } => Some(first).filter(|first| *first <= index),
            Hop::Native { .. } => None,
        };
        let place = (0..self.peers.len()).max_by_key(|place| first(&self.peers[*place]))?;
        Some(PeerId(place as u16))
    }

    /// Largest IP packet that reaches another node, bytes.
    pub fn mtu_to(&self, peer: PeerId, network: Option<NetworkId>) -> Option<u32> {
        let rewrite = match self.peer(peer)?.hop? {
            Hop::Native { rewrite, .. } => rewrite,
            Hop::Tunnel { .. } => self.tunnels.get(usize::from(self.tunnel_to(peer, network)?.1))?.rewrite,
        };
        self.rewrites.get(usize::from(rewrite)).map(|rewrite| rewrite.mtu)
    }

    /// The pod with this MAC.
    pub fn endpoint(&self, network: NetworkId, mac: Mac) -> Option<&Endpoint> {
        self.endpoints.get(&(network, mac))
    }

    /// Where a mapped address of any routed network leads.
    pub fn route(&self, address: [u8; 16]) -> Option<Route> {
        self.longest(address).map(|(_, route)| route)
    }

    /// The prefix that [`Snapshot::route`] finds an address's route by.
    pub fn matched(&self, address: [u8; 16]) -> Option<IpNet> {
        let (bits, _) = self.longest(address)?;
        let address = ip::unmapped(address);
        let len = if address.is_ipv4() { bits.checked_sub(96)? } else { bits };
        Some(IpNet::new(address, len).ok()?.trunc())
    }

    fn longest(&self, address: [u8; 16]) -> Option<(u8, Route)> {
        let own = self.routes.lookup(address);
        if matches!(own, Some((128, _))) {
            return own; // no prefix is longer
        }
        match (own, self.remote_routes.lookup(address)) {
            (Some((own, _)), Some(found @ (remote, _))) if remote > own => Some(found),
            (Some(found), _) | (None, Some(found)) => Some(found),
            (None, None) => None,
        }
    }
}
