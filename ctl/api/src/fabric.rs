//! The fabric: other nodes, and how they are reached.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_wire::Mac;

use crate::spec::{FabricMode, PeerSpec};

/// Show how other nodes are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FabricShow {}

/// Add another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PeerAdd {
    /// The node.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub peer: PeerSpec,
}

/// Remove another node: its pods can't be reached any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PeerDel {
    /// The node's name.
    pub name: String,
}

/// List other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PeerList {}

/// Show all there is to know of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PeerShow {
    /// The node's name.
    pub name: String,
}

/// The fabric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FabricReply {
    /// How pod traffic crosses the underlay.
    pub mode: FabricMode,
    /// The port towards other nodes, if there is one.
    pub uplink: Option<String>,
    /// The uplink's MTU, bytes.
    pub uplink_mtu: u32,
    /// Bytes by which tunnels make a packet longer, over IPv4 and over IPv6.
    pub overhead: [u32; 2],
    /// Whether the uplink's device sends what is for pods to queues that the switch serves; none: it is not AF_XDP.
    pub queues: Option<String>,
    /// UDP port of tunnels.
    pub udp_port: Option<u16>,
    /// This node's own addresses: where tunnels to it end.
    pub addresses: Vec<IpAddr>,
    /// The MAC that frames for this node have inside of tunnels.
    pub mac: Mac,
    /// Other nodes.
    pub peers: usize,
    /// Other nodes whose next hop is known.
    pub reachable: usize,
    /// Other nodes of which it is not known yet.
    pub pending: usize,
    /// What routers in the underlay, or whoever says to be one, said of the paths to other nodes.
    #[serde(default)]
    pub path_mtu_messages: PathMtuMessages,
}

/// Messages that a path takes no packets of some length (RFC 1191, RFC 8201), by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMtuMessages {
    /// Used at once, and then asked for again.
    pub believed: u64,
    /// Answers of routers that were asked again.
    pub proven: u64,
    /// Used, or waited with, and repeated by no router.
    pub disproved: u64,
    /// Refused, by why: `malformed` (cut short, in fragments, a wrong checksum), `not_sent` (quotes a packet that is no
    /// tunnel packet of this node's), `below_minimum` (less than 576 bytes of IPv4, 1280 of IPv6), `implausible` (the
    /// quoted packet would have passed, or is longer than any that is sent), `limited` (more than are looked at in a
    /// second), `unproven` (of a path that was lied about: not used until a router repeats it).
    pub refused: BTreeMap<String, u64>,
}

/// Other nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerRows {
    /// One row each.
    pub peers: Vec<PeerRow>,
}

/// It is not known yet.
pub const PENDING: &str = "pending";

/// Another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its name.
    pub name: String,
    /// Its address in the underlay.
    pub address: IpAddr,
    /// `up`: the next hop is known; `pending`: the kernel is being asked; `unresolved`: there is none.
    pub state: String,
    /// The next hop's MAC.
    pub next_hop: Option<Mac>,
    /// Largest IP packet of a pod that reaches it whole, bytes; 0: it can't be reached.
    pub mtu: u32,
    /// Since a tunnel packet last came from it, milliseconds, to half a second; none: never, or no tunnels.
    pub heard_ms: Option<u64>,
    /// Where its BFD session stands: `up`, `init`, `down`, `admin-down`; `pending`: it has not had the time
    /// to come up; none: it is not watched.
    pub bfd: Option<String>,
    /// Since when, milliseconds; none: from the beginning.
    pub bfd_since_ms: Option<u64>,
    /// Packets wrapped up for it.
    pub tx_packets: u64,
    /// Their bytes, before that.
    pub tx_bytes: u64,
    /// Packets that came from it in tunnels.
    pub rx_packets: u64,
    /// Their bytes, unwrapped.
    pub rx_bytes: u64,
}

/// All there is to know of another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerDetails {
    /// In short.
    pub peer: PeerRow,
    /// The MAC that frames for it have inside of tunnels.
    pub mac: Mac,
    /// Its other addresses.
    pub addresses: Vec<IpAddr>,
    /// Its pods' prefixes.
    pub prefixes: Vec<IpNet>,
    /// What a router on the way said of the largest packet, bytes.
    pub path_mtu: Option<u32>,
    /// Who said so, since when, and how sure it is.
    #[serde(default)]
    pub path_mtu_source: Option<PathMtuSource>,
}

/// Where a path's MTU is known from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMtuSource {
    /// The router's address, as the message has it.
    pub router: IpAddr,
    /// Since when, milliseconds.
    pub since_ms: u64,
    /// `proven`: the router said so again when it was asked with a packet that only who is on the way can quote;
    /// `claimed`: it is being asked, and the claim is forgotten after 45 s without an answer.
    pub state: String,
}
