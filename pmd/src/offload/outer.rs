//! What a tunnel puts in front of a frame: Ethernet, IP without options, UDP, and eight bytes of VXLAN or Geneve.

use weft_wire::{
    checksum,
    eth::Ethernet,
    ip::{Ipv4, Ipv6, proto},
    l4::Udp,
    tunnel,
};
use zerocopy::FromBytes;

/// The underlay's family, which is all that the shape of an outer header depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outer {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Outer {
    /// Length of the outer header, bytes.
    pub const fn len(self) -> usize {
        self.l4() + size_of::<Udp>() + tunnel::LEN
    }

    /// An outer header is never empty.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Start of the UDP header.
    pub const fn l4(self) -> usize {
        size_of::<Ethernet>()
            + match self {
                Self::V4 => size_of::<Ipv4>(),
                Self::V6 => size_of::<Ipv6>(),
            }
    }
}

/// Sets the outer header's lengths and checksums for the packet as it is.
///
/// Over IPv4 the UDP checksum stays zero (RFC 7348 §5, RFC 8926 §3.3). Over IPv6 it is made: a receiver may refuse zero
/// (RFC 6935 §5; Linux does unless told otherwise).
#[inline]
pub fn finish(packet: &mut [u8], outer: Outer) {
    let l3_len = packet.len() - size_of::<Ethernet>();
    let l4_len = packet.len() - outer.l4();
    match outer {
        Outer::V4 => {
            if let Some(ip) = packet.get_mut(14..).and_then(|ip| ip.first_chunk_mut::<28>()) {
                ip[2..4].copy_from_slice(&(l3_len as u16).to_be_bytes());
                ip[10..12].copy_from_slice(&[0; 2]);
                let sum = checksum::finish(checksum::sum(&ip[..20], 0));
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                ip[24..26].copy_from_slice(&(l4_len as u16).to_be_bytes());
            }
        }
        Outer::V6 => finish_v6(packet, l4_len),
    }
}

fn finish_v6(packet: &mut [u8], l4_len: usize) {
    let l4 = Outer::V6.l4();
    let Ok((ip, _)) = Ipv6::mut_from_prefix(&mut packet[size_of::<Ethernet>()..]) else { return };
    ip.payload_len.set(l4_len as u16);
    let pseudo = checksum::pseudo(&ip.src, &ip.dst, proto::UDP, l4_len);
    let Ok((udp, _)) = Udp::mut_from_prefix(&mut packet[l4..]) else { return };
    udp.len.set(l4_len as u16);
    udp.checksum.set(0);
    let sum = checksum::finish(checksum::sum(&packet[l4..], pseudo));
    if let Ok((udp, _)) = Udp::mut_from_prefix(&mut packet[l4..]) {
        udp.checksum.set(if sum == 0 { 0xffff } else { sum });
    }
}
