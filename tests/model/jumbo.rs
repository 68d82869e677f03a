//! Frames larger than IP can tell of, cut on receipt, carry the same stream.

use std::collections::VecDeque;

use proptest::prelude::*;
use weft_pmd::{
    Caps, ChunkClass, Csum, FramePool, Gso, GsoKind, Memory, Offload,
    offload::{self, jumbo},
};
use weft_tests::packets::{Eth, describe};
use weft_wire::Mac;

const ETH: Eth = Eth { src: Mac([2, 0, 0, 0, 0, 1]), dst: Mac([2, 0, 0, 0, 0, 2]), vlan: None };

/// A TCP super-frame of any length as Linux builds it (BIG TCP), and what it says of it.
fn big(is_v4: bool, is_tagged: bool, has_option: bool, payload: &[u8], size: u16) -> (Vec<u8>, Offload) {
    let eth = Eth { vlan: is_tagged.then_some(7), ..ETH };
    let (src, dst) = if is_v4 { ("10.0.0.1", "10.0.0.2") } else { ("fd00::1", "fd00::2") };
    let mut packet = eth.tcp(src, dst, (5, 6), "fpa", 0);
    let l3 = if is_tagged { 18 } else { 14 };
    let mut l4 = l3 + if is_v4 { 20 } else { 40 };
    packet.extend(payload);
    if is_v4 {
        packet[l3 + 2..l3 + 4].fill(0);
    } else {
        packet[l3 + 4..l3 + 6].fill(0);
        if has_option {
            packet[l3 + 6] = 0;
            let len = (packet.len() + 8 - l3 - 40) as u32;
            packet.splice(l4..l4, [&[6, 0, 0xc2, 4][..], &len.to_be_bytes()].concat());
            l4 += 8;
        }
    }
    let kind = if is_v4 { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
    let csum = Csum::Partial { start: l4 as u16, offset: 16 };
    (packet, Offload { csum, gso: Some(Gso { kind, ecn: false, size }), ..Offload::default() })
}

/// Cuts a frame that lies in a large chunk and behind it; the pieces, or none.
fn split(pool: &mut FramePool, packet: &[u8], said: &Offload) -> Option<VecDeque<weft_pmd::Frame>> {
    let (front, tail) = packet.split_at(packet.len().min(ChunkClass::Large.capacity()));
    let mut frame = pool.alloc(ChunkClass::Large).expect("memory");
    assert!(pool.set_len(&mut frame, front.len()));
    pool.bytes_mut(&mut frame).copy_from_slice(front);
    let mut pieces = VecDeque::new();
    match jumbo::split(pool, frame, tail, said, &mut pieces) {
        Ok(()) => Some(pieces),
        Err((_, front)) => {
            pool.free(front);
            assert!(pieces.is_empty(), "all or nothing");
            None
        }
    }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_pieces_carry_the_stream(
        is_v4 in any::<bool>(), is_tagged in any::<bool>(), has_option in any::<bool>(), len in 65_600_usize..524_000, size in 500_u16..1400,
    ) {
        let payload = payload(len);
        let (packet, said) = big(is_v4, is_tagged, has_option, &payload, size);
        prop_assert!(jumbo::is_jumbo(&packet));
        let memory = Memory::heap(1200, 16).expect("memory");
        let mut pool = FramePool::new(memory.clone());
        let pieces = split(&mut pool, &packet, &said).expect("it is sound");
        let l3 = if is_tagged { 18 } else { 14 };
        let headers = l3 + if is_v4 { 40 } else { 60 };
        let (mut stream, mut segments) = (Vec::new(), 0);
        let count = pieces.len();
        for (i, piece) in pieces.into_iter().enumerate() {
            prop_assert!(piece.len() <= jumbo::IP_FRAME_MAX + 4 && !jumbo::is_jumbo(pool.bytes(&piece)));
            prop_assert!(!describe(pool.bytes(&piece)).contains("BAD-IP"), "{}", describe(pool.bytes(&piece)));
            let mut cut = Vec::new();
            let caps = Caps { mtu: 1500, csum: false, gso: false };
            prop_assert!(offload::fit(&mut pool, piece, &caps, &mut cut).is_ok());
            let last = cut.len() - 1;
            for (at, segment) in cut.into_iter().enumerate() {
                let words = describe(pool.bytes(&segment));
                prop_assert!(!words.contains("BAD"), "{}", words);
                let flags = if i + 1 == count && at == last { " fpa" } else { " a" };
                let wanted = format!("{flags} seq {} ", 1000 + stream.len());
                prop_assert!(words.contains(&wanted), "{}: {}", wanted, words);
                stream.extend_from_slice(&pool.bytes(&segment)[headers..]);
                segments += 1;
                pool.free(segment);
            }
        }
        prop_assert!(stream == payload);
        prop_assert_eq!(segments, len.div_ceil(usize::from(size)), "no segment is short but the last");
        drop(pool);
        prop_assert_eq!(memory.available(), memory.total(), "no chunk is lost");
    }

    /// Nothing is cut at the word of a header that contradicts the packet, and nothing is lost.
    #[test]
    fn what_is_not_sound_is_left_whole(
        is_v4 in any::<bool>(), spoilt in prop::collection::vec((12_usize..80, any::<u8>()), 1..4), start in any::<u16>(), size in any::<u16>(),
        large in 1_u32..16,
    ) {
        let (mut packet, mut said) = big(is_v4, false, true, &payload(200_000), size);
        if let Some((at, value)) = spoilt.first() {
            packet[*at] = *value;
        }
        if spoilt.len() > 2 {
            said.csum = Csum::Partial { start, offset: 16 };
        }
        let memory = Memory::heap(8, large).expect("memory");
        let mut pool = FramePool::new(memory.clone());
        for piece in split(&mut pool, &packet, &said).into_iter().flatten() {
            prop_assert!(piece.len() <= jumbo::IP_FRAME_MAX);
            pool.free(piece);
        }
        drop(pool);
        prop_assert_eq!(memory.available(), memory.total(), "no chunk is lost");
    }
}

#[test]
fn contradictions_are_found() {
    let memory = Memory::heap(8, 16).expect("memory");
    let mut pool = FramePool::new(memory);
    let mut refused = |what: &str, change: &dyn Fn(&mut Vec<u8>, &mut Offload)| {
        let (mut packet, mut said) = big(false, false, true, &payload(100_000), 1400);
        change(&mut packet, &mut said);
        assert!(split(&mut pool, &packet, &said).is_none(), "{what}");
    };
    refused("no segments", &|_, said| said.gso = None);
    refused("tiny ones", &|_, said| said.gso = said.gso.map(|gso| Gso { size: 47, ..gso }));
    refused("of the other family", &|_, said| {
        said.gso = said.gso.map(|gso| Gso { kind: GsoKind::Tcp4, ..gso });
    });
    refused("another length", &|packet, _| packet[61] ^= 1);
    refused("UDP", &|packet, _| packet[54] = 17);
    refused("a checksum elsewhere", &|_, said| said.csum = Csum::Partial { start: 54, offset: 16 });
    refused("a length after all", &|packet, _| packet[19] = 9);
}
