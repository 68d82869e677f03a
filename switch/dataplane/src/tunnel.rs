//! Tunnels to other nodes: what is recognised on the way in ([`Tunnels`]), and what is put in front on the way out
//! ([`Tunnel`]). VXLAN (RFC 7348) and Geneve (RFC 8926) over IPv4 and IPv6.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use weft_pmd::offload::outer::{self, Outer};
use weft_wire::{
    Mac, NetworkId, PeerId, PortId, Vni, checksum,
    eth::{Ethernet, ethertype},
    ip::{Ipv4, Ipv6, proto},
    l4::Udp,
    tunnel::{self, Geneve, Vxlan},
};
use zerocopy::IntoBytes;

use crate::{key::FlowKey, reason::DropReason, stats::PeerStats};

pub mod ecn;

/// What is between UDP and the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// VXLAN.
    Vxlan,
    /// Geneve; options are skipped on receipt, none are sent.
    Geneve,
}

/// What arrives in tunnels.
#[derive(Debug, Clone)]
pub struct Tunnels {
    /// The uplink.
    pub port: PortId,
    /// Its MAC: others are not the switch's to unwrap.
    pub mac: Mac,
    /// What is between UDP and the frame.
    pub encapsulation: Encapsulation,
    /// UDP destination port.
    pub udp_port: u16,
    /// This node's addresses in the underlay.
    pub v4: Option<[u8; 4]>,
    /// The same for IPv6.
    pub v6: Option<[u8; 16]>,
    /// Networks by VNI.
    pub networks: HashMap<u32, NetworkId>,
    /// Other nodes by their addresses, mapped.
    pub peers: HashMap<[u8; 16], PeerId>,
}

/// A tunnel packet's outer side, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrapped {
    /// Bytes in front of the inner frame.
    pub len: usize,
    /// Bytes of the inner frame; what is behind it is padding.
    pub inner_len: usize,
    /// Who sent it, mapped.
    pub src: [u8; 16],
    /// The network's identifier.
    pub vni: u32,
    /// ECN of the outer header.
    pub ecn: u8,
}

/// Tunnel packets come from UDP ports from here on, the dynamic range (RFC 7348 §5); which one is the flow's.
pub const SRC_PORT_MIN: u16 = 0xc000;

/// Ethernet, IPv4 and UDP.
const HEAD: usize = Outer::V4.l4() + size_of::<Udp>();

impl Tunnels {
    /// Reads a packet's outer side. `None`: it is no tunnel packet for this node; an error: it is one that is not as it
    /// should be.
    #[inline]
    pub fn read(&self, packet: &[u8]) -> Option<Result<Wrapped, DropReason>> {
        let head: &[u8; HEAD] = packet.first_chunk()?;
        if head[..6] != self.mac.0 {
            return None;
        }
        let (outer, ecn, src) = match u16::from_be_bytes([head[12], head[13]]) {
            ethertype::IPV4 => (Outer::V4, head[15] & 3, self.read_v4(head)?),
            ethertype::IPV6 => (Outer::V6, head[15] >> 4 & 3, self.read_v6(packet)?),
            _ => return None,
        };
        let l4 = outer.l4();
        let udp = packet.get(l4..).and_then(|udp| udp.first_chunk::<8>())?;
        if u16::from_be_bytes([udp[2], udp[3]]) != self.udp_port {
            return None;
        }
        let read = self.read_tunnel(packet, outer, udp);
        Some(read.map(|(len, end, vni)| Wrapped { len, inner_len: end - len, src, vni, ecn }))
    }

    /// Whether a packet looks like one that is to be unwrapped here.
    pub fn is_wrapped(&self, key: &FlowKey) -> bool {
        key.protocol == proto::UDP
            && key.dst_port() == self.udp_port
            && match key.dst_ip() {
                IpAddr::V4(v4) => self.v4 == Some(v4.octets()),
                IpAddr::V6(v6) => self.v6 == Some(v6.octets()),
            }
    }

    /// Fragments are not for this node to put together: the kernel never sees them as tunnel packets, neither does this.
    #[inline]
    fn read_v4(&self, head: &[u8; HEAD]) -> Option<[u8; 16]> {
        let ip = &head[14..34];
        let is_plain = ip[0] == 0x45
            && u16::from_be_bytes([ip[6], ip[7]]) & !Ipv4::DF == 0
            && ip[9] == proto::UDP
            && self.v4.is_some_and(|own| ip[16..20] == own);
        is_plain.then(|| {
            let mut mapped = [0; 16];
            mapped[10..12].fill(0xff);
            mapped[12..].copy_from_slice(&ip[12..16]);
            mapped
        })
    }

