//! Other nodes: the uplink's steering, next hops, when each was last heard of.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashSet;
use ipnet::IpNet;
use weft_ctl_api::spec::{PortKind, QueuesSpec};
use weft_dataplane::{snapshot::Mode, stats::PeerStats};
use weft_pmd::{netns, port::Steer, sys::net};
use weft_wire::{Mac, PeerId, ip::Ipv6};

use super::{OpenPort, Switch};
use crate::{
    bfd,
    compile::{PeerFacts, flood_limits},
    desired::{Desired, Fabric, Role},
    event::Event,
    netlink::{
        nexthop,
        rss::{self, Spread},
    },
    ports,
};

/// Asks whether an uplink's device sends packets to the queues that are served.
fn spread(open: &OpenPort) -> Spread {
    let device = open.spec.device.as_deref().unwrap_or_default();
    let place = open.spec.netns.as_deref().map(ports::netns);
    let available = netns::run_in(place.as_ref(), || net::rx_queues(device).unwrap_or(1)).unwrap_or(1);
    let served: Vec<u16> = match &open.spec.queues {
        QueuesSpec::List(list) => list.clone(),
        _ => (0..open.owners.len() as u16).collect(),
    };
    let all = served.len() == usize::from(available);
    rss::explain(device, &served, all, &rss::table(place.as_ref(), open.info.ifindex))
}

/// What to say of an uplink whose tunnels can't carry what every link carries that has IPv6.
fn too_small(desired: &Desired, mtu: u32) -> Option<String> {
    let is_v6 = |prefix: &IpNet| prefix.addr().is_ipv6();
    let mut networks = desired.networks.iter().filter(|network| network.vni.is_some());
    let overhead = desired.peers.iter().map(|peer| desired.fabric.overhead(peer.address)).max()?;
    let needed = Ipv6::MTU_MIN as u32 + overhead;
    let has_v6 = networks.any(|network| network.prefixes.iter().any(is_v6));
    (overhead > 0 && mtu < needed && has_v6).then(|| {
        let left = mtu.saturating_sub(overhead);
        format!(
            "the uplink's MTU of {mtu} leaves {left} bytes in tunnels, and IPv6 needs {} (RFC 8200 §5): larger IPv6 packets \
             to other nodes are dropped (too_big); raise the device's MTU to {needed} or more",
            Ipv6::MTU_MIN
        )
    })
}

/// What peers are watched by: a change starts anew.
#[derive(Debug, PartialEq, Eq)]
struct Watched {
    settings: bfd::Settings,
    place: Option<String>,
    own: Vec<IpAddr>,
    peers: Vec<IpAddr>,
}

