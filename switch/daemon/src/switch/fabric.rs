//! Other nodes: the uplink's steering, next hops, path MTUs, when each was last heard of.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use weft_dataplane::{snapshot::Mode, stats::PeerStats};
use weft_pmd::port::Steer;
use weft_wire::Mac;

use super::Switch;
use crate::{
    compile::flood_limits,
    desired::{Desired, Fabric, Role},
    event::Event,
    netlink::nexthop,
    ports,
};

/// What a router said of a path is believed for so long (RFC 1191 §6.3).
const PATH_MTU_LIFETIME: Duration = Duration::from_secs(600);
/// Less is not believed: no path carries so little (RFC 791 asks for 576), and whoever says so means harm.
const PATH_MTU_MIN: u32 = 576;

/// What is known of other nodes beyond what the snapshot needs.
#[derive(Debug, Default)]
pub(super) struct PeerWatch {
    /// When each was last heard of, and packets until then, by name.
    heard: BTreeMap<String, (Instant, u64)>,
    /// When what was said of a path is forgotten, by the other node's address.
    path_mtus: BTreeMap<IpAddr, Instant>,
}

impl Switch {
    /// Tells the uplink's program what is the switch's: what is for this node's pods, or what comes in tunnels.
    pub(super) fn steer(&mut self) {
        let steer = match self.desired.fabric {
            Fabric::Native => {
                let routed = self.desired.networks.iter().filter(|network| network.mode == Mode::Routed);
                Steer::Prefixes(routed.flat_map(|network| network.prefixes.clone()).collect())
            }
            Fabric::Tunnels { udp_port, .. } => {
                let own = self.desired.node.addresses.iter();
                Steer::Udp { addresses: own.copied().map(IpNet::from).collect(), port: udp_port }
            }
        };
        let fabric = self.desired.ports.iter().find(|port| port.role == Role::Fabric);
        let Some(open) = fabric.and_then(|port| self.ports.get_mut(&port.name)) else { return };
        if let Err(error) = open.guard.steer(&steer) {
            self.warn(format!("the uplink does not get what is for the pods: {error}"));
        }
    }

    /// (Re)starts the watch for next hops where the uplink or the peers have changed.
    pub(super) fn watch_next_hops(&mut self) {
        let targets: Vec<_> = self.desired.peers.iter().map(|peer| peer.address).collect();
        let fabric = self.desired.ports.iter().find(|port| port.role == Role::Fabric);
        let Some(open) = fabric.and_then(|port| self.ports.get(&port.name)) else {
            self.watcher = None;
            return;
        };
        let ifindex = open.info.ifindex;
        if self.watcher.as_ref().is_some_and(|(old, index, _)| *old == targets && *index == ifindex) {
            return;
        }
        let netns = open.spec.netns.as_deref().map(ports::netns);
        let events = self.events.clone();
        let changed = move |hops| {
            // The control thread is gone only when weftd ends.
            let _ = events.send(Event::NextHops(hops));
        };
        match nexthop::watch(netns, ifindex, targets.clone(), changed) {
            Ok(watcher) => self.watcher = Some((targets, ifindex, watcher)),
            Err(error) => self.warn(format!("next hops of other nodes can't be watched: {error}")),
        }
    }

    /// The kernel reaches other nodes another way than before.
    pub fn set_next_hops(&mut self, hops: nexthop::NextHops) {
        for peer in &self.desired.peers {
            let mac = hops.get(&peer.address);
            if mac != self.facts.next_hops.get(&peer.address) {
                match mac {
                    Some(mac) => tracing::info!(peer = peer.name, address = %peer.address, %mac, "next hop"),
                    None => tracing::warn!(peer = peer.name, address = %peer.address, "next hop unresolved"),
                }
            }
        }
        self.facts.next_hops = hops;
        self.publish();
    }

    /// A router on the way to another node takes no larger packets.
    pub fn set_path_mtu(&mut self, peer: IpAddr, mtu: u32) {
        let mtu = mtu.max(PATH_MTU_MIN);
        self.peer_watch.path_mtus.insert(peer, Instant::now() + PATH_MTU_LIFETIME);
        if self.facts.path_mtus.get(&peer).is_none_or(|old| mtu < *old) {
            tracing::info!(%peer, mtu, "path MTU");
            self.facts.path_mtus.insert(peer, mtu);
            self.publish();
        }
    }

    /// Counters of other nodes and flood limits live on as long as their nouns do.
    pub(super) fn keep_peers(&mut self, desired: &Desired) {
        let threads = self.runtime.threads.len();
        let mut old = std::mem::take(&mut self.facts.peers);
        let keep = |name: &String| {
            (name.clone(), old.remove(name).unwrap_or_else(|| Arc::new(PeerStats::new(threads))))
        };
        self.facts.peers = desired.peers.iter().map(|peer| &peer.name).map(keep).collect();
        self.peer_watch.heard.retain(|name, _| self.facts.peers.contains_key(name));
        self.facts.flood_limits = flood_limits(desired);
    }

    /// Notes which peers were heard of, and forgets what routers said long ago.
    pub fn look_after_peers(&mut self) {
        let now = Instant::now();
        for (name, stats) in &self.facts.peers {
            let packets = stats.threads().map(|row| row.rx_packets.get()).sum();
            match self.peer_watch.heard.get_mut(name) {
                Some((seen, before)) if *before != packets => (*seen, *before) = (now, packets),
                None if packets > 0 => {
                    self.peer_watch.heard.insert(name.clone(), (now, packets));
                }
                _ => {}
            }
        }
        let until = &mut self.peer_watch.path_mtus;
        let before = self.facts.path_mtus.len();
        until.retain(|_, until| *until > now);
        self.facts.path_mtus.retain(|peer, _| until.contains_key(peer));
        if self.facts.path_mtus.len() != before {
            self.publish();
        }
    }

    /// How long ago a peer was last heard of, to half a second; none: never.
    pub fn heard_of(&self, peer: &str) -> Option<Duration> {
        self.peer_watch.heard.get(peer).map(|(seen, _)| seen.elapsed())
    }

    /// The MAC that an address of the underlay is reached by.
    pub fn next_hop(&self, address: IpAddr) -> Option<Mac> {
        self.facts.next_hops.get(&address).copied()
    }

    /// What a router said of the way to an address of the underlay.
    pub fn path_mtu(&self, address: IpAddr) -> Option<u32> {
        self.facts.path_mtus.get(&address).copied()
    }

    /// A peer's counters.
    pub fn peer_stats(&self, peer: &str) -> Option<&Arc<PeerStats>> {
        self.facts.peers.get(peer)
    }
}
