//! What is dropped is counted at its endpoint, and remembered with what decided it.

use expect_test::{Expect, expect};
use weft_dataplane::reason::DropReason;
use weft_tests::{packets::eth, sim::Sim};

use crate::NODE;

const GATEWAY: &str = "02:00:00:00:00:01";
const A: &str = "02:00:00:00:00:0a";

/// Runs packets, and compares what is remembered of them: reason, where they came from and were going, rule, bytes.
fn check(more: &str, packets: Vec<(&str, Vec<u8>)>, expect: Expect) {
    let mut sim = Sim::new(&format!("{NODE}{more}"));
    sim.tape("b").limit(Some(0));
    for (port, bytes) in packets {
        sim.put(port, bytes);
        sim.run();
    }
    let name = |index: usize| sim.desired.ports[index].name.clone();
    let words = |dropped: weft_dataplane::recorder::Dropped| {
        let port = |port: Option<weft_wire::PortId>| port.map_or("-".into(), |port| name(port.index()));
        format!(
            "{} > {} {} rule {:?} {}",
            port(dropped.origin.and_then(|origin| origin.port())),
            port(dropped.egress),
            dropped.reason.word(),
            dropped.rule,
            weftd::packet::describe(&dropped.header, dropped.len as usize)
        )
    };
    expect.assert_eq(&sim.recorded().0.into_iter().map(words).collect::<Vec<_>>().join("\n"));
    sim.check_laws();
}

#[test]
fn what_decided_is_remembered() {
    let from_a = eth(A, GATEWAY);
    let rules = r#"
[[flow]]
name = "count"
priority = 9
actions = ["continue"]
[[flow]]
name = "slow"
priority = 8
match = { protocol = "udp", dst_port = 9 }
actions = ["police:1pps,burst=1", "continue"]
[[flow]]
name = "no-telnet"
priority = 7
match = { protocol = "tcp", dst_port = 23 }
actions = ["drop"]
"#;
    let udp = |dst: &str, port: u16| from_a.udp("10.244.0.10", dst, (1000, port), 64, 10);
    check(
        rules,
        vec![
            ("a", from_a.tcp("10.244.0.10", "10.244.0.11", (1000, 23), "s", 0)),
            ("a", udp("10.244.1.5", 9)),
            ("a", udp("10.244.1.5", 9)),
            ("a", eth("02:00:00:00:00:0f", GATEWAY).udp("10.244.0.10", "10.244.0.11", (1, 2), 64, 10)),
            ("a", from_a.udp("10.244.0.10", "224.0.0.5", (1, 2), 64, 10)),
            ("a", from_a.udp("10.244.0.10", "10.244.0.11", (1, 2), 64, 10)[..30].to_vec()),
        ],
        expect![[r#"
            a > - rule rule Some(2) mac 02:00:00:00:00:0a > 02:00:00:00:00:01 tcp 10.244.0.10:1000 > 10.244.0.11:23 flags syn ttl 64 df size 54
            a > - policed rule Some(1) mac 02:00:00:00:00:0a > 02:00:00:00:00:01 udp 10.244.0.10:1000 > 10.244.1.5:9 ttl 64 df size 52
            a > - spoofed rule None mac 02:00:00:00:00:0f > 02:00:00:00:00:01 udp 10.244.0.10:1 > 10.244.0.11:2 ttl 64 df size 52
            a > - multicast rule None mac 02:00:00:00:00:0a > 02:00:00:00:00:01 udp 10.244.0.10:1 > 224.0.0.5:2 ttl 64 df size 52
            a > - truncated rule None mac 02:00:00:00:00:0a > 02:00:00:00:00:01 ethertype 0x0800 size 30"#]],
    );
}

/// A pod's port that takes nothing: the drop is the pod's whom it was for, not the sender's.
#[test]
fn endpoints_are_charged() {
    let mut sim = Sim::new(NODE);
    sim.tape("b").limit(Some(0));
    for i in 0..200 {
        sim.put("a", eth(A, GATEWAY).udp("10.244.0.10", "10.244.0.11", (i, 2), 64, 10));
    }
    sim.put("a", eth(A, GATEWAY).udp("10.244.0.99", "10.244.0.11", (1, 2), 64, 10));
    for _ in 0..20 {
        sim.turn();
    }
    let full = sim.drops("b", DropReason::TxFull);
    assert_eq!((full, sim.endpoint_drops("b", DropReason::TxFull)), (200 - 64, full));
    assert_eq!(sim.endpoint_drops("a", DropReason::TxFull), 0);
    assert_eq!(sim.endpoint_drops("a", DropReason::Spoofed), 1);
    // Of one reason in one moment, 64 are remembered.
    let (recorded, left_out) = sim.recorded();
    assert_eq!((recorded.len(), left_out), (65, 200 - 64 - 64));
    assert!(recorded.iter().all(|dropped| dropped.header.len() == 52 && dropped.len == 52));
    sim.tape("b").limit(None);
    sim.run();
    sim.check_laws();
    sim.finish();
}

/// Several endpoints behind one port are told apart by MAC.
#[test]
fn endpoints_of_one_port_are_told_apart() {
    let more = r#"
[[endpoint]]
name = "a2"
network = "pods"
port = "a"
mac = "02:00:00:00:00:02"
addresses = ["10.244.0.20"]
"#;
    let mut sim = Sim::new(&format!("{NODE}{more}"));
    for (mac, ip) in
        [(A, "10.244.0.10"), ("02:00:00:00:00:02", "10.244.0.20"), ("02:00:00:00:00:77", "10.244.0.20")]
    {
        sim.put("a", eth(mac, GATEWAY).udp(ip, "224.0.0.5", (1, 2), 64, 10));
        sim.run();
    }
    let of = |endpoint: &str| {
        [DropReason::Multicast, DropReason::Spoofed].map(|reason| sim.endpoint_drops(endpoint, reason))
    };
    assert_eq!([of("a"), of("a2")], [[1, 0], [1, 0]]);
    assert_eq!(sim.drops("a", DropReason::Spoofed), 1, "nobody's MAC, nobody's drop");
    sim.check_laws();
    sim.finish();
}
