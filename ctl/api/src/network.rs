//! Networks.

use serde::{Deserialize, Serialize};
use weft_wire::Mac;

use crate::spec::NetworkSpec;

/// Add a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct NetworkAdd {
    /// The network.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub network: NetworkSpec,
}

/// Remove a network; its endpoints, its ports, and rules that name it, must be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct NetworkDel {
    /// The network's name.
    pub name: String,
}

/// List networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct NetworkList {}

/// All networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRows {
    /// One row each.
    pub networks: Vec<NetworkRow>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRow {
    /// As configured.
    pub spec: NetworkSpec,
    /// The MAC the switch answers with.
    pub gateway_mac: Mac,
    /// Its endpoints.
    pub endpoints: usize,
    /// Ports that are members of it.
    pub ports: usize,
    /// Addresses it has learnt (bridged).
    #[serde(default)]
    pub learnt: usize,
    /// Times an address was not learnt because the network holds as many as it may (bridged).
    #[serde(default)]
    pub refused: u64,
}
