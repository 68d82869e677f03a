//! Where packets were lost, and why.

use serde::{Deserialize, Serialize};

/// Show drops by port, endpoint and reason; or the packets that were dropped last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Drops {
    /// Of this port only: those that came in by it, and those that were to leave by it.
    pub port: Option<String>,
    /// Of this endpoint only: its own packets, and those that were to reach it.
    #[cfg_attr(feature = "clap", arg(long, value_name = "ENDPOINT"))]
    pub endpoint: Option<String>,
    /// Show so many of the packets that were dropped last (20 if no number is given) instead of counters.
    #[cfg_attr(feature = "clap", arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..)))]
    pub last: Option<usize>,
}

/// Drops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRows {
    /// When they were read, milliseconds since weftd started.
    pub at_ms: u64,
    /// One row per port, endpoint and reason that has any.
    pub drops: Vec<DropRow>,
    /// The packets that were dropped last, oldest first, if they were asked for.
    pub last: Vec<DroppedPacket>,
    /// Packets that were counted and not remembered: of each reason a thread remembers 64 in a row, then 250 a second.
    pub not_remembered: u64,
}

/// Drops at one port, of one endpoint's packets, for one reason, since weftd started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The port; none: what is no single port's.
    pub port: Option<String>,
    /// The endpoint that sent them (reasons of the ingress side), or that they were for (of the egress side), where known.
    pub endpoint: Option<String>,
    /// The reason's word.
    pub reason: String,
    /// Frames.
    pub packets: u64,
    /// What the reason means.
    pub meaning: String,
    /// The port is not there any more.
    pub removed: bool,
}

/// A packet that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedPacket {
    /// The core whose PMD thread dropped it.
    pub core: usize,
    /// Its number among those that this thread has remembered.
    pub number: u64,
    /// When, milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// The reason's word.
    pub reason: String,
    /// What the reason means.
    pub meaning: String,
    /// What decided it: `rule:NAME`, or a stage or table.
    pub decided_by: String,
    /// The configuration's generation then.
    pub generation: u64,
    /// The port it came in by, or `peer:NAME`; none: another PMD thread handed it over.
    pub ingress: Option<String>,
    /// The port it was to leave by, where that was decided.
    pub egress: Option<String>,
    /// The endpoint that its source address is now.
    pub source: Option<String>,
    /// The endpoint that its destination address is now.
    pub destination: Option<String>,
    /// Its length, bytes.
    pub len: u32,
    /// What it was, in the words that `weftctl trace` takes.
    pub packet: String,
    /// Its first bytes, 128 at most, hexadecimal.
    pub hex: String,
}
