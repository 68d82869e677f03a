//! What is known of what is gone: the names that numbers had under past generations, and what ports and endpoints that were
//! removed had dropped.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use weft_dataplane::{
    reason::DropReason,
    rules::Rule,
    snapshot::Snapshot,
    stats::{EndpointStats, PortStats},
};
use weft_wire::PortId;

use super::Switch;
use crate::{compile::Facts, desired::Desired};

/// Past names that are kept; what was dropped longer ago can't be named.
const NAMES_MAX: usize = 64;
/// Removed ports whose drops are kept apart; those of older ones are summed up.
const PORTS_MAX: usize = 256;
/// Removed endpoints whose drops are kept apart; those of older ones are their ports' only.
const ENDPOINTS_MAX: usize = 1024;

/// What the numbers in snapshots stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// By [`PortId::index`].
    ports: Vec<Option<String>>,
    /// By [`weft_wire::NetworkId::index`].
    networks: Vec<String>,
    /// By [`weft_wire::PeerId::index`].
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

    /// A port.
    pub fn port(&self, id: PortId) -> &str {
        self.ports.get(id.index()).and_then(Option::as_deref).unwrap_or("?")
    }

    /// A network, by number.
    pub fn network(&self, index: usize) -> &str {
        named(&self.networks, index)
    }

    /// Another node, by number.
    pub fn peer(&self, index: usize) -> &str {
        named(&self.peers, index)
    }

    /// A rule, by its place in the table.
    pub fn rule(&self, index: u16) -> &str {
        named(&self.rules, index.into())
    }
}

/// Drops of something by reason, and what was lost before the switch saw it.
#[derive(Debug, Clone)]
pub struct Lost {
    /// By [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
    /// Frames lost on receipt.
    pub before: u64,
}

impl Default for Lost {
    fn default() -> Self {
        Self { drops: [0; DropReason::COUNT], before: 0 }
    }
}

impl Lost {
    fn add(&mut self, stats: &PortStats) {
        for reason in DropReason::ALL {
            self.drops[reason as usize] += stats.drops(reason);
        }
        self.before += stats.queues().map(|row| row.rx_lost.get()).sum::<u64>();
    }
}

/// What is known of what is gone.
#[derive(Debug, Default)]
pub struct History {
    /// From which generation on, oldest first.
    names: VecDeque<(u64, Arc<Names>)>,
    ports: VecDeque<(String, Arc<PortStats>)>,
    older: Lost,
    /// Port, endpoint.
    endpoints: VecDeque<(String, String, Arc<EndpointStats>)>,
}

impl History {
    /// The names in force.
    pub fn names(&self) -> Arc<Names> {
        self.names.back().map(|(_, names)| names.clone()).unwrap_or_default()
    }

    /// The names that were in force under a generation, as far as they are known.
    pub fn names_at(&self, generation: u64) -> Arc<Names> {
        let before = |(since, _): &&(u64, Arc<Names>)| *since <= generation;
        self.names.iter().rev().find(before).map(|(_, names)| names.clone()).unwrap_or_default()
    }

    fn note_names(&mut self, generation: u64, names: Names) {
        if self.names.back().is_some_and(|(_, last)| **last == names) {
            return;
        }
        if self.names.len() == NAMES_MAX {
            self.names.pop_front();
        }
        self.names.push_back((generation, Arc::new(names)));
    }

    /// A port was closed. Its counters are kept, not copied: a thread that is behind may still count.
    pub(super) fn note_port(&mut self, name: &str, stats: Arc<PortStats>) {
        if self.ports.len() == PORTS_MAX
            && let Some((oldest, stats)) = self.ports.pop_front()
        {
            self.older.add(&stats);
            if !self.ports.iter().any(|(name, _)| *name == oldest) {
                self.endpoints.retain(|(port, ..)| *port != oldest);
            }
        }
        self.ports.push_back((name.to_owned(), stats));
    }

