//! What a router does to a packet (RFC 1812 §5.2, RFC 8200 §3): TTL, MTU, MACs.

use weft_pmd::{Frame, FramePool, GsoKind};
use weft_wire::{
    checksum,
    ip::{Ipv4, Ipv6},
    l4::{Tcp, Udp},
};
use zerocopy::FromBytes;

use super::Context;
use crate::{
    parse::{Headers, L3},
    program::Verdict,
    reason::{DropReason, PuntReason},
};

/// Checks TTL and MTU before anything is changed, so that the slow path quotes the packet as its sender sent it.
pub(super) fn route(
    frame: &mut Frame,
    headers: &Headers,
    rewrite: u16,
    end: Verdict,
    context: &mut Context<'_>,
) -> Result<(), Verdict> {
    let l3 = usize::from(headers.l3);
    let Verdict::Forward(port) = end else { return Ok(()) };
    let Some(view) = context.snapshot.port(port) else { return Err(Verdict::Drop(DropReason::PortGone)) };
    if frame.len() - l3 > view.caps.mtu as usize {
        check_mtu(frame, headers, view.caps.mtu as usize, context.pool)?;
    }
    let macs = context.snapshot.rewrites[usize::from(rewrite)];
    let bytes = context.pool.bytes_mut(frame);
    decrement_ttl(&mut bytes[l3..], headers.kind)?;
    bytes[..6].copy_from_slice(&macs.dst.0);
    bytes[6..12].copy_from_slice(&macs.src.0);
    Ok(())
}

fn decrement_ttl(l3: &mut [u8], kind: L3) -> Result<(), Verdict> {
    let expired = Verdict::Punt(PuntReason::TtlExpired);
    match kind {
        L3::Ipv4 => {
            let Ok((ip, _)) = Ipv4::mut_from_prefix(l3) else { return Ok(()) };
            if ip.ttl <= 1 {
                return Err(expired);
            }
            let old = [ip.ttl, ip.protocol];
            ip.ttl -= 1;
            ip.checksum.set(checksum::update(ip.checksum.get(), &old, &[ip.ttl, ip.protocol]));
        }
        L3::Ipv6 => {
            let Ok((ip, _)) = Ipv6::mut_from_prefix(l3) else { return Ok(()) };
            if ip.hop_limit <= 1 {
                return Err(expired);
            }
            ip.hop_limit -= 1;
        }
        L3::Arp | L3::Other => {}
    }
    Ok(())
}

/// For a frame longer than the MTU: is what goes on the wire longer, too, and may it be cut?
#[cold]
fn check_mtu(frame: &Frame, headers: &Headers, mtu: usize, pool: &FramePool) -> Result<(), Verdict> {
    let packet = pool.bytes(frame);
    let l3 = &packet[usize::from(headers.l3)..];
    // What the IP header says, not the frame: a short packet may be padded.
    let (len, may_fragment) = match headers.kind {
        L3::Ipv4 => match Ipv4::ref_from_prefix(l3) {
            Ok((ip, _)) => (usize::from(ip.total_len.get()), ip.fragment.get() & Ipv4::DF == 0),
            Err(_) => return Ok(()),
        },
        L3::Ipv6 => match Ipv6::ref_from_prefix(l3) {
            Ok((ip, _)) => (size_of::<Ipv6>() + usize::from(ip.payload_len.get()), false),
            Err(_) => return Ok(()),
        },
        L3::Arp | L3::Other => return Ok(()),
    };
    let wire_len = frame.offload.gso.map_or(len, |gso| {
        let l4 = &packet[usize::from(headers.l4)..];
        let l4_len = match gso.kind {
            GsoKind::Udp => size_of::<Udp>(),
            GsoKind::Tcp4 | GsoKind::Tcp6 => Tcp::ref_from_prefix(l4).map_or(0, |(tcp, _)| tcp.header_len()),
        };
        usize::from(headers.l4 - headers.l3) + l4_len + usize::from(gso.size)
    });
    if wire_len <= mtu || may_fragment { Ok(()) } else { Err(Verdict::Punt(PuntReason::TooBig)) }
}
