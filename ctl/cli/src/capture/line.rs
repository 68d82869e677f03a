//! A packet in a line.

use std::{net::Ipv4Addr, time::Duration};

use etherparse::{
    ArpOperation, ArpPacketSlice, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, LaxNetSlice,
    LaxSlicedPacket, TcpSlice, TransportSlice,
};
use weft_ctl_api::capture::{Head, Point, Verdict};

/// Such as `12:00:01.123456 web-1 in IP 10.0.0.5.33000 > 10.0.0.6.80: tcp [S] 0, length 74: forward to web-2`. UTC.
pub(super) fn text(head: &Head, bytes: &[u8], port: &str, verdict: Option<&Verdict>) -> String {
    let verdict = verdict.map(sentence).unwrap_or_default();
    let (time, way) = (time(head.time_ns), way(head.point));
    format!("{time} {port} {way} {}, length {}: {verdict}", summary(bytes), head.len)
}

/// The same as an object.
pub(super) fn json(head: &Head, bytes: &[u8], port: &str, verdict: Option<&Verdict>) -> serde_json::Value {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut object = serde_json::json!({
        "time_ns": head.time_ns, "port": port, "direction": way(head.point), "generation": head.generation,
        "length": head.len, "summary": summary(bytes), "bytes": hex,
    });
    if let Some(Verdict { verdict, to, reason, meaning }) = verdict {
        object["verdict"] = verdict.as_str().into();
        for (key, value) in [("to", to), ("reason", reason), ("meaning", meaning)] {
            if let Some(value) = value {
                object[key] = value.as_str().into();
            }
        }
    }
    object
}

/// `verdict=drop reason=spoofed`.
pub(super) fn words_of(verdict: &Verdict) -> String {
    let mut text = format!("verdict={}", verdict.verdict);
    for (key, value) in [("to", &verdict.to), ("reason", &verdict.reason)] {
        if let Some(value) = value {
            text += &format!(" {key}={value}");
        }
    }
    text
}

fn sentence(verdict: &Verdict) -> String {
    let to = verdict.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
    let reason = verdict.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default();
    let meaning = verdict.meaning.as_ref().map(|meaning| format!(" ({meaning})")).unwrap_or_default();
    format!("{}{to}{reason}{meaning}", verdict.verdict)
}

fn way(point: Point) -> &'static str {
    match point {
        Point::In => "in",
        Point::Out => "out",
        Point::Drop => "drop",
    }
}

/// The time of day, UTC.
fn time(time_ns: u64) -> String {
    let since = Duration::from_nanos(time_ns);
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:06}", since.subsec_micros())
}

/// What kind of packet, from where to where.
fn summary(bytes: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return "shorter than its headers".into() };
    let tags: String = packet.vlan_ids().iter().map(|tag| format!("vlan {} ", tag.value())).collect();
    let (family, src, dst) = match &packet.net {
        Some(LaxNetSlice::Ipv4(v4)) => {
            let header = v4.header();
            ("IP", header.source_addr().to_string(), header.destination_addr().to_string())
        }
        Some(LaxNetSlice::Ipv6(v6)) => {
            let header = v6.header();
            ("IP6", header.source_addr().to_string(), header.destination_addr().to_string())
        }
        Some(LaxNetSlice::Arp(arp)) => return format!("{tags}{}", self::arp(arp)),
        None => return format!("{tags}{}", ethernet(bytes)),
    };
    let ends = |ports: Option<(u16, u16)>| match ports {
        Some((from, to)) => format!("{family} {src}.{from} > {dst}.{to}"),
        None => format!("{family} {src} > {dst}"),
    };
    let rest = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            format!("{}: {}", ends(Some((tcp.source_port(), tcp.destination_port()))), self::tcp(tcp))
        }
        Some(TransportSlice::Udp(udp)) => {
            let ports = (udp.source_port(), udp.destination_port());
            format!("{}: udp {}", ends(Some(ports)), udp.length().saturating_sub(8))
        }
        Some(TransportSlice::Icmpv4(icmp)) => format!("{}: {}", ends(None), icmp4(icmp)),
        Some(TransportSlice::Icmpv6(icmp)) => format!("{}: {}", ends(None), icmp6(icmp)),
        Some(TransportSlice::Igmp(_)) => format!("{}: igmp", ends(None)),
        None => {
            let protocol =
                packet.net.as_ref().and_then(|net| net.ip_payload_ref()).map(|payload| payload.ip_number);
            let word = protocol.and_then(|number| number.keyword_str()).unwrap_or("ip").to_lowercase();
            let fragment =
                packet.net.as_ref().and_then(|net| net.ip_payload_ref()).is_some_and(|it| it.fragmented);
            format!("{}: {word}{}", ends(None), if fragment { " fragment" } else { "" })
        }
    };
    format!("{tags}{rest}")
}

