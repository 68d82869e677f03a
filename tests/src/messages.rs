//! ARP, ICMP and neighbour discovery as nobody should send them: every field is the test's.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Ethernet2Header, PacketBuilder};
use weft_wire::Mac;

use crate::packets::Eth;

/// An ARP packet's fields.
#[derive(Debug, Clone, Copy)]
pub struct Arp<'a> {
    /// Hardware type: 1 is Ethernet.
    pub hardware: u16,
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Sender's MAC; none: the frame's source.
    pub sender_mac: Option<&'a str>,
    /// Sender's address.
    pub sender: &'a str,
    /// Target's address.
    pub target: &'a str,
}

/// An IPv6 message of ICMP.
#[derive(Debug, Clone)]
pub struct Message {
    /// Source and destination.
    pub ends: (Ipv6Addr, Ipv6Addr),
    /// Hop limit.
    pub hop_limit: u8,
    /// Type and code.
    pub kind: (u8, u8),
    /// The second word.
    pub rest: [u8; 4],
    /// What follows.
    pub body: Vec<u8>,
    /// Extension headers in front of it, whole, the first one's type, and the type of what the last leads to in its place.
    pub extensions: (u8, Vec<u8>),
    /// The checksum is off by one.
    pub is_damaged: bool,
}

const ICMPV6: u8 = 58;

/// A message of discovery, as RFC 4861 would have it.
pub fn discovery(kind: u8, src: &str, dst: &str, body: &[u8]) -> Message {
    let ends = (src.parse().expect("an address"), dst.parse().expect("an address"));
    let (rest, body) = ([0; 4], body.to_vec());
    let (kind, extensions) = ((kind, 0), (ICMPV6, Vec::new()));
    Message { ends, hop_limit: 255, kind, rest, body, extensions, is_damaged: false }
}

/// A neighbour advertisement of `target`, which `mac` has.
pub fn advertisement(src: &str, dst: &str, target: &str, mac: &str) -> Message {
    let flags = if dst.starts_with("ff") { 0x20 } else { 0x60 };
    let mut message = discovery(136, src, dst, &[&address(target)[..], &link_layer(2, mac)].concat());
    message.rest[0] = flags;
    message
}

/// A neighbour solicitation for `target`, to its group; `mac` is the sender's.
pub fn solicitation(src: &str, target: &str, mac: Option<&str>) -> Message {
    let target = address(target);
    let mut dst = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    dst[13..].copy_from_slice(&target[13..]);
    let option = mac.map_or_else(Vec::new, |mac| link_layer(1, mac));
    discovery(135, src, &Ipv6Addr::from(dst).to_string(), &[&target[..], &option].concat())
}

/// An IPv6 address's bytes.
pub fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().expect("an IPv6 address").octets()
}

/// An option with a link-layer address.
pub fn link_layer(kind: u8, mac: &str) -> Vec<u8> {
    [&[kind, 1][..], &mac.parse::<Mac>().expect("a MAC").0].concat()
}

impl Message {
    /// The same, changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn icmp(&self) -> Vec<u8> {
        let (src, dst) = (self.ends.0.octets(), self.ends.1.octets());
        let mut icmp = [&[self.kind.0, self.kind.1, 0, 0][..], &self.rest, &self.body].concat();
        let pseudo = [&src[..], &dst, &(icmp.len() as u32).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
        let sum = sum(&[&pseudo[..], &icmp].concat());
        icmp[2..4].copy_from_slice(&sum.wrapping_sub(u16::from(self.is_damaged)).to_be_bytes());
        icmp
    }
}

/// RFC 1071, word by word.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let carried = |sum: u32, word| ((sum + word) & 0xffff) + ((sum + word) >> 16);
    !(words.fold(0, carried) as u16)
}

impl Eth {
    /// The frame's headers, then `payload`.
    pub fn frame(self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let outer = if self.vlan.is_some() { 0x8100 } else { ethertype };
        let header =
            Ethernet2Header { source: self.src.0, destination: self.dst.0, ether_type: outer.into() };
        let tag = self.vlan.map(|vlan| [vlan.to_be_bytes(), ethertype.to_be_bytes()].concat());
        [&header.to_bytes()[..], &tag.unwrap_or_default(), payload].concat()
    }

    /// An ARP packet.
    pub fn arp_packet(self, arp: Arp<'_>) -> Vec<u8> {
        let v4 = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address").octets();
        let sender_mac = arp.sender_mac.map_or(self.src, |mac| mac.parse().expect("a MAC"));
        let head = [&arp.hardware.to_be_bytes()[..], &[8, 0, 6, 4], &arp.operation.to_be_bytes()].concat();
        let target_mac = if arp.operation == 1 { [0; 6] } else { self.dst.0 };
        let ends = [&sender_mac.0[..], &v4(arp.sender), &target_mac, &v4(arp.target)].concat();
        self.frame(0x0806, &[head, ends].concat())
    }

    /// An ICMPv6 message.
    pub fn icmp6(self, message: &Message) -> Vec<u8> {
        let payload = [message.extensions.1.clone(), message.icmp()].concat();
        let mut ip = vec![0x60, 0, 0, 0];
        ip.extend((payload.len() as u16).to_be_bytes());
        ip.extend([message.extensions.0, message.hop_limit]);
        ip.extend(message.ends.0.octets().iter().chain(&message.ends.1.octets()));
        self.frame(0x86dd, &[ip, payload].concat())
    }

    /// An ICMP message of IPv4.
    pub fn icmp4(self, src: &str, dst: &str, kind: (u8, u8), body: &[u8]) -> Vec<u8> {
        let v4 = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address").octets();
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2(self.src.0, self.dst.0).ipv4(v4(src), v4(dst), 64);
        builder.icmpv4_raw(kind.0, kind.1, [0; 4]).write(&mut bytes, body).expect("a packet");
        bytes
    }
}
