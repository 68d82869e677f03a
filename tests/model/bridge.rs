//! A bridged network against an oracle: a map from address to port.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_tests::{packets::Eth, sim::Sim};
use weft_wire::Mac;

/// Access ports a, b, c, and a trunk.
pub(crate) const CONFIG: &str = r#"
[node]
name = "model"
[pmd]
cores = [0]
flows = 64
[[network]]
name = "lan"
mode = "bridged"
vlan = 10
[[port]]
name = "a"
kind = "tap"
role = "access"
network = "lan"
device = "a"
[[port]]
name = "b"
kind = "xsk"
role = "access"
network = "lan"
device = "b"
[[port]]
name = "c"
kind = "packet"
role = "access"
network = "lan"
device = "c"
[[port]]
name = "t"
kind = "xsk"
role = "trunk"
networks = ["lan"]
device = "t"
"#;

pub(crate) const PORTS: [&str; 4] = ["a", "b", "c", "t"];

pub(crate) fn mac(host: u8) -> Mac {
    if host == 9 { Mac::BROADCAST } else { Mac([2, 0, 0, 0, 0, host]) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Hosts send from any port at any time: each frame goes where its destination was seen last, or everywhere else.
    #[test]
    fn agrees_with_a_map(frames in prop::collection::vec((0_usize..4, 0_u8..4, prop_oneof![3 => 0_u8..5, 1 => Just(9)]), 1..60)) {
        let mut sim = Sim::new(CONFIG);
        let mut seen: BTreeMap<u8, usize> = BTreeMap::new();
        for (from, src, dst) in frames {
            let vlan = (PORTS[from] == "t").then_some(10);
            let eth = Eth { src: mac(src), dst: mac(dst), vlan };
            sim.put(PORTS[from], eth.udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 5));
            sim.run();
            let got: Vec<usize> = (0..4).filter(|port| {
                let sent = sim.tape(PORTS[*port]).take();
                // The trunk's frames have its tag, all others none.
                assert!(sent.iter().all(|(bytes, _)| (bytes[12..14] == [0x81, 0]) == (*port == 3)));
                assert!(sent.len() <= 1);
                !sent.is_empty()
            }).collect();
            let expected: Vec<usize> = match seen.get(&dst) {
                Some(port) if *port == from => vec![],
                Some(port) => vec![*port],
                None => (0..4).filter(|port| *port != from).collect(),
            };
            prop_assert_eq!(got, expected, "{} from {} behind {}", dst, src, PORTS[from]);
            seen.insert(src, from);
            sim.check_laws();
        }
        sim.finish();
    }
}
