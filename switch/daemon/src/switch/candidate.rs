//! A configuration that is only looked at: what PMD threads would read under it.

use std::sync::Arc;

use weft_ctl_api::{Error, spec::Config};
use weft_dataplane::{
    snapshot::Snapshot,
    stats::{PortStats, RuleStats},
};
use weft_pmd::Caps;
use weft_wire::{PortId, ThreadId};

use super::{Names, Switch, rule_facts};
use crate::{
    compile::{Facts, PortFacts, compile, flood_limits},
    desired::Desired,
    trace::Scene,
};

/// MTU of a port that is not open and says none.
const MTU: u32 = 1500;

/// What would be, were a configuration applied.
#[derive(Debug)]
pub struct Candidate {
    /// As typed.
    pub config: Config,
    /// As meant.
    pub desired: Desired,
    /// As PMD threads would see it.
    pub snapshot: Snapshot,
    /// What its numbers stand for.
    pub names: Names,
}

impl Candidate {
    /// What a packet would come into.
    pub fn scene(&self) -> Scene<'_> {
        let Self { config, desired, snapshot, names } = self;
        Scene { config, desired, snapshot, names }
    }
}

impl Switch {
    /// Checks and compiles a configuration. Nothing is opened or published: ports that are not open are taken to carry what
    /// the configuration says.
    pub fn candidate(&self, config: Config) -> Result<Candidate, Error> {
        let desired = Desired::try_from(&config)?;
        let mut facts = self.facts.clone();
        facts.flood_limits = flood_limits(&desired);
        facts.rules.clear();
        for rule in &desired.rules {
            facts.rules.insert(rule.name.clone(), rule_facts(rule, Arc::new(RuleStats::new(1))));
        }
        let wanted = |name: &String| desired.ports.iter().any(|port| port.name == *name);
        facts.ports.retain(|name, _| wanted(name));
        for port in &desired.ports {
            if !facts.ports.contains_key(&port.name)
                && let Some(id) = free_id(&facts)
            {
                let caps = Caps { mtu: port.spec.mtu.unwrap_or(MTU), csum: false, gso: false };
                let (owners, stats) = (vec![ThreadId(0)], Arc::new(PortStats::new(1, 1)));
                let mac = weft_wire::Mac::local(&port.name);
                facts.ports.insert(port.name.clone(), PortFacts { id, mac, caps, owners, stats });
            }
        }
        let snapshot = compile(&desired, &facts);
        let names = Names::new(&desired, &facts, &snapshot);
        Ok(Candidate { config, desired, snapshot, names })
    }
}

fn free_id(facts: &Facts) -> Option<PortId> {
    let is_taken = |index: u16| facts.ports.values().any(|port| port.id.index() == usize::from(index));
    (0..u16::MAX).find(|index| !is_taken(*index)).and_then(PortId::from_index)
}
