//! Routed networks: gateway, host, fabric, anti-spoofing, ICMP.

use expect_test::expect;
use weft_tests::packets::eth;

use crate::{NODE, check};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const GATEWAY: &str = "02:00:00:00:00:01";
const DEVICE: &str = "02:de:00:00:00:01";

#[test]
fn pod_to_pod_is_routed() {
    check(
        NODE,
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (1000, 80), 64, 10)),
            ("b", eth(B, GATEWAY).udp("fd00:244::11", "fd00:244::10", (80, 1000), 64, 10)),
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (1000, 80), "s", 0)),
        ],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::11>fd00:244::10 ttl 63 udp 80>1000 len 10
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 udp 1000>80 len 10
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 1000>80 s seq 1000 len 0"#]],
    );
}

#[test]
fn the_node_reaches_pods_and_they_it_without_nat() {
    check(
        NODE,
        vec![
            ("host", eth(DEVICE, GATEWAY).udp("192.0.2.1", "10.244.0.10", (1000, 80), 64, 1)),
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "192.0.2.1", (80, 1000), 64, 1)),
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "198.51.100.9", (80, 53), 64, 1)),
            ("host", eth(DEVICE, GATEWAY).udp("192.0.2.1", "203.0.113.1", (1000, 80), 64, 1)),
        ],
        expect![[r#"
            host < 02:00:00:00:00:01>02:de:00:00:00:01 10.244.0.10>192.0.2.1 ttl 63 udp 80>1000 len 1
            host < 02:00:00:00:00:01>02:de:00:00:00:01 10.244.0.10>198.51.100.9 ttl 63 udp 80>53 len 1
            host < 02:00:00:00:00:01>02:de:00:00:00:01 10.244.0.1>192.0.2.1 ttl 64 icmp 3/1 0 len 29
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 192.0.2.1>10.244.0.10 ttl 63 udp 1000>80 len 1"#]],
    );
}

#[test]
fn other_nodes_are_reached_by_the_fabric_and_are_no_transit() {
    check(
        NODE,
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.1.7", (1, 2), 64, 1)),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244:1::7", (1, 2), 64, 1)),
            ("uplink", eth("02:99:00:00:00:01", DEVICE).udp("10.244.1.7", "10.244.0.10", (2, 1), 62, 1)),
            ("uplink", eth("02:99:00:00:00:01", DEVICE).udp("10.244.1.7", "10.244.1.8", (2, 1), 62, 1)),
            ("uplink", eth("02:99:00:00:00:01", DEVICE).udp("10.244.1.7", "203.0.113.1", (2, 1), 62, 1)),
        ],
        expect![[r#"
            uplink < 02:de:00:00:00:01>02:99:00:00:00:00 10.244.0.10>10.244.1.7 ttl 63 udp 1>2 len 1
            uplink < 02:de:00:00:00:01>02:99:00:00:00:01 fd00:244::10>fd00:244:1::7 ttl 63 udp 1>2 len 1
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.1.7>10.244.0.10 ttl 61 udp 2>1 len 1
            uplink drops 2 no_route"#]],
    );
}

