//! What the numbers in snapshots stand for, now and under past generations.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use weft_dataplane::{key::Origin, rules::Rule, snapshot::Snapshot};
use weft_wire::{NetworkId, PeerId, PortId};

use super::Switch;
use crate::{compile::Facts, desired::Desired};

/// Past names that are kept; what was dropped longer ago can't be named.
const NAMES_MAX: usize = 64;

/// What the numbers in snapshots stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// By [`PortId::index`].
    ports: Vec<Option<String>>,
    /// By [`NetworkId::index`].
    networks: Vec<String>,
    /// By [`PeerId::index`].
    peers: Vec<String>,
    /// By place in the rule table.
    rules: Vec<String>,
}

fn named<T: AsRef<str>>(list: &[T], index: usize) -> &str {
    list.get(index).map_or("?", AsRef::as_ref)
}

impl Names {
    /// Of a snapshot, from what it was compiled from.
    pub fn new(desired: &Desired, facts: &Facts, snapshot: &Snapshot) -> Self {
        let rules: HashMap<_, &String> =
            facts.rules.iter().map(|(name, facts)| (Arc::as_ptr(&facts.stats), name)).collect();
        let rule = |rule: &Rule| {
            rules.get(&Arc::as_ptr(&rule.stats)).map_or_else(String::new, |name| (*name).clone())
        };
        let mut ports = vec![None; snapshot.ports.len()];
        for (name, facts) in &facts.ports {
            if let Some(slot) = ports.get_mut(facts.id.index()) {
                *slot = Some(name.clone());
            }
        }
        let mut peers = vec!["?".to_owned(); snapshot.peers.len()];
        for (name, facts) in &facts.peers {
            if let Some(slot) = peers.get_mut(facts.id.index()) {
                slot.clone_from(name);
            }
        }
        Self {
            ports,
            networks: desired.networks.iter().map(|network| network.name.clone()).collect(),
            peers,
            rules: snapshot.rules.iter().map(rule).collect(),
        }
    }

    /// The port of a name.
    pub fn port_id(&self, name: &str) -> Option<PortId> {
        let index = self.ports.iter().position(|port| port.as_deref() == Some(name))?;
        PortId::from_index(index as u16)
    }

    /// The other node of a name.
    pub fn peer_id(&self, name: &str) -> Option<PeerId> {
        self.peers.iter().position(|peer| peer == name).map(|index| PeerId(index as u16))
    }

    /// Every port.
    pub fn port_ids(&self) -> impl Iterator<Item = PortId> {
        let known = self.ports.iter().enumerate().filter(|(_, name)| name.is_some());
        known.filter_map(|(index, _)| PortId::from_index(index as u16))
    }

    /// A port.
    pub fn port(&self, id: PortId) -> &str {
        self.ports.get(id.index()).and_then(Option::as_deref).unwrap_or("?")
    }

    /// A network.
    pub fn network(&self, id: NetworkId) -> &str {
        named(&self.networks, id.index())
    }

    /// Another node.
    pub fn peer(&self, id: PeerId) -> &str {
        named(&self.peers, id.index())
    }

    /// A rule, by its place in the table.
    pub fn rule(&self, index: u16) -> &str {
        named(&self.rules, index.into())
    }

    /// Where packets come from: a port, or another node by a tunnel.
    pub fn origin(&self, origin: Origin) -> String {
        match (origin.tunnel(), origin.port()) {
            (Some((peer, _)), _) => format!("peer:{}", self.peer(peer)),
            (None, Some(port)) => self.port(port).to_owned(),
            (None, None) => "?".into(),
        }
    }
}

/// The names that numbers had from which generation on, oldest first.
#[derive(Debug, Default)]
pub struct PastNames(VecDeque<(u64, Arc<Names>)>);

impl PastNames {
    /// The names in force.
    pub fn current(&self) -> Arc<Names> {
        self.0.back().map(|(_, names)| names.clone()).unwrap_or_default()
    }

    /// The names that were in force under a generation, as far as they are known.
    pub fn at(&self, generation: u64) -> Arc<Names> {
        let before = |(since, _): &&(u64, Arc<Names>)| *since <= generation;
        self.0.iter().rev().find(before).map(|(_, names)| names.clone()).unwrap_or_default()
    }

    fn note(&mut self, generation: u64, names: Names) {
        if self.0.back().is_some_and(|(_, last)| **last == names) {
            return;
        }
        if self.0.len() == NAMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((generation, Arc::new(names)));
    }
}

impl Switch {
    /// Remembers what the numbers of the snapshot in force stand for.
    pub(super) fn note_names(&mut self) {
        let snapshot = self.runtime.snapshot();
        let names = Names::new(&self.desired, &self.facts, snapshot);
        self.names.note(snapshot.generation, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rule: &str) -> Names {
        Names { rules: vec![rule.to_owned()], ..Names::default() }
    }

    #[test]
    fn a_number_is_named_as_it_was_then() {
        let mut past = PastNames::default();
        for (generation, rule) in [(1, "a"), (2, "a"), (5, "b"), (9, "a")] {
            past.note(generation, names(rule));
        }
        let at = |generation: u64| past.at(generation).rule(0).to_owned();
        assert_eq!([0, 1, 4, 5, 8, 9, 100].map(at), ["?", "a", "a", "b", "b", "a", "a"]);
        assert_eq!(past.current().rule(1), "?");
    }
}
