//! Bytes → words. Reads what is there of a packet: of one that was cut off, as much as there is.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{ArpOperation, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use weft_ctl_api::packet::{Body, Ip, L4, PacketSpec};
use weft_wire::{
    Mac,
    eth::ethertype,
    ip::proto,
    tunnel::{Geneve, Vxlan},
};

/// A header field, for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name; that of an inner packet's begins with `inner `.
    pub name: String,
    /// Its value, in words.
    pub value: String,
}

/// Hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The opposite; white space and colons between bytes are skipped.
pub fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("hex: there is half a byte too much".into());
    }
    let byte = |pair: &[char]| {
        let [high, low] = [pair[0], pair[1]].map(|c| c.to_digit(16));
        high.zip(low).map(|(high, low)| (high * 16 + low) as u8)
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| "hex: only 0 to 9 and a to f are digits".into())
}

/// What is in a tunnel packet.
pub fn inner(bytes: &[u8]) -> Option<&[u8]> {
    tunnel(bytes).and_then(|(_, _, at)| bytes.get(at..))
}

fn macs(bytes: &[u8]) -> Option<(Mac, Mac)> {
    let (dst, rest) = bytes.split_first_chunk()?;
    Some((Mac(*rest.first_chunk()?), Mac(*dst)))
}

/// Source and destination address of an IP or ARP packet.
pub fn addresses(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let packet = LaxSlicedPacket::from_ethernet(bytes).ok()?;
    addresses_of(packet.net.as_ref()?)
}

fn addresses_of(net: &LaxNetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        LaxNetSlice::Ipv4(v4) => {
            Some((v4.header().source_addr().into(), v4.header().destination_addr().into()))
        }
        LaxNetSlice::Ipv6(v6) => {
            Some((v6.header().source_addr().into(), v6.header().destination_addr().into()))
        }
        LaxNetSlice::Arp(arp) => {
            let v4 = |bytes: &[u8]| Some(IpAddr::from(*bytes.first_chunk::<4>()?));
            Some((v4(arp.sender_protocol_addr())?, v4(arp.target_protocol_addr())?))
        }
    }
}

/// A packet in one line, in the words of [`weft_ctl_api::packet`]; `len` is its whole length. What a tunnel packet carries
/// follows in braces.
pub fn describe(bytes: &[u8], len: usize) -> String {
    let Some(mut spec) = read(bytes) else {
        return format!("{len} bytes that are no frame");
    };
    spec.size = Some(len);
    match tunnel(bytes) {
        Some((kind, vni, at)) => {
            format!("{spec} {kind} {vni} {{ {} }}", describe(&bytes[at..], len.saturating_sub(at)))
        }
        None => spec.to_string(),
    }
}

/// The packet in words, without its size.
fn read(bytes: &[u8]) -> Option<PacketSpec> {
    let packet = LaxSlicedPacket::from_ethernet(bytes).ok()?;
    let mut kind = u16::from_be_bytes([*bytes.get(12)?, *bytes.get(13)?]);
    let mut vlan = None;
    // A service tag (802.1ad) is none of the switch's: its frame is of EtherType 0x88a8.
    if kind == ethertype::VLAN {
        vlan = packet.vlan_ids().first().map(|vlan| vlan.value());
        kind = bytes.get(16..18).map_or(kind, |kind| u16::from_be_bytes([kind[0], kind[1]]));
    }
    let is_read = matches!(kind, ethertype::IPV4 | ethertype::IPV6 | ethertype::ARP);
    let net = packet.net.as_ref().filter(|_| is_read);
    let body = net.and_then(|net| body(net, packet.transport.as_ref()));
    Some(PacketSpec { macs: macs(bytes), vlan, body: body.unwrap_or(Body::Other(kind)), size: None })
}

