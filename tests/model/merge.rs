//! TCP segments joined on their way out are, cut again, what they were, in each stream's order.

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, TcpOptionElement};
use proptest::prelude::*;
use weft_pmd::{
    Caps, Csum, Frame, FramePool, Memory, Offload,
    offload::{
        self,
        merge::{self, Look},
    },
};

/// What is odd about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Odd {
    Nothing,
    Pushed,
    Fin,
    WrongChecksum,
    Ttl,
    Window,
    Ecn,
    Gap,
    Short,
    MayFragment,
}

/// A segment of one of three streams.
#[derive(Debug, Clone, Copy)]
struct Piece {
    stream: u8,
    odd: Odd,
}

const LEN: usize = 1000;

fn piece() -> impl Strategy<Value = Piece> {
    let odd = prop_oneof![
        20 => Just(Odd::Nothing),
        1 => Just(Odd::Pushed), 1 => Just(Odd::Fin), 1 => Just(Odd::WrongChecksum), 1 => Just(Odd::Ttl),
        1 => Just(Odd::Window), 1 => Just(Odd::Ecn), 1 => Just(Odd::Gap), 1 => Just(Odd::Short), 1 => Just(Odd::MayFragment),
    ];
    (0..3_u8, odd).prop_map(|(stream, odd)| Piece { stream, odd })
}

/// The packets of the pieces, each stream's sequence numbers and ids going on from piece to piece.
fn packets(pieces: &[Piece], is_v4: bool) -> Vec<Vec<u8>> {
    let mut streams = [(u32::MAX - 2500, 7_u16); 3];
    let packet = |piece: &Piece| {
        let (seq, id) = &mut streams[usize::from(piece.stream)];
        if piece.odd == Odd::Gap {
            *seq = seq.wrapping_add(10);
        }
        let len = if piece.odd == Odd::Short { LEN / 2 } else { LEN };
        let mut tcp = TcpHeader::new(1000 + u16::from(piece.stream), 80, *seq, 500);
        (tcp.ack, tcp.acknowledgment_number) = (true, 99);
        (tcp.psh, tcp.fin) = (piece.odd == Odd::Pushed, piece.odd == Odd::Fin);
        tcp.window_size = if piece.odd == Odd::Window { 501 } else { 500 };
        tcp.set_options(&[TcpOptionElement::Timestamp(1, 2)]).expect("options");
        let mut bytes = Vec::new();
        let payload: Vec<u8> = (0..len).map(|i| (i as u32 ^ *seq) as u8).collect();
        let ip = ip(piece, *id, tcp.header_len() + len, is_v4);
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(ip)
            .tcp_header(tcp)
            .write(&mut bytes, &payload)
            .expect("a packet");
        if piece.odd == Odd::WrongChecksum {
            *bytes.last_mut().expect("payload") ^= 1;
        }
        (*seq, *id) = (seq.wrapping_add(len as u32), id.wrapping_add(1));
        bytes
    };
    pieces.iter().map(packet).collect()
}

fn ip(piece: &Piece, id: u16, len: usize, is_v4: bool) -> IpHeaders {
    let ttl = if piece.odd == Odd::Ttl { 63 } else { 64 };
    if is_v4 {
        let mut v4 =
            Ipv4Header::new(len as u16, ttl, IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).expect("a header");
        v4.identification = id;
        v4.dont_fragment = piece.odd != Odd::MayFragment;
        v4.ecn =
            if piece.odd == Odd::Ecn { 3.try_into().expect("CE") } else { 2.try_into().expect("ECT(0)") };
        return IpHeaders::Ipv4(v4, Default::default());
    }
    let v6 = Ipv6Header {
        traffic_class: if piece.odd == Odd::Ecn { 3 } else { 2 },
        hop_limit: ttl,
        next_header: IpNumber::TCP,
        payload_length: len as u16,
        source: [1; 16],
        destination: [2; 16],
        ..Ipv6Header::default()
    };
    IpHeaders::Ipv6(v6, Default::default())
}