    fn note_endpoint(&mut self, port: &str, name: &str, stats: Arc<EndpointStats>) {
        if self.endpoints.len() == ENDPOINTS_MAX {
            let has_drops =
                |stats: &EndpointStats| DropReason::ALL.iter().any(|reason| stats.drops(*reason) > 0);
            self.endpoints.retain(|(.., stats)| has_drops(stats));
            let excess = (self.endpoints.len() + 1).saturating_sub(ENDPOINTS_MAX);
            self.endpoints.drain(..excess);
        }
        self.endpoints.push_back((port.to_owned(), name.to_owned(), stats));
    }
}

/// Drops since weftd started, of what is there and what is gone.
#[derive(Debug, Default)]
pub struct Account {
    /// By port.
    pub ports: BTreeMap<String, Lost>,
    /// By port and endpoint.
    pub endpoints: BTreeMap<(String, String), [u64; DropReason::COUNT]>,
    /// Of ports removed long ago.
    pub older: Lost,
}

impl Switch {
    /// All drops since weftd started.
    pub fn account(&self) -> Account {
        let mut account = Account { older: self.history.older.clone(), ..Account::default() };
        let open = self.ports.iter().map(|(name, open)| (name, &open.stats));
        let gone = self.history.ports.iter().map(|(name, stats)| (name, stats));
        for (name, stats) in open.chain(gone) {
            account.ports.entry(name.clone()).or_default().add(stats);
        }
        let there = self.desired.endpoints.iter().filter_map(|endpoint| {
            let stats = self.facts.endpoints.get(&endpoint.name)?;
            Some((&self.desired.ports[endpoint.port].name, &endpoint.name, stats))
        });
        let gone = self.history.endpoints.iter().map(|(port, name, stats)| (port, name, stats));
        for (port, name, stats) in there.chain(gone) {
            let drops = account.endpoints.entry((port.clone(), name.clone()));
            let drops = drops.or_insert([0; DropReason::COUNT]);
            DropReason::ALL.iter().for_each(|reason| drops[*reason as usize] += stats.drops(*reason));
        }
        account
    }

    /// Counters of endpoints live on as long as the endpoint is behind its port.
    pub(super) fn keep_endpoints(&mut self, desired: &Desired) {
        let threads = self.runtime.threads.len();
        let mut old = std::mem::take(&mut self.facts.endpoints);
        let places = |desired: &Desired| -> BTreeMap<String, String> {
            let place = |endpoint: &crate::desired::Endpoint| {
                (endpoint.name.clone(), desired.ports[endpoint.port].name.clone())
            };
            desired.endpoints.iter().map(place).collect()
        };
        let (before, now) = (places(&self.desired), places(desired));
        for (name, port) in before {
            if now.get(&name) != Some(&port)
                && let Some(stats) = old.remove(&name)
            {
                self.history.note_endpoint(&port, &name, stats);
            }
        }
        let keep = |name: &String| {
            (name.clone(), old.remove(name).unwrap_or_else(|| Arc::new(EndpointStats::new(threads))))
        };
        self.facts.endpoints = now.keys().map(keep).collect();
    }

    /// Remembers what the numbers of the snapshot in force stand for.
    pub(super) fn note_names(&mut self) {
        let snapshot = self.runtime.snapshot();
        let names = Names::new(&self.desired, &self.facts, snapshot);
        self.history.note_names(snapshot.generation, names);
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
        let mut history = History::default();
        for (generation, rule) in [(1, "a"), (2, "a"), (5, "b"), (9, "a")] {
            history.note_names(generation, names(rule));
        }
        let at = |generation: u64| history.names_at(generation).rule(0).to_owned();
        assert_eq!([0, 1, 4, 5, 8, 9, 100].map(at), ["?", "a", "a", "b", "b", "a", "a"]);
        assert_eq!(history.names().rule(1), "?");
    }

    #[test]
    fn drops_of_many_removed_ports_are_summed_up() {
        let mut history = History::default();
        for n in 0..PORTS_MAX + 10 {
            history.note_port(&format!("p{n}"), Arc::new(PortStats::new(1, 1)));
        }
        assert_eq!(history.ports.len(), PORTS_MAX);
        assert_eq!(history.ports[0].0, "p10");
    }
}
