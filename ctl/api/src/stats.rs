//! Counters of ports and queues.

use serde::{Deserialize, Serialize};

/// Show counters per port and queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Stats {
    /// Of this port only.
    pub port: Option<String>,
}

/// Counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsReply {
    /// When they were read, milliseconds since weftd started.
    pub at_ms: u64,
    /// One row per queue.
    pub queues: Vec<QueueStats>,
}

/// One queue's counters, since the port was opened. A super-frame is one frame: what it comes to on the wire, rates and limits count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// The port.
    pub port: String,
    /// The queue.
    pub queue: u16,
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames lost before the switch saw them, for want of room or memory (counted every half second).
    pub rx_lost: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}