/// Sends a burst as a port does; what the kernel is given, cut as the kernel would.
fn sent(packets: &[Vec<u8>]) -> (usize, Vec<Vec<u8>>) {
    let memory = Memory::heap(512, 8).expect("memory");
    let mut pool = FramePool::new(memory.clone());
    let frames: Vec<Frame> = packets.iter().map(|packet| pool.alloc_copy(packet).expect("memory")).collect();
    let survey = merge::survey(&pool, &frames);
    let (mut left, mut writes, mut out) = ((1_u64 << frames.len()) - 1, 0, Vec::new());
    while left != 0 {
        let first = left.trailing_zeros() as usize;
        writes += 1;
        let joined = survey.as_ref().and_then(|survey| merge::join(&pool, &frames, survey, first, left));
        let Some(joined) = joined else {
            out.push(packets[first].clone());
            left &= left - 1;
            continue;
        };
        let mut whole = joined.headers.to_vec();
        for at in (0..64).filter(|at| joined.members >> at & 1 == 1) {
            let Look::Joins(segment) = survey.as_ref().expect("joined")[at] else { panic!("a member joins") };
            whole.extend(segment.payload(&packets[at]));
        }
        left &= !joined.members;
        let mut frame = pool.alloc_copy(&whole).expect("memory");
        frame.set_offload(joined.offload);
        let mut pieces = Vec::new();
        offload::fit(&mut pool, frame, &Caps { mtu: 1500, csum: false, gso: false }, &mut pieces)
            .expect("it is cut");
        out.extend(pieces.iter().map(|piece| pool.bytes(piece).to_vec()));
        pieces.into_iter().for_each(|piece| pool.free(piece));
    }
    frames.into_iter().for_each(|frame| pool.free(frame));
    drop(pool);
    assert_eq!(memory.available(), memory.total(), "no frame is lost");
    (writes, out)
}

proptest! {
    #[test]
    fn every_stream_arrives_as_it_was(pieces in prop::collection::vec(piece(), 0..40), is_v4 in any::<bool>()) {
        let packets = packets(&pieces, is_v4);
        let (_, out) = sent(&packets);
        for stream in 0..3_u16 {
            let l4 = if is_v4 { 34 } else { 54 };
            let of_it = |packet: &&Vec<u8>| packet[l4..l4 + 2] == (1000 + stream).to_be_bytes();
            let before: Vec<_> = packets.iter().filter(of_it).collect();
            let after: Vec<_> = out.iter().filter(of_it).collect();
            prop_assert_eq!(before, after);
        }
    }
}

#[test]
fn what_is_alike_goes_in_one_piece() {
    let plain = |n: usize, streams: u8| -> Vec<Piece> {
        (0..n).map(|i| Piece { stream: i as u8 % streams, odd: Odd::Nothing }).collect()
    };
    for is_v4 in [true, false] {
        assert_eq!(sent(&packets(&plain(30, 1), is_v4)).0, 1);
        assert_eq!(sent(&packets(&plain(30, 3), is_v4)).0, 3, "streams that come mixed");
        // 65,535 bytes are the most an IP packet has.
        assert_eq!(sent(&packets(&plain(63, 1), is_v4)).0, 1);
        let mut pushed = plain(30, 1);
        pushed[9].odd = Odd::Pushed;
        assert_eq!(sent(&packets(&pushed, is_v4)).0, 2, "PSH ends a super-frame");
    }
}

#[test]
fn partial_checksums_are_joined_unseen() {
    let packets = packets(&[Piece { stream: 0, odd: Odd::WrongChecksum }; 4], true);
    let mut pool = FramePool::new(Memory::heap(64, 4).expect("memory"));
    let mut frames: Vec<Frame> =
        packets.iter().map(|packet| pool.alloc_copy(packet).expect("memory")).collect();
    for frame in &mut frames {
        frame.set_offload(Offload { csum: Csum::Partial { start: 34, offset: 16 }, ..Offload::default() });
    }
    let survey = merge::survey(&pool, &frames).expect("segments");
    let joined = merge::join(&pool, &frames, &survey, 0, 0b1111).expect("they are joined");
    assert_eq!(joined.members, 0b1111);
    frames.into_iter().for_each(|frame| pool.free(frame));
}
