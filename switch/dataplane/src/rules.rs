//! Operators' flow rules: match → steps, by priority, ahead of all else.

mod tree;

use std::sync::Arc;

use hashbrown::HashSet;
use weft_wire::{Mac, NetworkId, PortId, VlanId, ethertype, ip::proto};

use crate::{key::FlowKey, police::Policer, program::Verdict, stats::RuleStats};

/// What a rule looks at; `None` and empty prefixes match everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Where the frame came in.
    pub port: Option<PortId>,
    /// The network that is so far known to be the frame's.
    pub network: Option<NetworkId>,
    /// Outer VLAN id; `Some(0)`: untagged.
    pub vlan: Option<u16>,
    /// Source MAC.
    pub src_mac: Option<Mac>,
    /// Destination MAC.
    pub dst_mac: Option<Mac>,
    /// EtherType behind the outer tag.
    pub ethertype: Option<u16>,
    /// Source address.
    pub src: Option<Prefix>,
    /// Destination address.
    pub dst: Option<Prefix>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Source port, first and last.
    pub src_port: Option<(u16, u16)>,
    /// Destination port, first and last.
    pub dst_port: Option<(u16, u16)>,
    /// TCP flags: the bits looked at, and their values.
    pub tcp_flags: Option<(u8, u8)>,
}

/// A prefix in the 128-bit space that flow keys use (IPv4 as `::ffff:0:0/96`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bits: u128,
    mask: u128,
}

impl Prefix {
    /// From a mapped address and a prefix length of 0 to 128 (IPv4: its own length plus 96).
    pub fn new(address: [u8; 16], len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
        Self { bits: u128::from_be_bytes(address) & mask, mask }
    }

    /// Its first address, mapped.
    pub fn address(&self) -> [u8; 16] {
        self.bits.to_be_bytes()
    }

    /// Its length, 0 to 128.
    pub fn prefix_len(&self) -> u8 {
        self.mask.count_ones() as u8
    }

    /// First and last address.
    fn range(&self) -> (u128, u128) {
        (self.bits, self.bits | !self.mask)
    }

    fn contains(&self, address: [u8; 16]) -> bool {
        u128::from_be_bytes(address) & self.mask == self.bits
    }
}

fn same<T: PartialEq>(wanted: &Option<T>, value: T) -> bool {
    wanted.as_ref().is_none_or(|wanted| *wanted == value)
}

fn within(range: Option<(u16, u16)>, port: u16) -> bool {
    range.is_none_or(|(first, last)| (first..=last).contains(&port))
}

impl Match {
    /// Whether the rule is about this packet.
    pub fn matches(&self, key: &FlowKey, network: Option<NetworkId>) -> bool {
        let is_ip = matches!(key.ethertype, ethertype::IPV4 | ethertype::IPV6);
        same(&self.port.map(Some), key.ingress())
            && same(&self.network.map(Some), network)
            && same(&self.vlan, key.vlan().unwrap_or(0))
            && same(&self.src_mac, key.src_mac)
            && same(&self.dst_mac, key.dst_mac)
            && same(&self.ethertype, key.ethertype)
            && self.src.is_none_or(|prefix| is_ip && prefix.contains(key.src()))
            && self.dst.is_none_or(|prefix| is_ip && prefix.contains(key.dst()))
            && self.protocol.is_none_or(|protocol| is_ip && protocol == key.protocol)
            && self.ports_match(key, is_ip)
            && self.tcp_flags.is_none_or(|(mask, value)| {
                is_ip && key.protocol == proto::TCP && has_ports(key) && key.tcp_flags & mask == value
            })
    }

    /// It asks for something that Ethernet does not tell.
    fn looks_inside(&self) -> bool {
        self.src.is_some()
            || self.dst.is_some()
            || self.protocol.is_some()
            || self.src_port.is_some()
            || self.dst_port.is_some()
            || self.tcp_flags.is_some()
    }

    fn ports_match(&self, key: &FlowKey, is_ip: bool) -> bool {
        if self.src_port.is_none() && self.dst_port.is_none() {
            return true;
        }
        is_ip
            && has_ports(key)
            && within(self.src_port, key.src_port())
            && within(self.dst_port, key.dst_port())
    }
}

/// A first or only fragment of a protocol that has ports.
fn has_ports(key: &FlowKey) -> bool {
    key.tag & FlowKey::LATER_FRAGMENT == 0 && matches!(key.protocol, proto::TCP | proto::UDP | proto::SCTP)
}

/// A field that a rule sets, and its new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetField {
    /// Source MAC.
    SrcMac(Mac),
    /// Destination MAC.
    DstMac(Mac),
    /// Source address; packets of the other family are left alone.
    SrcIp(std::net::IpAddr),
    /// Destination address; packets of the other family are left alone.
    DstIp(std::net::IpAddr),
    /// Source port of TCP and UDP.
    SrcPort(u16),
    /// Destination port of TCP and UDP.
    DstPort(u16),
    /// DSCP (6 bits; RFC 2474), ECN is kept.
    Dscp(u8),
    /// TTL or hop limit.
    Ttl(u8),
}

/// One step of a rule.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sets a header field; checksums follow.
    Set(SetField),
    /// Puts a VLAN tag on.
    PushVlan(VlanId),
    /// Takes the outer VLAN tag off, if there is one.
    PopVlan,
    /// Sends a copy of the packet as it is now to another port.
    Mirror(PortId),
    /// Drops what is over a rate.
    Police(Arc<Policer>),
}

