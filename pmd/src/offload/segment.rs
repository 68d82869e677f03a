//! TCP and UDP segmentation of super-frames (TSO, USO).

use weft_wire::{
    checksum,
    ip::{Ipv4, Ipv6, proto},
    l4::{Tcp, Udp, tcp_flags},
};
use zerocopy::FromBytes;

use super::{Gso, GsoKind, Offload, Unfit, headers::Found, outer};
use crate::frame::{ChunkClass, Frame, FramePool};

/// Cuts a super-frame; every segment leaves with its headers right and its checksums complete. On an error some
/// segments may be in `out`: the caller frees them.
pub(super) fn segment(
    pool: &mut FramePool,
    whole: &Frame,
    gso: Gso,
    found: &Found,
    out: &mut Vec<Frame>,
) -> Result<(), Unfit> {
    let size = usize::from(gso.size);
    let payload_len = found.end - found.payload;
    let count = payload_len.div_ceil(size).max(1);
    for index in 0..count {
        let from = found.payload + index * size;
        let to = (from + size).min(found.end);
        let len = found.payload + (to - from);
        let class = ChunkClass::for_len(len).ok_or(Unfit::TooBig)?;
        let mut piece = pool.alloc(class).ok_or(Unfit::NoFrames)?;
        if !pool.set_len(&mut piece, len) {
            pool.free(piece);
            return Err(Unfit::TooBig);
        }
        let (source, bytes) = (pool.bytes(whole), pool.bytes_mut(&mut piece));
        bytes[..found.payload].copy_from_slice(&source[..found.payload]);
        bytes[found.payload..].copy_from_slice(&source[from..to]);
        let part =
            Part { index, is_first: index == 0, is_last: index + 1 == count, skipped: (index * size) as u32 };
        fix_headers(bytes, found, gso, part);
        if let Some(outer) = whole.offload().outer {
            outer::finish(bytes, outer);
        }
        piece.set_offload(Offload::default());
        out.push(piece);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Part {
    index: usize,
    is_first: bool,
    is_last: bool,
    /// Payload bytes in front of this segment.
    skipped: u32,
}

fn fix_headers(bytes: &mut [u8], found: &Found, gso: Gso, part: Part) {
    let l3_len = bytes.len() - found.l3;
    let l4_len = bytes.len() - found.l4;
    let (protocol, place) = match gso.kind {
        GsoKind::Udp => (proto::UDP, 6),
        GsoKind::Tcp4 | GsoKind::Tcp6 => (proto::TCP, 16),
    };
    let pseudo = if found.version == Some(4) {
        let header_len = found.l4 - found.l3;
        let Ok((ip, _)) = Ipv4::mut_from_prefix(&mut bytes[found.l3..]) else { return };
        ip.total_len.set(l3_len as u16);
        // RFC 6864: with DF the id means nothing; without it, each datagram needs its own.
        ip.id.set(ip.id.get().wrapping_add(part.index as u16));
        ip.checksum.set(0);
        let pseudo = checksum::pseudo(&ip.src, &ip.dst, protocol, l4_len);
        let sum = checksum::finish(checksum::sum(&bytes[found.l3..found.l3 + header_len], 0));
        bytes[found.l3 + 10..found.l3 + 12].copy_from_slice(&sum.to_be_bytes());
        pseudo
    } else {
        let Ok((ip, _)) = Ipv6::mut_from_prefix(&mut bytes[found.l3..]) else { return };
        ip.payload_len.set((l3_len - size_of::<Ipv6>()) as u16);
        checksum::pseudo(&ip.src, &ip.dst, protocol, l4_len)
    };
    match gso.kind {
        GsoKind::Udp => {
            if let Ok((udp, _)) = Udp::mut_from_prefix(&mut bytes[found.l4..]) {
                udp.len.set(l4_len as u16);
            }
        }
        GsoKind::Tcp4 | GsoKind::Tcp6 => fix_tcp(&mut bytes[found.l4..], gso, part),
    }
    bytes[found.l4 + place..found.l4 + place + 2].copy_from_slice(&[0, 0]);
    let sum = checksum::finish(checksum::sum(&bytes[found.l4..], pseudo));
    let sum = if sum == 0 { 0xffff } else { sum };
    bytes[found.l4 + place..found.l4 + place + 2].copy_from_slice(&sum.to_be_bytes());
}

fn fix_tcp(l4: &mut [u8], gso: Gso, part: Part) {
    let Ok((tcp, _)) = Tcp::mut_from_prefix(l4) else { return };
    tcp.seq.set(tcp.seq.get().wrapping_add(part.skipped));
    if !part.is_last {
        tcp.flags &= !(tcp_flags::FIN | tcp_flags::PSH);
    }
    // RFC 3168 §6.1.2: CWR is said once. With accurate ECN (gso.ecn unset) the flag is part of a counter and stays.
    if !part.is_first && gso.ecn {
        tcp.flags &= !tcp_flags::CWR;
    }
}