fn body(net: &LaxNetSlice<'_>, transport: Option<&TransportSlice<'_>>) -> Option<Body> {
    let (src, dst) = addresses_of(net)?;
    let (ttl, dscp, df, fragment, payload) = match net {
        LaxNetSlice::Arp(arp) => {
            let (IpAddr::V4(sender), IpAddr::V4(target)) = (src, dst) else { return None };
            return Some(Body::Arp { reply: arp.operation() == ArpOperation::REPLY, sender, target });
        }
        LaxNetSlice::Ipv4(v4) => {
            let header = v4.header();
            let (offset, more) = (header.fragments_offset().byte_offset(), header.more_fragments());
            let fragment = (more || offset > 0).then_some((offset, more));
            (header.ttl(), header.dcp().value(), header.dont_fragment(), fragment, v4.payload())
        }
        LaxNetSlice::Ipv6(v6) => {
            let header = v6.header();
            (header.hop_limit(), header.dscp().value(), false, v6_fragment(v6), v6.payload())
        }
    };
    let is_first = fragment.is_none_or(|(offset, _)| offset == 0);
    let l4 = l4(payload.ip_number.0, payload.payload, transport, is_first);
    Some(Body::Ip(Ip { src, dst, l4, ttl, dscp, df, fragment }))
}

fn v6_fragment(v6: &etherparse::LaxIpv6Slice<'_>) -> Option<(u16, bool)> {
    v6.extensions().clone().into_iter().find_map(|extension| match extension {
        etherparse::Ipv6ExtensionSlice::Fragment(fragment) => {
            Some((fragment.fragment_offset().byte_offset(), fragment.more_fragments()))
        }
        _ => None,
    })
}

fn l4(protocol: u8, payload: &[u8], transport: Option<&TransportSlice<'_>>, is_first: bool) -> L4 {
    let port = |at: usize| payload.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let ports = if is_first { port(0).zip(port(2)) } else { None };
    match (protocol, ports, payload) {
        (proto::TCP, Some((src, dst)), _) => {
            let flags = match transport {
                Some(TransportSlice::Tcp(tcp)) => tcp.slice().get(13).copied(),
                _ => payload.get(13).copied(),
            };
            L4::Tcp(src, dst, flags.unwrap_or(0))
        }
        (proto::UDP, Some((src, dst)), _) => L4::Udp(src, dst),
        (proto::SCTP, Some((src, dst)), _) => L4::Sctp(src, dst),
        (proto::ICMPV6, Some(_), [135, 0, _, _, _, _, _, _, target @ ..]) if target.len() >= 16 => {
            let target: [u8; 16] = std::array::from_fn(|i| target[i]);
            L4::Solicit(Ipv6Addr::from(target))
        }
        (proto::ICMP | proto::ICMPV6, Some(_), [kind, code, ..]) => L4::Icmp(*kind, *code),
        _ => L4::Other(protocol),
    }
}

/// Of a tunnel packet: which kind, its VNI, and where the frame inside begins.
fn tunnel(bytes: &[u8]) -> Option<(&'static str, u32, usize)> {
    let packet = LaxSlicedPacket::from_ethernet(bytes).ok()?;
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { return None };
    let payload = udp.payload();
    let (kind, options) = match udp.destination_port() {
        Vxlan::PORT => ("vxlan", 0),
        Geneve::PORT => ("geneve", usize::from(payload.first()? & 0x3f) * 4),
        _ => return None,
    };
    let inner = payload.get(8 + options..)?;
    let vni = u32::from_be_bytes([0, payload[4], payload[5], payload[6]]);
    (inner.len() >= 14).then(|| (kind, vni, inner.as_ptr() as usize - bytes.as_ptr() as usize))
}

/// The header fields of a packet that rules and the switch can change, and those that tell packets apart.
pub fn fields(bytes: &[u8]) -> Vec<Field> {
    let mut list = Vec::new();
    read_fields(bytes, "", &mut list);
    list
}

fn read_fields(bytes: &[u8], prefix: &str, list: &mut Vec<Field>) {
    let mut add = |name: &str, value: String| list.push(Field { name: format!("{prefix}{name}"), value });
    add("size", format!("{} bytes", bytes.len()));
    let Some(PacketSpec { macs, vlan, body, .. }) = read(bytes) else { return };
    if let Some((src, dst)) = macs {
        add("source MAC", src.to_string());
        add("destination MAC", dst.to_string());
    }
    if let Some(vlan) = vlan {
        add("VLAN", vlan.to_string());
    }
    match body {
        Body::Ip(Ip { src, dst, l4, ttl, dscp, fragment, .. }) => {
            add("source address", src.to_string());
            add("destination address", dst.to_string());
            add("TTL", ttl.to_string());
            add("DSCP", dscp.to_string());
            if let Some((offset, more)) = fragment {
                add("fragment", format!("{offset}{}", if more { "+" } else { "" }));
            }
            if let L4::Tcp(src, dst, _) | L4::Udp(src, dst) | L4::Sctp(src, dst) = l4 {
                add("source port", src.to_string());
                add("destination port", dst.to_string());
            }
            checksums(bytes).into_iter().for_each(|(name, sum)| add(name, format!("0x{sum:04x}")));
        }
        Body::Arp { sender, target, .. } => {
            add("sender", sender.to_string());
            add("target", target.to_string());
        }
        Body::Other(kind) => add("EtherType", format!("0x{kind:04x}")),
    }
    if let Some((kind, vni, at)) = tunnel(bytes) {
        add("tunnel", format!("{kind} {vni}"));
        read_fields(&bytes[at..], "inner ", list);
    }
}

