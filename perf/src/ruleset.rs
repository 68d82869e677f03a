//! Rule sets of many mask shapes, as access lists have them: none matches the benchmark's traffic, many nearly do.

use std::{net::Ipv4Addr, sync::Arc};

use weft_dataplane::{
    program::Verdict,
    reason::DropReason,
    rules::{Match, Prefix, Rule},
    stats::RuleStats,
};
use weft_wire::ip::{self, proto};

/// SplitMix64 (Steele et al. 2014): the same rules on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// One rule in three looks at no source, one in five at no destination; lengths from /8 to /32. Half of the addresses
    /// are near the traffic's (10.1 → 10.2).
    fn prefix(&mut self, wild: u64, near: u8) -> Option<Prefix> {
        if self.below(wild) == 0 {
            return None;
        }
        let mut octets = (self.below(1 << 32) as u32).to_be_bytes();
        octets[0] = 10;
        if self.below(2) == 0 {
            octets[1] = near;
        }
        let len = 8 + self.below(25) as u8;
        Some(Prefix::new(ip::mapped(Ipv4Addr::from(octets).into()), 96 + len))
    }

    fn ports(&mut self) -> Option<(u16, u16)> {
        let port = self.below(65_536) as u16;
        match self.below(4) {
            0 => None,
            1 => Some((1024, u16::MAX)),
            2 => Some((port, port.saturating_add(self.below(1000) as u16))),
            _ => Some((port, port)),
        }
    }
}

/// `n` rules in order, all of which drop.
pub fn rules(n: usize) -> Vec<Rule> {
    let mut random = Random(1);
    let rule = |_| {
        // TCP, or UDP to ports that the traffic, which goes to port 9, does not use.
        let is_tcp = random.below(3) > 0;
        let dst_port = random.ports().filter(|(first, _)| *first > 9);
        let matching = Match {
            src: random.prefix(3, 1),
            dst: random.prefix(5, 2),
            src_port: random.ports().filter(|_| is_tcp),
            dst_port: if is_tcp { dst_port } else { dst_port.or(Some((53, 53))) },
            protocol: Some(if is_tcp { proto::TCP } else { proto::UDP }),
            ..Match::default()
        };
        let stats = Arc::new(RuleStats::new(1));
        Rule { priority: 1, matching, steps: Vec::new(), end: Some(Verdict::Drop(DropReason::Rule)), stats }
    };
    (0..n).map(rule).collect()
}
