//! IPv4 fragmentation (RFC 791 §3.2).

use weft_wire::{checksum, ip::Ipv4};
use zerocopy::FromBytes;

use super::{Outer, Unfit, headers::Found, outer};
use crate::frame::{ChunkClass, Frame, FramePool};

/// Cuts a packet so that every piece fits `mtu`, its outer header, which each piece gets, included. A packet that is a
/// fragment already is cut further.
pub(super) fn fragment(
    pool: &mut FramePool,
    whole: &Frame,
    mtu: usize,
    found: &Found,
    outer: Option<Outer>,
    out: &mut Vec<Frame>,
) -> Result<(), Unfit> {
    /// Where the last byte of a datagram may be (RFC 791 §3.1: offsets have 13 bits), in units of eight bytes.
    const OFFSET_MAX: usize = 0x1fff;
    let mtu = mtu.saturating_sub(found.overhead);
    let (ip, _) = Ipv4::ref_from_prefix(&pool.bytes(whole)[found.l3..]).map_err(|_| Unfit::Malformed)?;
    let ip = *ip;
    let options = pool.bytes(whole)[found.l3 + size_of::<Ipv4>()..found.l4].to_vec();
    let copied = copied_options(&options);
    let mut at = found.l4;
    while at < found.end {
        let options = if at == found.l4 { &options } else { &copied };
        let header_len = size_of::<Ipv4>() + options.len();
        // All but the last are whole units of eight bytes.
        let (room, left) = (mtu.saturating_sub(header_len), found.end - at);
        let len = if left <= room { left } else { room & !7 };
        if len == 0 {
            return Err(Unfit::TooBig);
        }
        let offset = (ip.fragment_offset() + (at - found.l4)) / 8;
        if offset > OFFSET_MAX {
            return Err(Unfit::TooBig); // it ends behind the longest datagram: there are no pieces of it
        }
        let class = ChunkClass::for_len(found.l3 + header_len + len).ok_or(Unfit::TooBig)?;
        let mut piece = pool.alloc(class).ok_or(Unfit::NoFrames)?;
        if !pool.set_len(&mut piece, found.l3 + header_len + len) {
            pool.free(piece);
            return Err(Unfit::TooBig);
        }
        let more = at + len < found.end || ip.fragment.get() & Ipv4::MF != 0;
        let mut header = ip;
        header.version_ihl = 0x40 | (header_len / 4) as u8;
        header.total_len.set((header_len + len) as u16);
        header.fragment.set(offset as u16 | if more { Ipv4::MF } else { 0 });
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
        if let Some(outer) = outer {
            outer::finish(bytes, outer);
        }
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
