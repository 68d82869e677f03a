//! L4 checksums, completed and recognised.

use weft_wire::{
    checksum,
    ip::{Ipv4, Ipv6, proto},
};
use zerocopy::FromBytes;

use super::Csum;
use crate::frame::{Frame, FramePool};

/// Completes a partial checksum; false where its start or place lie outside of the packet. A packet whose checksum is
/// complete is left alone.
pub fn complete_checksum(pool: &FramePool, frame: &mut Frame) -> bool {
    let Csum::Partial { start, offset } = frame.offload().csum else { return true };
    let (start, place) = (usize::from(start), usize::from(start) + usize::from(offset));
    let packet = pool.bytes_mut(frame);
    if place + 2 > packet.len() {
        return false;
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

/// Whether a TCP or UDP packet's checksum field holds just the pseudo-header's sum, as the kernel leaves it for a
/// device to complete. A complete checksum that happens to equal it is completed to the same value: if the field is
/// the pseudo-header's sum P and the packet is right, the rest sums to ~(P + P), and completing gives P again.
pub fn detect_partial(packet: &[u8], l3: usize, l4: usize, protocol: u8) -> Option<Csum> {
    let offset = match protocol {
        proto::TCP => 16,
        proto::UDP => 6,
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
