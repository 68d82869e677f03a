//! Bridged networks: learning, flooding, tags, pods.

use expect_test::expect;
use weft_tests::{packets::eth, sim::Sim};

use crate::{check, outcome};

pub(crate) const LAN: &str = r#"
[node]
name = "test"
[pmd]
cores = [0]
flows = 4096
[[network]]
name = "lan"
mode = "bridged"
vlan = 10
[[network]]
name = "dmz"
mode = "bridged"
vlan = 20
[[port]]
name = "x"
kind = "xsk"
role = "access"
network = "lan"
device = "x"
[[port]]
name = "y"
kind = "xsk"
role = "access"
network = "lan"
device = "y"
[[port]]
name = "t"
kind = "xsk"
role = "trunk"
networks = ["lan", "dmz"]
device = "t"
[[port]]
name = "pod"
kind = "tap"
device = "pod"
[[endpoint]]
name = "pod"
network = "lan"
port = "pod"
mac = "02:00:00:00:00:0d"
addresses = ["10.0.0.13"]
"#;

const X: &str = "02:00:00:00:00:aa";
const Y: &str = "02:00:00:00:00:bb";
const T: &str = "02:00:00:00:00:cc";
const POD: &str = "02:00:00:00:00:0d";
const ALL: &str = "ff:ff:ff:ff:ff:ff";

#[test]
fn unknown_is_flooded_learnt_is_not() {
    check(
        LAN,
        vec![
            ("x", eth(X, Y).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 1)), // nobody knows Y
            ("y", eth(Y, X).udp("10.0.0.2", "10.0.0.1", (2, 1), 64, 1)), // X was learnt
            ("x", eth(X, Y).udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 2)), // and now Y
        ],
        expect![[r#"
            x < 02:00:00:00:00:bb>02:00:00:00:00:aa 10.0.0.2>10.0.0.1 ttl 64 udp 2>1 len 1
            y < 02:00:00:00:00:aa>02:00:00:00:00:bb 10.0.0.1>10.0.0.2 ttl 64 udp 1>2 len 1
            y < 02:00:00:00:00:aa>02:00:00:00:00:bb 10.0.0.1>10.0.0.2 ttl 64 udp 1>2 len 2
            t < 02:00:00:00:00:aa>02:00:00:00:00:bb vlan 10 10.0.0.1>10.0.0.2 ttl 64 udp 1>2 len 1
            pod < 02:00:00:00:00:aa>02:00:00:00:00:bb 10.0.0.1>10.0.0.2 ttl 64 udp 1>2 len 1"#]],
    );
}

