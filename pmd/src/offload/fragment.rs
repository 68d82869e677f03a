//! IPv4 fragmentation (RFC 791 §3.2).

use weft_wire::{checksum, ip::Ipv4};
use zerocopy::FromBytes;

use super::{Unfit, headers::Found};
use crate::frame::{ChunkClass, Frame, FramePool};

/// Cuts a packet so that every piece fits `mtu`. A packet that is a fragment already is cut further.
pub(super) fn fragment(
    pool: &mut FramePool,
    whole: &Frame,
    mtu: usize,
    found: &Found,
    out: &mut Vec<Frame>,
) -> Result<(), Unfit> {
    let (ip, _) = Ipv4::ref_from_prefix(&pool.bytes(whole)[found.l3..]).map_err(|_| Unfit::Malformed)?;
    let ip = *ip;
    let options = pool.bytes(whole)[found.l3 + size_of::<Ipv4>()..found.l4].to_vec();
    let copied = copied_options(&options);
    let mut at = found.l4;
    while at < found.end {
        let options = if at == found.l4 { &options } else { &copied };
        let header_len = size_of::<Ipv4>() + options.len();
        let room = mtu.saturating_sub(header_len) & !7;
        if room == 0 {
            return Err(Unfit::TooBig);
        }
        let len = room.min(found.end - at);
        let class = ChunkClass::for_len(found.l3 + header_len + len).ok_or(Unfit::TooBig)?;
        let mut piece = pool.alloc(class).ok_or(Unfit::NoFrames)?;
        if !pool.set_len(&mut piece, found.l3 + header_len + len) {
            pool.free(piece);
            return Err(Unfit::TooBig);
        }
        let offset = ip.fragment_offset() + (at - found.l4);
        let more = at + len < found.end || ip.fragment.get() & Ipv4::MF != 0;
        let mut header = ip;
        header.version_ihl = 0x40 | (header_len / 4) as u8;
        header.total_len.set((header_len + len) as u16);
        header.fragment.set((offset / 8) as u16 | if more { Ipv4::MF } else { 0 });
        header.checksum.set(0);
        let sum = checksum::sum(options, checksum::sum(zerocopy::IntoBytes::as_bytes(&header), 0));
        header.checksum.set(checksum::finish(sum));
        let (source, bytes) = (pool.bytes(whole), pool.bytes_mut(&mut piece));
        let (l2, rest) = bytes.split_at_mut(found.l3);
        l2.copy_from_slice(&source[..found.l3]);
        let (fixed, rest) = rest.split_at_mut(size_of::<Ipv4>());
        fixed.copy_from_slice(zerocopy::IntoBytes::as_bytes(&header));
        let (option_bytes, payload) = rest.split_at_mut(options.len());
        option_bytes.copy_from_slice(options);
        payload.copy_from_slice(&source[at..at + len]);
        out.push(piece);
        at += len;
    }
    Ok(())
}

/// The options that go into every fragment (RFC 791 §3.1: the copied flag), padded to whole words.
fn copied_options(options: &[u8]) -> Vec<u8> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let (mut copied, mut at) = (Vec::new(), 0);
    while let Some(&kind) = options.get(at) {
        if kind == END {
            break;
        }
        let len =
            if kind == NO_OPERATION { 1 } else { options.get(at + 1).map_or(0, |len| usize::from(*len)) };
        let Some(option) = options.get(at..at + len).filter(|_| len > 0) else { break };
        if kind & COPIED != 0 {
            copied.extend_from_slice(option);
        }
        at += len;
    }
    copied.resize(copied.len().next_multiple_of(4), END);
    copied
}
