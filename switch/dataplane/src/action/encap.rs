//! Wraps a frame up for another node (RFC 7348, RFC 8926).

use weft_pmd::{Csum, Frame, FramePool, offload};
use weft_wire::{ThreadId, ip::Ipv4};
use zerocopy::FromBytes;

use super::route::limit;
use crate::{
    key::FlowKey,
    parse::{Headers, L3},
    program::Verdict,
    reason::DropReason,
    snapshot::Snapshot,
    tunnel::{Tunnel, ecn},
};

/// What the frame is wrapped in differs from flow to flow in the UDP source port only, so that the underlay spreads flows
/// over its paths and the other node over its queues. `entropy` is the flow's hash, or [`of_fragment`].
#[inline]
pub(crate) fn encap(
    frame: &mut Frame,
    headers: &Headers,
    tunnel: &Tunnel,
    entropy: u64,
    pool: &FramePool,
    thread: ThreadId,
) -> Result<(), Verdict> {
    let len = frame.len();
    let traffic_class = traffic_class(pool.bytes(frame), headers);
    if !frame.is_complete() {
        complete(frame, tunnel, pool)?;
    }
    if !pool.push_front(frame, tunnel.outer().len()) {
        return Err(Verdict::Drop(DropReason::NoFrames));
    }
    tunnel.write(pool.bytes_mut(frame), traffic_class, entropy);
    tunnel.stats.sent(thread, len);
    Ok(())
}

/// The same for a frame that no router has looked at (bridged, or flooded): what is larger than the way takes and may be cut is
/// cut. The rest goes as far as it can: a bridge tells nobody that it is too large, and what is known of the way may be
/// somebody's lie.
#[inline]
pub(crate) fn encap_bridged(
    frame: &mut Frame,
    headers: &Headers,
    tunnel: &Tunnel,
    entropy: u64,
    (pool, snapshot): (&FramePool, &Snapshot),
    thread: ThreadId,
) -> Result<(), Verdict> {
    let mtu = snapshot.rewrites[usize::from(tunnel.rewrite)].mtu as usize;
    if frame.len() > mtu + usize::from(headers.l3) && may_be_cut(pool.bytes(frame), headers) {
        limit(frame, mtu, pool)?;
    }
    encap(frame, headers, tunnel, entropy, pool, thread)
}

/// IPv4 without DF (RFC 791).
#[cold]
fn may_be_cut(packet: &[u8], headers: &Headers) -> bool {
    let ip = packet.get(headers.l3.into()..).and_then(|ip| Ipv4::ref_from_prefix(ip).ok());
    headers.kind == L3::Ipv4 && ip.is_some_and(|(ip, _)| ip.fragment.get() & Ipv4::DF == 0)
}

/// A checksum that is still to be made can't be left to a device, which would not find it behind the outer header. What is
/// to be cut keeps the outer header's shape for its pieces, and has its checksum made then if it is a super-frame.
#[cold]
fn complete(frame: &mut Frame, tunnel: &Tunnel, pool: &FramePool) -> Result<(), Verdict> {
    let malformed = Verdict::Drop(DropReason::Malformed);
    let mut offload = frame.offload();
    if offload.gso.is_some() || offload.mtu.is_some() {
        if offload.outer.replace(tunnel.outer()).is_some() {
            return Err(malformed); // wrapped up already
        }
        offload.shift(tunnel.outer().len() as i32);
        frame.set_offload(offload);
        return Ok(());
    }
    match offload.csum {
        Csum::Partial { .. } if !offload::complete_checksum(pool, frame) => Err(malformed),
        _ => {
            frame.set_csum(Csum::Complete);
            Ok(())
        }
    }
}

/// DSCP and ECN of the packet; 0 for what has none.
#[inline]
fn traffic_class(packet: &[u8], headers: &Headers) -> u8 {
    match (headers.kind, packet.get(headers.l3.into()..).and_then(|ip| ip.first_chunk())) {
        (L3::Ipv4, Some([_, tos])) => *tos,
        (L3::Ipv6, Some(&[a, b])) => ecn::class_v6([a, b]),
        _ => 0,
    }
}

/// All fragments of a datagram take one path, though only the first has ports.
#[inline]
pub(crate) fn entropy(hash: u64, key: &FlowKey) -> u64 {
    if key.tag & (FlowKey::FIRST_FRAGMENT | FlowKey::LATER_FRAGMENT) == 0 { hash } else { of_fragment(key) }
}

#[cold]
fn of_fragment(key: &FlowKey) -> u64 {
    let [src, dst] = [key.src(), key.dst()].map(u128::from_be_bytes);
    let mixed = (src ^ dst.rotate_left(64)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (mixed >> 64) as u64
}