    #[inline]
    fn read_v6(&self, packet: &[u8]) -> Option<[u8; 16]> {
        let ip = packet.get(14..)?.first_chunk::<40>()?;
        let src: [u8; 16] = std::array::from_fn(|i| ip[8 + i]);
        // An IPv4-mapped source would be taken for a peer's IPv4 address: no peer's begins with eight zeros.
        let is_plain =
            ip[6] == proto::UDP && self.v6.is_some_and(|own| ip[24..40] == own) && src[..8] != [0; 8];
        is_plain.then_some(src)
    }

    /// Where the inner frame begins and ends, and the VNI.
    #[inline]
    fn read_tunnel(
        &self,
        packet: &[u8],
        outer: Outer,
        udp: &[u8; 8],
    ) -> Result<(usize, usize, u32), DropReason> {
        let l4 = outer.l4();
        // Everything must be there, and nothing behind UDP's end is the inner frame's.
        let end = l4 + usize::from(u16::from_be_bytes([udp[4], udp[5]]));
        let header = packet.get(l4 + 8..).and_then(|bytes| bytes.first_chunk::<{ tunnel::LEN }>());
        let Some(header) = header.filter(|_| end <= packet.len()) else {
            return Err(DropReason::TunnelMalformed);
        };
        let options = match self.encapsulation {
            Encapsulation::Vxlan => {
                if header[0] & Vxlan::VNI_VALID == 0 {
                    let is_probe = *header == [0; tunnel::LEN];
                    return Err(if is_probe { DropReason::TunnelProbe } else { DropReason::TunnelMalformed });
                }
                0
            }
            Encapsulation::Geneve => geneve_options(header)?,
        };
        let len = outer.len() + options;
        if end < len + size_of::<Ethernet>() {
            return Err(DropReason::TunnelMalformed);
        }
        Ok((len, end, u32::from_be_bytes([0, header[4], header[5], header[6]])))
    }
}

/// Length of the options. None of them is known here: a packet with one that must be understood is dropped (RFC 8926 §3.4).
#[inline]
fn geneve_options(header: &[u8; tunnel::LEN]) -> Result<usize, DropReason> {
    let geneve: Geneve = zerocopy::transmute!(*header);
    if geneve == Geneve::probe() {
        return Err(DropReason::TunnelProbe);
    }
    let is_known = geneve.version_options >> 6 == 0
        && geneve.flags & (Geneve::CONTROL | Geneve::CRITICAL) == 0
        && geneve.protocol.get() == Geneve::ETHERNET;
    if is_known { Ok(geneve.options_len()) } else { Err(DropReason::TunnelMalformed) }
}

/// What DSCP an outer header gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dscp {
    /// The inner packet's (RFC 2983 §3.1, the uniform model).
    Inherit,
    /// This one (the pipe model).
    Fixed(u8),
}

/// The way to one network on another node.
#[derive(Debug, Clone)]
pub struct Tunnel {
    header: [u8; Outer::V6.len()],
    /// Sum of the IPv4 header's words as they are in `header`.
    sum: u32,
    outer: Outer,
    dscp: Dscp,
    /// The inner frame's MACs and MTU: index of a rewrite.
    pub rewrite: u16,
    /// The other node's counters.
    pub stats: Arc<PeerStats>,
}

/// What an outer header is made from.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The next hop's MAC, and the uplink's.
    pub macs: (Mac, Mac),
    /// This node's address, and the other's: of one family.
    pub addresses: (IpAddr, IpAddr),
    /// UDP destination port.
    pub udp_port: u16,
    /// What is between UDP and the frame.
    pub encapsulation: Encapsulation,
    /// The network's identifier.
    pub vni: Vni,
    /// DSCP of the outer header.
    pub dscp: Dscp,
}

impl Tunnel {
    /// The same with counters of its own.
    pub(crate) fn shadow(&self) -> Self {
        Self { stats: Arc::new(PeerStats::new(1)), ..self.clone() }
    }

