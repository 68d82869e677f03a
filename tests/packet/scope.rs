//! Addresses that no packet may be routed from or to, and what they are good for all the same.

use weft_tests::{
    messages::{discovery, solicitation},
    packets::eth,
};

use crate::{NODE, check_fates};

const A: &str = "02:00:00:00:00:0a";
const GATEWAY: &str = "02:00:00:00:00:01";
const DEVICE: &str = "02:de:00:00:00:01";
const HOP: &str = "02:99:00:00:00:00";

/// Where packets come from, with whom they are for at the first hop, and an address of each family that is right there.
const ORIGINS: [(&str, &str, &str, &str, &str); 3] = [
    ("a", A, GATEWAY, "10.244.0.10", "fd00:244::10"),
    ("host", DEVICE, GATEWAY, "192.0.2.1", "2001:db8::1"),
    ("uplink", HOP, DEVICE, "10.244.1.7", "fd00:244:1::7"),
];

/// Addresses, and whether a packet from and to them is a martian.
const NEVER: [(&str, bool, bool); 19] = [
    ("0.0.0.0", true, true),
    ("0.1.2.3", true, true),
    ("127.0.0.1", true, true),
    ("127.255.255.254", true, true),
    ("224.0.0.251", true, false),
    ("239.1.1.1", true, false),
    ("240.0.0.1", true, true),
    ("255.255.255.254", true, true),
    ("255.255.255.255", true, false),
    ("::", true, true),
    ("::1", true, true),
    ("::7", true, true),
    ("::10.244.0.11", true, true),
    ("::ffff:10.244.0.11", true, true),
    ("::ffff:127.0.0.1", true, true),
    ("::ffff:192.0.2.1", true, true),
    ("::ffff:224.0.0.1", true, true),
    ("ff02::fb", true, false),
    ("ff0e::1", true, false),
];

#[test]
fn martians_are_routed_from_nowhere_to_nowhere() {
    let mut packets = Vec::new();
    for (port, from_mac, to_mac, v4, v6) in ORIGINS {
        for (address, as_source, as_destination) in NEVER {
            let is_v4 = address.parse::<std::net::Ipv4Addr>().is_ok();
            let (own, pod) = if is_v4 { (v4, "10.244.0.11") } else { (v6, "fd00:244::11") };
            // A pod that has no address yet is no martian for what is not its own business.
            let nameless = port == "a" && address == "::";
            if as_source {
                let reason = if nameless { "spoofed" } else { "martian_source" };
                let reason = if port == "a" && address == "0.0.0.0" { "spoofed" } else { reason };
                let packet = eth(from_mac, to_mac).udp(address, pod, (1, 2), 64, 4);
                packets.push((address, port, packet, reason));
            }
            if as_destination {
                let packet = eth(from_mac, to_mac).udp(own, address, (1, 2), 64, 4);
                packets.push((address, port, packet, "martian_destination"));
                // With TTL 1 nobody is told.
                let packet = eth(from_mac, to_mac).udp(own, address, (1, 2), 1, 4);
                packets.push((address, port, packet, "martian_destination"));
            }
        }
    }
    check_fates(NODE, packets);
}

/// Ways into the key space that both families share: an endpoint's, a route's, a rule's IPv4 address as an IPv6 one.
#[test]
fn an_ipv4_address_in_an_ipv6_packet_is_nobodys() {
    let rule = "[[flow]]\nname = \"only-v4\"\npriority = 9\nmatch = { src = \"10.244.0.10\" }\n\
                actions = [\"output:b\"]\n";
    for config in [NODE.to_owned(), format!("{NODE}{rule}")] {
        let mapped = |v4: &str| format!("::ffff:{v4}");
        let (own, b, node) = (mapped("10.244.0.10"), mapped("10.244.0.11"), mapped("192.0.2.1"));
        check_fates(
            &config,
            vec![
                ("own to pod", "a", eth(A, GATEWAY).udp(&own, &b, (1, 2), 64, 4), "martian_source"),
                ("own to gateway", "a", eth(A, GATEWAY).ping(&own, "fd00:244::1", 64), "martian_source"),
                (
                    "to the node",
                    "a",
                    eth(A, GATEWAY).udp("fd00:244::10", &node, (1, 2), 64, 4),
                    "martian_destination",
                ),
                (
                    "ping to it",
                    "a",
                    eth(A, GATEWAY).ping("fd00:244::10", &mapped("10.244.0.1"), 64),
                    "martian_destination",
                ),
                // Solicited as a target: nobody has it.
                (
                    "who has it",
                    "a",
                    eth(A, "33:33:ff:00:02:01").icmp6(&solicitation("fd00:244::10", &node, Some(A))),
                    "",
                ),
            ],
        );
    }
}

