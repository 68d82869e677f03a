//! What a trace says of a packet is what happens to it, and asking leaves no trace.

use proptest::prelude::*;
use weft_dataplane::reason::DropReason;
use weft_tests::{packets::Eth, sim::Sim};
use weftd::{
    config,
    switch::{Names, View},
};

use crate::{bridge, router};

/// What leaves, by which port.
type Sent = Vec<(String, String)>;

fn drops(sim: &Sim) -> Vec<(String, DropReason, u64)> {
    let of = |port: &weftd::desired::Port| {
        let name = port.name.clone();
        DropReason::ALL.map(|reason| (name.clone(), reason, sim.drops(&name, reason)))
    };
    sim.desired.ports.iter().flat_map(of).collect()
}

fn hits(sim: &Sim) -> Vec<(u64, u64)> {
    sim.facts.rules.values().map(|rule| rule.stats.total()).collect()
}

/// Asks about a packet, then sends it: compares what leaves, and the drops.
fn compare(sim: &mut Sim, config: &str, port: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let config = config::parse(config).expect("it was parsed before");
    let (snapshot, before, counted) = (sim.snapshot(), drops(sim), hits(sim));
    let names = Names::new(&sim.desired, &sim.facts, &snapshot).into();
    let view = View { config: &config, desired: &sim.desired, snapshot: snapshot.clone(), names };
    let from = view.sender(port).expect("a port").port;
    let (traced, _) = view.what_if(from, bytes, sim.now_ns).expect("memory");
    prop_assert_eq!((drops(sim), hits(sim)), (before.clone(), counted), "asking counts nothing");
    prop_assert_eq!(sim.snapshot().generation, snapshot.generation);
    sim.put(port, bytes.to_vec());
    sim.run();
    let mut sent: Sent = Vec::new();
    for port in &sim.desired.ports {
        let left = sim.tape(&port.name).take();
        sent.extend(left.into_iter().map(|(bytes, _)| (port.name.clone(), weftd::packet::hex(&bytes))));
    }
    let said = traced.outputs.iter().chain(&traced.answers);
    let mut said: Sent = said.map(|output| (output.port.clone(), output.hex.clone())).collect();
    sent.sort();
    said.sort();
    prop_assert_eq!(&said, &sent, "{:#?}", &traced);
    let now = drops(sim).into_iter().zip(before).filter(|(now, before)| now.2 > before.2);
    let dropped: Vec<String> = now.map(|(now, _)| format!("{}: {}", now.0, now.1.word())).collect();
    prop_assert_eq!(&traced.drops, &dropped, "{:#?}", &traced);
    if let Some(reason) = traced.verdict.strip_prefix("drop:") {
        let all = format!("{port}: {reason}");
        prop_assert!(dropped.contains(&all) && traced.decided_by.is_some(), "{:#?}", &traced);
    }
    // Every stage up to the verdict has a line, and resolve says by which tables.
    prop_assert!(traced.steps.len() >= 2, "{:#?}", &traced.steps);
    Ok(())
}

const MATCHES: [&str; 6] = [
    "protocol = \"udp\"",
    "src = \"10.244.0.10\"",
    "dst = \"10.244.0.0/24\"",
    "port = \"p0\"",
    "protocol = \"udp\", dst_port = 2000",
    "",
];
const ACTIONS: [&str; 8] = [
    "[\"drop\"]",
    "[\"continue\"]",
    "[\"set:dst_port=99\", \"continue\"]",
    "[\"set:ttl=7\", \"set:dscp=46\", \"continue\"]",
    "[\"mirror:host\", \"continue\"]",
    "[\"police:1pps,burst=1\", \"continue\"]",
    "[\"output:host\"]",
    "[\"push_vlan:9\", \"output:uplink\"]",
];

fn rules() -> impl Strategy<Value = String> {
    let rule = (0..MATCHES.len(), 0..ACTIONS.len(), 0_u16..100);
    prop::collection::vec(rule, 0..5).prop_map(|rules| {
        let rule = |(i, (matching, action, priority)): (usize, (usize, usize, u16))| {
            let (matching, actions) = (MATCHES[matching], ACTIONS[action]);
            format!(
                "[[flow]]\nname = \"r{i}\"\npriority = {priority}\nmatch = {{ {matching} }}\nactions = {actions}\n"
            )
        };
        rules.into_iter().enumerate().map(rule).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Routed networks behind rules; each packet twice, cut short now and then.
    #[test]
    fn what_is_said_happens_when_routed(
        pods in 1_usize..5,
        rules in rules(),
        packets in prop::collection::vec((router::packets(4), prop::option::weighted(0.1, 10_usize..60)), 1..12),
    ) {
        let config = format!("{}{rules}", router::config(pods));
        let mut sim = Sim::new(&config);
        for (packet, cut) in packets {
            if matches!(packet.from, router::From::Pod(pod) if pod >= pods) {
                continue;
            }
            let mut bytes = router::bytes(&packet);
            bytes.truncate(cut.unwrap_or(usize::MAX));
            for _ in 0..2 {
                compare(&mut sim, &config, &router::ingress(packet.from), &bytes)?;
            }
            sim.check_laws();
        }
        sim.finish();
    }

    /// A learning bridge: what is learnt meanwhile counts.
    #[test]
    fn what_is_said_happens_when_bridged(
        frames in prop::collection::vec((0_usize..4, 0_u8..4, prop_oneof![3 => 0_u8..5, 1 => Just(9)]), 1..20),
    ) {
        let mut sim = Sim::new(bridge::CONFIG);
        for (from, src, dst) in frames {
            let vlan = (bridge::PORTS[from] == "t").then_some(10);
            let eth = Eth { src: bridge::mac(src), dst: bridge::mac(dst), vlan };
            let bytes = eth.udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 5);
            compare(&mut sim, bridge::CONFIG, bridge::PORTS[from], &bytes)?;
            sim.check_laws();
        }
        sim.finish();
    }
}
