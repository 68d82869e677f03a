//! Actions of a flow rule, as text: `drop`, `output:web-1`, `set:dst_ip=10.0.0.1`, `police:10mbit,burst=64kb`.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use weft_wire::{Mac, VlanId};

/// One action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ActionSpec {
    /// `drop`
    Drop,
    /// `continue`: on to the next rule that matches, then the ordinary way.
    Continue,
    /// `output:PORT`
    Output(String),
    /// `set:FIELD=VALUE`
    Set(SetSpec),
    /// `push_vlan:ID`
    PushVlan(VlanId),
    /// `pop_vlan`
    PopVlan,
    /// `mirror:PORT`
    Mirror(String),
    /// `police:RATE[,burst=SIZE]`
    Police(Rate),
}

/// A field to set, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetSpec {
    /// `src_mac`
    SrcMac(Mac),
    /// `dst_mac`
    DstMac(Mac),
    /// `src_ip`
    SrcIp(IpAddr),
    /// `dst_ip`
    DstIp(IpAddr),
    /// `src_port`
    SrcPort(u16),
    /// `dst_port`
    DstPort(u16),
    /// `dscp`, 0 to 63
    Dscp(u8),
    /// `ttl`, 1 to 255
    Ttl(u8),
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateUnit {
    /// Bits per second, of frames without FCS.
    Bits,
    /// Packets per second.
    Packets,
}

/// A rate, and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What it counts.
    pub unit: RateUnit,
    /// Bits or packets per second.
    pub per_second: u64,
    /// Bytes or packets at once; without one, 50 ms at the rate.
    pub burst: Option<u64>,
}

const ACTIONS: &str =
    "use drop, continue, output:PORT, set:FIELD=VALUE, push_vlan:ID, pop_vlan, mirror:PORT or police:RATE";
const FIELDS: &str = "use src_mac, dst_mac, src_ip, dst_ip, src_port, dst_port, dscp or ttl";

impl FromStr for ActionSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, argument) =
            text.split_once(':').map_or((text, None), |(word, argument)| (word, Some(argument)));
        let needed = |what: &str| {
            argument.filter(|argument| !argument.is_empty()).ok_or(format!("`{text}` lacks {what}"))
        };
        match (word, argument) {
            ("drop", None) => Ok(Self::Drop),
            ("continue", None) => Ok(Self::Continue),
            ("pop_vlan", None) => Ok(Self::PopVlan),
            ("output", _) => Ok(Self::Output(needed("a port: output:PORT")?.to_owned())),
            ("mirror", _) => Ok(Self::Mirror(needed("a port: mirror:PORT")?.to_owned())),
            ("push_vlan", _) => needed("a VLAN id: push_vlan:ID")?.parse().map(Self::PushVlan),
            ("set", _) => needed("a field: set:FIELD=VALUE")?.parse().map(Self::Set),
            ("police", _) => needed("a rate: police:10mbit")?.parse().map(Self::Police),
            _ => Err(format!("`{text}` is not an action: {ACTIONS}")),
        }
    }
}

impl fmt::Display for ActionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Continue => f.write_str("continue"),
            Self::PopVlan => f.write_str("pop_vlan"),
            Self::Output(port) => write!(f, "output:{port}"),
            Self::Mirror(port) => write!(f, "mirror:{port}"),
            Self::PushVlan(vlan) => write!(f, "push_vlan:{vlan}"),
            Self::Set(set) => write!(f, "set:{set}"),
            Self::Police(rate) => write!(f, "police:{rate}"),
        }
    }
}

impl TryFrom<String> for ActionSpec {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ActionSpec> for String {
    fn from(action: ActionSpec) -> Self {
        action.to_string()
    }
}

impl FromStr for SetSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, value) =
            text.split_once('=').ok_or(format!("`{text}` lacks a value: set:FIELD=VALUE"))?;
        let address = || value.parse::<IpAddr>().map_err(|_| format!("`{value}` is not an IP address"));
        let mac = || value.parse::<Mac>().map_err(|error| error.to_string());
        let number = |min: u16, max: u16| {
            let parsed = value.parse::<u16>().ok().filter(|number| (min..=max).contains(number));
            parsed.ok_or(format!("`{value}` is not a {field}: use {min} to {max}"))
        };
        match field {
            "src_mac" => mac().map(Self::SrcMac),
            "dst_mac" => mac().map(Self::DstMac),
            "src_ip" => address().map(Self::SrcIp),
            "dst_ip" => address().map(Self::DstIp),
            "src_port" => number(0, u16::MAX).map(Self::SrcPort),
            "dst_port" => number(0, u16::MAX).map(Self::DstPort),
            "dscp" => number(0, 63).map(|dscp| Self::Dscp(dscp as u8)),
            "ttl" => number(1, 255).map(|ttl| Self::Ttl(ttl as u8)),
            _ => Err(format!("`{field}` can't be set: {FIELDS}")),
        }
    }
}