fn checksums(bytes: &[u8]) -> Vec<(&'static str, u16)> {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return Vec::new() };
    let v4 = match &packet.net {
        Some(LaxNetSlice::Ipv4(v4)) => Some(("IP checksum", v4.header().header_checksum())),
        _ => None,
    };
    let l4 = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some(("TCP checksum", tcp.checksum())),
        Some(TransportSlice::Udp(udp)) => Some(("UDP checksum", udp.checksum())),
        Some(TransportSlice::Icmpv4(icmp)) => Some(("ICMP checksum", icmp.checksum())),
        Some(TransportSlice::Icmpv6(icmp)) => Some(("ICMPv6 checksum", icmp.checksum())),
        _ => None,
    };
    v4.into_iter().chain(l4).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Defaults, build};

    const DEFAULTS: Defaults = Defaults { src: Mac([2, 0, 0, 0, 0, 1]), dst: Mac([2, 0, 0, 0, 0, 2]) };

    /// What is built from words is described by the same words.
    #[test]
    fn words_come_back() {
        for text in [
            "tcp 10.1.0.5:33000 > 10.1.2.7:80 flags syn ttl 64 size 54",
            "vlan 10 udp 10.0.0.1:1 > 10.0.0.2:2 ttl 1 dscp 46 df size 1400",
            "vlan 7 tcp [fd00::1]:1 > [fd00::2]:2 flags fin,psh,ack ttl 64 dscp 3 size 90",
            "sctp 10.0.0.1:1 > 10.0.0.2:2 ttl 64 size 60",
            "udp 10.0.0.1:1 > 10.0.0.2:2 ttl 64 fragment 0+ size 100",
            "udp [fd00::1]:1 > [fd00::2]:2 ttl 64 fragment 0+ size 100",
            "icmp 10.0.0.1 > 10.0.0.2 echo ttl 64 size 42",
            "icmp 10.0.0.1 > 10.0.0.2 type 3 code 4 ttl 64 size 60",
            "icmp6 fd00::1 > fd00::2 echo-reply ttl 255 size 62",
            "icmp6 fe80::1 > ff02::1:ff00:2 solicit fd00::2 ttl 255 size 86",
            "ip 47 10.0.0.1 > 10.0.0.2 ttl 64 fragment 1480 size 60",
            "arp who-has 10.0.0.1 tell 10.0.0.2 size 42",
            "arp reply 10.0.0.1 to 10.0.0.2 size 60",
            "ethertype 0x88cc size 60",
        ] {
            let bytes = build(&text.parse().expect(text), DEFAULTS).expect(text);
            let words = describe(&bytes, bytes.len());
            assert!(words.ends_with(text), "{text}: {words}");
            // Whole packets are sound.
            if let Ok(whole) = etherparse::PacketHeaders::from_ethernet_slice(&bytes) {
                assert!(whole.link.is_some(), "{text}");
            }
            for cut in [14, 20, 34, 40, 54] {
                describe(&bytes[..cut.min(bytes.len())], bytes.len());
            }
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for text in ["udp 10.0.0.1:1 > 10.0.0.2:2 size 30", "arp who-has 10.0.0.1 tell 10.0.0.2 size 20"] {
            let error = build(&text.parse().expect(text), DEFAULTS).expect_err(text);
            assert!(error.contains("too small"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 12_usize..40, kind in 0_usize..4) {
            let mut bytes = bytes;
            let kind: [u8; 2] = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]][kind];
            if let Some(place) = bytes.get_mut(at..at + 2) {
                place.copy_from_slice(&kind);
            }
            describe(&bytes, 1500);
            fields(&bytes);
        }
    }
}
