//! Which rule matches first: the decision tree, beside looking at one rule after the other and a tuple space (a hash table
//! per combination of prefix lengths and fields; Srinivasan et al. 1999), which is what OVS's megaflows grow into.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weft_dataplane::{key::FlowKey, rules::RuleTable};
use weft_perf::ruleset;
use weft_wire::{Mac, ethertype, ip::proto};

fn key(src: [u8; 4], dst: [u8; 4], protocol: u8, ports: (u16, u16)) -> FlowKey {
    let mut key = FlowKey::default();
    (key.src_mac, key.dst_mac) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    (key.ethertype, key.protocol) = (ethertype::IPV4, protocol);
    key.set_v4(src, dst);
    key.set_src_port(ports.0);
    key.set_dst_port(ports.1);
    key
}

/// Half as the benchmark's traffic, which no rule matches, half random near it, of which many match.
fn keys() -> Vec<FlowKey> {
    let mix = |i: u32| i.wrapping_mul(0x9e37_79b1).rotate_left(7);
    let one = |i: u32| {
        let [a, b, c, d] = mix(i).to_be_bytes();
        if i.is_multiple_of(2) {
            key([10, 1, 0, a % 20], [10, 2, 0, 1], proto::UDP, (1024 + mix(i) as u16 % 50_000, 9))
        } else {
            let protocol = if c & 1 == 0 { proto::TCP } else { proto::UDP };
            key([10, a, b, c], [10, d, c, b], protocol, (mix(i) as u16, mix(i + 1) as u16 % 10_000))
        }
    };
    (0..4096).map(one).collect()
}

fn rules(c: &mut Criterion) {
    let keys = keys();
    let mut group = c.benchmark_group("rules");
    for n in [10, 100, 1000, 10_000] {
        let rules = ruleset::rules(n);
        let table = RuleTable::new(rules.clone());
        let mut next = keys.iter().cycle();
        group.bench_function(BenchmarkId::new("tree", n), |b| {
            b.iter(|| next.next().map(|key| table.next_match(0, black_box(key), None).is_some()));
        });
        group.bench_function(BenchmarkId::new("one after the other", n), |b| {
            b.iter(|| {
                next.next().map(|key| {
                    rules.iter().find(|rule| rule.matching.matches(black_box(key), None)).is_some()
                })
            });
        });
        if n >= 1000 {
            group.sample_size(10);
        }
        group.bench_function(BenchmarkId::new("build", n), |b| b.iter(|| RuleTable::new(rules.clone())));
    }
    group.finish();
}

criterion_group!(benches, rules);
criterion_main!(benches);
