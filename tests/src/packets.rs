//! Packets, made and described.

use std::net::IpAddr;

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
    VlanId,
};
use weft_wire::Mac;

/// An Ethernet frame in the making: who sends it to whom.
#[derive(Debug, Clone, Copy)]
pub struct Eth {
    /// Source MAC.
    pub src: Mac,
    /// Destination MAC.
    pub dst: Mac,
    /// VLAN tag.
    pub vlan: Option<u16>,
}

/// From `src` to `dst`, untagged.
pub fn eth(src: &str, dst: &str) -> Eth {
    Eth { src: src.parse().expect("a MAC"), dst: dst.parse().expect("a MAC"), vlan: None }
}

macro_rules! build {
    ($eth:expr, $src:expr, $dst:expr, $ttl:expr, |$step:ident| $finish:expr) => {{
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2($eth.src.0, $eth.dst.0);
        match ($eth.vlan, $src, $dst) {
            (None, IpAddr::V4(src), IpAddr::V4(dst)) => {
                let $step = builder.ipv4(src.octets(), dst.octets(), $ttl);
                $finish(&mut bytes)
            }
            (None, IpAddr::V6(src), IpAddr::V6(dst)) => {
                let $step = builder.ipv6(src.octets(), dst.octets(), $ttl);
                $finish(&mut bytes)
            }
            (Some(vlan), IpAddr::V4(src), IpAddr::V4(dst)) => {
                let vlan = VlanId::try_new(vlan).expect("a VLAN id");
                let $step = builder.single_vlan(vlan).ipv4(src.octets(), dst.octets(), $ttl);
                $finish(&mut bytes)
            }
            (Some(vlan), IpAddr::V6(src), IpAddr::V6(dst)) => {
                let vlan = VlanId::try_new(vlan).expect("a VLAN id");
                let $step = builder.single_vlan(vlan).ipv6(src.octets(), dst.octets(), $ttl);
                $finish(&mut bytes)
            }
            _ => panic!("both addresses are of one family"),
        }
        bytes
    }};
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

impl Eth {
    /// With a tag.
    #[must_use]
    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// A UDP datagram of `len` payload bytes.
    pub fn udp(self, src: &str, dst: &str, ports: (u16, u16), ttl: u8, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        build!(self, ip(src), ip(dst), ttl, |step| |bytes: &mut Vec<u8>| {
            step.udp(ports.0, ports.1).write(bytes, &payload).expect("a packet")
        })
    }

    /// A TCP segment with these flags (FIN, SYN, RST, PSH, ACK as `fsrpa`).
    pub fn tcp(self, src: &str, dst: &str, ports: (u16, u16), flags: &str, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        build!(self, ip(src), ip(dst), 64, |step| |bytes: &mut Vec<u8>| {
            let mut tcp = step.tcp(ports.0, ports.1, 1000, 4096);
            for flag in flags.chars() {
                tcp = match flag {
                    'f' => tcp.fin(),
                    's' => tcp.syn(),
                    'r' => tcp.rst(),
                    'p' => tcp.psh(),
                    'a' => tcp.ack(2000),
                    other => panic!("no flag {other}"),
                };
            }
            tcp.write(bytes, &payload).expect("a packet")
        })
    }

    /// A tunnel packet: `shim` is all that is between UDP and the inner frame.
    pub fn wrap(self, src: &str, dst: &str, port: u16, shim: &[u8], inner: &[u8]) -> Vec<u8> {
        let payload = [shim, inner].concat();
        build!(self, ip(src), ip(dst), 64, |step| |bytes: &mut Vec<u8>| {
            step.udp(50_000, port).write(bytes, &payload).expect("a packet")
        })
    }

    /// An echo request.
    pub fn ping(self, src: &str, dst: &str, ttl: u8) -> Vec<u8> {
        self.ping_with(src, dst, ttl, &[7_u8; 16])
    }

    /// An echo request of so many bytes of data, each byte in its place.
    pub fn large_ping(self, src: &str, dst: &str, len: usize) -> Vec<u8> {
        self.ping_with(src, dst, 64, &(0..len).map(|i| (i * 7) as u8).collect::<Vec<u8>>())
    }

    fn ping_with(self, src: &str, dst: &str, ttl: u8, payload: &[u8]) -> Vec<u8> {
        match (ip(src), ip(dst)) {
            (IpAddr::V4(_), _) => build!(self, ip(src), ip(dst), ttl, |step| |bytes: &mut Vec<u8>| {
                step.icmpv4_echo_request(1, 1).write(bytes, payload).expect("a packet")
            }),
            _ => build!(self, ip(src), ip(dst), ttl, |step| |bytes: &mut Vec<u8>| {
                step.icmpv6_echo_request(1, 1).write(bytes, payload).expect("a packet")
            }),
        }
    }

    /// An ARP request of `src` for `target`.
    pub fn arp(self, src: &str, target: &str) -> Vec<u8> {
        let (IpAddr::V4(sender), IpAddr::V4(target)) = (ip(src), ip(target)) else {
            panic!("ARP is for IPv4")
        };
        let arp = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            ArpOperation::REQUEST,
            &self.src.0,
            &sender.octets(),
            &[0; 6],
            &target.octets(),
        )
        .expect("an ARP packet");
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2(self.src.0, self.dst.0);
        match self.vlan {
            None => builder.arp(arp).write(&mut bytes).expect("a packet"),
            Some(vlan) => {
                let vlan = VlanId::try_new(vlan).expect("a VLAN id");
                builder.single_vlan(vlan).arp(arp).write(&mut bytes).expect("a packet");
            }
        }
        bytes
    }

    /// A neighbour solicitation of `src` for `target`.
    pub fn solicit(self, src: &str, target: &str) -> Vec<u8> {
        let (IpAddr::V6(src), IpAddr::V6(target)) = (ip(src), ip(target)) else { panic!("ND is for IPv6") };
        let mut to = [0; 16];
        to[..13].copy_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]);
        to[13..].copy_from_slice(&target.octets()[13..]);
        let mut body = target.octets().to_vec();
        body.extend([1, 1]);
        body.extend(self.src.0);
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(self.src.0, self.dst.0)
            .ipv6(src.octets(), to, 255)
            .icmpv6_raw(135, 0, [0; 4])
            .write(&mut bytes, &body)
            .expect("a packet");
        bytes
    }
}

