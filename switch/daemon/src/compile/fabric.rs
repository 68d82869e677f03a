//! Other nodes, and the tunnels to them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_dataplane::{
    police::{Policer, Unit},
    share::Rate,
    snapshot::{CopyLimit, Hop, Mode, PeerView},
    stats::PeerStats,
    tunnel::{Tunnel, Tunnels, Way},
};
use weft_wire::{Mac, NetworkId, PeerId, Vni, ip};

use super::{Facts, PeerFacts, PortFacts, Rewrites, network_id};
use crate::desired::{Desired, Fabric, Network, Peer, Role};

/// What a snapshot holds of the fabric.
#[derive(Default)]
pub(super) struct Compiled {
    pub(super) peers: Vec<Option<PeerView>>,
    pub(super) tunnels: Vec<Tunnel>,
    pub(super) unwraps: Option<Tunnels>,
    /// By network: its place among those that each peer has tunnels for.
    pub(super) slots: Vec<Option<u16>>,
}

impl Compiled {
    /// The tunnels of one network, to all peers that can be reached.
    pub(super) fn remotes(&self, network: usize) -> Vec<u16> {
        let Some(slot) = self.slots.get(network).copied().flatten() else { return Vec::new() };
        let tunnel = |peer: &PeerView| match peer.hop? {
            Hop::Tunnel { first, .. } => Some(first + slot),
            Hop::Native { .. } => None,
        };
        self.peers.iter().flatten().filter_map(tunnel).collect()
    }
}

/// What is known of each peer, in their order. Where nobody gave them numbers, as in a check of a file, they are counted;
/// a test's need no counters.
pub(super) fn peers(desired: &Desired, facts: &Facts) -> Vec<PeerFacts> {
    let known = |(index, peer): (usize, &Arc<Peer>)| {
        let new = || PeerFacts { id: PeerId(index as u16), stats: Arc::new(PeerStats::new(1)) };
        facts.peers.get(&peer.name).cloned().unwrap_or_else(new)
    };
    desired.peers.iter().enumerate().map(known).collect()
}

pub(super) fn compile(
    desired: &Desired,
    facts: &Facts,
    peers: &[PeerFacts],
    rewrites: &mut Rewrites,
) -> Compiled {
    let port = desired.ports.iter().find(|port| port.role == Role::Fabric);
    let uplink = port.and_then(|port| facts.ports.get(&port.name));
    let mut compiled = Compiled::default();
    let networks = networks(desired);
    if desired.fabric != Fabric::Native {
        compiled.slots = vec![None; desired.networks.len()];
        for (slot, (id, ..)) in networks.iter().enumerate() {
            compiled.slots[id.index()] = Some(slot as u16);
        }
        compiled.unwraps = uplink.and_then(|uplink| unwraps(desired, uplink, peers, &networks));
    }
    let count = peers.iter().map(|known| known.id.index() + 1).max().unwrap_or(0);
    compiled.peers.resize_with(count, || None);
    for (peer, known) in desired.peers.iter().zip(peers) {
        let hop =
            uplink.zip(facts.next_hops.get(&peer.address)).and_then(|(uplink, mac)| match desired.fabric {
                Fabric::Native => {
                    let rewrite = rewrites.index(*mac, uplink.mac, uplink.caps.mtu);
                    Some(Hop::Native { port: uplink.id, rewrite })
                }
                Fabric::Tunnels { .. } => {
                    let first = compiled.tunnels.len() as u16;
                    let made =
                        tunnels(desired, facts, (peer, &known.stats), uplink, *mac, &networks, rewrites)?;
                    compiled.tunnels.extend(made);
                    Some(Hop::Tunnel { port: uplink.id, first })
                }
            });
        let addresses = peer.own_addresses().collect();
        compiled.peers[known.id.index()] = Some(PeerView { hop, addresses, stats: known.stats.clone() });
    }
    compiled
}

