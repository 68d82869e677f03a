//! Flow tables: the one in use beside two others, from a thousand to four million flows with real keys, looked up as a
//! burst does. `cargo bench -p weft-perf --bench tables` prints nanoseconds per lookup of a burst of 64, divided by 64.
//!
//! - `lines`: the table in use, on huge pages and without. Tags apart, one cache line per IPv4 flow, fetched ahead.
//! - `slab`: hashbrown with the precomputed keyed hash, its values places in a slab of entries. What weft began with.
//! - `signatures`: 64-byte buckets of eight 16-bit signatures and places, two choices, and the same slab behind.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashTable;
use weft_dataplane::{
    key::{FlowKey, HashSecret},
    program::{Program, Verdict},
    reason::DropReason,
    table::flow::{FlowTable, State},
};
use weft_wire::{Mac, ethertype, ip::proto};

const BURST: usize = 64;
const SECRET: HashSecret = HashSecret::new([
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x27d4_eb2f_1656_67c5,
]);

fn key(n: u32, ipv6: bool) -> FlowKey {
    let mut key = FlowKey::default();
    (key.src_mac, key.dst_mac) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    (key.ethertype, key.protocol) = (if ipv6 { ethertype::IPV6 } else { ethertype::IPV4 }, proto::UDP);
    let [a, b, c, d] = (n / 50_000).to_be_bytes();
    if ipv6 {
        key.set_v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d], [0xfd; 16]);
    } else {
        key.set_v4([10, b, c, d], [10, 200, 0, 1]);
    }
    key.set_src_port(1024 + (n % 50_000) as u16);
    key.set_dst_port(9);
    key
}

/// What a lookup is for: the packet is counted at its flow.
trait Table {
    fn burst(&mut self, keys: &[FlowKey; BURST]) -> u64;
}

struct Lines(FlowTable);

impl Lines {
    fn new(flows: u32, ipv6: bool, huge: bool) -> Self {
        let mut table = FlowTable::new(flows as usize, SECRET, huge).expect("memory");
        for key in (0..flows).map(|n| key(n, ipv6)) {
            let program = Program::end(Verdict::Drop(DropReason::Rule));
            table.install(SECRET.hash(&key), &key, program, State::first(64, 1, 0));
        }
        Self(table)
    }
}

impl Table for Lines {
    fn burst(&mut self, keys: &[FlowKey; BURST]) -> u64 {
        let hashes = keys.each_ref().map(|key| self.0.hash(key));
        if self.0.is_far() {
            for (hash, key) in hashes.iter().zip(keys) {
                self.0.prefetch(*hash, key);
            }
        }
        let mut places = [const { None }; BURST];
        for i in 0..BURST {
            places[i] = Some(self.0.locate(hashes[i], &keys[i]));
        }
        let mut hits = 0;
        for (place, key) in places.into_iter().zip(keys) {
            if let Some((state, _)) = place.and_then(|place| self.0.at(place, key)) {
                state.count(64, 1);
                hits += 1;
            }
        }
        hits
    }
}

#[derive(Clone)]
struct Entry {
    key: FlowKey,
    state: State,
    _program: [u8; 32],
}

fn slab(flows: u32, ipv6: bool) -> Vec<Entry> {
    (0..flows)
        .map(|n| Entry { key: key(n, ipv6), state: State::first(64, 1, 0), _program: [0; 32] })
        .collect()
}

struct Slab {
    places: HashTable<u32>,
    slab: Vec<Entry>,
}

impl Slab {
    fn new(flows: u32, ipv6: bool) -> Self {
        let slab = slab(flows, ipv6);
        let mut places = HashTable::with_capacity(flows as usize);
        for (place, entry) in slab.iter().enumerate() {
            places.insert_unique(SECRET.hash(&entry.key), place as u32, |_| 0);
        }
        Self { places, slab }
    }
}

