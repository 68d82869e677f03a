//! Flow rules (what operators say), and the flow cache (what each core has made of it).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::spec::FlowSpec;

/// Add a flow rule, ahead of all else by priority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FlowAdd {
    /// The rule.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub flow: FlowSpec,
}

/// Remove a flow rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FlowDel {
    /// The rule's name.
    pub name: String,
}

/// List flow rules and their hits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FlowList {}

/// All flow rules, in the order they are looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRows {
    /// One row each.
    pub flows: Vec<FlowRow>,
}

/// A flow rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRow {
    /// As configured.
    pub spec: FlowSpec,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Show what each core has cached: flows, what is done with them, hits, idle time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FlowCache {
    /// That came in by this port only.
    #[cfg_attr(feature = "clap", arg(long))]
    pub port: Option<String>,
    /// From or to this address only.
    #[cfg_attr(feature = "clap", arg(long))]
    pub address: Option<IpAddr>,
    /// Of this protocol only: tcp, udp, icmp, icmpv6, sctp or a number.
    #[cfg_attr(feature = "clap", arg(long))]
    pub protocol: Option<crate::spec::Protocol>,
    /// From or to this TCP, UDP or SCTP port only.
    #[cfg_attr(feature = "clap", arg(long))]
    pub l4_port: Option<u16>,
    /// On this core only.
    #[cfg_attr(feature = "clap", arg(long))]
    pub core: Option<usize>,
    /// At most so many.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1000))]
    pub limit: usize,
}

impl Default for FlowCache {
    fn default() -> Self {
        Self { port: None, address: None, protocol: None, l4_port: None, core: None, limit: 1000 }
    }
}

/// Cached flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedFlows {
    /// One row each.
    pub flows: Vec<CachedFlow>,
    /// Flows in all tables, whether shown or not.
    pub total: u64,
    /// There are more that the filter would have let through.
    pub truncated: bool,
}

/// A cached flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedFlow {
    /// The core whose table it is in.
    pub core: usize,
    /// The port it came in by.
    pub port: String,
    /// What it is, in words: protocol, addresses, ports; or MACs.
    pub flow: String,
    /// What is done with it.
    pub actions: String,
    /// Packets so far.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since its last packet, milliseconds.
    pub idle_ms: u64,
    /// Decided under an older configuration: decided again with its next packet.
    pub stale: bool,
}

/// Show the flows that carry most, from the flow caches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct FlowTop {
    /// At most so many.
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 20))]
    pub limit: usize,
}

impl Default for FlowTop {
    fn default() -> Self {
        Self { limit: 20 }
    }
}

/// The biggest flows: of the time since the last such request, at least half a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopFlows {
    /// That time, seconds. Zero: it is the first request; packets and bytes are those of the flows' whole lives.
    pub seconds: f64,
    /// By bytes, the most first.
    pub flows: Vec<TopFlow>,
    /// Flows in all tables.
    pub total: u64,
    /// All of them were looked at. Else there was no time to: the tables are large.
    pub complete: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopFlow {
    /// Packets in that time.
    pub packets_since: u64,
    /// Their bytes.
    pub bytes_since: u64,
    /// The flow.
    #[serde(flatten)]
    pub flow: CachedFlow,
}
