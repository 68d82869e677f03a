//! Learnt addresses: the part of a learning bridge that has a clock (IEEE 802.1D-2004 §7.9).

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use weft_dataplane::mailbox::Learn;
use weft_wire::{Mac, VlanId};

use super::Switch;
use crate::{compile::Place, desired::Role};

/// Of the place that has most, so many are looked at to find one that was not seen for long.
const CANDIDATES: usize = 64;

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

/// All learnt addresses.
#[derive(Debug, Clone, Default)]
pub struct Learnt {
    networks: HashMap<String, Stations>,
    dirty: bool,
}

/// Those of one network, divided by place: when there is no room, whoever has most is not learnt from, and loses addresses to
/// those that have fewer. So nobody who makes addresses up takes more than others leave.
#[derive(Debug, Clone, Default)]
struct Stations {
    stations: HashMap<Mac, Station>,
    /// How many are at each place.
    places: HashMap<Place, usize>,
    /// Addresses that were not learnt.
    refused: u64,
    /// That there is no room was said.
    is_told: bool,
}

/// What became of an address that was seen.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing that anybody must hear of.
    Same,
    /// It is new, or elsewhere than before.
    Changed,
    /// There is no room for it.
    Refused,
}

impl Stations {
    fn see(&mut self, mac: Mac, place: Place, refresh: bool, size: usize, now: Instant) -> Seen {
        if let Some(station) = self.stations.get_mut(&mac) {
            // It has moved since the flow that reports it was decided.
            if refresh && !station.place.is_same_way(&place) {
                return Seen::Same;
            }
            station.seen = now;
            if station.place == place {
                return Seen::Same;
            }
            station.moves += 1;
            let old = std::mem::replace(&mut station.place, place.clone());
            self.uncount(&old);
            *self.places.entry(place).or_default() += 1;
            return Seen::Changed;
        }
        if refresh {
            return Seen::Same;
        }
        if self.stations.len() >= size && !self.make_room(&place) {
            self.refused += 1;
            return Seen::Refused;
        }
        *self.places.entry(place.clone()).or_default() += 1;
        self.stations.insert(mac, Station { place, seen: now, moves: 0 });
        Seen::Changed
    }

    /// Takes an address from the place that has most, unless that is the one which wants another.
    fn make_room(&mut self, wanting: &Place) -> bool {
        let own = self.places.get(wanting).copied().unwrap_or(0);
        let Some((most, count)) = self.places.iter().max_by_key(|(_, count)| **count) else { return false };
        if *count <= own + 1 {
            return false;
        }
        let candidates = self.stations.iter().filter(|(_, station)| station.place == *most).take(CANDIDATES);
        let Some(mac) = candidates.min_by_key(|(_, station)| station.seen).map(|(mac, _)| *mac) else {
            return false;
        };
        if let Some(station) = self.stations.remove(&mac) {
            self.uncount(&station.place);
        }
        true
    }

    fn uncount(&mut self, place: &Place) {
        if let Some(count) = self.places.get_mut(place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(place);
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(Mac, &Station) -> bool) -> usize {
        let mut gone = Vec::new();
        self.stations.retain(|mac, station| {
            let stays = keep(*mac, station);
            if !stays {
                gone.push(station.place.clone());
            }
            stays
        });
        gone.iter().for_each(|place| self.uncount(place));
        self.is_told &= gone.is_empty();
        gone.len()
    }
}

impl Learnt {
    /// All of them, with their network.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Mac, &Station)> {
        self.networks.iter().flat_map(|(network, all)| {
            all.stations.iter().map(move |(mac, station)| (network.as_str(), *mac, station))
        })
    }

    /// How many addresses a network has learnt, and how often there was no room for one.
    pub fn count(&self, network: &str) -> (usize, u64) {
        self.networks.get(network).map_or((0, 0), |all| (all.stations.len(), all.refused))
    }

    /// What a snapshot needs of them.
    pub(super) fn stations(&self) -> HashMap<(String, Mac), Place> {
        self.iter()
            .map(|(network, mac, station)| ((network.to_owned(), mac), station.place.clone()))
            .collect()
    }

    pub(super) fn forget_port(&mut self, port: &str) {
        self.retain(|_, _, station| !matches!(&station.place, Place::Port(own, _) if own == port));
    }

    /// Forgets all but those.
    pub fn retain(&mut self, keep: impl Fn(&str, Mac, &Station) -> bool) -> usize {
        let of =
            |(network, all): (&String, &mut Stations)| all.retain(|mac, station| keep(network, mac, station));
        let gone = self.networks.iter_mut().map(of).sum();
        self.dirty |= gone > 0;
        gone
    }