/// The gateways that some networks have everywhere.
fn with_link_local_gateways() -> String {
    NODE.replacen(
        "prefixes = [\"10.244.0.0/24\", \"fd00:244::/64\"]\ngateways = [\"10.244.0.1\", \"fd00:244::1\"]",
        "prefixes = [\"10.244.0.0/24\", \"fd00:244::/64\", \"fe80::1/128\", \"169.254.1.1/32\"]\n\
         gateways = [\"fe80::1\", \"169.254.1.1\", \"10.244.0.1\", \"fd00:244::1\"]",
        1,
    )
}

/// Link-local and unspecified addresses of IPv6 serve to talk to the switch itself.
#[test]
fn link_local_addresses_stay_on_the_link() {
    let all_nodes = "33:33:00:00:00:01";
    let error = |src: &str, dst: &str| discovery(1, src, dst, &[0; 40]);
    let to_group = discovery(143, "fe80::a", "ff02::16", &[0; 4]);
    check_fates(
        &with_link_local_gateways(),
        vec![
            ("ping", "a", eth(A, GATEWAY).ping("fe80::a", "fd00:244::11", 64), "martian_source"),
            ("ping from ::", "a", eth(A, GATEWAY).ping("::", "fd00:244::11", 64), "martian_source"),
            ("ping from ::", "a", eth(A, GATEWAY).ping("::", "fd00:244::1", 64), "martian_source"),
            ("udp", "a", eth(A, GATEWAY).udp("fe80::a", "fd00:244::11", (1, 2), 64, 4), "spoofed"),
            (
                "to another node's pod",
                "a",
                eth(A, GATEWAY).ping("fe80::a", "fd00:244:1::9", 64),
                "martian_source",
            ),
            ("to the world", "a", eth(A, GATEWAY).ping("fe80::a", "2001:db8:9::9", 64), "martian_source"),
            ("error", "a", eth(A, GATEWAY).icmp6(&error("fe80::a", "fd00:244::11")), "icmp_unrelated"),
            (
                "to a neighbour's",
                "a",
                eth(A, GATEWAY).udp("fd00:244::10", "fe80::b", (1, 2), 64, 4),
                "martian_destination",
            ),
            ("to a neighbour's", "a", eth(A, GATEWAY).ping("fe80::a", "fe80::b", 64), "martian_source"),
            (
                "IPv4",
                "a",
                eth(A, GATEWAY).udp("10.244.0.10", "169.254.7.7", (1, 2), 64, 4),
                "martian_destination",
            ),
            ("IPv4", "a", eth(A, GATEWAY).udp("169.254.7.7", "10.244.0.11", (1, 2), 64, 4), "spoofed"),
            ("listener report", "a", eth(A, "33:33:00:00:00:16").icmp6(&to_group), "multicast"),
            ("group", "a", eth(A, all_nodes).ping("fe80::a", "ff02::1", 64), "multicast"),
            (
                "solicitation",
                "a",
                eth(A, "33:33:ff:00:00:01").icmp6(&solicitation("fe80::a", "fd00:244::1", Some(A))),
                "a",
            ),
            (
                "solicitation",
                "a",
                eth(A, "33:33:ff:00:00:01").icmp6(&solicitation("fe80::a", "fe80::1", Some(A))),
                "a",
            ),
            (
                "solicitation of a stranger",
                "a",
                eth(A, "33:33:ff:00:00:09").icmp6(&solicitation("fe80::a", "fe80::9", Some(A))),
                "",
            ),
            ("ping the gateway", "a", eth(A, GATEWAY).ping("fe80::a", "fe80::1", 64), "a"),
            ("ping the gateway", "a", eth(A, GATEWAY).ping("fe80::a", "fd00:244::1", 64), "a"),
            ("ping the gateway", "a", eth(A, GATEWAY).ping("10.244.0.10", "169.254.1.1", 64), "a"),
        ],
    );
}