fn ethernet(bytes: &[u8]) -> String {
    let mac = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    match bytes.first_chunk::<14>() {
        Some(header) => {
            let kind = u16::from_be_bytes([header[12], header[13]]);
            format!("{} > {}: ethertype {kind:#06x}", mac(&header[6..12]), mac(&header[..6]))
        }
        None => "shorter than its headers".into(),
    }
}

fn arp(arp: &ArpPacketSlice<'_>) -> String {
    let address = |bytes: &[u8]| match bytes.first_chunk::<4>() {
        Some(bytes) => Ipv4Addr::from(*bytes).to_string(),
        None => "?".into(),
    };
    let (from, to) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
    match arp.operation() {
        ArpOperation::REPLY => format!("ARP {from} is here, told {to}"),
        _ => format!("ARP who has {to}, tell {from}"),
    }
}

/// Flags as tcpdump writes them, and bytes of payload.
fn tcp(tcp: &TcpSlice<'_>) -> String {
    let flags = [
        ('S', tcp.syn()),
        ('F', tcp.fin()),
        ('R', tcp.rst()),
        ('P', tcp.psh()),
        ('U', tcp.urg()),
        ('E', tcp.ece()),
        ('W', tcp.cwr()),
        ('.', tcp.ack()),
    ];
    let flags: String = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag).collect();
    format!("tcp [{flags}] seq {} ack {}", tcp.sequence_number(), tcp.acknowledgment_number())
}

fn icmp4(icmp: &Icmpv4Slice<'_>) -> String {
    match icmp.icmp_type() {
        Icmpv4Type::EchoRequest(echo) => format!("icmp echo request id {} seq {}", echo.id, echo.seq),
        Icmpv4Type::EchoReply(echo) => format!("icmp echo reply id {} seq {}", echo.id, echo.seq),
        Icmpv4Type::DestinationUnreachable(_) => format!("icmp unreachable, code {}", icmp.code_u8()),
        Icmpv4Type::TimeExceeded(_) => "icmp time exceeded".into(),
        _ => format!("icmp type {} code {}", icmp.type_u8(), icmp.code_u8()),
    }
}

fn icmp6(icmp: &Icmpv6Slice<'_>) -> String {
    match icmp.icmp_type() {
        Icmpv6Type::EchoRequest(echo) => format!("icmp6 echo request id {} seq {}", echo.id, echo.seq),
        Icmpv6Type::EchoReply(echo) => format!("icmp6 echo reply id {} seq {}", echo.id, echo.seq),
        Icmpv6Type::DestinationUnreachable(_) => format!("icmp6 unreachable, code {}", icmp.code_u8()),
        Icmpv6Type::PacketTooBig { mtu } => format!("icmp6 packet too big, mtu {mtu}"),
        Icmpv6Type::TimeExceeded(_) => "icmp6 time exceeded".into(),
        Icmpv6Type::NeighborSolicitation => "icmp6 neighbour solicitation".into(),
        Icmpv6Type::NeighborAdvertisement(_) => "icmp6 neighbour advertisement".into(),
        Icmpv6Type::RouterSolicitation => "icmp6 router solicitation".into(),
        _ => format!("icmp6 type {} code {}", icmp.type_u8(), icmp.code_u8()),
    }
}
