//! 802.1Q tags.

use weft_pmd::{Frame, FramePool};
use weft_wire::{VlanId, eth::VlanTag, ethertype};

use crate::{parse::Headers, program::Verdict, reason::DropReason};

const TAG: usize = size_of::<VlanTag>();
/// The two MACs, which a tag goes behind.
const MACS: usize = 12;

/// Puts a tag on, priority 0.
pub(super) fn push(
    frame: &mut Frame,
    headers: &mut Headers,
    vlan: VlanId,
    pool: &FramePool,
) -> Result<(), Verdict> {
    if !pool.push_front(frame, TAG) {
        return Err(Verdict::Drop(DropReason::NoFrames));
    }
    let bytes = pool.bytes_mut(frame);
    bytes.copy_within(TAG..TAG + MACS, 0);
    bytes[MACS..MACS + 2].copy_from_slice(&ethertype::VLAN.to_be_bytes());
    bytes[MACS + 2..MACS + 4].copy_from_slice(&vlan.get().to_be_bytes());
    shift(frame, headers, TAG as i16);
    Ok(())
}

/// Takes the outer tag off; a frame without one is left alone.
pub(super) fn pop(frame: &mut Frame, headers: &mut Headers, pool: &FramePool) {
    let bytes = pool.bytes_mut(frame);
    let is_tagged = bytes.get(MACS..MACS + 2) == Some(&ethertype::VLAN.to_be_bytes());
    if !is_tagged || bytes.len() < MACS + TAG + 2 {
        return;
    }
    bytes.copy_within(..MACS, TAG);
    pool.pull_front(frame, TAG);
    shift(frame, headers, -(TAG as i16));
}

fn shift(frame: &mut Frame, headers: &mut Headers, by: i16) {
    headers.l3 = headers.l3.wrapping_add_signed(by);
    headers.l4 = headers.l4.wrapping_add_signed(by);
    frame.shift_offload(by.into());
}