/// A packet in one line, such as `02:…:05>02:…:01 vlan 10 10.0.0.1>10.0.0.2 ttl 63 udp 1>2 len 18`; checksums that are
/// wrong are said so.
pub fn describe(bytes: &[u8]) -> String {
    let packet = match SlicedPacket::from_ethernet(bytes) {
        Ok(packet) => packet,
        Err(error) => return format!("unreadable: {error}"),
    };
    let mut words = Vec::new();
    let mac = |bytes: &[u8]| Mac([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]);
    words.push(format!("{}>{}", mac(&bytes[6..12]), mac(&bytes[..6])));
    if let Some(vlan) = packet.vlan_ids().first() {
        words.push(format!("vlan {}", vlan.value()));
    }
    match &packet.net {
        Some(NetSlice::Ipv4(v4)) => {
            let header = v4.header().to_header();
            words.push(format!(
                "{}>{} ttl {}",
                v4.header().source_addr(),
                v4.header().destination_addr(),
                header.time_to_live
            ));
            if header.calc_header_checksum() != header.header_checksum {
                words.push("BAD-IP-CHECKSUM".into());
            }
            if header.more_fragments || header.fragment_offset.value() > 0 {
                let more = if header.more_fragments { "+" } else { "" };
                words.push(format!("fragment {}{more}", header.fragment_offset.byte_offset()));
            }
            if header.dscp.value() != 0 {
                words.push(format!("dscp {}", header.dscp.value()));
            }
        }
        Some(NetSlice::Ipv6(v6)) => {
            let header = v6.header();
            words.push(format!(
                "{}>{} ttl {}",
                header.source_addr(),
                header.destination_addr(),
                header.hop_limit()
            ));
            let at = 14 + 4 * packet.vlan_ids().len() + 40;
            if let (44, Some([_, _, a, b])) = (header.next_header().0, bytes.get(at..at + 4)) {
                let offset_more = u16::from_be_bytes([*a, *b]);
                let more = if offset_more & 1 == 1 { "+" } else { "" };
                words.push(format!("fragment {}{more}", offset_more & !7));
            }
        }
        Some(NetSlice::Arp(arp)) => {
            let address = |bytes: &[u8]| format!("{}.{}.{}.{}", bytes[0], bytes[1], bytes[2], bytes[3]);
            let what = if arp.operation() == ArpOperation::REPLY { "is" } else { "who" };
            let (sender, target) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
            words.push(format!("arp {what} {sender}@{} to {target}", mac(arp.sender_hw_addr())));
        }
        None => {}
    }
    match (tunnel(&packet), &packet.transport) {
        (Some((kind, vni, inner)), _) => words.push(format!("{kind} {vni} {{{}}}", describe(inner))),
        (None, Some(transport)) => words.push(describe_transport(transport)),
        (None, None) => {}
    }
    if checksum_is_wrong(&packet) {
        words.push("BAD-L4-CHECKSUM".into());
    }
    words.join(" ")
}