impl fmt::Display for SetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SrcMac(mac) => write!(f, "src_mac={mac}"),
            Self::DstMac(mac) => write!(f, "dst_mac={mac}"),
            Self::SrcIp(ip) => write!(f, "src_ip={ip}"),
            Self::DstIp(ip) => write!(f, "dst_ip={ip}"),
            Self::SrcPort(port) => write!(f, "src_port={port}"),
            Self::DstPort(port) => write!(f, "dst_port={port}"),
            Self::Dscp(dscp) => write!(f, "dscp={dscp}"),
            Self::Ttl(ttl) => write!(f, "ttl={ttl}"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HELP: &str = "write 10mbit, 1gbit, 500kbit, 9600bit or 5000pps, and burst=64kb, burst=9000b or burst=100 (packets)";
        let (rate, burst) = text.split_once(',').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let bad = || format!("`{text}` is not a rate: {HELP}");
        let (unit, per_second) = if let Some(packets) = rate.strip_suffix("pps") {
            (RateUnit::Packets, scaled(packets))
        } else {
            (RateUnit::Bits, rate.strip_suffix("bit").and_then(scaled))
        };
        let per_second = per_second.filter(|rate| *rate > 0).ok_or_else(bad)?;
        let burst = match burst.map(|burst| burst.strip_prefix("burst=").ok_or_else(bad)).transpose()? {
            None => None,
            Some(burst) => {
                let size = match unit {
                    RateUnit::Packets => burst.parse().ok(),
                    RateUnit::Bits => burst.strip_suffix('b').and_then(scaled),
                };
                Some(size.filter(|size| *size > 0).ok_or_else(bad)?)
            }
        };
        Ok(Self { unit, per_second, burst })
    }
}

/// `10m` → 10,000,000: decimal multiples, as link rates are.
fn scaled(text: &str) -> Option<u64> {
    let (digits, scale) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 1_000),
        (at, 'm') => (&text[..at], 1_000_000),
        (at, 'g') => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

fn with_scale(value: u64) -> String {
    match value {
        _ if value.is_multiple_of(1_000_000_000) => format!("{}g", value / 1_000_000_000),
        _ if value.is_multiple_of(1_000_000) => format!("{}m", value / 1_000_000),
        _ if value.is_multiple_of(1_000) => format!("{}k", value / 1_000),
        _ => value.to_string(),
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            RateUnit::Bits => {
                write!(f, "{}bit", with_scale(self.per_second))?;
                self.burst.map_or(Ok(()), |burst| write!(f, ",burst={}b", with_scale(burst)))
            }
            RateUnit::Packets => {
                write!(f, "{}pps", with_scale(self.per_second))?;
                self.burst.map_or(Ok(()), |burst| write!(f, ",burst={burst}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "drop",
            "continue",
            "pop_vlan",
            "output:web-1",
            "mirror:tap0",
            "push_vlan:77",
            "set:dst_mac=02:00:00:00:00:01",
            "set:src_ip=fd00::1",
            "set:dscp=46",
            "set:ttl=64",
            "police:10mbit",
            "police:1500bit,burst=9001b",
            "police:5kpps,burst=32",
        ] {
            assert_eq!(text.parse::<ActionSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, says) in [
            ("dorp", "use drop,"),
            ("output", "lacks a port"),
            ("drop:now", "is not an action"),
            ("set:dst_ip", "lacks a value"),
            ("set:mtu=3", "can't be set"),
            ("set:dscp=64", "use 0 to 63"),
            ("push_vlan:4095", "use 1 to 4094"),
            ("police:fast", "write 10mbit"),
            ("police:0pps", "write 10mbit"),
            ("police:10mbit,burst=x", "write 10mbit"),
        ] {
            let error = text.parse::<ActionSpec>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
