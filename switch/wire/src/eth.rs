//! Ethernet, 802.1Q and ARP.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

/// A MAC address.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00: no address.
    pub const ZERO: Self = Self([0; 6]);

    /// Group bit set: multicast or broadcast (802-2014 §8.2.2).
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// 01-80-C2-00-00-00 to 0F: what bridges say to their neighbours, which no bridge of customer VLANs forwards (802.1Q-2018
    /// §8.6.3, table 8-1).
    pub const fn is_reserved(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0, 0, 0x00..=0x0f])
    }

    /// A locally administered unicast address made from `seed`: same seed, same address.
    pub fn local(seed: &str) -> Self {
        // FNV-1a, 64 bit: stable across versions, unlike the standard hasher.
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let [a, b, c, d, e, ..] = hash.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: write six hex bytes with colons, such as 02:00:0a:f4:00:05")]
pub struct NotAMac(String);

impl FromStr for Mac {
    type Err = NotAMac;
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| matches!(part.len(), 1 | 2));
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| NotAMac(text.to_owned()))?;
        }
        if parts.next().is_some() { Err(NotAMac(text.to_owned())) } else { Ok(Self(mac)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// EtherTypes (IEEE registry).
pub mod ethertype {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0800;
    /// Address Resolution Protocol.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q customer VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service VLAN tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Internet Protocol version 6.
    pub const IPV6: u16 = 0x86dd;
    /// Link Layer Discovery Protocol (802.1AB).
    pub const LLDP: u16 = 0x88cc;
}

/// An Ethernet II header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// What follows.
    pub ethertype: U16,
}

/// What follows the two MACs in a tagged frame (802.1Q): the tag, then the inner EtherType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligible (1), VLAN id (12).
    pub tci: U16,
    /// What follows.
    pub ethertype: U16,
}

impl VlanTag {
    /// The 12-bit VLAN id; 0 is a priority tag.
    pub const fn vlan(&self) -> u16 {
        self.tci.get() & 0x0fff
    }
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Arp {
    /// Hardware type: 1, Ethernet.
    pub hardware: U16,
    /// Protocol type: [`ethertype::IPV4`].
    pub protocol: U16,
    /// Hardware address length: 6.
    pub hardware_len: u8,
    /// Protocol address length: 4.
    pub protocol_len: u8,
    /// 1 request, 2 reply.
    pub operation: U16,
    /// Sender's MAC.
    pub sender_mac: Mac,
    /// Sender's IPv4 address.
    pub sender_ip: [u8; 4],
    /// Target's MAC.
    pub target_mac: Mac,
    /// Target's IPv4 address.
    pub target_ip: [u8; 4],
}

const _: () = assert!(size_of::<Ethernet>() == 14 && size_of::<VlanTag>() == 4 && size_of::<Arp>() == 28);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips() {
        let mac: Mac = "02:00:0a:f4:00:05".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:0a:f4:00:05");
        for bad in [
            "",
            "02:00",
            "02:00:0a:f4:00:05:06",
            "02-00-0a-f4-00-05",
            "gg:00:0a:f4:00:05",
            "002:00:0a:f4:00:05",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!(!Mac::local("a").is_group());
        assert_ne!(Mac::local("a"), Mac::local("b"));
    }
}
