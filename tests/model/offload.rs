//! Segments and fragments, put together again, are what was cut.

use proptest::prelude::*;
use weft_pmd::{Caps, Csum, FramePool, Gso, GsoKind, Memory, Offload, Outer, offload};
use weft_tests::packets::{Eth, describe};
use weft_wire::Mac;

const ETH: Eth = Eth { src: Mac([2, 0, 0, 0, 0, 1]), dst: Mac([2, 0, 0, 0, 0, 2]), vlan: None };

fn ends(is_v4: bool) -> (&'static str, &'static str) {
    if is_v4 { ("10.0.0.1", "10.0.0.2") } else { ("fd00::1", "fd00::2") }
}

/// Runs a packet through the one door egress uses; what comes out, and that no chunk is lost.
fn fit(packet: &[u8], intent: Offload, caps: Caps) -> Result<Vec<(Vec<u8>, Offload)>, offload::Unfit> {
    let memory = Memory::heap(256, 4).expect("memory");
    let mut pool = FramePool::new(memory.clone());
    let mut frame = pool.alloc_copy(packet).expect("memory");
    frame.set_offload(intent);
    let mut pieces = Vec::new();
    let outcome = offload::fit(&mut pool, frame, &caps, &mut pieces).map_err(|(unfit, frame)| {
        pool.free(frame);
        unfit
    });
    let taken = pieces.iter().map(|piece| (pool.bytes(piece).to_vec(), piece.offload())).collect();
    pieces.into_iter().for_each(|piece| pool.free(piece));
    drop(pool);
    assert_eq!(memory.available(), memory.total(), "no chunk is lost");
    outcome.map(|()| taken)
}

/// Replaces the L4 checksum by the pseudo-header's sum, computed the slow way.
fn make_partial(packet: &mut [u8], l3: usize, l4: usize, place: usize) {
    let (addresses, protocol) = if packet[l3] >> 4 == 4 {
        (packet[l3 + 12..l3 + 20].to_vec(), packet[l3 + 9])
    } else {
        (packet[l3 + 8..l3 + 40].to_vec(), packet[l3 + 6])
    };
    let len = (packet.len() - l4) as u32;
    let words = addresses.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum = words.sum::<u32>() + u32::from(protocol) + (len >> 16) + (len & 0xffff);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[l4 + place..l4 + place + 2].copy_from_slice(&(sum as u16).to_be_bytes());
}

proptest! {
    #[test]
    fn segments_carry_the_stream(
        is_v4 in any::<bool>(), tagged in any::<bool>(), len in 1_usize..30_000, size in 200_u16..1400, is_udp in any::<bool>(),
    ) {
        let (src, dst) = ends(is_v4);
        let eth = Eth { vlan: tagged.then_some(7), ..ETH };
        let (mut packet, place, header) = if is_udp {
            (eth.udp(src, dst, (5, 6), 64, len), 6, 8)
        } else {
            (eth.tcp(src, dst, (5, 6), "fpa", len), 16, 20)
        };
        let l3 = if tagged { 18 } else { 14 };
        let l4 = l3 + if is_v4 { 20 } else { 40 };
        make_partial(&mut packet, l3, l4, place);
        let kind = match (is_udp, is_v4) {
            (true, _) => GsoKind::Udp,
            (false, true) => GsoKind::Tcp4,
            (false, false) => GsoKind::Tcp6,
        };
        let csum = Csum::Partial { start: l4 as u16, offset: place as u8 };
        let intent = Offload { csum, gso: Some(Gso { kind, ecn: false, size }), ..Offload::default() };
        let whole = fit(&packet, intent, Caps { mtu: 1500, csum: true, gso: true }).expect("it takes super-frames");
        prop_assert_eq!(whole, vec![(packet.clone(), intent)]);
        let pieces = fit(&packet, intent, Caps { mtu: 1500, csum: false, gso: false }).expect("it can be cut");
        prop_assert_eq!(pieces.len(), len.div_ceil(usize::from(size)));
        let mut stream: Vec<u8> = Vec::new();
        for (i, (bytes, left)) in pieces.iter().enumerate() {
            prop_assert!(left.is_complete());
            let words = describe(bytes);
            prop_assert!(!words.contains("BAD"), "{}", words);
            prop_assert!(bytes.len() - l3 <= 1500);
            if !is_udp {
                let sequence = format!(" seq {} ", 1000 + i * usize::from(size));
                prop_assert!(words.contains(&sequence), "{}", words);
                let flags = if i + 1 == pieces.len() { "fpa" } else { " a" };
                prop_assert!(words.contains(flags), "{}", words);
            }
            stream.extend(&bytes[l4 + header..]);
        }
        prop_assert!(stream == packet[l4 + header..]);
    }

    #[test]
    fn fragments_carry_the_packet(len in 1500_usize..20_000, mtu in 600_u32..1400, more in any::<bool>(), at in 0_u16..100) {
        let mut packet = ETH.udp("10.0.0.1", "10.0.0.2", (5, 6), 64, len);
        // As a fragment of something larger, perhaps: fragments of fragments keep their place.
        let flags = at | if more { 0x2000 } else { 0 };
        packet[20..22].copy_from_slice(&flags.to_be_bytes());
        packet[24..26].copy_from_slice(&[0, 0]);
        let sum = packet[14..34].chunks(2).fold(0_u32, |sum, word| {
            let sum = sum + (u32::from(word[0]) << 8 | u32::from(word[1]));
            (sum & 0xffff) + (sum >> 16)
        });
        packet[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        let pieces = fit(&packet, Offload::default(), Caps { mtu, csum: true, gso: true }).expect("it may be fragmented");
        let mut carried: Vec<u8> = Vec::new();
        for (i, (bytes, _)) in pieces.iter().enumerate() {
            prop_assert!(bytes.len() - 14 <= mtu as usize);
            prop_assert!(!describe(bytes).contains("BAD-IP"), "{}", describe(bytes));
            let field = u16::from_be_bytes([bytes[20], bytes[21]]);
            prop_assert_eq!(usize::from(field & 0x1fff) * 8, usize::from(at) * 8 + carried.len());
            prop_assert_eq!(field & 0x2000 != 0, more || i + 1 < pieces.len());
            carried.extend(&bytes[34..]);
        }
        prop_assert!(carried == packet[34..]);
    }

    #[test]
    fn a_partial_checksum_is_recognised_and_completed(is_v4 in any::<bool>(), is_udp in any::<bool>(), len in 0_usize..1400) {
        let (src, dst) = ends(is_v4);
        let right = if is_udp { ETH.udp(src, dst, (5, 6), 64, len) } else { ETH.tcp(src, dst, (5, 6), "a", len) };
        let l4 = if is_v4 { 34 } else { 54 };
        let (place, protocol) = if is_udp { (6, 17) } else { (16, 6) };
        let mut partial = right.clone();
        make_partial(&mut partial, 14, l4, place);
        let found = offload::detect_partial(&partial, 14, l4, protocol);
        prop_assert_eq!(found, Some(Csum::Partial { start: l4 as u16, offset: place as u8 }));
        let intent = Offload { csum: found.unwrap_or_default(), ..Offload::default() };
        let done = fit(&partial, intent, Caps { mtu: 1500, csum: false, gso: false }).expect("it fits");
        prop_assert_eq!(&done[0].0, &right);
        // A complete one that is taken for partial by accident comes to the same.
        if let Some(csum) = offload::detect_partial(&right, 14, l4, protocol) {
            let done = fit(&right, Offload { csum, ..Offload::default() }, Caps { mtu: 1500, csum: false, gso: false });
            prop_assert_eq!(&done.expect("it fits")[0].0, &right);
        }
    }
}

/// CRC32c, a bit a step.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1))) {
        crc = crc >> 1 ^ (if (crc ^ bit) & 1 == 1 { 0x82f6_3b78 } else { 0 });
    }
    !crc
}