#[test]
fn link_local_addresses_come_from_nowhere_else() {
    check_fates(
        &with_link_local_gateways(),
        vec![
            (
                "host",
                "host",
                eth(DEVICE, GATEWAY).udp("fe80::1234", "fd00:244::10", (1, 2), 64, 4),
                "martian_source",
            ),
            (
                "host",
                "host",
                eth(DEVICE, GATEWAY).udp("169.254.8.8", "10.244.0.10", (1, 2), 64, 4),
                "martian_source",
            ),
            (
                "host",
                "host",
                eth(DEVICE, GATEWAY).udp("192.0.2.1", "169.254.8.8", (1, 2), 64, 4),
                "martian_destination",
            ),
            (
                "uplink",
                "uplink",
                eth(HOP, DEVICE).udp("fe80::1234", "fd00:244::10", (1, 2), 64, 4),
                "martian_source",
            ),
            (
                "uplink",
                "uplink",
                eth(HOP, DEVICE).udp("169.254.8.8", "10.244.0.10", (1, 2), 64, 4),
                "martian_source",
            ),
            (
                "uplink",
                "uplink",
                eth(HOP, DEVICE).ping("10.244.1.7", "169.254.1.1", 64),
                "martian_destination",
            ),
        ],
    );
}

/// A DNS cache at 169.254.20.10, and what the host port's tap has beside it, are the node's: its pods reach them there, and
/// they their pods.
#[test]
fn a_link_local_address_of_the_node_is_reached_by_its_pods_only() {
    let config = NODE.replacen("\"192.0.2.1\", ", "\"169.254.20.10\", \"192.0.2.1\", ", 1).replacen(
        "device = \"weft0\"\n",
        "device = \"weft0\"\naddresses = [\"169.254.10.1/32\"]\n",
        1,
    );
    check_fates(
        &config,
        vec![
            ("query", "a", eth(A, GATEWAY).udp("10.244.0.10", "169.254.20.10", (1, 53), 64, 4), "host"),
            ("answer", "host", eth(DEVICE, GATEWAY).udp("169.254.20.10", "10.244.0.10", (53, 1), 64, 4), "a"),
            ("the tap's", "a", eth(A, GATEWAY).udp("10.244.0.10", "169.254.10.1", (1, 53), 64, 4), "host"),
            (
                "the tap's",
                "host",
                eth(DEVICE, GATEWAY).udp("169.254.10.1", "10.244.0.10", (53, 1), 64, 4),
                "a",
            ),
            (
                "metadata",
                "a",
                eth(A, GATEWAY).udp("10.244.0.10", "169.254.169.254", (1, 80), 64, 4),
                "martian_destination",
            ),
            (
                "to another node",
                "host",
                eth(DEVICE, GATEWAY).udp("169.254.20.10", "10.244.1.7", (53, 1), 64, 4),
                "martian_source",
            ),
            (
                "to the world",
                "host",
                eth(DEVICE, GATEWAY).udp("169.254.20.10", "203.0.113.9", (53, 1), 64, 4),
                "martian_source",
            ),
            (
                "from outside",
                "uplink",
                eth(HOP, DEVICE).udp("10.244.1.7", "169.254.20.10", (1, 53), 64, 4),
                "martian_destination",
            ),
            ("as a pod", "a", eth(A, GATEWAY).udp("169.254.20.10", "10.244.0.11", (1, 53), 64, 4), "spoofed"),
            (
                "as if by the underlay",
                "uplink",
                eth(HOP, DEVICE).udp("169.254.20.10", "10.244.0.10", (1, 53), 64, 4),
                "martian_source",
            ),
        ],
    );
}

