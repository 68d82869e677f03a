//! Any bytes parse or are refused; headers lie inside of the packet; offload code stands whatever the headers say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_dataplane::parse::{L3, parse_packet};
use weft_pmd::{Caps, Csum, FramePool, Gso, GsoKind, Memory, Offload, Outer, offload};

fuzz_target!(|data: &[u8]| {
    if let Ok((key, headers)) = parse_packet(data) {
        assert!(usize::from(headers.l3) <= data.len() && usize::from(headers.l4) <= data.len());
        if matches!(headers.kind, L3::Ipv4 | L3::Ipv6) {
            let _ = offload::detect_partial(data, headers.l3.into(), headers.l4.into(), key.protocol);
        }
    }
    let [kind, size, start, offset, packet @ ..] = data else { return };
    let memory = Memory::heap(128, 4).expect("memory");
    let mut pool = FramePool::new(memory.clone());
    let Some(mut frame) = pool.alloc_copy(packet) else { return };
    let gso = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp].get(usize::from(kind % 4)).copied();
    frame.set_offload(Offload {
        csum: Csum::Partial { start: u16::from(*start), offset: *offset },
        gso: gso.map(|kind| Gso { kind, ecn: false, size: u16::from(*size) * 8 }),
        outer: [None, Some(Outer::V4), Some(Outer::V6)].get(usize::from(kind >> 2 & 3)).copied().flatten(),
        mtu: (kind & 32 != 0).then_some(68 + u16::from(*size)),
    });
    let mut pieces = Vec::new();
    let caps = Caps { mtu: 68 + u32::from(*size), csum: kind & 64 != 0, gso: kind & 128 != 0 };
    if let Err((_, frame)) = offload::fit(&mut pool, frame, &caps, &mut pieces) {
        pool.free(frame);
    }
    pieces.into_iter().for_each(|piece| pool.free(piece));
    drop(pool);
    assert_eq!(memory.available(), memory.total(), "no frame is lost");
});
