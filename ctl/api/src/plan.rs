//! What differs between two configurations, and what going from one to the other does.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// What becomes of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// It stays, and looks different.
    Changed,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What it is: node, pmd, roles, network, port, endpoint, fabric, peer or flow.
    pub noun: String,
    /// Its name; empty: there is one.
    pub name: String,
    /// What becomes of it.
    pub what: ChangeKind,
    /// Its fields that differ; of what comes or goes, all.
    pub fields: Vec<FieldChange>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// What it was; none: its default.
    pub old: Option<Value>,
    /// What it will be; none: its default.
    pub new: Option<Value>,
}

/// What a change does to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Somebody loses packets, connections or addresses.
    pub disruptive: bool,
    /// To whom: a pod's endpoint, a port, a peer.
    pub subject: String,
    /// What.
    pub text: String,
}

/// What becomes of cached flows. All are resolved again on their next packet, whatever changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowImpact {
    /// Flows in all threads' tables.
    pub cached: u64,
    /// Of these, flows that were resolved against the candidate to tell.
    pub checked: u64,
    /// Of these, flows whose packets would go elsewhere, or be dropped, or no longer be.
    pub changed: u64,
    /// Some of them.
    pub examples: Vec<FlowChange>,
}

/// A cached flow that would go another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowChange {
    /// The port it comes in by, or the peer.
    pub port: String,
    /// Its addresses and ports.
    pub flow: String,
    /// What is done with it.
    pub old: String,
    /// What would be.
    pub new: String,
}

/// What a configuration would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReply {
    /// What is planned: a file, or a generation.
    pub candidate: String,
    /// What differs from what is in force.
    pub changes: Vec<Change>,
    /// What that does, and to whom.
    pub effects: Vec<Effect>,
    /// What becomes of cached flows.
    pub flows: FlowImpact,
    /// Why it would be refused now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Error>,
}

/// How the configuration in force differs from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiffReply {
    /// The file.
    pub file: PathBuf,
    /// What differs: old is the file's, new is what is in force.
    pub changes: Vec<Change>,
}
