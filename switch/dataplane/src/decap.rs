//! On the fabric's port, before `parse`: takes off what other nodes have put in front. At most once: what is inside is
//! parsed as it is, whatever it looks like.

use weft_pmd::{Csum, Frame, FramePool};
use weft_wire::ThreadId;

use crate::{
    action,
    batch::Batch,
    key::Origin,
    program::Verdict,
    reason::DropReason,
    snapshot::Snapshot,
    stats::PeerStats,
    tunnel::{Tunnels, Wrapped, ecn},
};

/// Unwraps every tunnel packet of the batch. Those from strangers, for no network of this node's, or not as they should
/// be are dropped; what is no tunnel packet is left as it is.
#[inline(never)]
pub(crate) fn decap(
    batch: &mut Batch,
    pool: &FramePool,
    tunnels: &Tunnels,
    snapshot: &Snapshot,
    thread: ThreadId,
) {
    batch.has_tunnelled = true;
    // Packets of one node mostly come in a row.
    let mut last = None;
    for i in batch.live() {
        let frame = &mut batch.frames.as_mut_slice()[i];
        batch.origins[i] = Origin::by_port(batch.ingress);
        let mut read = tunnels.read(pool.bytes(frame));
        if read.is_none() && action::pop_priority_tag(frame, pool) {
            read = tunnels.read(pool.bytes(frame));
        }
        let wrapped = match read {
            Some(Ok(wrapped)) => wrapped,
            Some(Err(reason)) => {
                batch.decide(i, Verdict::Drop(reason));
                continue;
            }
            None => continue,
        };
        let sender = match last {
            Some(sender) if is_from(&sender, &wrapped) => sender,
            _ => match sender(tunnels, snapshot, &wrapped) {
                Ok(sender) => *last.insert(sender),
                Err(reason) => {
                    batch.decide(i, Verdict::Drop(reason));
                    continue;
                }
            },
        };
        sender.stats.received(thread, wrapped.inner_len);
        if !frame.is_complete() {
            unwrap_offload(frame, wrapped.len);
        }
        pool.pull_front(frame, wrapped.len);
        if frame.len() != wrapped.inner_len {
            pool.set_len(frame, wrapped.inner_len);
        }
        batch.origins[i] = sender.origin;
        if wrapped.ecn != 0 && !ecn::carry_over(pool.bytes_mut(frame), wrapped.ecn) {
            batch.decide(i, Verdict::Drop(DropReason::TunnelCongested));
        }
    }
}

/// What is left to do to the packet, told from the inner frame's start. A partial checksum of the outer UDP header is
/// nobody's business any more.
#[cold]
fn unwrap_offload(frame: &mut Frame, len: usize) {
    match frame.offload().csum {
        Csum::Partial { start, .. } if usize::from(start) < len => frame.set_csum(Csum::Complete),
        _ => frame.shift_offload(-(len as i32)),
    }
}

/// Who sent a tunnel packet, and for which network.
#[derive(Clone, Copy)]
struct Sender<'a> {
    src: [u8; 16],
    vni: u32,
    origin: Origin,
    stats: &'a PeerStats,
}

#[inline]
fn is_from(sender: &Sender<'_>, wrapped: &Wrapped) -> bool {
    u128::from_ne_bytes(sender.src) == u128::from_ne_bytes(wrapped.src) && sender.vni == wrapped.vni
}

#[inline(never)]
fn sender<'a>(
    tunnels: &Tunnels,
    snapshot: &'a Snapshot,
    wrapped: &Wrapped,
) -> Result<Sender<'a>, DropReason> {
    let peer = *tunnels.peers.get(&wrapped.src).ok_or(DropReason::TunnelStranger)?;
    let network = *tunnels.networks.get(&wrapped.vni).ok_or(DropReason::TunnelNetwork)?;
    let view = snapshot.peer(peer).ok_or(DropReason::TunnelStranger)?;
    let origin = Origin::by_tunnel(peer, network);
    Ok(Sender { src: wrapped.src, vni: wrapped.vni, origin, stats: &view.stats })
}