/// What a rule sets is looked at, too; and a rule may lead what is link-local to somebody who answers.
#[test]
fn what_a_rule_makes_of_an_address_is_looked_at() {
    let config = format!(
        "{NODE}
[[flow]]
name = \"metadata\"
priority = 9
match = {{ dst = \"169.254.169.254\" }}
actions = [\"set:dst_ip=10.244.0.11\", \"continue\"]
[[flow]]
name = \"astray\"
match = {{ dst = \"203.0.113.1\" }}
actions = [\"set:dst_ip=169.254.9.9\", \"continue\"]
[[flow]]
name = \"disguise\"
match = {{ dst = \"203.0.113.2\" }}
actions = [\"set:src_ip=169.254.9.9\", \"continue\"]
[[flow]]
name = \"from-loopback\"
match = {{ dst = \"127.0.0.7\" }}
actions = [\"set:dst_ip=10.244.0.11\", \"continue\"]
"
    );
    let to = |dst: &str| eth(A, GATEWAY).udp("10.244.0.10", dst, (1, 80), 64, 4);
    check_fates(
        &config,
        vec![
            ("led to a pod", "a", to("169.254.169.254"), "b"),
            ("led astray", "a", to("203.0.113.1"), "martian_destination"),
            ("disguised", "a", to("203.0.113.2"), "martian_source"),
            ("never in a packet", "a", to("127.0.0.7"), "martian_destination"),
        ],
    );
}

#[test]
fn tunnels_bring_no_martians() {
    let config = NODE
        .replace("mode = \"native\"", "mode = \"vxlan\"")
        .replace("name = \"pods\"\n", "name = \"pods\"\nvni = 42\n")
        .replacen("[\"10.244.1.0/24\"]", "[\"64.0.0.0/2\", \"128.0.0.0/2\", \"10.244.1.0/24\"]", 1)
        .replacen("[\"fd00:244:1::/64\"]", "[\"fe00::/7\", \"fd00:244:1::/64\"]", 1);
    let wrapped = |src: &str, dst: &str, inner: Vec<u8>| {
        eth(HOP, DEVICE).wrap(src, dst, 4789, &[8, 0, 0, 0, 0, 0, 42, 0], &inner)
    };
    let v4 = |inner| wrapped("192.0.2.2", "192.0.2.1", inner);
    let v6 = |inner| wrapped("2001:db8::2", "2001:db8::1", inner);
    let inner = |src: &str, dst: &str| eth("02:77:00:00:00:01", GATEWAY).udp(src, dst, (1, 2), 63, 4);
    check_fates(
        &config,
        vec![
            ("right", "uplink", v4(inner("10.244.1.7", "10.244.0.10")), "a"),
            ("right", "uplink", v6(inner("fd00:244:1::7", "fd00:244::10")), "a"),
            ("from loopback", "uplink", v4(inner("127.0.0.1", "10.244.0.10")), "martian_source"),
            ("from link-local", "uplink", v4(inner("169.254.1.1", "10.244.0.10")), "martian_source"),
            ("from link-local", "uplink", v6(inner("fe80::1", "fd00:244::10")), "martian_source"),
            ("mapped", "uplink", v6(inner("::ffff:10.244.1.7", "fd00:244::10")), "martian_source"),
            ("mapped", "uplink", v6(inner("fd00:244:1::7", "::ffff:10.244.0.10")), "martian_destination"),
            ("to loopback", "uplink", v4(inner("10.244.1.7", "127.0.0.1")), "martian_destination"),
            // Outside: an IPv6 packet is no IPv4 peer's.
            (
                "outer mapped",
                "uplink",
                wrapped("::ffff:192.0.2.2", "2001:db8::1", inner("10.244.1.7", "10.244.0.10")),
                "martian_source",
            ),
            // With routes to nearly everywhere nothing else becomes reachable.
            (
                "out to loopback",
                "a",
                eth(A, GATEWAY).udp("10.244.0.10", "127.0.0.1", (1, 2), 64, 4),
                "martian_destination",
            ),
            (
                "out to link-local",
                "a",
                eth(A, GATEWAY).udp("10.244.0.10", "169.254.1.1", (1, 2), 64, 4),
                "martian_destination",
            ),
            (
                "out to the world",
                "a",
                eth(A, GATEWAY).udp("10.244.0.10", "130.1.1.1", (1, 2), 64, 4),
                "uplink",
            ),
            ("who has loopback", "a", eth(A, "ff:ff:ff:ff:ff:ff").arp("10.244.0.10", "127.0.0.1"), ""),
            ("who is link-local", "a", eth(A, "ff:ff:ff:ff:ff:ff").arp("10.244.0.10", "169.254.1.1"), ""),
            ("who is it", "a", eth(A, "ff:ff:ff:ff:ff:ff").arp("10.244.0.10", "130.1.1.1"), "a"),
        ],
    );
}
