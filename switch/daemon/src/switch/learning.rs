//! Learnt addresses: the part of a learning bridge that has a clock (IEEE 802.1D-2004 §7.9).

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use weft_dataplane::mailbox::Learn;
use weft_wire::{Mac, VlanId};

use super::Switch;
use crate::{compile::Place, desired::Role};

/// An address that was learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Where it is.
    pub place: Place,
    /// When it was last seen.
    pub seen: Instant,
    /// Times it came up elsewhere than before.
    pub moves: u64,
}

/// All learnt addresses, by network and MAC.
#[derive(Debug, Clone, Default)]
pub struct Learnt {
    stations: HashMap<(String, Mac), Station>,
    dirty: bool,
}

/// More are not learnt: whoever makes up addresses must not fill the node's memory. Their frames are flooded.
const STATIONS_MAX: usize = 131_072;

impl Learnt {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&(String, Mac), &Station)> {
        self.stations.iter()
    }

    /// What a snapshot needs of them.
    pub(super) fn stations(&self) -> HashMap<(String, Mac), Place> {
        self.stations.iter().map(|(key, station)| (key.clone(), station.place.clone())).collect()
    }

    pub(super) fn forget_port(&mut self, port: &str) {
        self.retain(|_, station| !matches!(&station.place, Place::Port(own, _) if own == port));
    }

    /// Forgets all but those.
    pub fn retain(&mut self, keep: impl Fn(&(String, Mac), &Station) -> bool) -> usize {
        let before = self.stations.len();
        self.stations.retain(|key, station| keep(key, station));
        let gone = before - self.stations.len();
        self.dirty |= gone > 0;
        gone
    }

    fn see(&mut self, network: String, mac: Mac, place: Place, refresh: bool) {
        let now = Instant::now();
        let has_room = self.stations.len() < STATIONS_MAX;
        match self.stations.get_mut(&(network.clone(), mac)) {
            // It has moved since the flow that reports it was decided.
            Some(station) if refresh && !station.place.is_same_way(&place) => {}
            Some(station) => {
                if station.place != place {
                    station.moves += 1;
                    station.place = place;
                    self.dirty = true;
                }
                station.seen = now;
            }
            None if has_room && !refresh => {
                self.stations.insert((network, mac), Station { place, seen: now, moves: 0 });
                self.dirty = true;
            }
            None => {}
        }
    }
}

impl Switch {
    /// An address was seen; publishing waits for [`Switch::publish_learnt`].
    pub fn learn(&mut self, learn: Learn) {
        let Some((network, place)) = self.place_of(&learn) else { return };
        self.learnt.see(network, learn.mac, place, learn.refresh);
    }

    /// The network that an address was seen in, and where.
    fn place_of(&self, learn: &Learn) -> Option<(String, Place)> {
        if let Some((peer, network)) = learn.origin.tunnel() {
            let peer = self.peer_name(peer)?;
            return Some((
                self.desired.networks.get(network.index())?.name.clone(),
                Place::Peer(peer.to_owned()),
            ));
        }
        let name = self.port_name(learn.origin.port()?)?.to_owned();
        let port = self.desired.ports.iter().find(|port| port.name == name)?;
        let vlan = VlanId::try_from(u32::from(learn.vlan)).ok();
        let network = match &port.role {
            Role::Access(network) => *network,
            Role::Trunk(networks) => {
                networks.iter().copied().find(|index| self.desired.networks[*index].vlan == vlan)?
            }
            Role::Pod | Role::Host | Role::Fabric => return None,
        };
        Some((self.desired.networks[network].name.clone(), Place::Port(name, vlan)))
    }

    /// Publishes what was learnt since the last time, if anything.
    pub fn publish_learnt(&mut self) {
        if std::mem::take(&mut self.learnt.dirty) {
            self.publish_facts();
        }
    }

    /// Forgets addresses that were not seen for their network's ageing time.
    pub fn age(&mut self) {
        let now = Instant::now();
        let ageing: HashMap<&str, Duration> =
            self.desired.networks.iter().map(|network| (network.name.as_str(), network.ageing)).collect();
        self.learnt.retain(|(network, _), station| {
            ageing.get(network.as_str()).is_some_and(|ageing| now.duration_since(station.seen) < *ageing)
        });
    }
}
