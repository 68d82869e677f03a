//! The cases' rules in OpenFlow.

use std::net::Ipv4Addr;

use weft_dataplane::rules::{Match, Prefix};
use weft_wire::ip::proto;

use super::{
    Kind,
    capture::{DST, DST_ADDRESS},
};
use crate::ruleset;

/// One flow a line. Port 1 is the source, port 2 the sink.
pub fn flows(kind: Kind, rules: usize) -> String {
    // A router's work, as weft does it: MACs and TTL.
    let route = format!(
        "priority=1,ip,nw_dst={DST_ADDRESS},actions=set_field:02:00:00:00:00:01->eth_src,\
         set_field:{DST}->eth_dst,dec_ttl,output:2\n"
    );
    match kind {
        Kind::Wire => "in_port=1,actions=output:2\n".into(),
        Kind::L2 => "actions=NORMAL\n".into(),
        Kind::L3 => route,
        Kind::Rules => {
            let rules = ruleset::rules(rules);
            let drops = rules.iter().flat_map(|rule| lines(&rule.matching));
            drops.chain([route]).collect()
        }
    }
}

/// OpenFlow knows no ranges of ports: one line for each pair of masks that make them up.
fn lines(matching: &Match) -> Vec<String> {
    let mut head = String::from("priority=100,");
    head += if matching.protocol == Some(proto::TCP) { "tcp" } else { "udp" };
    for (field, prefix) in [("nw_src", &matching.src), ("nw_dst", &matching.dst)] {
        if let Some(prefix) = prefix {
            head += &format!(",{field}={}", v4(prefix));
        }
    }
    let masks = |field: &str, range: Option<(u16, u16)>| match range {
        None => vec![String::new()],
        Some(range) => {
            masks(range).iter().map(|(port, mask)| format!(",{field}={port:#x}/{mask:#x}")).collect()
        }
    };
    let sources = masks("tp_src", matching.src_port);
    let destinations = masks("tp_dst", matching.dst_port);
    let line = |source: &String, destination: &String| format!("{head}{source}{destination},actions=drop\n");
    let of_source = |source: &String| destinations.iter().map(|to| line(source, to)).collect::<Vec<_>>();
    sources.iter().flat_map(of_source).collect()
}

fn v4(prefix: &Prefix) -> String {
    let [.., a, b, c, d] = prefix.address();
    format!("{}/{}", Ipv4Addr::new(a, b, c, d), prefix.prefix_len().saturating_sub(96))
}

/// The fewest values with masks that together match a range.
fn masks((first, last): (u16, u16)) -> Vec<(u16, u16)> {
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    let mut masks = Vec::new();
    while at < end {
        let aligned = if at == 0 { 1 << 16 } else { at & at.wrapping_neg() };
        let fitting = 1 << (end - at).ilog2();
        let size = aligned.min(fitting);
        masks.push((at as u16, (0x1_0000 - size) as u16));
        at += size;
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_match_the_range_and_nothing_else() {
        for range in [(0, 65_535), (1024, 65_535), (80, 80), (1, 6), (0, 0), (65_535, 65_535), (1000, 1999)] {
            let masks = masks(range);
            for port in 0..=u16::MAX {
                let matching = masks.iter().filter(|(value, mask)| port & mask == *value).count();
                assert_eq!(matching, usize::from((range.0..=range.1).contains(&port)), "{port} in {range:?}");
            }
        }
    }

    #[test]
    fn every_rule_has_a_line() {
        let text = flows(Kind::Rules, 100);
        assert!(text.lines().count() > 100);
        assert!(text.lines().all(|line| line.starts_with("priority=1")));
        assert!(text.contains("/0xfc00") && text.contains("nw_src=10."));
    }
}
