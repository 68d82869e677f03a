//! What a router does to a packet (RFC 1812 §5.2, RFC 8200 §3): TTL, MTU, MACs.

use weft_pmd::{Frame, FramePool, offload};
use weft_wire::ip::{Ipv4, Ipv6};
use zerocopy::FromBytes;

use crate::{
    parse::{Headers, L3},
    program::Verdict,
    reason::{DropReason, PuntReason},
    snapshot::Snapshot,
};

/// Checks TTL and MTU before anything is changed, so that the slow path quotes the packet as its sender sent it.
#[inline(always)]
pub(super) fn route(
    frame: &mut Frame,
    headers: &Headers,
    rewrite: u16,
    pool: &FramePool,
    snapshot: &Snapshot,
) -> Result<(), Verdict> {
    let l3 = usize::from(headers.l3);
    let rewrite = &snapshot.rewrites[usize::from(rewrite)];
    if frame.len() > rewrite.mtu as usize + l3 {
        check_mtu(frame, headers, rewrite.mtu as usize, pool)?;
    }
    let bytes = pool.bytes_mut(frame);
    let Some((ethernet, ip)) = bytes.split_at_mut_checked(l3) else { return Ok(()) };
    match headers.kind {
        L3::Ipv4 => decrement_ttl(ip)?,
        L3::Ipv6 => decrement_hop_limit(ip)?,
        L3::Arp | L3::Other => {}
    }
    if let Some(macs) = ethernet.first_chunk_mut() {
        *macs = rewrite.macs;
    }
    Ok(())
}

#[inline]
fn decrement_ttl(ip: &mut [u8]) -> Result<(), Verdict> {
    // TTL, protocol, checksum.
    let Some([ttl, _, sum @ ..]) = ip.get_mut(8..).and_then(|ip| ip.first_chunk_mut::<4>()) else {
        return Ok(());
    };
    if *ttl <= 1 {
        return Err(Verdict::Punt(PuntReason::TtlExpired));
    }
    *ttl -= 1;
    // RFC 1624 for a TTL that is one less: the sum's high byte, which here is the low one, is one more, and the sum never
    // ends as all ones.
    let more = u32::from(u16::from_le_bytes(*sum)) + 1;
    *sum = ((more + u32::from(more >= 0xffff)) as u16).to_le_bytes();
    Ok(())
}

#[inline]
fn decrement_hop_limit(ip: &mut [u8]) -> Result<(), Verdict> {
    match ip.get_mut(7) {
        Some(0..=1) => Err(Verdict::Punt(PuntReason::TtlExpired)),
        Some(limit) => {
            *limit -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

/// For a frame longer than the MTU: is what goes on the wire longer, too, and may it be cut? Then it will be, where its
/// port sends it, to what its way carries.
#[cold]
fn check_mtu(frame: &mut Frame, headers: &Headers, mtu: usize, pool: &FramePool) -> Result<(), Verdict> {
    let packet = pool.bytes(frame);
    let l3 = &packet[usize::from(headers.l3)..];
    // What the IP header says, not the frame: a short packet may be padded.
    let (len, may_fragment, mtu) = match headers.kind {
        L3::Ipv4 => match Ipv4::ref_from_prefix(l3) {
            Ok((ip, _)) => (usize::from(ip.total_len.get()), ip.fragment.get() & Ipv4::DF == 0, mtu),
            Err(_) => return Ok(()),
        },
        L3::Ipv6 => match Ipv6::ref_from_prefix(l3) {
            Ok((ip, _)) => {
                (size_of::<Ipv6>() + usize::from(ip.payload_len.get()), false, mtu.max(Ipv6::MTU_MIN))
            }
            Err(_) => return Ok(()),
        },
        L3::Arp | L3::Other => return Ok(()),
    };
    let wire_len = frame.offload().gso.map_or(len, |gso| {
        let payload = gso.payload(packet, headers.l4.into()).unwrap_or(headers.l4.into());
        payload - usize::from(headers.l3) + usize::from(gso.size)
    });
    match (wire_len <= mtu, may_fragment) {
        (true, _) => Ok(()),
        (false, true) => limit(frame, mtu, pool),
        (false, false) => Err(Verdict::Punt(PuntReason::TooBig)),
    }
}

/// Holds a frame to its way's MTU.
pub(super) fn limit(frame: &mut Frame, mtu: usize, pool: &FramePool) -> Result<(), Verdict> {
    let mtu = mtu.min(u16::MAX.into()) as u16;
    if offload::limit(pool, frame, mtu) { Ok(()) } else { Err(Verdict::Drop(DropReason::Malformed)) }
}

#[cfg(test)]
mod tests {
    use weft_wire::checksum;

    use super::*;

    /// After every header's TTL went down its checksum is what it would be if it were computed anew.
    #[test]
    fn the_checksum_follows_the_ttl() {
        for id in 0..=u16::MAX {
            let [a, b] = id.to_be_bytes();
            let mut ip = [0x45, 0, 0, 46, a, b, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 0, 10, 2, 0, 1];
            let sum = checksum::finish(checksum::sum(&ip, 0)).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            decrement_ttl(&mut ip).expect("it lives on");
            let found = [ip[10], ip[11]];
            (ip[10], ip[11]) = (0, 0);
            assert_eq!(
                (ip[8], found),
                (63, checksum::finish(checksum::sum(&ip, 0)).to_be_bytes()),
                "id {id}"
            );
        }
    }

    #[test]
    fn the_last_hop_changes_nothing() {
        let mut ip = [0; 20];
        ip[8] = 1;
        let before = ip;
        assert_eq!(decrement_ttl(&mut ip), Err(Verdict::Punt(PuntReason::TtlExpired)));
        assert_eq!(ip, before);
    }
}
