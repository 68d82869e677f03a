//! Criterion benches: the whole path, and its parts that stand alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weft_dataplane::{key::HashSecret, parse::parse_packet};
use weft_perf::core::{Case, Setup, thread};
use weft_pmd::{Burst, FramePool, Memory, PortQueue, port::gen_udp};
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

criterion_group!(benches, stages);
criterion_main!(benches);
