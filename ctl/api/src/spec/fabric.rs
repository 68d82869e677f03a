//! How other nodes are reached, as typed.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_wire::Mac;

use super::FabricMode;

/// How other nodes are reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FabricSpec {
    /// How pod traffic crosses the underlay.
    pub mode: FabricMode,
    /// UDP port of tunnels; unless given, the one assigned to VXLAN (4789) or Geneve (6081).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_port: Option<u16>,
    /// DSCP of tunnels' outer headers, 0 to 63; unless given, the inner packet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// Copies per second that a bridged network may flood to other nodes.
    #[serde(default = "flood_rate", skip_serializing_if = "is_flood_rate")]
    pub flood_rate: u64,
    /// Watch other nodes by BFD; unless given, they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdSpec>,
    /// Other nodes. There may be thousands: a configuration shares with the one before those that stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<Arc<PeerSpec>>,
}

/// How other nodes are watched: by Bidirectional Forwarding Detection (RFC 5880 and 5883, UDP port 4784).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BfdSpec {
    /// Packets are sent to each other node, and expected of it, this often, milliseconds.
    #[serde(default = "bfd_interval")]
    pub interval_ms: u64,
    /// This many may be lost before it is taken for gone.
    #[serde(default = "bfd_multiplier")]
    pub multiplier: u8,
}

const fn bfd_interval() -> u64 {
    300
}

const fn bfd_multiplier() -> u8 {
    3
}

const fn flood_rate() -> u64 {
    10_000
}

fn is_flood_rate(rate: &u64) -> bool {
    *rate == flood_rate()
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PeerSpec {
    /// Its name.
    pub name: String,
    /// Its address in the underlay: where tunnels to it end.
    #[cfg_attr(feature = "clap", arg(long))]
    pub address: IpAddr,
    /// Its other addresses, from which its own processes may speak to pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "node-address"))]
    pub addresses: Vec<IpAddr>,
    /// Its pods' prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "prefix"))]
    pub prefixes: Vec<IpNet>,
    /// The MAC that frames for it have inside of tunnels: its gateway MAC; made from its name unless given, as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub mac: Option<Mac>,
}
