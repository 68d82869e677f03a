//! Words → bytes.

use std::net::IpAddr;

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header,
    Ipv6Header,
};
use weft_ctl_api::packet::{Body, Ip, L4, PacketSpec};
use weft_wire::{Mac, checksum, eth::ethertype, ip::proto};

/// What whoever sends a packet would fill in.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Source MAC.
    pub src: Mac,
    /// Destination MAC, of unicast packets.
    pub dst: Mac,
}

/// Makes a frame; what is not said comes from `defaults`. An error says which word is to blame.
pub fn build(spec: &PacketSpec, defaults: Defaults) -> Result<Vec<u8>, String> {
    let (src, dst) = spec.macs.unwrap_or((defaults.src, group_mac(&spec.body).unwrap_or(defaults.dst)));
    let (kind, head_len) = match &spec.body {
        Body::Ip(ip) if ip.src.is_ipv4() => (ethertype::IPV4, Ipv4Header::MIN_LEN),
        Body::Ip(ip) => (ethertype::IPV6, Ipv6Header::LEN + if ip.fragment.is_some() { 8 } else { 0 }),
        Body::Arp { .. } => (ethertype::ARP, 0),
        Body::Other(kind) => (*kind, 0),
    };
    let outer = if spec.vlan.is_some() { ethertype::VLAN } else { kind };
    let mut frame = Ethernet2Header { source: src.0, destination: dst.0, ether_type: EtherType(outer) }
        .to_bytes()
        .to_vec();
    if let Some(vlan) = spec.vlan {
        frame.extend(vlan.to_be_bytes());
        frame.extend(kind.to_be_bytes());
    }
    let head = frame.len() + head_len;
    match &spec.body {
        Body::Ip(ip) => frame.extend(ip_packet(ip, spec.size.map(|size| size.saturating_sub(head)), src)?),
        Body::Arp { reply, sender, target } => {
            let operation = if *reply { ArpOperation::REPLY } else { ArpOperation::REQUEST };
            let (addresses, other) =
                ([sender.octets(), target.octets()], if *reply { dst.0 } else { [0; 6] });
            let arp = ArpPacket::new(
                ArpHardwareId::ETHERNET,
                EtherType::IPV4,
                operation,
                &src.0,
                &addresses[0],
                &other,
                &addresses[1],
            );
            frame.extend(arp.map_err(|error| error.to_string())?.to_bytes());
        }
        Body::Other(_) => {}
    }
    match spec.size {
        Some(size) if size < frame.len() => {
            Err(format!("size {size} is too small: with its headers it has {} bytes", frame.len()))
        }
        Some(size) => {
            frame.resize(size, 0);
            Ok(frame)
        }
        None => Ok(frame),
    }
}

/// The MAC that goes with a multicast or broadcast (RFC 1112 §6.4, RFC 2464 §7).
fn group_mac(body: &Body) -> Option<Mac> {
    match body {
        Body::Arp { reply: false, .. } => Some(Mac::BROADCAST),
        Body::Ip(Ip { dst: IpAddr::V4(v4), .. }) if v4.is_broadcast() => Some(Mac::BROADCAST),
        Body::Ip(Ip { dst: IpAddr::V4(v4), .. }) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some(Mac([1, 0, 0x5e, b & 0x7f, c, d]))
        }
        Body::Ip(Ip { dst: IpAddr::V6(v6), .. }) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// IP header and payload; `len` bytes of payload, where that is said.
fn ip_packet(ip: &Ip, len: Option<usize>, src_mac: Mac) -> Result<Vec<u8>, String> {
    let is_first = ip.fragment.is_none_or(|(offset, _)| offset == 0);
    let mut payload = if is_first { l4_header(ip, src_mac) } else { Vec::new() };
    let len = len.unwrap_or(payload.len());
    if len < payload.len() {
        return Err(format!("size is too small: the header inside has {} bytes", payload.len()));
    }
    payload.resize(len, 0);
    let protocol = ip.l4.protocol(ip.src.is_ipv4());
    if let (L4::Udp(..), true, Some(field)) = (ip.l4, is_first, payload.get_mut(4..6)) {
        field.copy_from_slice(&(len as u16).to_be_bytes());
    }
    if ip.fragment.is_none() {
        set_checksum(ip, protocol, &mut payload);
    }
    let header = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = u16::try_from(payload.len()).map_err(|_| "size: larger than an IP packet can be")?;
            let mut header = Ipv4Header::new(len, ip.ttl, IpNumber(protocol), src.octets(), dst.octets())
                .map_err(|error| format!("size: {error}"))?;
            header.dscp = ip.dscp.try_into().unwrap_or_default();
            header.dont_fragment = ip.df;
            if let Some((offset, more)) = ip.fragment {
                header.fragment_offset = IpFragOffset::try_new(offset / 8).unwrap_or_default();
                header.more_fragments = more;
            }
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6_header(ip, protocol, payload.len(), src.octets(), dst.octets())?
        }
        _ => return Err(format!("{} and {} are not of one family", ip.src, ip.dst)),
    };
    Ok([header, payload].concat())
}

