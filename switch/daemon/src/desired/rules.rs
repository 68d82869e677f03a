//! Operators' flow rules, resolved.

use ipnet::IpNet;
use weft_ctl_api::spec::{ActionSpec, FlowSpec, MatchSpec, Rate, RateUnit, SetSpec};
use weft_dataplane::{
    police::Unit,
    rules::{Match, Prefix, SetField},
};
use weft_wire::{NetworkId, Scope, ethertype, ip, ip::proto};

use super::{Invalid, Network, Port, Rule, RuleEnd, RuleStep, addresses, check};

pub(super) fn rule(spec: &FlowSpec, networks: &[Network], ports: &[Port]) -> Result<Rule, Invalid> {
    let key = |field: &str| format!("flow \"{}\".{field}", spec.name);
    let Some((last, first)) = spec.actions.split_last() else {
        return Err(Invalid::new(key("actions"), "there are none", "end with drop, output:PORT or continue"));
    };
    let end = match last {
        ActionSpec::Drop => RuleEnd::Drop,
        ActionSpec::Continue => RuleEnd::Continue,
        ActionSpec::Output(port) => RuleEnd::Output(check::find_port(key("actions"), port, ports)?),
        other => {
            let problem = format!("the last action, {other}, does not say what becomes of the packet");
            return Err(Invalid::new(key("actions"), problem, "end with drop, output:PORT or continue"));
        }
    };
    let step = |action: &ActionSpec| match action {
        ActionSpec::Set(set) => {
            can_be_set(*set).map_err(|(problem, remedy)| Invalid::new(key("actions"), problem, remedy))?;
            Ok(RuleStep::Set(field(*set)))
        }
        ActionSpec::PushVlan(vlan) => Ok(RuleStep::PushVlan(*vlan)),
        ActionSpec::PopVlan => Ok(RuleStep::PopVlan),
        ActionSpec::Mirror(port) => check::find_port(key("actions"), port, ports).map(RuleStep::Mirror),
        ActionSpec::Police(rate) => police(rate).map_err(|problem| {
            Invalid::new(key("actions"), problem, "make the burst smaller, or the rate higher")
        }),
        ActionSpec::Drop | ActionSpec::Continue | ActionSpec::Output(_) => {
            let problem = format!("actions follow behind {action}, which ends the rule");
            Err(Invalid::new(key("actions"), problem, "make it the last"))
        }
    };
    let steps = first.iter().map(step).collect::<Result<_, _>>()?;
    let matching = matching(spec, networks)?;
    let port = spec.matching.port.as_ref();
    let port = port.map(|port| check::find_port(key("match.port"), port, ports)).transpose()?;
    Ok(Rule { name: spec.name.clone(), priority: spec.priority, matching, port, steps, end })
}

fn field(set: SetSpec) -> SetField {
    match set {
        SetSpec::SrcMac(mac) => SetField::SrcMac(mac),
        SetSpec::DstMac(mac) => SetField::DstMac(mac),
        SetSpec::SrcIp(ip) => SetField::SrcIp(ip),
        SetSpec::DstIp(ip) => SetField::DstIp(ip),
        SetSpec::SrcPort(port) => SetField::SrcPort(port),
        SetSpec::DstPort(port) => SetField::DstPort(port),
        SetSpec::Dscp(dscp) => SetField::Dscp(dscp),
        SetSpec::Ttl(ttl) => SetField::Ttl(ttl),
    }
}

/// An address that is set must be one that a packet may have; else what is wrong, and the remedy.
fn can_be_set(set: SetSpec) -> Result<(), (String, String)> {
    let (address, may_be, what) = match set {
        SetSpec::SrcIp(ip) => (ip, Scope::of(ip).is_a_stations(), "from"),
        SetSpec::DstIp(ip) => (ip, Scope::of(ip).may_be_destination(), "to"),
        _ => return Ok(()),
    };
    if may_be {
        return Ok(());
    }
    let problem = format!("set:{set}: no packet is {what} {}", Scope::of(address).text());
    Err((problem, addresses::remedy(address)))
}

