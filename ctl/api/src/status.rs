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
    /// Of these, ports that can't be opened yet, or whose device is gone.
    pub ports_waiting: usize,
    /// Of these, ports that are open, but not all they should be.
    pub ports_degraded: usize,
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
    /// Chunks that nothing holds, percent, whatever their size.
    pub memory_free_percent: u8,
    /// The chunks that frame memory is divided into, by size.
    #[serde(default)]
    pub chunks: Vec<ChunkRow>,
    /// Frame memory is on hugepages.
    pub hugepages: bool,
    /// Captures that run.
    pub captures: usize,
    /// What is wrong with what weftd keeps over restarts, and what to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Chunks of one size. A frame takes one, a large one where it is longer than a small one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// "small" or "large".
    pub size: String,
    /// Bytes of a chunk.
    pub bytes: usize,
    /// How many there are.
    pub total: usize,
    /// Of these, those that no thread, ring or frame holds.
    pub free: usize,
}

impl ChunkRow {
    /// Those that nothing holds, percent.
    pub fn free_percent(&self) -> usize {
        self.free * 100 / self.total.max(1)
    }
}
