//! A compiler that remembers gives what one that knows nothing gives, whatever peers come, go and change.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use proptest::{collection::btree_map, prelude::*, sample::subsequence};
use weft_ctl_api::spec::{Config, PeerSpec};
use weft_dataplane::{snapshot::Snapshot, stats::PeerStats};
use weft_wire::{PeerId, ip};
use weftd::{
    compile::{Compiler, Facts, PeerFacts, compile},
    config,
    desired::Desired,
};

/// Prefixes that lie within each other, so that the longest must win after any change.
const PREFIXES: [&str; 8] = [
    "10.244.0.0/16",
    "10.245.0.0/16",
    "10.245.1.0/24",
    "10.245.1.128/25",
    "10.245.1.200/32",
    "fd00:245::/32",
    "fd00:245:1::/64",
    "fd00:245:1::7/128",
];

/// Addresses that tell them apart.
const ADDRESSES: [&str; 11] = [
    "10.244.0.5",
    "10.244.7.7",
    "10.245.9.9",
    "10.245.1.1",
    "10.245.1.129",
    "10.245.1.200",
    "fd00:245:9::1",
    "fd00:245:1::1",
    "fd00:245:1::7",
    "192.0.2.10",
    "192.0.2.13",
];

fn base() -> Config {
    config::parse(
        r#"
        [node]
        name = "a"
        addresses = ["192.0.2.1", "2001:db8::1"]
        [[network]]
        name = "pods"
        prefixes = ["10.244.0.0/24", "fd00:244::/64"]
        gateways = ["10.244.0.1"]
        [[port]]
        name = "uplink"
        kind = "xsk"
        role = "fabric"
        device = "ens1"
        [fabric]
        mode = "native"
        "#,
    )
    .expect("a configuration")
}

/// Peers by name, each prefix with one of them at most.
fn peers() -> impl Strategy<Value = Vec<PeerSpec>> {
    let owners = subsequence(PREFIXES.to_vec(), 0..=PREFIXES.len())
        .prop_flat_map(|prefixes| prefixes.into_iter().map(|p| (0u8..5, Just(p))).collect::<Vec<_>>());
    (btree_map(0u8..5, any::<bool>(), 0..5), owners, any::<bool>()).prop_map(|(peers, owners, turned)| {
        let peer = |(index, moved): (&u8, &bool)| PeerSpec {
            name: format!("n{index}"),
            address: IpAddr::from([192, 0, 2, 10 + index + 20 * u8::from(*moved)]),
            addresses: Vec::new(),
            prefixes: owners
                .iter()
                .filter(|(owner, _)| owner == index)
                .map(|(_, prefix)| prefix.parse().expect("a prefix"))
                .collect(),
            mac: None,
        };
        let mut peers: Vec<PeerSpec> = peers.iter().map(peer).collect();
        if turned {
            peers.reverse();
        }
        peers
    })
}

/// Numbers as weftd gives them: kept while a peer is there, free ones given again.
fn number(ids: &mut BTreeMap<String, u16>, peers: &[PeerSpec]) -> Facts {
    ids.retain(|name, _| peers.iter().any(|peer| peer.name == *name));
    for peer in peers {
        let free = (0..).find(|id| !ids.values().any(|taken| taken == id)).expect("a number");
        ids.entry(peer.name.clone()).or_insert(free);
    }
    let facts = |(name, id): (&String, &u16)| {
        (name.clone(), PeerFacts { id: PeerId(*id), stats: Arc::new(PeerStats::new(1)) })
    };
    Facts { peers: ids.iter().map(facts).collect(), ..Facts::default() }
}

fn routes(snapshot: &Snapshot) -> Vec<String> {
    let route = |address: &&str| {
        let address: IpAddr = address.parse().expect("an address");
        format!("{address} {:?}", snapshot.route(ip::mapped(address)))
    };
    ADDRESSES.iter().map(route).collect()
}

proptest! {
    #[test]
    fn a_compiler_that_remembers_gives_what_a_fresh_one_gives(steps in prop::collection::vec(peers(), 1..6)) {
        let (mut compiler, mut ids) = (Compiler::default(), BTreeMap::new());
        for peers in steps {
            let facts = number(&mut ids, &peers);
            let mut config = base();
            config.fabric.as_mut().expect("a fabric").peer = peers.into_iter().map(Arc::new).collect();
            let desired = Desired::try_from(&config).expect("valid");
            let (kept, fresh) = (compiler.compile(&desired, &facts), compile(&desired, &facts));
            prop_assert_eq!(routes(&kept), routes(&fresh));
        }
    }
}