proptest! {
    #[test]
    fn an_sctp_checksum_is_completed_here_whatever_the_port(
        is_v4 in any::<bool>(), chunks in prop::collection::vec(any::<u8>(), 4..1000), padding in 0_usize..10, device in any::<bool>(),
    ) {
        let (src, dst) = ends(is_v4);
        let l4 = if is_v4 { 34 } else { 54 };
        // What a UDP packet has of ports, lengths and payload is as good as any to be summed.
        let mut packet = ETH.udp(src, dst, (5, 6), 64, chunks.len());
        packet[if is_v4 { 23 } else { 20 }] = 132;
        packet[l4 + 8..].copy_from_slice(&chunks);
        packet[l4 + 8..l4 + 12].fill(0);
        let crc = crc32c(&packet[l4..]);
        let mut right = packet.clone();
        right[l4 + 8..l4 + 12].copy_from_slice(&crc.to_le_bytes());
        let found = offload::detect_partial(&packet, 14, l4, 132);
        prop_assert_eq!(found, Some(Csum::Partial { start: l4 as u16, offset: 8 }));
        for bytes in [&mut packet, &mut right] {
            bytes.extend(std::iter::repeat_n(0, padding));
        }
        let intent = Offload { csum: found.unwrap_or_default(), ..Offload::default() };
        let done = fit(&packet, intent, Caps { mtu: 1500, csum: device, gso: device }).expect("it fits");
        prop_assert_eq!(&done[0].0, &right);
        prop_assert!(done[0].1.is_complete());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_intent_however_wrong_breaks_anything(
        is_v4 in any::<bool>(), len in 0_usize..400, spoilt in prop::collection::vec((12..40_usize, any::<u8>()), 0..6),
        start in any::<u16>(), offset in any::<u8>(), size in any::<u16>(), kind in 0..4_usize, mtu in 68_u32..300,
    ) {
        let (src, dst) = ends(is_v4);
        let mut packet = if kind == 2 { ETH.udp(src, dst, (5, 6), 64, len) } else { ETH.tcp(src, dst, (5, 6), "a", len) };
        for (at, value) in spoilt {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        let gso = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp].get(kind).map(|kind| Gso { kind: *kind, ecn: true, size });
        for csum in [Csum::Partial { start, offset }, Csum::Complete] {
            for (outer, limit) in [(None, None), (None, Some(mtu as u16 - 20)), (Some(Outer::V4), None), (Some(Outer::V6), Some(90))] {
                let _ = fit(&packet, Offload { csum, gso, outer, mtu: limit }, Caps { mtu, csum: false, gso: false });
            }
        }
    }
}
