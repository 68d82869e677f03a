//! Cuts what the slow path answers to the MTU of its way (RFC 791 §3.2, RFC 8200 §4.5). Pure.

use weft_wire::{
    checksum,
    eth::{Ethernet, ethertype},
    ip::{Ipv4, Ipv6, Ipv6Fragment, proto},
};
use zerocopy::{FromBytes, IntoBytes};

/// The frame as it is, where its packet fits; else fragments of it, under the identification given. It is one that the slow
/// path has built: untagged, an IP header without options or extension headers. What is neither is left as it is.
pub(super) fn fragments(frame: Vec<u8>, mtu: usize, id: u32) -> Vec<Vec<u8>> {
    const L3: usize = size_of::<Ethernet>();
    if frame.len() <= L3 + mtu {
        return vec![frame];
    }
    let header_len = match frame.get(12..L3).and_then(|kind| kind.try_into().ok()).map(u16::from_be_bytes) {
        Some(ethertype::IPV4) => size_of::<Ipv4>(),
        Some(ethertype::IPV6) => size_of::<Ipv6>(),
        _ => return vec![frame],
    };
    let is_v4 = header_len == size_of::<Ipv4>();
    let overhead = header_len + if is_v4 { 0 } else { size_of::<Ipv6Fragment>() };
    let step = mtu.saturating_sub(overhead) & !7;
    let (head, data) = frame.split_at(L3 + header_len);
    if step == 0 {
        return vec![frame];
    }
    let count = data.len().div_ceil(step);
    let piece = |(index, part): (usize, &[u8])| {
        let (offset, has_more) = ((index * step) as u16, index + 1 < count);
        if is_v4 { v4(head, part, offset, has_more, id as u16) } else { v6(head, part, offset, has_more, id) }
    };
    data.chunks(step).enumerate().filter_map(piece).collect()
}

fn v4(head: &[u8], part: &[u8], offset: u16, has_more: bool, id: u16) -> Option<Vec<u8>> {
    let mut frame = [head, part].concat();
    let (ip, _) = Ipv4::mut_from_prefix(frame.get_mut(size_of::<Ethernet>()..)?).ok()?;
    ip.total_len.set((size_of::<Ipv4>() + part.len()) as u16);
    ip.id.set(id);
    ip.fragment.set((offset / 8) | if has_more { Ipv4::MF } else { 0 });
    ip.checksum.set(0);
    let sum = checksum::finish(checksum::sum(ip.as_bytes(), 0));
    ip.checksum.set(sum);
    Some(frame)
}

fn v6(head: &[u8], part: &[u8], offset: u16, has_more: bool, id: u32) -> Option<Vec<u8>> {
    let mut head = head.to_vec();
    let (ip, _) = Ipv6::mut_from_prefix(head.get_mut(size_of::<Ethernet>()..)?).ok()?;
    let fragment = Ipv6Fragment {
        next_header: ip.next_header,
        reserved: 0,
        offset_more: (offset | u16::from(has_more)).into(),
        id: id.into(),
    };
    ip.next_header = proto::FRAGMENT;
    ip.payload_len.set((size_of::<Ipv6Fragment>() + part.len()) as u16);
    Some([&head, fragment.as_bytes(), part].concat())
}
