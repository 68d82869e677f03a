//! L4 checksums, completed and recognised.

use weft_wire::{
    checksum,
    ip::{Ipv4, Ipv6, proto},
};
use zerocopy::FromBytes;

use super::{Csum, Offload, headers};
use crate::frame::{Frame, FramePool};

/// Completes a partial checksum; false where its start or place lie outside of the packet. A packet whose checksum is
/// complete is left alone.
pub fn complete_checksum(pool: &FramePool, frame: &mut Frame) -> bool {
    let Csum::Partial { start, offset } = frame.offload().csum else { return true };
    let (offset, start) = (usize::from(offset), usize::from(start));
    let place = start + offset;
    let packet = pool.bytes_mut(frame);
    if place + 2 > packet.len() {
        return false;
    }
    if offset == SCTP_FIELD {
        return complete_sctp(pool, frame, start, place);
    }
    // Up to the frame's end: padding, if there is any, is zero (IEEE 802.3 §4.2.3.3) and adds nothing.
    // The field holds the pseudo-header's sum: summing it along adds it in.
    let sum = checksum::finish(checksum::sum(&packet[start..], 0));
    // RFC 768: a sum of zero is sent as all ones; for TCP both mean the same (RFC 1071 §2 (B)).
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    frame.set_csum(Csum::Complete);
    true
}

/// Where SCTP has its checksum (RFC 9260 §3.1); no protocol with an Internet checksum has it there.
const SCTP_FIELD: usize = 8;

/// Whether a checksum still to be completed is SCTP's. Devices and virtio-net headers tell nothing but where it starts and
/// is, and whoever takes that for an Internet checksum spoils the packet: it is never left to others.
pub(super) fn is_sctp(csum: Csum) -> bool {
    matches!(csum, Csum::Partial { offset, .. } if usize::from(offset) == SCTP_FIELD)
}

/// SCTP's checksum is a CRC32c of the packet with zeros in its place, stored least byte first (RFC 9260 appendix A). It
/// covers no pseudo-header, and unlike a sum, no padding behind the packet.
fn complete_sctp(pool: &FramePool, frame: &mut Frame, start: usize, place: usize) -> bool {
    let packet = pool.bytes_mut(frame);
    let found = headers::find(packet, &Offload::default());
    let end = found.map_or(packet.len(), |found| found.end);
    if place + 4 > end {
        return false;
    }
    packet[place..place + 4].fill(0);
    let crc = crc32c(&packet[start..end]);
    packet[place..place + 4].copy_from_slice(&crc.to_le_bytes());
    frame.set_csum(Csum::Complete);
    true
}

/// CRC32c, least bit first (RFC 9260 appendix A: polynomial 0x1EDC6F41, here reversed), a byte a step.
pub fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// Whether a TCP, UDP or SCTP packet's checksum is still to be completed. TCP's and UDP's field then holds just the
/// pseudo-header's sum, as the kernel leaves it for a device; SCTP's is zero. A complete checksum that happens to equal it is completed to the same value: if the field is
/// the pseudo-header's sum P and the packet is right, the rest sums to ~(P + P), and completing gives P again.
pub fn detect_partial(packet: &[u8], l3: usize, l4: usize, protocol: u8) -> Option<Csum> {
    let offset = match protocol {
        proto::TCP => 16,
        proto::UDP => 6,
        proto::SCTP => {
            // A CRC that happens to be zero is completed to zero.
            let is_zero = packet.get(l4 + SCTP_FIELD..l4 + SCTP_FIELD + 4)? == [0; 4];
            return is_zero.then_some(Csum::Partial { start: l4 as u16, offset: SCTP_FIELD as u8 });
        }
        _ => return None,
    };
    let field = packet.get(l4 + offset..l4 + offset + 2)?;
    let field = u16::from_be_bytes([field[0], field[1]]);
    let pseudo = match packet.get(l3)? >> 4 {
        4 => {
            let (ip, _) = Ipv4::ref_from_prefix(&packet[l3..]).ok()?;
            let len = (l3 + usize::from(ip.total_len.get())).checked_sub(l4)?;
            checksum::pseudo(&ip.src, &ip.dst, protocol, len)
        }
        6 => {
            let (ip, _) = Ipv6::ref_from_prefix(&packet[l3..]).ok()?;
            let len = (l3 + size_of::<Ipv6>() + usize::from(ip.payload_len.get())).checked_sub(l4)?;
            checksum::pseudo(&ip.src, &ip.dst, protocol, len)
        }
        _ => return None,
    };
    let is_partial = field == checksum::fold(pseudo);
    is_partial.then_some(Csum::Partial { start: l4 as u16, offset: offset as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_the_one_of_the_rfcs() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa); // RFC 3720 appendix B.4
    }
}
