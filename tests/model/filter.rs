//! Filters of tcpdump's words say what libpcap's own interpreter says.

use pcap::{Capture, Linktype};
use proptest::prelude::*;
use weft_dataplane::filter::{Filter, Instruction};
use weft_tests::packets::{Eth, eth};

/// Every kind of expression that pcap-filter(7) has for Ethernet, between them every instruction that libpcap makes.
const PRIMITIVES: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "host 10.0.0.5",
    "src host 10.0.0.5",
    "dst net 10.0.0.0/8",
    "net fd00::/64",
    "ip6 host fd00::2",
    "ether host 02:00:00:00:00:05",
    "ether src 02:00:00:00:00:05",
    "ether multicast",
    "ether broadcast",
    "ip multicast",
    "ip broadcast",
    "port 80",
    "src port 7",
    "tcp dst port 80",
    "portrange 1-100",
    "udp portrange 5-9",
    "vlan",
    "vlan 7",
    "vlan and port 80",
    "mpls",
    "pppoes",
    "geneve",
    "geneve 42",
    "less 100",
    "greater 200",
    "len > 90 and len < 1000",
    "ip proto 6",
    "ip6 proto 17",
    "ether proto 0x88cc",
    "ether[0] & 1 = 1",
    "ip[8] < 64",
    "ip[6:2] & 0x1fff != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) != 0",
    "tcp[13] = 2",
    "udp[4:2] / 3 = 8",
    "udp[4:2] % 5 = 1",
    "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0",
    "ether[ether[20]] * 3 > 100",
    "ip[8] ^ 7 < 4",
    "ether[14] | 3 = 71",
    "- ether[15] < 10",
    "ip[ip[8]:2] >= 20",
    "ip[9] / ip[8] = 0",
    "ip[9] % ip[8] = 1",
    "1 << ip[8] > 100",
    "ip[8] >> 1 & 1 = 1",
    "ether[12:2] >> ip[8] = 16",
    "ether[12:2] >> ip[8] = 0",
    "len - 14 > ip[2:2]",
    "icmp[icmptype] = icmp-echo",
    "ip6[6] = 58",
    "ether[len - 1] = 0",
];

fn load(text: &str, optimize: bool) -> Option<(pcap::BpfProgram, Filter)> {
    let compiled = Capture::dead(Linktype::ETHERNET).expect("libpcap").compile(text, optimize).ok()?;
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let instruction =
        |instruction: &pcap::BpfInstruction| match *instruction.to_string().split(' ').collect::<Vec<_>>() {
            [code, jt, jf, k] => Instruction {
                code: number(code) as u16,
                jt: number(jt) as u8,
                jf: number(jf) as u8,
                k: number(k),
            },
            _ => panic!("{instruction}"),
        };
    let program: Vec<_> = compiled.get_instructions().iter().map(instruction).collect();
    let filter = Filter::load(&program).unwrap_or_else(|error| panic!("{text}: {error}"));
    Some((compiled, filter))
}

fn expression() -> impl Strategy<Value = String> {
    let primitive = prop::sample::select(PRIMITIVES).prop_map(str::to_owned);
    primitive.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    const HOSTS: &[&str] = &["02:00:00:00:00:05", "02:00:00:00:00:06", "ff:ff:ff:ff:ff:ff"];
    const ENDS: &[(&str, &str)] = &[
        ("10.0.0.5", "10.1.0.6"),
        ("192.0.2.1", "10.0.0.5"),
        ("fd00::1", "fd00::2"),
        ("10.0.0.5", "224.0.0.1"),
    ];
    let head = (prop::sample::select(HOSTS), prop::option::of(prop::sample::select(&[7u16, 8][..])));
    let sound = (
        head,
        prop::sample::select(ENDS),
        0usize..5,
        (0u16..110, 0u16..110),
        prop_oneof![0u8..20, any::<u8>()],
        0usize..300,
    )
        .prop_map(|((dst, vlan), (from, to), kind, ports, ttl, len)| {
            let eth = Eth { vlan, ..eth("02:00:00:00:00:05", dst) };
            match kind {
                0 => eth.udp(from, to, ports, ttl, len),
                1 => eth.tcp(from, to, ports, "s", len),
                2 => eth.tcp(from, to, ports, "pa", len),
                3 => eth.ping(from, to, ttl),
                _ => eth.arp("10.0.0.5", "10.1.0.6"),
            }
        });
    let torn = (sound.clone(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>());
    let torn = torn.prop_map(|(mut packet, cut, at, byte)| {
        let at = at.index(packet.len());
        packet[at] = byte;
        packet.truncate(cut.index(packet.len()) + 1);
        packet
    });
    prop_oneof![4 => sound, 2 => torn, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn filters_say_what_libpcap_says(text in expression(), optimize in any::<bool>(), packets in proptest::collection::vec(packet(), 30)) {
        // Some combinations can't be: libpcap says so.
        let Some((oracle, filter)) = load(&text, optimize) else { return Ok(()) };
        for packet in packets {
            prop_assert_eq!(filter.accepts(&packet), oracle.filter(&packet), "{} of {:02x?}", text, packet);
        }
    }
}

#[test]
fn every_kind_of_expression_is_tried() {
    let refused: Vec<_> = PRIMITIVES.iter().filter(|text| load(text, true).is_none()).collect();
    assert!(refused.is_empty(), "libpcap does not compile {refused:?}");
}
