//! A configuration that is only looked at: what PMD threads would read under it.

use weft_ctl_api::{Error, spec::Config};
use weft_dataplane::snapshot::Snapshot;

use super::{Names, Switch};
use crate::{compile::compile, desired::Desired, trace::Scene};

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
    /// Checks and compiles a configuration. Nothing is opened or published.
    pub fn candidate(&self, config: Config) -> Result<Candidate, Error> {
        let desired = Desired::try_from(&config)?;
        let facts = self.facts_of(&desired);
        let snapshot = compile(&desired, &facts);
        let names = Names::new(&desired, &facts, &snapshot);
        Ok(Candidate { config, desired, snapshot, names })
    }
}