    fn see(&mut self, network: &str, mac: Mac, place: Place, refresh: bool, size: usize) {
        let all = self.networks.entry_ref(network).or_default();
        match all.see(mac, place, refresh, size, Instant::now()) {
            Seen::Same => {}
            Seen::Changed => self.dirty = true,
            Seen::Refused if std::mem::replace(&mut all.is_told, true) => {}
            Seen::Refused => {
                let most = all.places.iter().max_by_key(|(_, count)| **count);
                let most = most.map(|(place, count)| format!("{count} of them {}", place.words()));
                tracing::warn!(
                    network,
                    size,
                    most,
                    "no room for more learnt addresses: see network.fdb_size"
                );
            }
        }
    }
}

impl Switch {
    /// Addresses were seen, those of one place in a row; publishing waits for [`Switch::publish_learnt`].
    pub fn learn(&mut self, learnt: &[Learn]) {
        for row in learnt.chunk_by(|a, b| (a.origin, a.vlan) == (b.origin, b.vlan)) {
            let Some((network, place)) = row.first().and_then(|learn| self.place_of(learn)) else { continue };
            let Some(network) = self.desired.networks.get(network) else { continue };
            for learn in row {
                self.learnt.see(&network.name, learn.mac, place.clone(), learn.refresh, network.fdb_size);
            }
        }
    }

    /// The network that an address was seen in, and where.
    fn place_of(&self, learn: &Learn) -> Option<(usize, Place)> {
        if let Some((peer, network)) = learn.origin.tunnel() {
            return Some((network.index(), Place::Peer(self.peer_name(peer)?.to_owned())));
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
        Some((network, Place::Port(name, vlan)))
    }

    /// Something was learnt or forgotten that is not published yet.
    pub fn has_news_of_addresses(&self) -> bool {
        self.learnt.dirty
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
        self.learnt.retain(|network, _, station| {
            ageing.get(network).is_some_and(|ageing| now.duration_since(station.seen) < *ageing)
        });
        self.learnt.networks.retain(|network, _| ageing.contains_key(network.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(port: u8) -> Place {
        Place::Port(format!("p{port}"), None)
    }

    fn mac(port: u8, index: u32) -> Mac {
        let [_, a, b, c] = index.to_be_bytes();
        Mac([2, port, 0, a, b, c])
    }

    #[test]
    fn who_has_most_gives_way() {
        let mut learnt = Learnt::default();
        for index in 0..1000 {
            learnt.see("lan", mac(1, index), place(1), false, 100);
        }
        assert_eq!(learnt.count("lan"), (100, 900));
        for index in 0..1000 {
            learnt.see("lan", mac(2, index), place(2), false, 100);
        }
        let all = &learnt.networks["lan"];
        assert_eq!([1, 2].map(|port| all.places[&place(port)]), [50, 50]);
        // Another network's is another matter; what is there still moves.
        learnt.see("other", mac(2, 1), place(2), false, 100);
        assert_eq!(learnt.count("other"), (1, 0));
        let (own, _) = all_of(&learnt, 1)[0];
        learnt.see("lan", own, place(2), false, 100);
        assert_eq!([1, 2].map(|port| learnt.networks["lan"].places[&place(port)]), [49, 51]);
    }

    fn all_of(learnt: &Learnt, port: u8) -> Vec<(Mac, Place)> {
        let all = learnt.iter().filter(|(_, _, station)| station.place == place(port));
        all.map(|(_, mac, station)| (mac, station.place.clone())).collect()
    }

    proptest! {
        /// Whatever others show, a place with no more than its part of the table keeps all it has; counts are right.
        #[test]
        fn a_place_keeps_its_part(seen in proptest::collection::vec((1_u8..5, 0_u32..400), 0..3000)) {
            const SIZE: usize = 100;
            let mut learnt = Learnt::default();
            for (round, (port, index)) in seen.iter().enumerate() {
                learnt.see("lan", mac(*port, *index), place(*port), false, SIZE);
                if round % 100 == 0 && round / 100 < SIZE / 5 {
                    learnt.see("lan", mac(0, round as u32), place(0), false, SIZE);
                }
            }
            let own = seen.len().div_ceil(100).min(SIZE / 5);
            prop_assert_eq!(all_of(&learnt, 0).len(), own);
            prop_assert!(learnt.count("lan").0 <= SIZE);
            let all = learnt.networks.get("lan").cloned().unwrap_or_default();
            for (place, count) in &all.places {
                prop_assert_eq!(all.stations.values().filter(|station| station.place == *place).count(), *count);
            }
        }
    }
}
