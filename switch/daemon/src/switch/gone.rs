//! What ports and endpoints that are gone had dropped.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use weft_dataplane::{
    reason::DropReason,
    stats::{EndpointStats, PortStats},
};

use super::Switch;
use crate::desired::Desired;

/// Removed ports whose drops are kept apart; those of older ones are summed up.
const PORTS_MAX: usize = 256;
/// Removed endpoints whose drops are kept apart; those of older ones are their ports' only.
const ENDPOINTS_MAX: usize = 1024;

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

/// Counters of what is gone.
#[derive(Debug, Default)]
pub struct Gone {
    ports: VecDeque<(String, Arc<PortStats>)>,
    older: Lost,
    /// Port, endpoint.
    endpoints: VecDeque<(String, String, Arc<EndpointStats>)>,
}

impl Gone {
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
        let mut account = Account { older: self.gone.older.clone(), ..Account::default() };
        let open = self.ports.iter().map(|(name, open)| (name, &open.stats));
        let gone = self.gone.ports.iter().map(|(name, stats)| (name, stats));
        for (name, stats) in open.chain(gone) {
            account.ports.entry(name.clone()).or_default().add(stats);
        }
        let there = self.desired.endpoints.iter().filter_map(|endpoint| {
            let stats = self.facts.endpoints.get(&endpoint.name)?;
            Some((&self.desired.ports[endpoint.port].name, &endpoint.name, stats))
        });
        let gone = self.gone.endpoints.iter().map(|(port, name, stats)| (port, name, stats));
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
                self.gone.note_endpoint(&port, &name, stats);
            }
        }
        let keep = |name: &String| {
            (name.clone(), old.remove(name).unwrap_or_else(|| Arc::new(EndpointStats::new(threads))))
        };
        self.facts.endpoints = now.keys().map(keep).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_many_removed_ports_are_summed_up() {
        let mut gone = Gone::default();
        for n in 0..PORTS_MAX + 10 {
            gone.note_port(&format!("p{n}"), Arc::new(PortStats::new(1, 1)));
        }
        assert_eq!(gone.ports.len(), PORTS_MAX);
        assert_eq!(gone.ports[0].0, "p10");
    }
}
