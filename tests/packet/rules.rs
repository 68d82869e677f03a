//! Operators' rules: ahead of all else.

use expect_test::expect;
use weft_tests::{packets::eth, sim::Sim};

use crate::{NODE, check};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const GATEWAY: &str = "02:00:00:00:00:01";

fn with_rules(rules: &str) -> String {
    format!("{NODE}\n{rules}")
}

#[test]
fn a_rule_drops_what_it_matches_and_nothing_else() {
    check(
        &with_rules(
            r#"
[[flow]]
name = "no-telnet"
priority = 100
match = { network = "pods", protocol = "tcp", dst_port = 23 }
actions = ["drop"]
"#,
        ),
        vec![
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (9, 23), "s", 0)),
            ("a", eth(A, GATEWAY).tcp("fd00:244::10", "fd00:244::11", (9, 23), "s", 0)),
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (23, 9), "s", 0)),
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 23), 64, 1)),
        ],
        expect![[r#"
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 23>9 s seq 1000 len 0
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 udp 9>23 len 1
            a drops 2 rule"#]],
    );
}

#[test]
fn priority_decides_and_continue_goes_on() {
    check(
        &with_rules(
            r#"
[[flow]]
name = "low"
priority = 1
match = { src = "10.244.0.10" }
actions = ["drop"]
[[flow]]
name = "mark"
priority = 9
match = { protocol = "udp", dst_port = "50-60" }
actions = ["set:dscp=46", "continue"]
[[flow]]
name = "through"
priority = 5
match = { dst = "10.244.0.11", dst_port = 53, protocol = "udp" }
actions = ["set:dst_mac=02:00:00:00:00:0b", "output:b"]
"#,
        ),
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 53), 64, 1)), // mark, through
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 54), 64, 1)), // mark, low
            ("b", eth(B, GATEWAY).udp("10.244.0.11", "10.244.0.10", (9, 60), 64, 1)), // mark, then the ordinary way
        ],
        expect![[r#"
            a < 02:00:00:00:00:01>02:00:00:00:00:0a 10.244.0.11>10.244.0.10 ttl 63 dscp 46 udp 9>60 len 1
            b < 02:00:00:00:00:0a>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 64 dscp 46 udp 9>53 len 1
            a drops 1 rule"#]],
    );
}