/// Networks that have an identifier in tunnels.
fn networks(desired: &Desired) -> Vec<(NetworkId, Vni, Mac)> {
    let networks = desired.networks.iter().enumerate();
    networks
        .filter_map(|(index, network)| Some((network_id(index), network.vni?, network.gateway_mac)))
        .collect()
}

fn unwraps(
    desired: &Desired,
    uplink: &PortFacts,
    known: &[PeerFacts],
    networks: &[(NetworkId, Vni, Mac)],
) -> Option<Tunnels> {
    let Fabric::Tunnels { encapsulation, udp_port, .. } = desired.fabric else { return None };
    let own = |is_ipv4: bool| desired.node.source(is_ipv4);
    let v4 = own(true).and_then(|own| if let IpAddr::V4(v4) = own { Some(v4.octets()) } else { None });
    let v6 = own(false).and_then(|own| if let IpAddr::V6(v6) = own { Some(v6.octets()) } else { None });
    let peer = |(peer, known): (&Arc<Peer>, &PeerFacts)| (ip::mapped(peer.address), known.id);
    Some(Tunnels {
        port: uplink.id,
        mac: uplink.mac,
        encapsulation,
        udp_port,
        v4,
        v6,
        networks: networks.iter().map(|(id, vni, _)| (vni.get(), *id)).collect(),
        peers: desired.peers.iter().zip(known).map(peer).collect(),
    })
}

/// One tunnel for each network.
fn tunnels(
    desired: &Desired,
    facts: &Facts,
    (peer, stats): (&Peer, &Arc<PeerStats>),
    uplink: &PortFacts,
    next_hop: Mac,
    networks: &[(NetworkId, Vni, Mac)],
    rewrites: &mut Rewrites,
) -> Option<Vec<Tunnel>> {
    let Fabric::Tunnels { encapsulation, udp_port, dscp, .. } = desired.fabric else { return None };
    let own = desired.node.source(peer.address.is_ipv4())?;
    let path = facts.path_mtus.get(&peer.address).copied().unwrap_or(u32::MAX);
    let mtu = uplink.caps.mtu.min(path).saturating_sub(desired.fabric.overhead(peer.address));
    let tunnel = |&(_, vni, gateway_mac): &(NetworkId, Vni, Mac)| {
        let way = Way {
            macs: (next_hop, uplink.mac),
            addresses: (own, peer.address),
            udp_port,
            encapsulation,
            vni,
            dscp,
        };
        let rewrite = rewrites.index(peer.mac, gateway_mac, mtu);
        Tunnel::new(&way, rewrite, stats.clone())
    };
    networks.iter().map(tunnel).collect()
}

/// A fresh limit for each bridged network that spans nodes: what its members have in common of the copies for other nodes,
/// which is half of the rate; a tenth of it may come at once.
pub fn flood_limits(desired: &Desired) -> BTreeMap<String, Arc<Policer>> {
    let Fabric::Tunnels { flood_rate, .. } = desired.fabric else { return BTreeMap::new() };
    let bridged = desired.networks.iter().filter(|network| network.mode == Mode::Bridged);
    let [rate, at_once] = [flood_rate, flood_rate / 10].map(|all| (all - all / 2).max(1));
    let limit = || Arc::new(Policer::new(Unit::Packets, rate, at_once));
    bridged.map(|network| (network.name.clone(), limit())).collect()
}

/// The same with what each of so many members has for itself: its part of the other half, at each thread that may flood for it.
pub(super) fn copy_limit(
    desired: &Desired,
    facts: &Facts,
    network: &Network,
    members: usize,
) -> Option<CopyLimit> {
    let Fabric::Tunnels { flood_rate, .. } = desired.fabric else { return None };
    let common = facts.flood_limits.get(&network.name)?.clone();
    // With suppression the slow path floods, too.
    let threads = desired.pmd.cores.len() as u64 + u64::from(network.suppress);
    let parts = (members as u64 * threads).max(1);
    let own = Rate::new((flood_rate / 2 / parts).max(1), (flood_rate / 10 / 2 / parts).max(1));
    Some(CopyLimit { own, common })
}
