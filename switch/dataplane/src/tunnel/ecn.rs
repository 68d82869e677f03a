//! Explicit congestion notification through tunnels (RFC 6040).

use weft_wire::{checksum, ethertype};

/// ECN-capable, congestion experienced.
const CE: u8 = 3;

/// The traffic class in an IPv6 header's first two bytes.
#[inline]
pub fn class_v6([a, b]: [u8; 2]) -> u8 {
    a << 4 | b >> 4
}

/// What an inner packet's ECN becomes that arrived with `outer` outside (RFC 6040 §4.2, figure 4); `None`: it is dropped,
/// since its sender would never learn of the congestion.
pub const fn on_receipt(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (0, CE) => None,
        (0, _) => Some(0),
        (CE, _) | (_, CE) => Some(CE),
        (2, 1) => Some(1),
        (inner, _) => Some(inner),
    }
}

/// Brings an inner frame's ECN in step with the outer header's; false: it is to be dropped.
pub fn carry_over(frame: &mut [u8], outer: u8) -> bool {
    let Some(ethertype) = frame.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]])) else {
        return true;
    };
    let Some(ip) = frame.get_mut(14..).filter(|ip| ip.len() >= 20) else { return true };
    match ethertype {
        ethertype::IPV4 => {
            let old = [ip[0], ip[1]];
            let Some(ecn) = on_receipt(ip[1] & 3, outer) else { return false };
            ip[1] = ip[1] & !3 | ecn;
            let sum = checksum::update(u16::from_be_bytes([ip[10], ip[11]]), &old, &[ip[0], ip[1]]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            true
        }
        ethertype::IPV6 => {
            let Some(ecn) = on_receipt(ip[1] >> 4 & 3, outer) else { return false };
            ip[1] = ip[1] & !0x30 | ecn << 4;
            true
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6040, figure 4, row by row.
    #[test]
    fn figure_4() {
        const ECT0: u8 = 2;
        const ECT1: u8 = 1;
        let outer = [0, ECT0, ECT1, CE];
        let row = |inner| outer.map(|outer| on_receipt(inner, outer));
        assert_eq!(row(0), [Some(0), Some(0), Some(0), None]);
        assert_eq!(row(ECT0), [Some(ECT0), Some(ECT0), Some(ECT1), Some(CE)]);
        assert_eq!(row(ECT1), [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]);
        assert_eq!(row(CE), [Some(CE); 4]);
    }

    #[test]
    fn the_checksum_follows() {
        let mut frame = vec![0; 14];
        frame[12..14].copy_from_slice(&ethertype::IPV4.to_be_bytes());
        frame.extend([0x45, 2, 0, 20, 0, 1, 0x40, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = checksum::finish(checksum::sum(&frame[14..], 0)).to_be_bytes();
        frame[24..26].copy_from_slice(&sum);
        assert!(carry_over(&mut frame, CE));
        assert_eq!(frame[15], CE);
        assert_eq!(checksum::fold(checksum::sum(&frame[14..], 0)), 0xffff);
        frame[15] = 0;
        assert!(!carry_over(&mut frame, CE));
    }
}
