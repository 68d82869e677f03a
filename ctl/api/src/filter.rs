//! Packet filters: classic BPF, as libpcap compiles it from tcpdump's words (pcap-filter(7)). The tool compiles, weftd checks
//! and runs.

use serde::{Deserialize, Serialize};

/// A packet filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// As it was typed, for people.
    pub text: String,
    /// Compiled for Ethernet frames.
    pub program: Vec<Instruction>,
}

/// One instruction: operation, where to go on if true and if false, operand (`struct bpf_insn` of pcap/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction(pub u16, pub u8, pub u8, pub u32);
