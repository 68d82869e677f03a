//! Learnt addresses of bridged networks.

use serde::{Deserialize, Serialize};
use weft_wire::{Mac, VlanId};

/// List learnt and static addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FdbList {
    /// Of this network only.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub network: Option<String>,
}

/// Forget learnt addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FdbFlush {
    /// Of this network only.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub network: Option<String>,
    /// Behind this port only.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub port: Option<String>,
}

/// Addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbRows {
    /// One row each.
    pub stations: Vec<FdbRow>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbRow {
    /// Its network.
    pub network: String,
    /// The address.
    pub mac: Mac,
    /// The port it is behind; `peer:` and a name: on that node.
    pub port: String,
    /// The tag it has there.
    pub vlan: Option<VlanId>,
    /// Since it was last seen, seconds; none: an endpoint's, which does not age.
    pub idle_s: Option<u64>,
    /// Times it was seen at another port than before.
    pub moves: u64,
}