/// An operator's rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Higher goes first; among equals, the order of the configuration.
    pub priority: u16,
    /// What it is about.
    pub matching: Match,
    /// What it does on the way.
    pub steps: Vec<Step>,
    /// Where the packet goes; `None`: on to the next rule that matches, then the ordinary way.
    pub end: Option<Verdict>,
    /// Its hits.
    pub stats: Arc<RuleStats>,
}

/// All rules, highest priority first.
#[derive(Debug, Default)]
pub struct RuleTable {
    rules: Vec<Rule>,
    tree: tree::Tree,
    tcp_flags: bool,
    /// Ports and networks (none: any) of the rules that look further than Ethernet.
    inside: HashSet<(Option<PortId>, Option<NetworkId>)>,
    /// By [`PortId::index`], as far as rules name ports.
    cross_connects: Vec<Option<CrossConnect>>,
}

/// A port whose frames all leave by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossConnect {
    /// The rule.
    pub rule: u16,
    /// The other port.
    pub to: PortId,
}

fn cross_connects(rules: &[Rule]) -> Vec<Option<CrossConnect>> {
    let named = |rule: &Rule| rule.matching.port.map_or(0, |port| port.index() + 1);
    let ports = rules.iter().map(named).max().unwrap_or(0);
    let connect = |port: usize| {
        let port = PortId::from_index(port as u16)?;
        let is_first = |(_, rule): &(usize, &Rule)| rule.matching.port.is_none_or(|named| named == port);
        let (index, rule) = rules.iter().enumerate().find(is_first)?;
        let only_port = Match { port: rule.matching.port, ..Match::default() };
        match rule.end {
            Some(Verdict::Forward(to)) if rule.steps.is_empty() && rule.matching == only_port => {
                Some(CrossConnect { rule: index as u16, to })
            }
            _ => None,
        }
    };
    (0..ports).map(connect).collect()
}

impl RuleTable {
    /// Sorts the rules. The sort is stable: equal priorities keep the configuration's order.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let tcp_flags = rules.iter().any(|rule| rule.matching.tcp_flags.is_some());
        let cross_connects = cross_connects(&rules);
        let inside = rules.iter().map(|rule| &rule.matching).filter(|matching| matching.looks_inside());
        let inside = inside.map(|matching| (matching.port, matching.network)).collect();
        let tree = tree::Tree::new(&rules.iter().map(|rule| &rule.matching).collect::<Vec<_>>());
        Self { rules, tree, tcp_flags, inside, cross_connects }
    }

    /// Whether any rule looks at TCP flags: then flow keys must carry them.
    #[inline]
    pub fn wants_tcp_flags(&self) -> bool {
        self.tcp_flags
    }

    /// Whether some rule that may be about frames of a port and a network asks for more than Ethernet tells.
    pub fn look_inside(&self, port: PortId, network: NetworkId) -> bool {
        [None, Some(port)].into_iter().any(|port| {
            [None, Some(network)].into_iter().any(|network| self.inside.contains(&(port, network)))
        })
    }

    /// Where every frame of a port goes whatever is in it, and the rule that says so: the first rule that looks at the
    /// port at all looks at nothing else, and only sends.
    #[inline]
    pub fn cross_connect(&self, from: PortId) -> Option<CrossConnect> {
        *self.cross_connects.get(from.index())?
    }

    /// The same rules with counters and buckets of their own.
    pub(crate) fn shadow(&self) -> Self {
        let step = |step: &Step| match step {
            Step::Police(policer) => Step::Police(Arc::new(policer.shadow())),
            step => step.clone(),
        };
        let rule = |rule: &Rule| Rule {
            steps: rule.steps.iter().map(step).collect(),
            stats: Arc::new(RuleStats::new(1)),
            ..rule.clone()
        };
        Self {
            rules: self.rules.iter().map(rule).collect(),
            tree: self.tree.clone(),
            tcp_flags: self.tcp_flags,
            inside: self.inside.clone(),
            cross_connects: self.cross_connects.clone(),
        }
    }

    /// All of them, in the order they are looked at.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The rule that [`crate::program::Action::Rule`] names.
    #[inline]
    pub fn get(&self, index: u16) -> Option<&Rule> {
        self.rules.get(index as usize)
    }

    /// The first rule at or behind `from` that matches.
    pub fn next_match(
        &self,
        from: usize,
        key: &FlowKey,
        network: Option<NetworkId>,
    ) -> Option<(usize, &Rule)> {
        let matches = |index: usize| self.rules[index].matching.matches(key, network);
        let index = self.tree.first(from, key, network, matches)?;
        Some((index, &self.rules[index]))
    }
}

impl SetField {
    /// The key of the packet once the field is set, for the decisions that follow.
    pub fn apply_to_key(self, key: &mut FlowKey) {
        let ports = has_ports(key) && key.protocol != proto::SCTP;
        match self {
            Self::SrcMac(mac) => key.src_mac = mac,
            Self::DstMac(mac) => key.dst_mac = mac,
            Self::SrcIp(ip) => key.set_src(ip),
            Self::DstIp(ip) => key.set_dst(ip),
            Self::SrcPort(port) if ports => key.set_src_port(port),
            Self::DstPort(port) if ports => key.set_dst_port(port),
            _ => {}
        }
    }
}
