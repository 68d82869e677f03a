//! A bridge relays any bytes as they are, but for its own tag.

use proptest::prelude::*;
use weft_tests::sim::Sim;

/// Two trunks, two access ports.
const CONFIG: &str = r#"
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
name = "t"
kind = "packet"
role = "trunk"
networks = ["lan"]
device = "t"
[[port]]
name = "u"
kind = "xsk"
role = "trunk"
networks = ["lan"]
device = "u"
"#;

const PORTS: [&str; 4] = ["a", "b", "t", "u"];
const CUSTOMER: u32 = 0x8100_0000;

fn is_trunk(port: usize) -> bool {
    port >= 2
}

/// What a frame with these tags has on it for trunks, and for access ports; none: it is none of the network's.
fn expected(from: usize, tags: &[u32]) -> Option<[Vec<u32>; 2]> {
    let own = tags.first().copied().filter(|tag| tag & 0xffff_0000 == CUSTOMER);
    let inside = &tags[usize::from(own.is_some())..];
    let vlan = own.map(|tag| tag & 0xfff);
    let is_the_networks = if is_trunk(from) { vlan == Some(10) } else { matches!(vlan, None | Some(0)) };
    let hides_one = vlan == Some(0) && inside.first().is_some_and(|tag| tag & 0xffff_0000 == CUSTOMER);
    // Behind a priority tag that is not the frame's own there may be anything.
    let hides_all =
        inside.first().is_some_and(|tag| [0x8100, 0x88a8].contains(&(tag >> 16)) && tag & 0xfff == 0);
    let tag = CUSTOMER | own.unwrap_or(0) & 0xf000 | 10;
    (is_the_networks && !hides_one && !hides_all).then(|| [[&[tag], inside].concat(), inside.to_vec()])
}

fn frame(tags: &[u32], rest: &[u8]) -> Vec<u8> {
    let macs = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7];
    let tags = tags.iter().flat_map(|tag| tag.to_be_bytes());
    macs.into_iter().chain(tags).chain(rest.iter().copied()).collect()
}

fn tag() -> impl Strategy<Value = u32> {
    let tpid = prop_oneof![4 => Just(0x8100_u32), 1 => Just(0x88a8), 1 => Just(0x9100)];
    let vlan = prop_oneof![3 => Just(10_u32), 2 => Just(0), 1 => Just(20), 1 => Just(4095)];
    (tpid, 0_u32..16, vlan).prop_map(|(tpid, priority, vlan)| tpid << 16 | priority << 12 | vlan)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_relayed_with_the_tag_that_the_port_needs(
        frames in prop::collection::vec(
            (
                0_usize..4,
                prop::collection::vec(tag(), 0..4),
                prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x0806), Just(0x88cc), Just(46), any::<u16>()],
                prop::collection::vec(any::<u8>(), 0..120),
            ),
            1..20,
        ),
    ) {
        let mut sim = Sim::new(CONFIG);
        for (from, tags, kind, payload) in frames {
            prop_assume!(![0x8100, 0x88a8].contains(&kind)); // that would be one tag more
            let rest = [&kind.to_be_bytes(), &payload[..]].concat();
            sim.put(PORTS[from], frame(&tags, &rest));
            sim.run();
            let expected = expected(from, &tags);
            for (to, port) in PORTS.iter().enumerate() {
                let got: Vec<_> = sim.tape(port).take().into_iter().map(|(bytes, _)| bytes).collect();
                let of_port = expected.as_ref().filter(|_| to != from).map(|[trunk, access]| if is_trunk(to) { trunk } else { access });
                let wanted: Vec<_> = of_port.iter().map(|tags| frame(tags, &rest)).collect();
                prop_assert_eq!(got, wanted, "{:08x?} {:04x} from {} to {}", tags, kind, PORTS[from], port);
            }
            sim.check_laws();
        }
        sim.finish();
    }
}