/// Of a tunnel packet: which kind, its VNI, and the frame inside.
fn tunnel<'a>(packet: &SlicedPacket<'a>) -> Option<(&'static str, u32, &'a [u8])> {
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { return None };
    let (kind, options) = match udp.destination_port() {
        4789 => ("vxlan", 0),
        6081 => ("geneve", usize::from(udp.payload().first()? & 0x3f) * 4),
        _ => return None,
    };
    let (header, inner) = udp.payload().split_at_checked(8 + options)?;
    Some((kind, u32::from_be_bytes([0, header[4], header[5], header[6]]), inner))
}

fn describe_transport(transport: &TransportSlice<'_>) -> String {
    match transport {
        TransportSlice::Udp(udp) => {
            format!("udp {}>{} len {}", udp.source_port(), udp.destination_port(), udp.payload().len())
        }
        TransportSlice::Tcp(tcp) => {
            let flags =
                [('f', tcp.fin()), ('s', tcp.syn()), ('r', tcp.rst()), ('p', tcp.psh()), ('a', tcp.ack())];
            let flags: String = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag).collect();
            let (src, dst) = (tcp.source_port(), tcp.destination_port());
            format!("tcp {src}>{dst} {flags} seq {} len {}", tcp.sequence_number(), tcp.payload().len())
        }
        TransportSlice::Icmpv4(icmp) => {
            let rest = u32::from_be_bytes(icmp.bytes5to8());
            format!("icmp {}/{} {rest} len {}", icmp.type_u8(), icmp.code_u8(), icmp.payload().len())
        }
        TransportSlice::Icmpv6(icmp) => {
            let rest = u32::from_be_bytes(icmp.bytes5to8());
            format!("icmp6 {}/{} {rest} len {}", icmp.type_u8(), icmp.code_u8(), icmp.payload().len())
        }
        TransportSlice::Igmp(_) => "igmp".into(),
    }
}

/// Whether a whole packet's L4 checksum is wrong. Fragments, and packets without one, are not.
pub fn checksum_is_wrong(packet: &SlicedPacket<'_>) -> bool {
    const ICMP: u8 = 1;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    let (payload, pseudo) = match &packet.net {
        Some(NetSlice::Ipv4(v4)) => {
            let addresses = [v4.header().source(), v4.header().destination()].concat();
            (v4.payload(), addresses)
        }
        Some(NetSlice::Ipv6(v6)) => {
            let addresses = [v6.header().source(), v6.header().destination()].concat();
            (v6.payload(), addresses)
        }
        _ => return false,
    };
    let protocol = payload.ip_number.0;
    let bytes = payload.payload;
    if payload.fragmented || (protocol == UDP && bytes.get(6..8) == Some(&[0, 0])) {
        return false;
    }
    let pseudo = match protocol {
        TCP | UDP | ICMPV6 => {
            [pseudo, vec![0, protocol], (bytes.len() as u16).to_be_bytes().to_vec()].concat()
        }
        ICMP => Vec::new(),
        _ => return false,
    };
    let mut sum = 0_u32;
    for word in [pseudo.as_slice(), bytes].concat().chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum != 0xffff
}
