//! Tags and priorities through the real kernel, which takes tags out of frames and tells of them beside.

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root, veth},
    packets::{tags_of, with_tags},
    wire::Wire,
};

const CONFIG: &str = r#"
[node]
name = "node"
control = "CONTROL"
[pmd]
cores = [1]
memory_mib = 64
[[network]]
name = "lan"
mode = "bridged"
vlan = 10
[[port]]
name = "t"
kind = "packet"
role = "trunk"
networks = ["lan"]
device = "t0"
[[port]]
name = "u"
kind = "packet"
role = "trunk"
networks = ["lan"]
device = "u0"
[[port]]
name = "v"
kind = "xsk"
role = "trunk"
networks = ["lan"]
device = "v0"
[[port]]
name = "x"
kind = "packet"
role = "access"
network = "lan"
device = "x0"
[[port]]
name = "y"
kind = "xsk"
role = "access"
network = "lan"
device = "y0"
"#;

/// A broadcast that carries its number.
fn frame(number: u8) -> Vec<u8> {
    let macs = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7];
    [&macs[..], &[0x88, 0xb5], b"weft-tags", &[number; 40]].concat()
}

#[test]
fn service_tags_and_priorities_pass_the_kernel() {
    if !require_root() {
        return;
    }
    let (node, other) = (NetNs::new("node"), NetNs::new("other"));
    for ns in [&node, &other] {
        // Nobody speaks here but this test.
        ns.must(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
    }
    let ports = ["t", "u", "v", "x", "y"];
    for port in ports {
        let device = format!("{port}0");
        veth(&node, &device, &other, &device, 1);
    }
    let weftd = Weftd::start(&node, CONFIG);
    let mut wires = ports.map(|port| Wire::open(&other, &format!("{port}0")));
    /// From a port, with these tags: what access ports and trunks get.
    type Case = (usize, &'static [u32], Option<[&'static str; 2]>);
    let cases: [Case; 12] = [
        (0, &[0x8100_b00a], Some(["88b5", "8100b00a 88b5"])), // priority 5, drop eligible
        (2, &[0x8100_b00a], Some(["88b5", "8100b00a 88b5"])),
        (0, &[0x88a8_000a], None),
        (2, &[0x88a8_000a], None),
        (0, &[0x8100_e00a, 0x8100_0014], Some(["81000014 88b5", "8100e00a 81000014 88b5"])),
        (0, &[0x8100_000a, 0x88a8_0014], Some(["88a80014 88b5", "8100000a 88a80014 88b5"])),
        (3, &[0x88a8_a12c], Some(["88a8a12c 88b5", "8100000a 88a8a12c 88b5"])),
        (4, &[0x88a8_a12c], Some(["88a8a12c 88b5", "8100000a 88a8a12c 88b5"])),
        (3, &[0x8100_a000], Some(["88b5", "8100a00a 88b5"])), // a priority tag
        (4, &[0x8100_a000], Some(["88b5", "8100a00a 88b5"])),
        (3, &[0x8100_0000, 0x8100_0014], None),
        (3, &[0x8100_000a], None),
    ];
    for (number, (from, tags, expected)) in cases.into_iter().enumerate() {
        let sent = with_tags(&frame(number as u8), tags);
        let is_this = |bytes: &[u8]| bytes.ends_with(&frame(number as u8)[14..]);
        wires[from].send(&sent);
        for to in (0..ports.len()).filter(|to| *to != from) {
            let seconds = if expected.is_some() { 5.0 } else { 0.2 };
            let got: Vec<String> =
                wires[to].frames(seconds, 1, is_this).iter().map(|bytes| tags_of(bytes)).collect();
            let [access, trunk] = expected.map_or([None; 2], |both| both.map(Some));
            let wanted = if to < 3 { trunk } else { access };
            let what = format!("{} from {} to {}", tags_of(&sent), ports[from], ports[to]);
            assert_eq!(got, Vec::from_iter(wanted), "{what}");
        }
    }
    let refused: u64 = ports.iter().map(|port| weftd.drops(port, "vlan_not_allowed")).sum();
    assert_eq!(refused, 4);
}
