//! What becomes of a packet, and why: of one that is only asked about, or of the next ones that come.

use serde::{Deserialize, Serialize};

use crate::{filter::Filter, packet::PacketSpec};

/// Ask what would become of a packet: nothing is sent, counted or learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The endpoint or port it comes from, or `peer:NAME`, another node.
    pub from: String,
    /// The packet. Another node's comes in as that one sends it: through its tunnel, if it has one.
    pub packet: TracePacket,
    /// The network that another node sends it in; unless given, its destination's.
    #[serde(default)]
    pub network: Option<String>,
    /// A configuration, as TOML, to put the same packet through.
    #[serde(default)]
    pub against: Option<String>,
}

/// Trace the next packets that come, on their PMD threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceLive {
    /// Of this endpoint, port or other node (`peer:NAME`) only; of an endpoint: what comes by its port.
    #[serde(default)]
    pub from: Option<String>,
    /// That match; none: any.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// So many, 1000 at most.
    pub count: usize,
    /// For so long at most, seconds, 300 at most.
    pub seconds: u64,
}

/// A trace that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStarted {
    /// Its number. Who does not ask for what it has seen for ten seconds has lost it.
    pub id: u64,
}

/// Ask what a trace has seen since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceNext {
    /// Its number.
    pub id: u64,
}

/// What a trace has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSeen {
    /// The packets.
    pub packets: Vec<TracedPacket>,
    /// It has ended: there is no more to come.
    pub ended: bool,
}

/// A packet to ask about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TracePacket {
    /// In words.
    Words(PacketSpec),
    /// As hexadecimal bytes, from the Ethernet header on.
    Hex(String),
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReply {
    /// Under the configuration in force.
    pub now: TracedPacket,
    /// Under the other one, if there is one to compare with.
    pub against: Option<TracedPacket>,
    /// What the other one changes; nothing: it does the same.
    pub differences: Vec<Change>,
}

/// A packet's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPacket {
    /// When, milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// The core whose PMD thread had it; none: it is a packet that was only asked about.
    pub core: Option<usize>,
    /// The configuration's generation.
    pub generation: u64,
    /// The port it came by, or `peer:NAME` for what came through a tunnel.
    pub from: String,
    /// The endpoint that its source address is.
    pub source: Option<String>,
    /// The endpoint that its destination address is.
    pub destination: Option<String>,
    /// What it was, in words.
    pub packet: String,
    /// Its bytes as it came, hexadecimal.
    pub hex: String,
    /// What each stage did, in order.
    pub steps: Vec<TraceStep>,
    /// What the flow tables of its port's threads know of its flow.
    pub cached: Vec<TraceCached>,
    /// What becomes of it: `output:PORT`, `flood:NETWORK`, `punt:REASON` or `drop:REASON`.
    pub verdict: String,
    /// What the reason means, of a drop or a punt.
    pub meaning: Option<String>,
    /// What decided a drop: `rule:NAME`, or a stage or table.
    pub decided_by: Option<String>,
    /// What leaves, by which port. Of a packet that really came: as it was when it was decided.
    pub outputs: Vec<TraceOutput>,
    /// What the slow path answers, of a packet that was only asked about.
    pub answers: Vec<TraceOutput>,
    /// Drops on the way out: `PORT: REASON`, of a packet that was only asked about.
    pub drops: Vec<String>,
}

/// What a stage did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// The stage: receive, decap, parse, classify, resolve, act or egress.
    pub stage: String,
    /// The table, rule or action; empty: the stage itself.
    pub table: String,
    /// What it said or did.
    pub text: String,
}

/// A flow that a PMD thread has cached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCached {
    /// The core.
    pub core: usize,
    /// What is done with its packets.
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

/// A frame as it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceOutput {
    /// The port.
    pub port: String,
    /// What it is, in words.
    pub packet: String,
    /// What is left to do to it, for the port: a checksum, or cutting it into segments.
    pub offload: Option<String>,
    /// Fields that differ from what came in.
    pub changes: Vec<Change>,
    /// Its bytes, hexadecimal.
    pub hex: String,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What.
    pub what: String,
    /// How it was.
    pub before: String,
    /// How it is.
    pub after: String,
}
