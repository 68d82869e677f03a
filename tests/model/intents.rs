//! Whatever a pod says of a frame: what leaves has the addresses, ports and flags that were looked at, and is bounded.

use proptest::prelude::*;
use weft_pmd::{Csum, Gso, GsoKind, Offload};
use weft_tests::{
    packets::{Eth, describe},
    sim::Sim,
};
use weft_wire::Mac;

const POD: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ETH: Eth = Eth { src: POD, dst: GATEWAY, vlan: None };

/// A pod on a tap; another on a port that nothing is left to.
const CONFIG: &str = r#"
[node]
name = "test"
addresses = ["192.0.2.1", "2001:db8::1"]
gateway_mac = "02:00:00:00:00:01"
[pmd]
cores = [0]
flows = 64
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24", "fd00:244::/64"]
gateways = ["10.244.0.1", "fd00:244::1"]
[[port]]
name = "a"
kind = "tap"
device = "a"
[[port]]
name = "b"
kind = "xsk"
device = "b"
[[endpoint]]
name = "a"
network = "pods"
port = "a"
mac = "02:00:00:00:00:0a"
addresses = ["10.244.0.10", "fd00:244::10"]
[[endpoint]]
name = "b"
network = "pods"
port = "b"
mac = "02:00:00:00:00:0b"
addresses = ["10.244.0.11", "fd00:244::11"]
"#;

/// Addresses, ports and flags of a packet, in words.
fn who(bytes: &[u8]) -> String {
    let words = describe(bytes);
    let words = words.replace(" BAD-L4-CHECKSUM", "");
    let end = words.find(" seq ").or_else(|| words.find(" len ")).unwrap_or(words.len());
    words[..end].to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_intent_changes_who_sends_what_to_whom(
        is_v4 in any::<bool>(), is_udp in any::<bool>(), len in 0_usize..6000, padding in 0_usize..4,
        start in prop_oneof![0_u16..120, Just(14), Just(34), Just(54)],
        offset in prop_oneof![0_u8..50, Just(6), Just(16)],
        cut in prop::option::of((0_usize..3, prop_oneof![1_u16..64, 64_u16..1400], any::<bool>())),
    ) {
        let (src, dst) = if is_v4 { ("10.244.0.10", "10.244.0.11") } else { ("fd00:244::10", "fd00:244::11") };
        let len = if cut.is_some() { len } else { len % 1400 };
        let mut packet = if is_udp { ETH.udp(src, dst, (9, 80), 64, len) } else { ETH.tcp(src, dst, (9, 80), "a", len) };
        let mut sim = Sim::new(CONFIG);
        let whole = if len < 1400 {
            sim.put("a", packet.clone());
            sim.run();
            sim.tape("b").take().pop().map(|(bytes, _)| who(&bytes))
        } else {
            None
        };
        packet.extend((0..padding).map(|i| i as u8 + 1));
        let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp];
        let gso = cut.map(|(kind, size, ecn)| Gso { kind: kinds[kind], ecn, size });
        sim.tape("a").put(packet, Offload { csum: Csum::Partial { start, offset }, gso, ..Offload::default() });
        sim.run();
        let sent = sim.tape("b").take();
        prop_assert!(sent.len() <= 256, "{} frames of one", sent.len());
        for (bytes, left) in sent {
            prop_assert!(left.is_complete());
            if let Some(whole) = &whole {
                prop_assert_eq!(&who(&bytes), whole);
            }
        }
        prop_assert!(sim.tape("a").take().len() <= 1, "nothing comes back, but for an ICMP error");
        sim.check_laws();
        sim.finish();
    }
}