/// What is known of other nodes beyond what the snapshot needs.
#[derive(Debug, Default)]
pub(super) struct PeerWatch {
    /// When each was last heard of, and packets until then, by name.
    heard: BTreeMap<String, (Instant, u64)>,
    /// Before that, no path's MTU is published.
    pub(super) path_mtus_wait: Option<Instant>,
    /// Names, by number; a number that is free is the next peer's.
    names: Vec<Option<String>>,
    /// Those that can't be reached, as far as is known, by address.
    failed: BTreeSet<IpAddr>,
    /// What watches them, what it was told to, and since when it does.
    bfd: Option<(Watched, bfd::Watcher, Instant)>,
    /// Why they can't be watched.
    bfd_error: Option<String>,
    /// Where sessions stand, and since when.
    sessions: BTreeMap<IpAddr, (bfd::State, Instant)>,
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
        let mut warnings = Vec::from_iter(too_small(&self.desired, open.info.caps.mtu));
        if let Err(error) = open.guard.steer(&steer) {
            warnings.push(format!("the uplink does not get what is for the pods: {error}"));
        }
        if open.spec.kind == PortKind::Xsk && open.spread.is_none() {
            let spread = spread(open);
            if let Spread::Misses(text) | Spread::Unknown(text) = &spread {
                warnings.push(text.clone());
            }
            open.spread = Some(spread);
        }
        for warning in warnings {
            self.warn(warning);
        }
    }

    /// Has the peers' next hops watched over the uplink.
    pub(super) fn watch_next_hops(&mut self) {
        let targets: BTreeSet<_> = self.desired.peers.iter().map(|peer| peer.address).collect();
        let fabric = self.desired.ports.iter().find(|port| port.role == Role::Fabric);
        let Some(open) = fabric.and_then(|port| self.ports.get(&port.name)) else {
            self.watcher = None;
            return;
        };
        let ifindex = open.info.ifindex;
        if let Some((watched, index, watcher)) = &mut self.watcher
            && *index == ifindex
        {
            if *watched == targets {
                return;
            }
            watched.clone_from(&targets);
            if watcher.set_targets(targets.clone()) {
                return;
            }
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
        let nexthop::NextHops { macs: hops, failed } = hops;
        self.peer_watch.failed = failed;
        if hops == self.facts.next_hops {
            return;
        }
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

    /// (Re)starts BFD where peers, settings or the node's addresses have changed.
    pub(super) fn watch_peers(&mut self) {
        let uplink = self.desired.ports.iter().find(|port| port.role == Role::Fabric);
        let wanted = self.desired.bfd.zip(uplink).map(|(settings, uplink)| Watched {
            settings,
            place: uplink.spec.netns.clone(),
            own: self.desired.node.addresses.clone(),
            peers: self.desired.peers.iter().map(|peer| peer.address).collect(),
        });
        let watch = &mut self.peer_watch;
        if watch.bfd.as_ref().map(|(watched, ..)| watched) == wanted.as_ref() {
            return;
        }
        watch.bfd = None;
        let Some(wanted) = wanted else {
            watch.sessions.clear();
            return;
        };
        watch.sessions.retain(|peer, _| wanted.peers.contains(peer));
        let (events, place) = (self.events.clone(), wanted.place.as_deref().map(ports::netns));
        let changed = move |report| {
            // The control thread is gone only when weftd ends.
            let _ = events.send(Event::Bfd(report));
        };
        match bfd::watch(place, &wanted.own, wanted.peers.clone(), wanted.settings, changed) {
            Ok(watcher) => {
                watch.bfd = Some((wanted, watcher, Instant::now()));
                watch.bfd_error = None;
            }
            // Tried again at every tick: an address may not be there yet. Said once.
            Err(error) => {
                let error = error.to_string();
                if watch.bfd_error.as_ref() != Some(&error) {
                    tracing::error!(%error, port = bfd::PORT, "other nodes can't be watched (BFD)");
                }
                watch.bfd_error = Some(error);
            }
        }
    }

    /// Another node is there, or is not any more.
    pub fn set_bfd(&mut self, report: bfd::Report) {
        let Some(peer) = self.desired.peers.iter().find(|peer| peer.address == report.peer) else { return };
        let old = self.peer_watch.sessions.insert(report.peer, (report.state, Instant::now()));
        match (old.map(|(state, _)| state), report.state) {
            (_, bfd::State::Up) => tracing::info!(peer = peer.name, address = %peer.address, "peer is up"),
            (Some(bfd::State::Up), state) => {
                tracing::warn!(peer = peer.name, address = %peer.address, %state, "peer is not there any more");
            }
            _ => {}
        }
    }

    /// Where a peer's BFD session stands, if that is known yet, and since when, if it is watched.
    pub fn bfd_session(&self, peer: IpAddr) -> Option<(Option<bfd::State>, Option<Duration>)> {
        /// It takes three packets for a session to come up, and it sends one a second until then (RFC 5880 §6.8.3).
        const FIRST: Duration = Duration::from_secs(4);
        self.desired.bfd?;
        let session = self.peer_watch.sessions.get(&peer).map(|(state, since)| (*state, since.elapsed()));
        let is_new = self.peer_watch.bfd.as_ref().is_some_and(|(.., since)| since.elapsed() < FIRST);
        Some(match session {
            Some((state, since)) if state == bfd::State::Up || !is_new => (Some(state), Some(since)),
            _ if is_new => (None, None),
            _ => (Some(bfd::State::Down), None),
        })
    }

    /// Whether it is not known yet whether an address of the underlay can be reached: the kernel is being asked.
    pub fn is_being_resolved(&self, address: IpAddr) -> bool {
        let is_known =
            self.facts.next_hops.contains_key(&address) || self.peer_watch.failed.contains(&address);
        self.watcher.is_some() && !is_known
    }

    /// Counters of other nodes and flood limits live on as long as their nouns do.
    pub(super) fn keep_peers(&mut self, desired: &Desired) {
        let wanted: HashSet<&str> = desired.peers.iter().map(|peer| peer.name.as_str()).collect();
        let names = &mut self.peer_watch.names;
        self.facts.peers.retain(|name, facts| {
            let stays = wanted.contains(name.as_str());
            if !stays {
                names[facts.id.index()] = None;
            }
            stays
        });
        for peer in &desired.peers {
            if self.facts.peers.contains_key(&peer.name) {
                continue;
            }
            let index = names.iter().position(Option::is_none).unwrap_or(names.len());
            if index == names.len() {
                names.push(None);
            }
            names[index] = Some(peer.name.clone());
            let stats = Arc::new(PeerStats::new(self.runtime.threads.len()));
            self.facts.peers.insert(peer.name.clone(), PeerFacts { id: PeerId(index as u16), stats });
        }
        self.peer_watch.heard.retain(|name, _| self.facts.peers.contains_key(name));
        self.facts.flood_limits = flood_limits(desired);
        let addresses: HashSet<IpAddr> = desired.peers.iter().map(|peer| peer.address).collect();
        self.runtime.path_mtus.lock().keep(|peer| addresses.contains(peer));
    }

    /// Notes which peers were heard of, and takes in what was learnt of the paths to them.
    pub fn look_after_peers(&mut self) {
        self.watch_peers();
        let now = Instant::now();
        for (name, facts) in &self.facts.peers {
            let packets = facts.stats.threads().map(|row| row.rx_packets.get()).sum();
            match self.peer_watch.heard.get_mut(name) {
                Some((seen, before)) if *before != packets => (*seen, *before) = (now, packets),
                None if packets > 0 => {
                    self.peer_watch.heard.insert(name.clone(), (now, packets));
                }
                _ => {}
            }
        }
        self.publish_path_mtus();
    }

    /// How long ago a peer was last heard of, to half a second; none: never.
    pub fn heard_of(&self, peer: &str) -> Option<Duration> {
        self.peer_watch.heard.get(peer).map(|(seen, _)| seen.elapsed())
    }

    /// The MAC that an address of the underlay is reached by.
    pub fn next_hop(&self, address: IpAddr) -> Option<Mac> {
        self.facts.next_hops.get(&address).copied()
    }

    /// A peer's counters.
    pub fn peer_stats(&self, peer: &str) -> Option<&Arc<PeerStats>> {
        self.facts.peers.get(peer).map(|facts| &facts.stats)
    }

    /// A peer's name by its number.
    pub fn peer_name(&self, id: PeerId) -> Option<&str> {
        self.peer_watch.names.get(id.index())?.as_deref()
    }

    /// A peer's number.
    pub fn peer_id(&self, peer: &str) -> Option<PeerId> {
        self.facts.peers.get(peer).map(|facts| facts.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1280 bytes of IPv6 and 50 or 70 of tunnel.
    #[test]
    fn an_uplink_too_small_for_ipv6_in_tunnels_is_told() {
        let told = |prefix: &str, mode: &str, peer: &str, mtu: u32| {
            let text = format!(
                "[node]\nname = \"n\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n\
                 [[network]]\nname = \"pods\"\nvni = 7\nprefixes = [\"{prefix}\"]\n\
                 [[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n\
                 [fabric]\nmode = \"{mode}\"\n[[fabric.peer]]\nname = \"p\"\naddress = \"{peer}\"\n"
            );
            let config = crate::config::parse(&text).unwrap();
            too_small(&Desired::try_from(&config).unwrap(), mtu)
        };
        let v6 = "fd00:244::/64";
        assert_eq!(told(v6, "vxlan", "192.0.2.2", 1330), None);
        let warning = told(v6, "vxlan", "192.0.2.2", 1329).unwrap();
        assert!(warning.contains("1279 bytes") && warning.contains("1330 or more"), "{warning}");
        assert_eq!(told(v6, "geneve", "2001:db8::2", 1350), None);
        assert!(told(v6, "geneve", "2001:db8::2", 1349).is_some());
        assert_eq!(told("10.244.0.0/24", "vxlan", "192.0.2.2", 600), None, "IPv4 is cut");
        assert_eq!(told(v6, "native", "192.0.2.2", 1300), None);
    }
}
