//! Ports.

use serde::{Deserialize, Serialize};
use weft_wire::Mac;

use crate::{
    spec::{PortKind, PortSpec, RoleSpec},
    stats::QueueStats,
};

/// Add a port while traffic flows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PortAdd {
    /// The port.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub port: PortSpec,
}

/// Remove a port; its endpoints, and rules that name it, must be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PortDel {
    /// The port's name.
    pub name: String,
    /// Remove its endpoints, and rules that name it, too.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub force: bool,
}

/// List ports: what they are, and the mode each achieved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PortList {}

/// Show everything about one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PortShow {
    /// The port's name.
    pub name: String,
}

/// All ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRows {
    /// One row each.
    pub ports: Vec<PortRow>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: PortKind,
    /// What it is for.
    pub role: RoleSpec,
    /// Its device, and the device's namespace.
    pub device: Option<String>,
    /// The device's namespace.
    pub netns: Option<String>,
    /// `up`; `degraded`: it is open, but not all it should be; `waiting`: it can't be opened yet, or its device is gone. Both of
    /// these are tried again by themselves.
    pub state: String,
    /// The device's MAC.
    pub mac: Option<Mac>,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// The core of each queue's PMD thread, in queue order.
    pub cores: Vec<usize>,
    /// The mode achieved.
    pub mode: String,
    /// Why the port is degraded or waits; then why not a better mode.
    pub why: String,
}

/// A port is as it should be.
pub const UP: &str = "up";
/// A port is open, but not all it should be.
pub const DEGRADED: &str = "degraded";
/// A port can't be opened yet.
pub const WAITING: &str = "waiting";

impl PortRow {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.state != WAITING
    }
}

/// Everything about a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortDetails {
    /// Its row.
    pub port: PortRow,
    /// As configured.
    pub spec: PortSpec,
    /// Takes partial checksums.
    pub takes_partial_checksums: bool,
    /// Takes 64 KiB super-frames.
    pub takes_super_frames: bool,
    /// Endpoints behind it.
    pub endpoints: Vec<String>,
    /// Its queues' counters.
    pub queues: Vec<QueueStats>,
    /// Frames received here that were forwarded.
    pub forwarded: u64,
    /// Frames received here that were flooded.
    pub flooded: u64,
    /// Frames received here that went to the slow path.
    pub punted: u64,
    /// Frames dropped here.
    pub dropped: u64,
}
