//! The switch as a whole.

use serde::{Deserialize, Serialize};

/// Show the switch's state at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Status {}

/// The switch's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// weftd's version.
    pub version: String,
    /// weftd's process id.
    pub pid: u32,
    /// The node's name.
    pub node: String,
    /// Since start, seconds.
    pub uptime_s: u64,
    /// The configuration's generation.
    pub generation: u64,
    /// Seconds after which the configuration in force is taken back unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
    /// PMD threads.
    pub threads: usize,
    /// Of these, threads that have died: their queues stand still until weftd is restarted.
    pub threads_dead: usize,
    /// Ports in the configuration.
    pub ports: usize,
    /// Of these, ports whose device is gone.
    pub ports_removed: usize,
    /// Networks.
    pub networks: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Flow rules.
    pub rules: usize,
    /// Flows in all cores' tables.
    pub flows: u64,
    /// Packets dropped since weftd started, whatever the reason.
    pub dropped: u64,
    /// Times an address was seen in a bridged network and not passed on to be learnt: over its port's share, or for want of room. It
    /// is learnt when seen again.
    pub learn_lost: u64,
    /// Frame memory, bytes.
    pub memory_bytes: u64,
    /// Chunks that nothing holds, percent.
    pub memory_free_percent: u8,
    /// Frame memory is on hugepages.
    pub hugepages: bool,
    /// Captures that run.
    pub captures: usize,
}