#[test]
fn set_fields_keep_checksums_right_and_decide_the_route() {
    check(
        &with_rules(
            r#"
[[flow]]
name = "redirect4"
priority = 9
match = { dst = "10.244.0.99" }
actions = ["set:dst_ip=10.244.0.11", "set:dst_port=8080", "set:ttl=33", "continue"]
[[flow]]
name = "redirect6"
priority = 9
match = { dst = "fd00:244::99" }
actions = ["set:dst_ip=fd00:244::11", "set:src_port=7", "set:dscp=1", "continue"]
"#,
        ),
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.99", (9, 80), 64, 3)),
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.99", (9, 80), "pa", 3)),
            ("a", eth(A, GATEWAY).ping("10.244.0.10", "10.244.0.99", 64)),
            ("a", eth(A, GATEWAY).udp("fd00:244::10", "fd00:244::99", (9, 80), 64, 3)),
            ("a", eth(A, GATEWAY).ping("fd00:244::10", "fd00:244::99", 64)),
        ],
        expect![[r#"
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 32 udp 9>8080 len 3
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 32 tcp 9>8080 pa seq 1000 len 3
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 32 icmp 8/0 65537 len 16
            b < 02:00:00:00:00:01>02:00:00:00:00:0b fd00:244::10>fd00:244::11 ttl 63 udp 7>80 len 3
            b < 02:00:00:00:00:01>02:00:00:00:00:0b fd00:244::10>fd00:244::11 ttl 63 icmp6 128/0 65537 len 16"#]],
    );
}

#[test]
fn mirrors_copy_and_tags_change() {
    check(
        &with_rules(
            r#"
[[flow]]
name = "mirror"
priority = 9
match = { port = "a", protocol = "udp" }
actions = ["mirror:host", "push_vlan:77", "mirror:uplink", "pop_vlan", "continue"]
[[flow]]
name = "tagged"
priority = 9
match = { port = "b", vlan = 5 }
actions = ["pop_vlan", "push_vlan:6", "output:a"]
"#,
        ),
        vec![
            ("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3)),
            ("b", eth(B, GATEWAY).vlan(5).udp("10.244.0.11", "10.244.0.10", (9, 80), 64, 3)),
        ],
        expect![[r#"
            host < 02:00:00:00:00:0a>02:00:00:00:00:01 10.244.0.10>10.244.0.11 ttl 64 udp 9>80 len 3
            uplink < 02:00:00:00:00:0a>02:00:00:00:00:01 vlan 77 10.244.0.10>10.244.0.11 ttl 64 udp 9>80 len 3
            a < 02:00:00:00:00:0b>02:00:00:00:00:01 vlan 6 10.244.0.11>10.244.0.10 ttl 64 udp 9>80 len 3
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 udp 9>80 len 3"#]],
    );
}

#[test]
fn tcp_flags_are_looked_at_packet_by_packet() {
    check(
        &with_rules(
            r#"
[[flow]]
name = "no-new-connections"
priority = 9
match = { protocol = "tcp", tcp_flags = "syn,!ack" }
actions = ["drop"]
"#,
        ),
        vec![
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (9, 80), "pa", 3)),
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (9, 80), "s", 0)),
            ("a", eth(A, GATEWAY).tcp("10.244.0.10", "10.244.0.11", (9, 80), "sa", 0)),
        ],
        expect![[r#"
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 9>80 pa seq 1000 len 3
            b < 02:00:00:00:00:01>02:00:00:00:00:0b 10.244.0.10>10.244.0.11 ttl 63 tcp 9>80 sa seq 1000 len 0
            a drops 1 rule"#]],
    );
}

#[test]
fn a_policer_lets_its_rate_through() {
    let mut sim = Sim::new(&with_rules(
        r#"
[[flow]]
name = "slow"
priority = 9
match = { protocol = "udp" }
actions = ["police:1000pps,burst=5", "continue"]
"#,
    ));
    // 2000 packets in one second of the switch's clock.
    for i in 0..2000_u64 {
        sim.put("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 80), 64, 3));
        sim.now_ns = 1_000_000_000 + i * 500_000;
        sim.turn();
    }
    sim.run();
    let passed = sim.tape("b").take().len();
    assert!((1000..=1010).contains(&passed), "{passed}");
    sim.check_laws();
    sim.finish();
}

/// Port to port: nothing is looked at, not even whether it is sound. A rule ahead of it that looks at more ends that.
#[test]
fn a_cross_connect_passes_everything_as_it_is() {
    const CONNECT: &str = r#"
[[flow]]
name = "connect"
priority = 5
match = { port = "a" }
actions = ["output:b"]
"#;
    const AHEAD: &str = r#"
[[flow]]
name = "ahead"
priority = 6
match = { protocol = "udp", dst_port = 53 }
actions = ["drop"]
"#;
    let packets = || {
        let mut cut = eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (9, 23), 64, 8);
        cut.truncate(30);
        vec![
            ("a", eth(A, B).udp("10.9.9.9", "10.8.8.8", (9, 53), 1, 1)),
            ("a", eth(B, A).tcp("fd00::1", "fd00::2", (9, 23), "s", 0)),
            ("a", cut),
        ]
    };
    check(
        &with_rules(CONNECT),
        packets(),
        expect![[r#"
        b < 02:00:00:00:00:0a>02:00:00:00:00:0b 10.9.9.9>10.8.8.8 ttl 1 udp 9>53 len 1
        b < 02:00:00:00:00:0b>02:00:00:00:00:0a fd00::1>fd00::2 ttl 64 tcp 9>23 s seq 1000 len 0
        b < unreadable: IPv4 Header Error: Not enough data to decode 'IPv4 header'. 20 byte(s) would be required, but only 16 byte(s) are available based on the slice length ('IPv4 header' starts at overall parsed byte 14)."#]],
    );
    check(
        &with_rules(&format!("{CONNECT}{AHEAD}")),
        packets(),
        expect![[r#"
        b < 02:00:00:00:00:0b>02:00:00:00:00:0a fd00::1>fd00::2 ttl 64 tcp 9>23 s seq 1000 len 0
        a drops 1 truncated
        a drops 1 rule"#]],
    );
}
