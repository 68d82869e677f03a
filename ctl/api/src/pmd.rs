//! PMD threads.

use serde::{Deserialize, Serialize};

/// List PMD threads: their queues and how busy they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PmdList {}

/// All PMD threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PmdRows {
    /// One row each.
    pub threads: Vec<PmdRow>,
}

/// A PMD thread. Figures are over the time since the last `pmd list`, at least one second; since start for the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PmdRow {
    /// The core it is pinned to.
    pub core: usize,
    /// It runs. A thread that has died leaves its queues standing still until weftd is restarted.
    pub alive: bool,
    /// Pinning worked.
    pub pinned: bool,
    /// Its queues, as PORT:QUEUE.
    pub queues: Vec<String>,
    /// Share of the time it was moving packets, percent.
    pub busy_percent: f64,
    /// Time-stamp-counter cycles of busy turns per packet.
    pub cycles_per_packet: f64,
    /// Packets per burst that had any.
    pub packets_per_burst: f64,
    /// Packets per second.
    pub packets_per_second: f64,
    /// Times it slept, per second.
    pub sleeps_per_second: f64,
    /// Flows in its table.
    pub flows: u64,
    /// Lookups answered by the table, percent.
    pub hit_percent: f64,
    /// Flows not kept because the table was full, since start.
    pub flow_table_full: u64,
    /// Where the cycles of busy turns go, in the order of the packet's path.
    pub stages: Vec<StageRow>,
}

/// What one stage of the packet's path costs. One burst in 64 is timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Its name.
    pub stage: String,
    /// Time-stamp-counter cycles per packet.
    pub cycles_per_packet: f64,
}
