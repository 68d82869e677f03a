//! What a change costs in a large cluster: 5,000 other nodes, 100,000 prefixes of their pods. `cargo bench -p weftd`.

use std::{collections::BTreeMap, hint::black_box, net::Ipv4Addr, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};
use weft_ctl_api::spec::{Config, PeerSpec};
use weft_dataplane::stats::{PeerStats, PortStats};
use weft_pmd::Caps;
use weft_wire::{Mac, PeerId, PortId, ThreadId};
use weftd::{
    compile::{Compiler, Facts, PeerFacts, PortFacts, compile},
    desired::{Checker, Desired},
};

const PEERS: u32 = 5_000;
const PREFIXES_EACH: u32 = 20;

fn peer(index: u32) -> PeerSpec {
    let prefix = |i: u32| {
        let base = u32::from(Ipv4Addr::new(11, 0, 0, 0)) + ((index * PREFIXES_EACH + i) << 8);
        IpNet::V4(Ipv4Net::new_assert(base.into(), 24))
    };
    PeerSpec {
        name: format!("node-{index}"),
        address: Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 168, 0, 0)) + index + 2).into(),
        addresses: Vec::new(),
        mac: None,
        prefixes: (0..PREFIXES_EACH).map(prefix).collect(),
    }
}

fn config() -> Config {
    let text = r#"
        [node]
        name = "a"
        addresses = ["192.168.0.1"]
        [[network]]
        name = "pods"
        vni = 42
        prefixes = ["10.244.0.0/24"]
        gateways = ["10.244.0.1"]
        [[port]]
        name = "uplink"
        kind = "xsk"
        role = "fabric"
        device = "uplink0"
        [fabric]
        mode = "vxlan"
    "#;
    let mut config: Config = toml::from_str(text).expect("a configuration");
    config.fabric.as_mut().expect("a fabric").peer = (0..PEERS).map(peer).map(Arc::new).collect();
    config
}

fn facts(desired: &Desired) -> Facts {
    let uplink = PortFacts {
        id: PortId::from_index(0).expect("a number"),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        caps: Caps { mtu: 1500, csum: false, gso: false },
        owners: vec![ThreadId(0)],
        stats: Arc::new(PortStats::new(1, 1)),
    };
    let mut facts = Facts { ports: BTreeMap::from([("uplink".into(), uplink)]), ..Facts::default() };
    for (index, peer) in desired.peers.iter().enumerate() {
        let stats = Arc::new(PeerStats::new(1));
        facts.peers.insert(peer.name.clone(), PeerFacts { id: PeerId(index as u16), stats });
        facts.next_hops.insert(peer.address, Mac([2, 0, 0, 0, 0, 2]));
    }
    facts
}

/// The peer that comes and goes.
fn with_one_more(mut config: Config) -> Config {
    config.fabric.as_mut().expect("a fabric").peer.push(Arc::new(peer(PEERS)));
    config
}

fn change(criterion: &mut Criterion) {
    let config = config();
    let desired = Desired::try_from(&config).expect("a valid configuration");
    let more = Desired::try_from(&with_one_more(config.clone())).expect("a valid configuration");
    let facts = facts(&more);
    let mut group = criterion.benchmark_group("5000 peers, 100000 prefixes");
    group.sample_size(30);
    group.bench_function("check, from nothing", |b| b.iter(|| black_box(Desired::try_from(&config))));
    group.bench_function("compile, from nothing", |b| b.iter(|| black_box(compile(&desired, &facts))));
    let with = with_one_more(config.clone());
    let (mut checker, mut comes) = (Checker::default(), true);
    group.bench_function("check, one peer comes or goes", |b| {
        b.iter(|| {
            let desired = black_box(checker.check(if comes { &with } else { &config }));
            comes = !comes;
            desired
        });
    });
    let mut compiler = Compiler::default();
    let mut last = compiler.compile(&desired, &facts);
    group.bench_function("compile, one peer comes or goes", |b| {
        b.iter(|| {
            last = compiler.compile(if comes { &more } else { &desired }, &facts);
            comes = !comes;
        });
    });
    // As a verb does it: copied, changed, checked, compiled; then the last one goes.
    group.bench_function("all of it, one peer comes or goes", |b| {
        b.iter(|| {
            let copy = config.clone();
            let new = if comes { with_one_more(copy) } else { copy };
            let desired = checker.check(&new).expect("a valid configuration");
            last = compiler.compile(&desired, &facts);
            comes = !comes;
            (new, desired)
        });
    });
    black_box(&last);
    group.finish();
}

criterion_group!(benches, change);
criterion_main!(benches);
