//! Finds the payload of a UDP frame, through VXLAN or Geneve if it has to.

use weft_wire::{
    eth::ethertype,
    ip::proto,
    tunnel::{Geneve, Vxlan},
};

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The payload, as long as UDP says; nothing if the frame is no UDP, or is cut off.
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    let (port, payload) = udp(frame)?;
    match port {
        Vxlan::PORT => udp(payload.get(8..)?).map(|(_, inner)| inner),
        Geneve::PORT => {
            let options = usize::from(payload.first()? & 0x3f) * 4;
            udp(payload.get(8 + options..)?).map(|(_, inner)| inner)
        }
        _ => Some(payload),
    }
}

/// Destination port and payload.
fn udp(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (mut kind, mut l3) = (be16(frame, 12)?, 14);
    if kind == ethertype::VLAN {
        (kind, l3) = (be16(frame, 16)?, 18);
    }
    let (protocol, l4) = match kind {
        ethertype::IPV4 => (*frame.get(l3 + 9)?, l3 + 4 * usize::from(frame.get(l3)? & 0x0f)),
        ethertype::IPV6 => (*frame.get(l3 + 6)?, l3 + 40),
        _ => return None,
    };
    if protocol != proto::UDP {
        return None;
    }
    let (port, len) = (be16(frame, l4 + 2)?, usize::from(be16(frame, l4 + 4)?));
    Some((port, frame.get(l4 + 8..l4 + len)?))
}