    /// With its header made, but for what differs from packet to packet. `None`: the addresses are not of one family.
    pub fn new(way: &Way, rewrite: u16, stats: Arc<PeerStats>) -> Option<Self> {
        /// Hops that an outer packet may take.
        const TTL: u8 = 64;
        let (outer, ethertype, ip) = match way.addresses {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ip = Ipv4 {
                    version_ihl: 0x45,
                    tos: 0,
                    total_len: 0.into(),
                    id: 0.into(), // atomic: never a fragment (RFC 6864 §4.1)
                    fragment: Ipv4::DF.into(),
                    ttl: TTL,
                    protocol: proto::UDP,
                    checksum: 0.into(),
                    src: src.octets(),
                    dst: dst.octets(),
                };
                (Outer::V4, ethertype::IPV4, ip.as_bytes().to_vec())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let ip = Ipv6 {
                    version_class_label: (6 << 28).into(),
                    payload_len: 0.into(),
                    next_header: proto::UDP,
                    hop_limit: TTL,
                    src: src.octets(),
                    dst: dst.octets(),
                };
                (Outer::V6, ethertype::IPV6, ip.as_bytes().to_vec())
            }
            _ => return None,
        };
        let ethernet = Ethernet { dst: way.macs.0, src: way.macs.1, ethertype: ethertype.into() };
        let udp = Udp { src: 0.into(), dst: way.udp_port.into(), len: 0.into(), checksum: 0.into() };
        let shim: [u8; tunnel::LEN] = match way.encapsulation {
            Encapsulation::Vxlan => zerocopy::transmute!(Vxlan::new(way.vni)),
            Encapsulation::Geneve => zerocopy::transmute!(Geneve::new(way.vni)),
        };
        let bytes = [ethernet.as_bytes(), &ip, udp.as_bytes(), &shim].concat();
        let mut header = [0; Outer::V6.len()];
        header[..outer.len()].copy_from_slice(&bytes);
        let sum = checksum::fold(checksum::sum(&header[14..34], 0)).into();
        Some(Self { header, sum, outer, dscp: way.dscp, rewrite, stats })
    }

    /// The outer header's shape.
    #[inline]
    pub fn outer(&self) -> Outer {
        self.outer
    }

    /// Writes the outer header into the room in front of a frame. `class` is the inner packet's DSCP and ECN; ECN is copied
    /// (RFC 6040 §4.1, normal mode).
    #[inline]
    pub fn write(&self, packet: &mut [u8], class: u8, entropy: u64) {
        let class = match self.dscp {
            Dscp::Inherit => class,
            Dscp::Fixed(dscp) => dscp << 2 | class & 3,
        };
        // Bits of the hash that choose no bucket.
        let src_port = SRC_PORT_MIN | (entropy >> 40) as u16 & !SRC_PORT_MIN;
        match self.outer {
            Outer::V4 => self.write_v4(packet, class, src_port),
            Outer::V6 => {
                let Some(room) = packet.first_chunk_mut::<{ Outer::V6.len() }>() else { return };
                room.copy_from_slice(&self.header);
                // RFC 6438 §3: the flow label spreads over paths, too.
                let word = 6 << 28 | u32::from(class) << 20 | (entropy >> 32) as u32 & 0xf_ffff;
                room[14..18].copy_from_slice(&word.to_be_bytes());
                room[54..56].copy_from_slice(&src_port.to_be_bytes());
                outer::finish(packet, self.outer);
            }
        }
    }

    /// Word by word, each written once: what is read again where it was just written in other pieces makes a processor
    /// wait. Says the same as [`outer::finish`] over the header; a test holds that.
    #[inline]
    fn write_v4(&self, packet: &mut [u8], class: u8, src_port: u16) {
        let l3_len = (packet.len() - size_of::<Ethernet>()) as u16;
        let l4_len = l3_len.wrapping_sub(size_of::<Ipv4>() as u16);
        let Some(room) = packet.first_chunk_mut::<{ Outer::V4.len() }>() else { return };
        let sum = checksum::finish(u64::from(self.sum) + u64::from(l3_len) + u64::from(class));
        // In memory's order: DSCP and ECN are byte 15; length 16; checksum 24; source port 34, length 38.
        let changes = [
            0,
            u64::from(class) << 56,
            u64::from(l3_len.swap_bytes()),
            u64::from(sum.swap_bytes()),
            u64::from(src_port.swap_bytes()) << 16 | u64::from(l4_len.swap_bytes()) << 48,
        ];
        let (words, _) = self.header.as_chunks::<8>();
        let (places, _) = room.as_chunks_mut::<8>();
        for ((place, word), change) in places.iter_mut().zip(words).zip(changes) {
            *place = (u64::from_le_bytes(*word) | change).to_le_bytes();
        }
        room[40..].copy_from_slice(&self.header[40..Outer::V4.len()]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is written word by word is what the general way makes of the header.
        #[test]
        fn both_ways_write_the_same(len in 0_usize..9000, class in any::<u8>(), entropy in any::<u64>(), fixed in any::<bool>()) {
            let way = Way {
                macs: (Mac([2, 1, 2, 3, 4, 5]), Mac([2, 9, 8, 7, 6, 5])),
                addresses: ([192, 0, 2, 1].into(), [198, 51, 100, 77].into()),
                udp_port: Vxlan::PORT,
                encapsulation: Encapsulation::Vxlan,
                vni: Vni::try_from(0xabcdef).unwrap(),
                dscp: if fixed { Dscp::Fixed(46) } else { Dscp::Inherit },
            };
            let tunnel = Tunnel::new(&way, 0, Arc::new(PeerStats::new(1))).unwrap();
            let mut packet = vec![0xee; Outer::V4.len() + len];
            tunnel.write(&mut packet, class, entropy);
            let mut other = packet.clone();
            other[..Outer::V4.len()].copy_from_slice(&tunnel.header[..Outer::V4.len()]);
            other[15] = if fixed { 46 << 2 | class & 3 } else { class };
            other[34..36].copy_from_slice(&packet[34..36]);
            outer::finish(&mut other, Outer::V4);
            prop_assert_eq!(packet, other);
        }
    }
}
