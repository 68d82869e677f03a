//! What a flow rule is about: in TOML a table, on a command line `network=pods,protocol=tcp,dst_port=80-90`.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_wire::{Mac, ip::proto, l4::tcp_flags};

/// Fields to match; those left out match everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSpec {
    /// The port the frame came by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The network the frame is in. Frames from the host and from the fabric are in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Outer VLAN id; 0: untagged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Source MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_mac: Option<Mac>,
    /// Destination MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_mac: Option<Mac>,
    /// EtherType behind the outer tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<u16>,
    /// Source address or prefix.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "prefix")]
    pub src: Option<IpNet>,
    /// Destination address or prefix.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "prefix")]
    pub dst: Option<IpNet>,
    /// IP protocol: tcp, udp, icmp, icmpv6, sctp or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Source port, or a range such as 1024-65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<PortRange>,
    /// Destination port, or a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<PortRange>,
    /// TCP flags that must be set, or with `!` unset: syn,!ack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<TcpFlags>,
}

fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| format!("`{text}` is neither an address nor a prefix such as 10.0.0.0/8"))
}

fn prefix<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_prefix(&text)).transpose().map_err(serde::de::Error::custom)
}

const FIELDS: &str = "use port, network, vlan, src_mac, dst_mac, ethertype, src, dst, protocol, src_port, dst_port or tcp_flags";

impl FromStr for MatchSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spec = Self::default();
        // A comma separates fields, and TCP flags: what has no `=` belongs to the field before it.
        let mut fields: Vec<String> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match fields.last_mut().filter(|_| !part.contains('=')) {
                Some(last) => *last = format!("{last},{part}"),
                None => fields.push(part.to_owned()),
            }
        }
        for field in fields {
            let (name, value) =
                field.split_once('=').ok_or(format!("`{field}` lacks a value: write FIELD=VALUE"))?;
            spec.set(name, value)?;
        }
        Ok(spec)
    }
}

impl MatchSpec {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || {
            let parsed =
                value.strip_prefix("0x").map_or_else(|| value.parse(), |hex| u16::from_str_radix(hex, 16));
            parsed.map_err(|_| {
                format!("`{value}` is not a {name}: write a number of 0 to 65535, or 0x and hex digits")
            })
        };
        let mac = || value.parse::<Mac>().map_err(|error| error.to_string());
        match name {
            "port" => self.port = Some(value.to_owned()),
            "network" => self.network = Some(value.to_owned()),
            "vlan" => self.vlan = Some(number()?),
            "src_mac" => self.src_mac = Some(mac()?),
            "dst_mac" => self.dst_mac = Some(mac()?),
            "ethertype" => self.ethertype = Some(number()?),
            "src" => self.src = Some(parse_prefix(value)?),
            "dst" => self.dst = Some(parse_prefix(value)?),
            "protocol" => self.protocol = Some(value.parse()?),
            "src_port" => self.src_port = Some(value.parse()?),
            "dst_port" => self.dst_port = Some(value.parse()?),
            "tcp_flags" => self.tcp_flags = Some(value.parse()?),
            _ => return Err(format!("`{name}` can't be matched: {FIELDS}")),
        }
        Ok(())
    }
}

impl fmt::Display for MatchSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields: Vec<String> = Vec::new();
        let mut add =
            |name: &str, value: Option<String>| fields.extend(value.map(|value| format!("{name}={value}")));
        add("port", self.port.clone());
        add("network", self.network.clone());
        add("vlan", self.vlan.map(|vlan| vlan.to_string()));
        add("src_mac", self.src_mac.map(|mac| mac.to_string()));
        add("dst_mac", self.dst_mac.map(|mac| mac.to_string()));
        add("ethertype", self.ethertype.map(|ethertype| format!("0x{ethertype:04x}")));
        add("src", self.src.map(|prefix| prefix.to_string()));
        add("dst", self.dst.map(|prefix| prefix.to_string()));
        add("protocol", self.protocol.map(|protocol| protocol.to_string()));
        add("src_port", self.src_port.map(|range| range.to_string()));
        add("dst_port", self.dst_port.map(|range| range.to_string()));
        add("tcp_flags", self.tcp_flags.map(|flags| flags.to_string()));
        f.pad(&fields.join(","))
    }
}

