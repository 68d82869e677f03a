//! Criterion benches: the whole path, and its parts that stand alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weft_dataplane::{key::HashSecret, parse::parse_packet};
use weft_perf::core::{Case, Setup, thread};
use weft_pmd::{
    Burst, Caps, Csum, FramePool, Gso, GsoKind, Memory, Offload, PortQueue,
    offload::{self, merge},
    port::gen_udp,
};
use weft_wire::{Mac, checksum};

fn packet() -> Vec<u8> {
    let spec = gen_udp::Spec {
        flows: 1,
        size: 64,
        src_mac: Mac([2, 0, 0, 0, 0, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0, 2]),
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        limit: None,
        queues: 1,
        in_order: false,
    };
    let mut pool = FramePool::new(Memory::heap(128, 1).expect("memory"));
    let mut queue = gen_udp::open(&spec).expect("a generator").queues.remove(0);
    let mut burst = Burst::new();
    queue.rx(&mut pool, &mut burst).expect("packets");
    let packet = pool.bytes(&burst.as_slice()[0]).to_vec();
    burst.free_all(&mut pool);
    packet
}

fn stages(c: &mut Criterion) {
    let packet = packet();
    c.bench_function("parse", |b| b.iter(|| parse_packet(std::hint::black_box(&packet))));
    let (key, _) = parse_packet(&packet).expect("a good packet");
    let secret = HashSecret::new([1, 2, 3, 4]);
    c.bench_function("hash", |b| b.iter(|| secret.hash(std::hint::black_box(&key))));
    for len in [20, 1448] {
        let bytes = vec![0x5a; len];
        let sum = || checksum::sum(std::hint::black_box(&bytes), 0);
        c.bench_function(&format!("checksum of {len} bytes"), |b| b.iter(sum));
    }
    let mut group = c.benchmark_group("turn of 64 packets");
    group.throughput(Throughput::Elements(64));
    for (name, case, flows) in [
        ("xconnect", Case::Xconnect, 1),
        ("l2", Case::L2, 1),
        ("l3", Case::L3, 1),
        ("l3-100k", Case::L3, 100_000),
        ("vxlan-encap", Case::VxlanEncap, 1),
        ("vxlan-decap", Case::VxlanDecap, 1),
    ] {
        let mut bench =
            thread(&Setup { case, flows, rules: 0, ipv6: false, seconds: 0.0 }).expect("a thread");
        let mut now = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                now += 1_000;
                bench.thread.turn(now)
            });
        });
    }
    group.finish();
}

/// A TCP segment of so much payload over IPv4, checksum partial.
fn tcp(payload: usize) -> Vec<u8> {
    let total = (40 + payload) as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = checksum::finish(checksum::sum(&bytes[14..34], 0)).to_be_bytes();
    bytes[24..26].copy_from_slice(&sum);
    bytes.extend([0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes.resize(54 + payload, 0x5a);
    bytes
}

/// What super-frames cost to cut, and segments to join.
fn offloads(c: &mut Criterion) {
    const SEGMENTS: usize = 40;
    const SIZE: usize = 1400;
    let mut pool = FramePool::new(Memory::heap(256, 8).expect("memory"));
    let whole = tcp(SEGMENTS * SIZE);
    let offload = Offload {
        csum: Csum::Partial { start: 34, offset: 16 },
        gso: Some(Gso { kind: GsoKind::Tcp4, ecn: false, size: SIZE as u16 }),
        ..Offload::default()
    };
    let plain = Caps { mtu: 1500, csum: false, gso: false };
    let cut = |pool: &mut FramePool| {
        let mut frame = pool.alloc_copy(&whole).expect("memory");
        frame.set_offload(offload);
        let mut pieces = Vec::with_capacity(SEGMENTS);
        offload::fit(pool, frame, &plain, &mut pieces).expect("it is cut");
        pieces
    };
    let mut group = c.benchmark_group("offload, 40 segments of 1400 bytes");
    group.throughput(Throughput::Elements(SEGMENTS as u64));
    group.bench_function("segment", |b| {
        b.iter(|| {
            let pieces = cut(&mut pool);
            pieces.into_iter().for_each(|piece| pool.free(piece));
        });
    });
    let pieces = cut(&mut pool);
    group.bench_function("join", |b| {
        b.iter(|| {
            let survey = merge::survey(&pool, &pieces).expect("segments");
            let joined = merge::join(&pool, &pieces, &survey, 0, (1 << SEGMENTS) - 1);
            assert_eq!(joined.expect("they are joined").members.count_ones() as usize, SEGMENTS);
        });
    });
    group.finish();
    pieces.into_iter().for_each(|piece| pool.free(piece));
}

criterion_group!(benches, stages, offloads);
criterion_main!(benches);
