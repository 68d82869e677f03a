//! A checker that remembers finds what one that knows nothing finds, whatever comes, goes and changes, right or wrong.

use std::{net::IpAddr, sync::Arc};

use proptest::prelude::*;
use weft_ctl_api::spec::{Config, PeerSpec};
use weftd::{
    config,
    desired::{Checker, Desired},
};

/// What this node says of itself, in some ways that collide with some peers.
const NODES: [&str; 4] = [
    "prefixes = [\"10.244.0.0/24\", \"fd00:244::/64\"]\ngateways = [\"10.244.0.1\"]",
    "prefixes = [\"10.244.0.0/24\", \"10.2.0.0/16\"]",
    "prefixes = [\"198.51.100.0/30\"]",
    "prefixes = [\"10.3.0.0/16\"]\ngateways = [\"10.3.0.9\"]",
];
const ENDPOINTS: [&str; 3] = ["10.244.0.5", "10.3.0.1", "198.51.100.2"];

fn base(mode: &str, network: &str, endpoint: Option<&str>) -> Config {
    let endpoint = endpoint.map_or(String::new(), |address| {
        format!(
            "[[endpoint]]\nname = \"e\"\nnetwork = \"pods\"\nport = \"pod\"\nmac = \"02:00:00:00:00:01\"\n\
             addresses = [\"{address}\"]"
        )
    });
    let text = format!(
        "[node]\nname = \"a\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n[[network]]\nname = \"pods\"\nvni = 7\n{network}\n\
         [[port]]\nname = \"uplink\"\nkind = \"null\"\nrole = \"fabric\"\n[[port]]\nname = \"pod\"\nkind = \"null\"\n{endpoint}\n\
         [fabric]\nmode = \"{mode}\"\n"
    );
    config::parse(&text).expect("it parses")
}

/// A peer that is right alone, or has something wrong with it, or collides with another or the node.
fn peer(index: u8, kind: u8) -> PeerSpec {
    let other = index + 1;
    let prefix = |text: String| text.parse().expect("a prefix");
    let mut peer = PeerSpec {
        name: format!("n{index}"),
        address: IpAddr::from([198, 51, 100, index]),
        addresses: vec![format!("2001:db8:1::{index}").parse().expect("an address")],
        prefixes: vec![prefix(format!("10.{index}.0.0/16")), prefix(format!("fd00:{index}::/64"))],
        mac: None,
    };
    match kind {
        0 => peer.name = format!("n{other}"),
        1 => peer.address = IpAddr::from([198, 51, 100, other]),
        2 => peer.addresses.push(peer.address),
        3 => peer.prefixes.push(prefix(format!("10.{other}.0.0/16"))),
        4 => peer.prefixes.push(prefix(format!("198.51.100.{other}/32"))),
        5 => peer.prefixes.push(prefix("10.244.0.128/25".into())),
        6 => peer.prefixes.push(prefix("192.0.0.0/16".into())),
        7 => peer.address = IpAddr::from([224, 0, 0, index]),
        8 => peer.mac = Some("01:00:00:00:00:01".parse().expect("a MAC")),
        9 => peer.name = "two words".into(),
        10 => peer.prefixes.push(prefix(format!("198.51.100.{index}/32"))), // its own address may be
        11 => peer.prefixes.push(prefix(format!("10.{index}.7.0/24"))),
        12 => peer.prefixes.push(peer.prefixes[0]),
        13 => peer.address = IpAddr::from([10, 3, 0, index]),
        14 => peer.addresses.push(IpAddr::from([192, 0, 2, 1])),
        15 => peer.prefixes.clear(),
        _ => {}
    }
    peer
}

#[derive(Debug, Clone)]
enum Step {
    Comes(usize, PeerSpec),
    Goes(usize),
    Becomes(usize, PeerSpec),
    All(Vec<PeerSpec>),
    /// As another file says the same: alike, not the same.
    ReadAgain,
    Node(usize, Option<usize>, bool),
}

fn spec() -> impl Strategy<Value = PeerSpec> {
    (1_u8..8, prop_oneof![3 => Just(99_u8), 2 => 0_u8..16]).prop_map(|(index, kind)| peer(index, kind))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<usize>(), spec()).prop_map(|(at, spec)| Step::Comes(at, spec)),
        3 => any::<usize>().prop_map(Step::Goes),
        3 => (any::<usize>(), spec()).prop_map(|(at, spec)| Step::Becomes(at, spec)),
        1 => prop::collection::vec(spec(), 0..5).prop_map(Step::All),
        1 => Just(Step::ReadAgain),
        2 => (0..NODES.len(), prop::option::of(0..ENDPOINTS.len()), any::<bool>())
            .prop_map(|(node, endpoint, is_native)| Step::Node(node, endpoint, is_native)),
    ]
}

fn after(mut config: Config, step: Step) -> Config {
    let peers = &mut config.fabric.as_mut().expect("a fabric").peer;
    let (places, count) = (peers.len() + 1, peers.len().max(1));
    match step {
        Step::Comes(at, spec) => peers.insert(at % places, Arc::new(spec)),
        Step::Goes(at) => drop((!peers.is_empty()).then(|| peers.remove(at % count))),
        Step::Becomes(at, spec) => {
            peers.iter_mut().skip(at % count).take(1).for_each(|peer| *peer = Arc::new(spec.clone()))
        }
        Step::All(specs) => *peers = specs.into_iter().map(Arc::new).collect(),
        Step::ReadAgain => peers.iter_mut().for_each(|peer| *peer = Arc::new((**peer).clone())),
        Step::Node(node, endpoint, is_native) => {
            let peers = std::mem::take(peers);
            config = base(
                if is_native { "native" } else { "vxlan" },
                NODES[node],
                endpoint.map(|at| ENDPOINTS[at]),
            );
            config.fabric.as_mut().expect("a fabric").peer = peers;
        }
    }
    config
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn a_checker_that_remembers_finds_what_a_fresh_one_finds(
        steps in prop::collection::vec((step(), any::<bool>()), 1..24),
    ) {
        let (mut checker, mut config) = (Checker::default(), base("native", NODES[0], Some(ENDPOINTS[0])));
        for (step, insists) in steps {
            let candidate = after(config.clone(), step);
            let (kept, fresh) = (checker.check(&candidate), Desired::try_from(&candidate));
            prop_assert_eq!(&kept, &fresh);
            // What is refused does not come into force; but somebody may go on trying.
            if fresh.is_ok() || insists {
                config = candidate;
            }
        }
    }
}