macro_rules! textual {
    ($name:ident) => {
        impl TryFrom<Text> for $name {
            type Error = String;
            fn try_from(text: Text) -> Result<Self, String> {
                text.0.parse()
            }
        }
        impl From<$name> for Text {
            fn from(value: $name) -> Self {
                Text(value.to_string())
            }
        }
    };
}

/// A string, or a number that stands for one: `dst_port = 23` and `dst_port = "80-90"` are both natural.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        Ok(Text(match Either::deserialize(deserializer)? {
            Either::Number(number) => number.to_string(),
            Either::Text(text) => text,
        }))
    }
}

/// An IP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Protocol(pub u8);

const PROTOCOLS: [(&str, u8); 5] = [
    ("tcp", proto::TCP),
    ("udp", proto::UDP),
    ("icmp", proto::ICMP),
    ("icmpv6", proto::ICMPV6),
    ("sctp", proto::SCTP),
];

textual!(Protocol);

impl FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        named.or_else(|| text.parse().ok()).map(Self).ok_or(format!(
            "`{text}` is not a protocol: use tcp, udp, icmp, icmpv6, sctp or a number of 0 to 255"
        ))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// Ports, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

textual!(PortRange);

impl FromStr for PortRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("`{text}` is not a port or a range such as 80-90")),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// TCP flags: those looked at, and which of them must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct TcpFlags {
    /// Bits looked at.
    pub mask: u8,
    /// Their values.
    pub value: u8,
}

const FLAGS: [(&str, u8); 8] = [
    ("fin", tcp_flags::FIN),
    ("syn", tcp_flags::SYN),
    ("rst", tcp_flags::RST),
    ("psh", tcp_flags::PSH),
    ("ack", tcp_flags::ACK),
    ("urg", tcp_flags::URG),
    ("ece", tcp_flags::ECE),
    ("cwr", tcp_flags::CWR),
];

textual!(TcpFlags);

impl FromStr for TcpFlags {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut flags = Self { mask: 0, value: 0 };
        for part in text.split(',').map(str::trim) {
            let (name, is_set) = part.strip_prefix('!').map_or((part, true), |name| (name, false));
            let bit = FLAGS.iter().find(|(flag, _)| *flag == name).map(|(_, bit)| *bit).ok_or(format!(
                "`{part}` is not a TCP flag: use fin, syn, rst, psh, ack, urg, ece, cwr, with ! for unset"
            ))?;
            flags.mask |= bit;
            flags.value |= if is_set { bit } else { 0 };
        }
        Ok(flags)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looked_at = FLAGS.iter().filter(|(_, bit)| self.mask & bit != 0);
        let words: Vec<String> = looked_at
            .map(|(name, bit)| if self.value & bit != 0 { (*name).to_owned() } else { format!("!{name}") })
            .collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "",
            "network=pods,protocol=tcp,dst_port=23",
            "port=web-1,vlan=0,src=10.0.0.0/8,dst=fd00::1/128",
            "protocol=tcp,src_port=1024-65535,tcp_flags=syn,!ack",
            "src_mac=02:00:00:00:00:01,ethertype=0x0806",
        ] {
            assert_eq!(text.parse::<MatchSpec>().unwrap().to_string(), text);
        }
        assert_eq!("dst=10.0.0.1".parse::<MatchSpec>().unwrap().to_string(), "dst=10.0.0.1/32");
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, says) in [
            ("dport=3", "can't be matched: use port"),
            ("protocol=tpc", "use tcp"),
            ("dst_port=90-80", "a range such as"),
            ("tcp_flags=sin", "is not a TCP flag"),
            ("src=10.0.0.0/40", "neither an address nor a prefix"),
            ("foo", "lacks a value"),
            ("vlan=x", "write a number"),
        ] {
            let error = text.parse::<MatchSpec>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
