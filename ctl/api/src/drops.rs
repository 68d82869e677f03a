//! Where packets were lost, and why.

use serde::{Deserialize, Serialize};

/// Show drops by port and reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Drops {
    /// Of this port only.
    pub port: Option<String>,
}

/// Drops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRows {
    /// One row per port and reason that has any.
    pub drops: Vec<DropRow>,
}

/// Drops at one port for one reason, since the port was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The port.
    pub port: String,
    /// The reason's word.
    pub reason: String,
    /// Frames.
    pub packets: u64,
    /// What the reason means.
    pub meaning: String,
}
