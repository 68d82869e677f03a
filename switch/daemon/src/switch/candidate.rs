//! Another configuration as if it were in force: what [`crate::plan`] looks at.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::{HashMap, HashSet};
use weft_ctl_api::{Error, spec::Config};
use weft_dataplane::{
    snapshot::Snapshot,
    stats::{PeerStats, PortStats},
};
use weft_pmd::Caps;
use weft_wire::{Mac, PeerId, PortId, ThreadId};

use super::{Retry, Switch, rule_facts};
use crate::{
    compile::{Facts, PeerFacts, PortFacts, compile, flood_limits},
    desired::Desired,
};

/// MTU of a port that is not open and says none.
const MTU: u32 = 1500;

/// What flows are looked at through: a snapshot, and the names of what it numbers.
pub struct View<'a> {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// As meant.
    pub desired: &'a Desired,
    ports: BTreeMap<PortId, String>,
    peers: HashMap<PeerId, String>,
    /// Names of the snapshot's rules, in its order.
    rules: Vec<String>,
}

impl<'a> View<'a> {
    fn new(snapshot: Arc<Snapshot>, desired: &'a Desired, facts: &Facts) -> Self {
        let ports = facts.ports.iter().map(|(name, port)| (port.id, name.clone())).collect();
        let peers = facts.peers.iter().map(|(name, peer)| (peer.id, name.clone())).collect();
        let by_stats: BTreeMap<_, _> =
            facts.rules.iter().map(|(name, rule)| (Arc::as_ptr(&rule.stats), name.clone())).collect();
        let in_order = (0..u16::MAX).map_while(|index| snapshot.rules.get(index));
        let rules = in_order.map(|rule| by_stats.get(&Arc::as_ptr(&rule.stats)).cloned().unwrap_or_default());
        let rules = rules.collect();
        Self { snapshot, desired, ports, peers, rules }
    }

    /// A port's name.
    pub fn port(&self, id: PortId) -> &str {
        self.ports.get(&id).map_or("(gone)", String::as_str)
    }

    /// Another node's name.
    pub fn peer(&self, id: PeerId) -> Option<&str> {
        self.peers.get(&id).map(String::as_str)
    }

    /// A rule's name.
    pub fn rule(&self, index: u16) -> &str {
        self.rules.get(usize::from(index)).map_or("?", String::as_str)
    }
}

impl Switch {
    /// What is in force.
    pub fn view(&self) -> View<'_> {
        View::new(self.runtime.snapshot().clone(), &self.desired, &self.facts)
    }

    /// What would be. Ports and peers keep their numbers.
    pub fn view_of<'a>(&self, desired: &'a Desired) -> View<'a> {
        let facts = self.facts_of(desired);
        View::new(Arc::new(compile(desired, &facts)), desired, &facts)
    }

    /// What would be so, were it meant. Ports that would be opened are taken to be what the configuration says.
    pub(super) fn facts_of(&self, desired: &Desired) -> Facts {
        let mut facts = self.facts.clone();
        facts.fdb = self.learnt.stations();
        facts.ports.retain(|name, _| desired.ports.iter().any(|port| port.name == *name));
        let mut free = (0..u16::MAX).filter_map(PortId::from_index).filter(|id| {
            // Not even the number of a port that would go: its flows are not the new one's.
            !self.ports.values().any(|port| port.id() == *id)
        });
        for port in &desired.ports {
            if facts.ports.contains_key(&port.name) {
                continue;
            }
            let Some(id) = free.next() else { break };
            let caps = Caps { mtu: port.spec.mtu.unwrap_or(MTU), csum: false, gso: false };
            let mac = port.spec.mac.unwrap_or_else(|| Mac::local(&port.name));
            let (owners, stats) = (vec![ThreadId(0)], Arc::new(PortStats::new(1, 1)));
            facts.ports.insert(port.name.clone(), PortFacts { id, mac, caps, owners, stats });
        }
        facts.rules = desired.rules.iter().map(|rule| (rule.name.clone(), rule_facts(rule, 1))).collect();
        let wanted: HashSet<&str> = desired.peers.iter().map(|peer| peer.name.as_str()).collect();
        facts.peers.retain(|name, _| wanted.contains(name.as_str()));
        let taken: HashSet<PeerId> = self.facts.peers.values().map(|peer| peer.id).collect();
        let mut free = (0..u16::MAX).map(PeerId).filter(|id| !taken.contains(id));
        for peer in &desired.peers {
            if facts.peers.contains_key(&peer.name) {
                continue;
            }
            let Some(id) = free.next() else { break };
            facts.peers.insert(peer.name.clone(), PeerFacts { id, stats: Arc::new(PeerStats::new(1)) });
        }
        facts.flood_limits = flood_limits(desired);
        facts
    }

    /// Why a configuration would be refused now, as far as can be told without touching anything.
    pub fn refusal(&self, config: &Config, desired: &Desired) -> Option<Error> {
        let startable = self.refuse_start_only(config, desired);
        startable.and_then(|()| self.probe(desired, Retry::Removed).map(drop)).err()
    }
}