impl Table for Slab {
    fn burst(&mut self, keys: &[FlowKey; BURST]) -> u64 {
        let hashes = keys.each_ref().map(|key| SECRET.hash(key));
        let mut hits = 0;
        for (hash, key) in hashes.into_iter().zip(keys) {
            let slab = &self.slab;
            if let Some(&place) = self.places.find(hash, |&place| slab[place as usize].key == *key) {
                self.slab[place as usize].state.count(64, 1);
                hits += 1;
            }
        }
        hits
    }
}

#[derive(Clone, Default)]
#[repr(align(64))]
struct Bucket {
    signatures: [u16; 8],
    places: [u32; 8],
}

struct Signatures {
    buckets: Vec<Bucket>,
    slab: Vec<Entry>,
}

impl Signatures {
    fn new(flows: u32, ipv6: bool) -> Self {
        let slab = slab(flows, ipv6);
        let buckets = (flows as usize * 3 / 2 / 8).next_power_of_two().max(64);
        let mut table = Self { buckets: vec![Bucket::default(); buckets], slab: Vec::new() };
        for (place, entry) in slab.iter().enumerate() {
            let hash = SECRET.hash(&entry.key);
            let free =
                |bucket: &usize| table.buckets[*bucket].signatures.iter().filter(|sign| **sign == 0).count();
            let bucket = table.choices(hash).into_iter().max_by_key(free).unwrap_or(0);
            let bucket = &mut table.buckets[bucket];
            if let Some(i) = bucket.signatures.iter().position(|sign| *sign == 0) {
                (bucket.signatures[i], bucket.places[i]) = (((hash >> 48) as u16).max(1), place as u32);
            }
        }
        Self { slab, ..table }
    }

    fn choices(&self, hash: u64) -> [usize; 2] {
        [hash, hash >> 24].map(|bits| bits as usize & (self.buckets.len() - 1))
    }
}

impl Table for Signatures {
    fn burst(&mut self, keys: &[FlowKey; BURST]) -> u64 {
        let hashes = keys.each_ref().map(|key| SECRET.hash(key));
        for hash in &hashes {
            for bucket in self.choices(*hash) {
                weft_pmd::sys::prefetch(&self.buckets[bucket]);
            }
        }
        let mut hits = 0;
        for (hash, key) in hashes.into_iter().zip(keys) {
            let signature = ((hash >> 48) as u16).max(1);
            for bucket in self.choices(hash) {
                let bucket = &self.buckets[bucket];
                let found = weft_pmd::simd::equal_lanes(&bucket.signatures, signature);
                let place = (found != 0).then(|| bucket.places[found.trailing_zeros() as usize] as usize);
                if let Some(entry) =
                    place.map(|place| &mut self.slab[place]).filter(|entry| entry.key == *key)
                {
                    entry.state.count(64, 1);
                    hits += 1;
                    break;
                }
            }
        }
        hits
    }
}

fn tables(c: &mut Criterion) {
    for ipv6 in [false, true] {
        let mut group = c.benchmark_group(if ipv6 { "IPv6" } else { "IPv4" });
        group.throughput(Throughput::Elements(BURST as u64)).sample_size(20);
        for flows in [1_000, 10_000, 100_000, 1_000_000, 4_000_000] {
            type Make = fn(u32, bool) -> Box<dyn Table>;
            let layouts: [(&str, Make); 4] = [
                ("lines", |flows, ipv6| Box::new(Lines::new(flows, ipv6, true))),
                ("lines, small pages", |flows, ipv6| Box::new(Lines::new(flows, ipv6, false))),
                ("slab", |flows, ipv6| Box::new(Slab::new(flows, ipv6))),
                ("signatures", |flows, ipv6| Box::new(Signatures::new(flows, ipv6))),
            ];
            for (name, make) in layouts {
                let mut table = make(flows, ipv6);
                let mut state = 1_u64;
                let mut draw = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    key((((state >> 32) * u64::from(flows)) >> 32) as u32, ipv6)
                };
                group.bench_function(BenchmarkId::new(name, flows), |b| {
                    b.iter_batched_ref(
                        || std::array::from_fn(|_| draw()),
                        |keys| table.burst(black_box(keys)),
                        criterion::BatchSize::SmallInput,
                    );
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, tables);
criterion_main!(benches);
