//! A configuration, compiled, with names of its numbers: the one in force, or one that is only looked at.

use std::sync::Arc;

use hashbrown::HashSet;
use weft_ctl_api::{Error, spec::Config};
use weft_dataplane::{
    program::{Action, Program, Verdict},
    snapshot::Snapshot,
    stats::{PeerStats, PortStats},
    table::flow::State,
};
use weft_pmd::Caps;
use weft_wire::{Mac, PeerId, PortId, ThreadId};

use super::{Names, Retry, Switch, rule_facts};
use crate::{
    compile::{Facts, PeerFacts, PortFacts, compile, flood_limits},
    desired::Desired,
};

/// MTU of a port that is not open and says none.
const MTU: u32 = 1500;

/// What packets and flows are looked at through.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The configuration, as typed.
    pub config: &'a Config,
    /// As meant.
    pub desired: &'a Desired,
    /// As PMD threads see it.
    pub snapshot: Arc<Snapshot>,
    /// What its numbers stand for.
    pub names: Arc<Names>,
}

impl View<'_> {
    /// A program in words. One of an older snapshot is named as far as its operands still are.
    pub fn program_words(&self, program: &Program) -> String {
        let names = &self.names;
        let action = |action: &Action| match action {
            Action::Rule(index) => format!("rule:{}", names.rule(*index)),
            Action::PopVlan => "pop_vlan".into(),
            Action::SetVlan(vlan) => format!("set_vlan:{vlan}"),
            Action::Claim(_) => "claim".into(),
            Action::Checksum => "checksum".into(),
            Action::Encap(index) => format!("encap:{}", self.peer_of_tunnel(*index)),
            Action::Route(index) => match self.snapshot.rewrites.get(usize::from(*index)) {
                Some(rewrite) => format!("route:{}", rewrite.dst()),
                None => "route".into(),
            },
        };
        let end = self.verdict_words(program.verdict());
        program.actions().iter().map(action).chain([end]).collect::<Vec<_>>().join(", ")
    }

    /// A verdict in words.
    pub fn verdict_words(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Forward(port) => format!("output:{}", self.names.port(port)),
            Verdict::Flood(network) => format!("flood:{}", self.names.network(network)),
            Verdict::Punt(reason) => format!("punt:{}", reason.word()),
            Verdict::Drop(reason) => format!("drop:{}", reason.word()),
        }
    }

    /// The other node that a tunnel leads to.
    pub fn peer_of_tunnel(&self, index: u16) -> &str {
        self.snapshot.peer_of_tunnel(index).map_or("?", |peer| self.names.peer(peer))
    }
}

impl Switch {
    /// What is in force.
    pub fn view(&self) -> View<'_> {
        View {
            config: &self.config,
            desired: &self.desired,
            snapshot: self.runtime.snapshot().clone(),
            names: self.names.current(),
        }
    }

    /// The same, with the names that numbers had under a generation.
    pub fn view_at(&self, generation: u64) -> View<'_> {
        View { names: self.names.at(generation), ..self.view() }
    }

    /// The same, with the names under which a cached flow was decided.
    pub fn view_of_flow(&self, flow: &State) -> View<'_> {
        // A flow knows the lower half of its generation.
        let past = (self.generation() as u32).wrapping_sub(flow.generation);
        self.view_at(self.generation() - u64::from(past))
    }

    /// What would be, were a configuration applied. Ports and peers keep their numbers; nothing is opened or published.
    pub fn view_of<'a>(&self, config: &'a Config, desired: &'a Desired) -> View<'a> {
        let facts = self.facts_of(desired);
        let snapshot = Arc::new(compile(desired, &facts));
        let names = Arc::new(Names::new(desired, &facts, &snapshot));
        View { config, desired, snapshot, names }
    }

    /// What would be so, were it meant. Ports that would be opened are taken to be what the configuration says.
    fn facts_of(&self, desired: &Desired) -> Facts {
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
        startable.and_then(|()| self.probe(desired, Retry::Waiting).map(drop)).err()
    }
}