/// Without a burst, 50 ms at the rate, and at least one full-sized frame (or super-frame, for bytes).
fn police(rate: &Rate) -> Result<RuleStep, String> {
    let given = rate.burst.is_some();
    const DEFAULT_BURSTS_PER_SECOND: u64 = 20;
    const LARGEST_FRAME: u64 = 65_550;
    /// More at once than an hour's worth is no limit; and the policer counts in nanoseconds.
    const SECONDS_AT_ONCE: u64 = 3600;
    let (unit, rate, burst) = match rate.unit {
        RateUnit::Packets => {
            let burst = rate.burst.unwrap_or(rate.per_second / DEFAULT_BURSTS_PER_SECOND).max(1);
            (Unit::Packets, rate.per_second.max(1), burst)
        }
        RateUnit::Bits => {
            let bytes = (rate.per_second / 8).max(1);
            let burst = rate.burst.unwrap_or((bytes / DEFAULT_BURSTS_PER_SECOND).max(LARGEST_FRAME));
            (Unit::Bytes, bytes, burst)
        }
    };
    // A slow rate without a burst of its own gets room for one frame all the same.
    if given && burst / rate > SECONDS_AT_ONCE {
        return Err(format!("a burst of {burst} is more than an hour's worth of {rate} a second"));
    }
    Ok(RuleStep::Police { unit, rate, burst })
}

fn matching(spec: &FlowSpec, networks: &[Network]) -> Result<Match, Invalid> {
    let key = |field: &str| format!("flow \"{}\".match.{field}", spec.name);
    let from: &MatchSpec = &spec.matching;
    let network = from.network.as_ref();
    let network = network.map(|name| check::find_network(key("network"), name, networks)).transpose()?;
    if let Some(vlan) = from.vlan.filter(|vlan| *vlan > 4094) {
        return Err(Invalid::new(
            key("vlan"),
            format!("{vlan} is not a VLAN id"),
            "use 1 to 4094, or 0 for untagged",
        ));
    }
    let has_ports =
        from.protocol.is_some_and(|protocol| matches!(protocol.0, proto::TCP | proto::UDP | proto::SCTP));
    if (from.src_port.is_some() || from.dst_port.is_some()) && !has_ports {
        let remedy = "add protocol = \"tcp\", \"udp\" or \"sctp\"";
        return Err(Invalid::new(
            key("dst_port"),
            "ports mean nothing without a protocol that has them",
            remedy,
        ));
    }
    if from.tcp_flags.is_some() && from.protocol.is_none_or(|protocol| protocol.0 != proto::TCP) {
        return Err(Invalid::new(key("tcp_flags"), "only TCP has them", "add protocol = \"tcp\""));
    }
    let families = [from.src, from.dst].into_iter().flatten().map(|prefix| prefix.addr().is_ipv4());
    let families: Vec<bool> = families.collect();
    if let [a, b] = families[..]
        && a != b
    {
        return Err(Invalid::new(
            key("dst"),
            "src and dst are of different families",
            "write one rule for each",
        ));
    }
    for (field, prefix) in [("src", from.src), ("dst", from.dst)] {
        let Some(prefix) = prefix else { continue };
        if Scope::of_prefix(prefix.network(), prefix.prefix_len()) == Scope::Mapped {
            let problem = format!("{prefix}: no packet has IPv4-mapped addresses");
            return Err(Invalid::new(key(field), problem, addresses::remedy(prefix.network())));
        }
        let family = if prefix.addr().is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        if let Some(other) = from.ethertype.filter(|other| *other != family) {
            let problem = format!("{prefix} is never in a frame of EtherType {other:#06x}");
            return Err(Invalid::new(key(field), problem, "leave ethertype out"));
        }
    }
    // An IPv4 prefix of length 0 is all of IPv4, not all of the mapped space's neighbours.
    let ethertype =
        from.ethertype.or(families.first().map(|v4| if *v4 { ethertype::IPV4 } else { ethertype::IPV6 }));
    Ok(Match {
        port: None,
        network: network.map(|index| NetworkId(index as u16)),
        vlan: from.vlan,
        src_mac: from.src_mac,
        dst_mac: from.dst_mac,
        ethertype,
        src: from.src.map(prefix),
        dst: from.dst.map(prefix),
        protocol: from.protocol.map(|protocol| protocol.0),
        src_port: from.src_port.map(|range| (range.first, range.last)),
        dst_port: from.dst_port.map(|range| (range.first, range.last)),
        tcp_flags: from.tcp_flags.map(|flags| (flags.mask, flags.value)),
    })
}

fn prefix(prefix: IpNet) -> Prefix {
    let len = prefix.prefix_len() + if prefix.addr().is_ipv4() { 96 } else { 0 };
    Prefix::new(ip::mapped(prefix.addr()), len)
}