#[test]
fn tags_are_taken_off_and_put_on() {
    check(
        LAN,
        vec![
            ("t", eth(T, ALL).vlan(10).arp("10.0.0.3", "10.0.0.1")), // into lan
            ("t", eth(T, ALL).vlan(20).arp("10.0.0.3", "10.0.0.1")), // dmz has no other member
            ("t", eth(T, ALL).vlan(30).arp("10.0.0.3", "10.0.0.1")),
            ("t", eth(T, ALL).arp("10.0.0.3", "10.0.0.1")),
            ("x", eth(X, T).udp("10.0.0.1", "10.0.0.3", (1, 2), 64, 1)),
            ("x", eth(X, T).vlan(10).udp("10.0.0.1", "10.0.0.3", (1, 2), 64, 1)),
        ],
        expect![[r#"
            x < 02:00:00:00:00:cc>ff:ff:ff:ff:ff:ff arp who 10.0.0.3@02:00:00:00:00:cc to 10.0.0.1
            y < 02:00:00:00:00:cc>ff:ff:ff:ff:ff:ff arp who 10.0.0.3@02:00:00:00:00:cc to 10.0.0.1
            t < 02:00:00:00:00:aa>02:00:00:00:00:cc vlan 10 10.0.0.1>10.0.0.3 ttl 64 udp 1>2 len 1
            pod < 02:00:00:00:00:cc>ff:ff:ff:ff:ff:ff arp who 10.0.0.3@02:00:00:00:00:cc to 10.0.0.1
            x drops 1 vlan_not_allowed
            t drops 2 vlan_not_allowed"#]],
    );
}

#[test]
fn pods_have_their_addresses_only() {
    check(
        LAN,
        vec![
            ("pod", eth(POD, X).udp("10.0.0.13", "10.0.0.1", (1, 2), 64, 1)),
            ("pod", eth(POD, X).udp("10.0.0.14", "10.0.0.1", (1, 2), 64, 1)), // not its address
            ("pod", eth(Y, X).udp("10.0.0.13", "10.0.0.1", (1, 2), 64, 1)),   // not its MAC
            ("x", eth(POD, Y).udp("10.0.0.13", "10.0.0.2", (1, 2), 64, 1)),   // a pod's MAC from elsewhere
            ("x", eth(X, POD).udp("10.0.0.1", "10.0.0.13", (1, 2), 64, 1)),   // known without learning
        ],
        expect![[r#"
            x < 02:00:00:00:00:0d>02:00:00:00:00:aa 10.0.0.13>10.0.0.1 ttl 64 udp 1>2 len 1
            y < 02:00:00:00:00:0d>02:00:00:00:00:aa 10.0.0.13>10.0.0.1 ttl 64 udp 1>2 len 1
            t < 02:00:00:00:00:0d>02:00:00:00:00:aa vlan 10 10.0.0.13>10.0.0.1 ttl 64 udp 1>2 len 1
            pod < 02:00:00:00:00:aa>02:00:00:00:00:0d 10.0.0.1>10.0.0.13 ttl 64 udp 1>2 len 1
            x drops 1 spoofed
            pod drops 2 spoofed"#]],
    );
}

#[test]
fn an_address_that_moves_is_followed() {
    let mut sim = Sim::new(LAN);
    sim.put("x", eth(X, ALL).arp("10.0.0.1", "10.0.0.9"));
    sim.run();
    sim.put("y", eth(X, ALL).arp("10.0.0.1", "10.0.0.9")); // X is behind y now
    sim.run();
    outcome(&sim);
    for _ in 0..50 {
        sim.now_ns += 100_000_000; // rounds of the sweep that keeps addresses in use from ageing
        sim.run();
    }
    sim.put("t", eth(T, X).vlan(10).udp("10.0.0.3", "10.0.0.1", (1, 2), 64, 1));
    sim.run();
    assert_eq!(sim.tape("x").take().len(), 0);
    assert_eq!(sim.tape("y").take().len(), 1);
    sim.check_laws();
    sim.finish();
}

#[test]
fn suppression_answers_for_pods_and_floods_the_rest() {
    let config = LAN.replacen("vlan = 10", "vlan = 10\nsuppress = true", 1);
    check(
        &config,
        vec![
            ("x", eth(X, ALL).arp("10.0.0.1", "10.0.0.13")),
            ("t", eth(T, ALL).vlan(10).arp("10.0.0.3", "10.0.0.13")),
            ("y", eth(Y, "33:33:ff:00:00:01").solicit("fe80::2", "fe80::1")), // nobody's: flooded
        ],
        expect![[r#"
            x < 02:00:00:00:00:0d>02:00:00:00:00:aa arp is 10.0.0.13@02:00:00:00:00:0d to 10.0.0.1
            x < 02:00:00:00:00:bb>33:33:ff:00:00:01 fe80::2>ff02::1:ff00:1 ttl 255 icmp6 135/0 0 len 24
            t < 02:00:00:00:00:0d>02:00:00:00:00:cc vlan 10 arp is 10.0.0.13@02:00:00:00:00:0d to 10.0.0.3
            t < 02:00:00:00:00:bb>33:33:ff:00:00:01 vlan 10 fe80::2>ff02::1:ff00:1 ttl 255 icmp6 135/0 0 len 24
            pod < 02:00:00:00:00:bb>33:33:ff:00:00:01 fe80::2>ff02::1:ff00:1 ttl 255 icmp6 135/0 0 len 24"#]],
    );
}
