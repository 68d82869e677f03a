//! 802.1Q tags. [`Headers`] say whether a frame has one: its own, as `parse` found it, or one that a rule put on. What
//! follows that tag, other tags included, is payload.

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

/// Puts another VLAN id into the frame's tag: priority (PCP) and drop eligibility (DEI) stay, as a bridge regenerates them
/// unless told otherwise (802.1Q-2018 §6.9.3, §6.9.4). A frame without a tag gets one of priority 0.
pub(super) fn set(
    frame: &mut Frame,
    headers: &mut Headers,
    vlan: VlanId,
    pool: &FramePool,
) -> Result<(), Verdict> {
    if !headers.is_tagged() {
        return push(frame, headers, vlan, pool);
    }
    if let Some([high, low]) = pool.bytes_mut(frame).get_mut(MACS + 2..).and_then(|tci| tci.first_chunk_mut())
    {
        let [id_high, id_low] = vlan.get().to_be_bytes();
        (*high, *low) = (*high & 0xf0 | id_high, id_low);
    }
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
    if headers.is_tagged() {
        shift(frame, headers, -(TAG as i16));
    } else {
        frame.shift_offload(-(TAG as i32)); // a rule reached for a tag of the payload's
    }
}

fn shift(frame: &mut Frame, headers: &mut Headers, by: i16) {
    headers.l3 = headers.l3.wrapping_add_signed(by);
    headers.l4 = headers.l4.wrapping_add_signed(by);
    frame.shift_offload(by.into());
}