#[test]
fn arp_and_discovery_are_answered_for_what_is_known() {
    let all = "ff:ff:ff:ff:ff:ff";
    check(
        NODE,
        vec![
            ("a", eth(A, all).arp("10.244.0.10", "10.244.0.1")), // the gateway
            ("a", eth(A, all).arp("10.244.0.10", "10.244.0.11")), // another pod
            ("a", eth(A, all).arp("10.244.0.10", "10.244.0.10")), // itself: an announcement
            ("a", eth(A, all).arp("0.0.0.0", "10.244.0.11")),    // a probe for somebody's address
            ("a", eth(A, all).arp("10.244.0.10", "10.244.0.99")), // nobody
            ("host", eth(DEVICE, all).arp("192.0.2.1", "10.244.0.10")),
            ("a", eth(A, "33:33:ff:00:00:01").solicit("fd00:244::10", "fd00:244::1")),
            ("a", eth(A, "33:33:ff:00:00:10").solicit("::", "fd00:244::10")), // its own: nobody objects
            ("a", eth(A, "33:33:ff:00:00:11").solicit("::", "fd00:244::11")), // another's
        ],
        expect![[r#"
            host < 02:00:00:00:00:01>02:de:00:00:00:01 arp is 10.244.0.10@02:00:00:00:00:01 to 192.0.2.1
            a < 02:00:00:00:00:01>02:00:00:00:00:0a arp is 10.244.0.1@02:00:00:00:00:01 to 10.244.0.10
            a < 02:00:00:00:00:01>02:00:00:00:00:0a arp is 10.244.0.11@02:00:00:00:00:01 to 10.244.0.10
            a < 02:00:00:00:00:01>02:00:00:00:00:0a arp is 10.244.0.11@02:00:00:00:00:01 to 0.0.0.0
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 255 icmp6 136/0 3758096384 len 24
            a < 02:00:00:00:00:01>33:33:00:00:00:01 fd00:244::11>ff02::1 ttl 255 icmp6 136/0 2684354560 len 24"#]],
    );
}

#[test]
fn the_gateway_answers_ping_and_refuses_the_rest() {
    check(
        NODE,
        vec![
            ("a", eth(A, GATEWAY).ping("10.244.0.10", "10.244.0.1", 64)),
            ("b", eth(B, GATEWAY).ping("fd00:244::11", "fd00:244::1", 64)),
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.1", (1000, 33434), 64, 4)),
        ],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 0/0 65537 len 16
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 3/3 0 len 32
            b < 02:00:00:00:00:01>02:00:00:00:00:0b fd00:244::1>fd00:244::11 ttl 64 icmp6 129/0 65537 len 16"#]],
    );
}

#[test]
fn ttl_and_unreachable_are_told_to_the_sender() {
    check(
        NODE,
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (1, 33434), 1, 4)),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244::11", (1, 33434), 1, 4)),
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.77", (1, 2), 64, 4)),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244::77", (1, 2), 64, 4)),
        ],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 11/0 0 len 32
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 icmp6 3/0 0 len 52
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.1>10.244.0.10 ttl 64 icmp 3/1 0 len 32
            a < 02:00:00:00:00:01>02:00:00:00:00:0a fd00:244::1>fd00:244::10 ttl 64 icmp6 1/3 0 len 52"#]],
    );
}

#[test]
fn what_is_not_the_pods_own_is_dropped() {
    check(
        NODE,
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.11", "10.244.0.10", (1, 2), 64, 4)), // another's address
            ("a", eth(B, GATEWAY).udp("10.244.0.11", "10.244.0.10", (1, 2), 64, 4)), // another's MAC and address
            ("a", eth(A, "ff:ff:ff:ff:ff:ff").arp("10.244.0.11", "10.244.0.1")),     // ARP in another's name
            ("a", eth(A, GATEWAY).vlan(7).udp("10.244.0.10", "10.244.0.11", (1, 2), 64, 4)),
            ("a", eth(A, B).udp("10.244.0.10", "10.244.0.11", (1, 2), 64, 4)), // past the gateway
            ("a", eth(A, "01:00:5e:00:00:fb").udp("10.244.0.10", "224.0.0.251", (1, 2), 64, 4)),
            ("a", eth(A, "ff:ff:ff:ff:ff:ff").udp("10.244.0.10", "255.255.255.255", (68, 67), 64, 4)),
        ],
        expect![[r#"
            a drops 3 spoofed
            a drops 1 vlan_not_allowed
            a drops 1 not_for_gateway
            a drops 2 multicast"#]],
    );
}

#[test]
fn networks_are_isolated_from_each_other() {
    let config = format!(
        "{NODE}
[[network]]
name = \"other\"
prefixes = [\"10.9.0.0/24\"]
gateways = [\"10.9.0.1\"]
[[port]]
name = \"c\"
kind = \"tap\"
device = \"c\"
[[endpoint]]
name = \"c\"
network = \"other\"
port = \"c\"
mac = \"02:00:00:00:00:0c\"
addresses = [\"10.9.0.12\"]
"
    );
    check(
        &config,
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.9.0.12", (1, 2), 64, 4)),
            ("a", eth(A, GATEWAY).ping("10.244.0.10", "10.9.0.1", 64)),
            ("host", eth(DEVICE, GATEWAY).udp("192.0.2.1", "10.9.0.12", (1, 2), 64, 4)),
        ],
        expect![[r#"
            c < 02:00:00:00:00:01>02:00:00:00:00:0c 192.0.2.1>10.9.0.12 ttl 63 udp 1>2 len 4
            a drops 2 isolated"#]],
    );
}