fn ipv6_header(ip: &Ip, protocol: u8, len: usize, src: [u8; 16], dst: [u8; 16]) -> Result<Vec<u8>, String> {
    let extension = match ip.fragment {
        Some((offset, more)) => {
            let [a, b] = (offset & !7 | u16::from(more)).to_be_bytes();
            vec![protocol, 0, a, b, 0, 0, 0, 1]
        }
        None => Vec::new(),
    };
    let total = u16::try_from(len + extension.len()).map_err(|_| "size: larger than an IP packet can be")?;
    let header = Ipv6Header {
        traffic_class: ip.dscp << 2,
        payload_length: total,
        next_header: IpNumber(if extension.is_empty() { protocol } else { proto::FRAGMENT }),
        hop_limit: ip.ttl,
        source: src,
        destination: dst,
        ..Ipv6Header::default()
    };
    Ok([header.to_bytes().to_vec(), extension].concat())
}

/// The header behind IP's, without checksum.
fn l4_header(ip: &Ip, src_mac: Mac) -> Vec<u8> {
    let ports = |src: u16, dst: u16| [src.to_be_bytes(), dst.to_be_bytes()].concat();
    match ip.l4 {
        L4::Tcp(src, dst, flags) => {
            let rest = [0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
            [ports(src, dst), rest.to_vec()].concat()
        }
        L4::Udp(src, dst) => [ports(src, dst), vec![0; 4]].concat(),
        L4::Sctp(src, dst) => [ports(src, dst), vec![0; 8]].concat(),
        L4::Icmp(kind, code) => vec![kind, code, 0, 0, 0, 1, 0, 1],
        L4::Solicit(target) => {
            // RFC 4861 §4.3: who has no address yet names no link-layer address.
            let option = [[1, 1].as_slice(), &src_mac.0].concat();
            let option = if ip.src.is_unspecified() { Vec::new() } else { option };
            [[135, 0, 0, 0, 0, 0, 0, 0].as_slice(), &target.octets(), &option].concat()
        }
        L4::Other(_) => Vec::new(),
    }
}

fn set_checksum(ip: &Ip, protocol: u8, payload: &mut [u8]) {
    let at = match protocol {
        proto::TCP => 16,
        proto::UDP => 6,
        proto::ICMP | proto::ICMPV6 => 2,
        _ => return,
    };
    let pseudo = match (ip.src, ip.dst) {
        _ if protocol == proto::ICMP => 0,
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            checksum::pseudo(&src.octets(), &dst.octets(), protocol, payload.len())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            checksum::pseudo(&src.octets(), &dst.octets(), protocol, payload.len())
        }
        _ => return,
    };
    let sum = checksum::sum(payload, pseudo);
    let sum = match checksum::finish(sum) {
        0 if protocol == proto::UDP => 0xffff, // RFC 768
        sum => sum,
    };
    if let Some(field) = payload.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}
