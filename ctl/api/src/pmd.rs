//! PMD threads.

use serde::{Deserialize, Serialize};

/// List PMD threads: their queues and how busy they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PmdList {}

/// Move a queue to another PMD thread while traffic flows; it stays there until its port is opened again. A port's `cores` say
/// where its queues may be for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PmdSet {
    /// The queue, as PORT:QUEUE (see `pmd list`).
    pub queue: String,
    /// The core whose PMD thread is to poll it.
    #[cfg_attr(feature = "clap", arg(long))]
    pub core: usize,
}

/// Move queues between PMD threads by the load of the last seconds, so that they are as busy as each other.
///
/// Nothing is moved unless it relieves a thread by 5 % of its time for certain, however far the load as measured may be off,
/// and all moves together lower the variance of the threads' load by a quarter: what was moved is not moved back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args), group(required = true, multiple = false))]
pub struct PmdRebalance {
    /// Only say what would be moved.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub plan: bool,
    /// Move.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub apply: bool,
}

/// Where queues are, and where they go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RebalanceReply {
    /// What was done, in a sentence.
    pub summary: String,
    /// Load was measured over so many seconds.
    pub seconds: f64,
    /// One row for each queue.
    pub queues: Vec<QueueMove>,
    /// One row for each thread.
    pub threads: Vec<ThreadLoad>,
    /// It was done.
    pub applied: bool,
}

/// A queue, before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueMove {
    /// As PORT:QUEUE.
    pub queue: String,
    /// The core it was polled on.
    pub before: usize,
    /// The core it is polled on afterwards.
    pub after: usize,
    /// Its share of a thread's time, percent: of what its thread was busy, as the packets it received and sent are of
    /// the thread's.
    pub percent: f64,
    /// How far that may be off, either way, percent.
    pub noise: f64,
    /// `pmd set` has put it there: it is left alone.
    pub pinned: bool,
}

/// A thread, before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadLoad {
    /// Its core.
    pub core: usize,
    /// Share of its time it was moving packets, percent.
    pub before: f64,
    /// The same, as it should be afterwards.
    pub after: f64,
}

/// All PMD threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PmdRows {
    /// One row each.
    pub threads: Vec<PmdRow>,
}

/// A PMD thread. Figures are over the last ten seconds, or since weftd started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PmdRow {
    /// The core it is pinned to.
    pub core: usize,
    /// It runs. A thread that has died leaves its queues standing still until weftd is restarted.
    pub alive: bool,
    /// Pinning worked; none: it is not known yet.
    pub pinned: Option<bool>,
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
