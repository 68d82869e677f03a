//! Sets header fields; checksums follow incrementally (RFC 1624), partial ones too.

use std::net::IpAddr;

use weft_pmd::{Csum, Frame, FramePool};
use weft_wire::{
    checksum,
    ip::{Ipv4, Ipv6, proto},
};
use zerocopy::FromBytes;

use crate::{
    parse::{Headers, L3},
    rules::SetField,
};

/// Sets one field. A packet that has no such field is left alone.
pub(super) fn set(field: SetField, frame: &mut Frame, headers: &Headers, pool: &FramePool) {
    let is_partial = matches!(frame.offload().csum, Csum::Partial { .. });
    let packet = pool.bytes_mut(frame);
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    match (field, headers.kind) {
        (SetField::DstMac(mac), _) => packet[..6].copy_from_slice(&mac.0),
        (SetField::SrcMac(mac), _) => packet[6..12].copy_from_slice(&mac.0),
        (SetField::SrcIp(IpAddr::V4(ip)), L3::Ipv4) => set_ipv4(packet, l3, l4, 12, ip.octets(), is_partial),
        (SetField::DstIp(IpAddr::V4(ip)), L3::Ipv4) => set_ipv4(packet, l3, l4, 16, ip.octets(), is_partial),
        (SetField::SrcIp(IpAddr::V6(ip)), L3::Ipv6) => set_ipv6(packet, l3, l4, 8, ip.octets(), is_partial),
        (SetField::DstIp(IpAddr::V6(ip)), L3::Ipv6) => set_ipv6(packet, l3, l4, 24, ip.octets(), is_partial),
        (SetField::SrcPort(port), L3::Ipv4 | L3::Ipv6) => set_port(packet, headers, l4, port, is_partial),
        (SetField::DstPort(port), L3::Ipv4 | L3::Ipv6) => set_port(packet, headers, l4 + 2, port, is_partial),
        (SetField::Dscp(dscp), L3::Ipv4) => {
            set_ipv4_word(packet, l3, 0, |word| [word[0], dscp << 2 | word[1] & 3])
        }
        (SetField::Ttl(ttl), L3::Ipv4) => set_ipv4_word(packet, l3, 8, |word| [ttl, word[1]]),
        (SetField::Dscp(dscp), L3::Ipv6) => {
            if let Ok((ip, _)) = Ipv6::mut_from_prefix(&mut packet[l3..]) {
                let kept = ip.version_class_label.get() & !(0x3f << 22);
                ip.version_class_label.set(kept | u32::from(dscp & 0x3f) << 22);
            }
        }
        (SetField::Ttl(ttl), L3::Ipv6) => {
            if let Ok((ip, _)) = Ipv6::mut_from_prefix(&mut packet[l3..]) {
                ip.hop_limit = ttl;
            }
        }
        _ => {}
    }
}

/// Changes a 16-bit word of the IPv4 header that no pseudo-header covers.
fn set_ipv4_word(packet: &mut [u8], l3: usize, at: usize, change: impl FnOnce([u8; 2]) -> [u8; 2]) {
    let Ok((ip, _)) = Ipv4::ref_from_prefix(&packet[l3..]) else { return };
    let field = ip.checksum.get();
    let old = [packet[l3 + at], packet[l3 + at + 1]];
    let new = change(old);
    packet[l3 + at..l3 + at + 2].copy_from_slice(&new);
    packet[l3 + 10..l3 + 12].copy_from_slice(&checksum::update(field, &old, &new).to_be_bytes());
}

fn set_ipv4(packet: &mut [u8], l3: usize, l4: usize, at: usize, new: [u8; 4], is_partial: bool) {
    let Ok((ip, _)) = Ipv4::mut_from_prefix(&mut packet[l3..]) else { return };
    let old = if at == 12 { ip.src } else { ip.dst };
    ip.checksum.set(checksum::update(ip.checksum.get(), &old, &new));
    let (protocol, is_first) = (ip.protocol, ip.fragment_offset() == 0);
    packet[l3 + at..l3 + at + 4].copy_from_slice(&new);
    if is_first {
        update_l4(packet, l4, protocol, &old, &new, is_partial);
    }
}

fn set_ipv6(packet: &mut [u8], l3: usize, l4: usize, at: usize, new: [u8; 16], is_partial: bool) {
    let Some(field) = packet.get_mut(l3 + at..l3 + at + 16) else { return };
    let mut old = [0; 16];
    old.copy_from_slice(field);
    field.copy_from_slice(&new);
    if let Some(protocol) = ipv6_protocol(packet, l3, l4) {
        update_l4(packet, l4, protocol, &old, &new, is_partial);
    }
}

/// The protocol of the L4 header at `l4`, which `parse` found; none for a later fragment.
fn ipv6_protocol(packet: &[u8], l3: usize, l4: usize) -> Option<u8> {
    if l4 == l3 + size_of::<Ipv6>() {
        return packet.get(l3 + 6).copied();
    }
    // Walk as `parse` did; it has checked every length.
    let (mut next, mut at) = (*packet.get(l3 + 6)?, l3 + size_of::<Ipv6>());
    while at < l4 {
        let (header, len) = (packet.get(at..at + 4)?, *packet.get(at + 1)?);
        let step = match next {
            proto::FRAGMENT if u16::from_be_bytes([header[2], header[3]]) & !7 != 0 => return None,
            proto::FRAGMENT => 8,
            51 => usize::from(len) * 4 + 8,
            _ => usize::from(len) * 8 + 8,
        };
        (next, at) = (header[0], at + step);
    }
    Some(next)
}

fn set_port(packet: &mut [u8], headers: &Headers, at: usize, port: u16, is_partial: bool) {
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    let protocol = match headers.kind {
        L3::Ipv4 => Ipv4::ref_from_prefix(&packet[l3..])
            .ok()
            .filter(|(ip, _)| ip.fragment_offset() == 0)
            .map(|(ip, _)| ip.protocol),
        _ => ipv6_protocol(packet, l3, l4),
    };
    let Some(protocol @ (proto::TCP | proto::UDP)) = protocol else { return };
    let old = [packet[at], packet[at + 1]];
    let new = port.to_be_bytes();
    packet[at..at + 2].copy_from_slice(&new);
    // A partial checksum covers the pseudo-header only so far; whoever completes it will see the new port.
    if !is_partial {
        update_l4(packet, l4, protocol, &old, &new, false);
    }
}

/// Brings the L4 checksum in step with a change of `old` to `new` in what it covers.
fn update_l4(packet: &mut [u8], l4: usize, protocol: u8, old: &[u8], new: &[u8], is_partial: bool) {
    let at = match protocol {
        proto::TCP => l4 + 16,
        proto::UDP => l4 + 6,
        proto::ICMPV6 => l4 + 2,
        _ => return,
    };
    let Some(field) = packet.get_mut(at..at + 2) else { return };
    let value = u16::from_be_bytes([field[0], field[1]]);
    if protocol == proto::UDP && value == 0 && !is_partial {
        return; // RFC 768: the sender made none
    }
    let mut value = if is_partial {
        checksum::update_partial(value, old, new)
    } else {
        checksum::update(value, old, new)
    };
    if protocol == proto::UDP && value == 0 && !is_partial {
        value = 0xffff; // RFC 768: a sum of zero is sent as all ones
    }
    field.copy_from_slice(&value.to_be_bytes());
}
