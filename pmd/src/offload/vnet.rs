//! The virtio-net header (virtio 1.2 §5.1.6), in which tap and AF_PACKET tell offload intent.

use weft_wire::l4::Tcp;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Csum, Gso, GsoKind, Offload};

/// The header, little-endian fields in host order as tap and AF_PACKET have them on little-endian machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VnetHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
    /// Only with mergeable receive buffers and from virtio 1.0 on; AF_PACKET leaves it out.
    num_buffers: u16,
}

impl VnetHeader {
    /// Bytes on a tap with `TUNSETVNETHDRSZ` of 12.
    pub const TAP: usize = 12;
    /// Bytes on AF_PACKET (`struct virtio_net_hdr`).
    pub const PACKET: usize = 10;

    const NEEDS_CSUM: u8 = 1;
    const GSO_NONE: u8 = 0;
    const GSO_TCPV4: u8 = 1;
    const GSO_TCPV6: u8 = 4;
    const GSO_UDP_L4: u8 = 5;
    const GSO_ECN: u8 = 0x80;

    /// Reads what a received packet of `len` bytes asks for; nothing where that makes no sense.
    pub fn decode(&self, len: usize) -> Option<Offload> {
        let csum = if self.flags & Self::NEEDS_CSUM == 0 {
            Csum::Complete
        } else if usize::from(self.csum_start) + usize::from(self.csum_offset) + 2 > len {
            return None;
        } else {
            Csum::Partial { start: self.csum_start, offset: u8::try_from(self.csum_offset).ok()? }
        };
        let kind = match self.gso_type & !Self::GSO_ECN {
            Self::GSO_NONE => return Some(Offload { csum, gso: None, ..Offload::default() }),
            Self::GSO_TCPV4 => GsoKind::Tcp4,
            Self::GSO_TCPV6 => GsoKind::Tcp6,
            Self::GSO_UDP_L4 => GsoKind::Udp,
            _ => return None, // UFO (3) is gone from Linux since 4.14
        };
        let gso = Gso { kind, ecn: self.gso_type & Self::GSO_ECN != 0, size: self.gso_size };
        let makes_sense = gso.size > 0 && !(gso.ecn && kind == GsoKind::Udp);
        makes_sense.then_some(Offload { csum, gso: Some(gso), ..Offload::default() })
    }

    /// Writes a packet's intent.
    pub fn encode(packet: &[u8], offload: &Offload) -> Self {
        let mut header = Self::default();
        if let Csum::Partial { start, offset } = offload.csum {
            header.flags = Self::NEEDS_CSUM;
            (header.csum_start, header.csum_offset) = (start, offset.into());
        }
        if let Some(gso) = offload.gso {
            header.gso_size = gso.size;
            header.gso_type = if gso.ecn { Self::GSO_ECN } else { 0 }
                | match gso.kind {
                    GsoKind::Tcp4 => Self::GSO_TCPV4,
                    GsoKind::Tcp6 => Self::GSO_TCPV6,
                    GsoKind::Udp => Self::GSO_UDP_L4,
                };
            let l4 = usize::from(header.csum_start);
            let l4_len = match gso.kind {
                GsoKind::Udp => 8,
                GsoKind::Tcp4 | GsoKind::Tcp6 => packet
                    .get(l4..)
                    .and_then(|bytes| Tcp::ref_from_prefix(bytes).ok())
                    .map_or(20, |(tcp, _)| tcp.header_len()),
            };
            header.hdr_len = (l4 + l4_len).min(packet.len()) as u16;
        }
        header
    }

    /// The first `n` bytes of a received header.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut whole = [0; Self::TAP];
        let n = bytes.len().min(Self::TAP);
        whole[..n].copy_from_slice(&bytes[..n]);
        zerocopy::transmute!(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intent_round_trips() {
        let packet = [0_u8; 2000];
        for gso in [
            None,
            Some(Gso { kind: GsoKind::Tcp6, ecn: true, size: 1400 }),
            Some(Gso { kind: GsoKind::Udp, ecn: false, size: 1 }),
        ] {
            for csum in [Csum::Complete, Csum::Partial { start: 34, offset: 16 }] {
                let offload = Offload { csum, gso, ..Offload::default() };
                let header = VnetHeader::encode(&packet, &offload);
                assert_eq!(VnetHeader::from_bytes(header.as_bytes()).decode(packet.len()), Some(offload));
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let bad = |header: VnetHeader| assert_eq!(header.decode(60), None, "{header:?}");
        bad(VnetHeader { flags: 1, csum_start: 50, csum_offset: 16, ..VnetHeader::default() });
        bad(VnetHeader { gso_type: 1, gso_size: 0, ..VnetHeader::default() });
        bad(VnetHeader { gso_type: 3, gso_size: 100, ..VnetHeader::default() });
        bad(VnetHeader { gso_type: 0x85, gso_size: 100, ..VnetHeader::default() });
        bad(VnetHeader { flags: 1, csum_start: 14, csum_offset: 256 + 16, ..VnetHeader::default() });
    }
}
