//! Packets in, packets out: tables that a network engineer can review. No rights, no clock, milliseconds.

mod announce;
mod bridged;
mod capture;
mod claims;
mod discovery;
mod drops;
mod edges;
mod errors;
mod intents;
mod path_mtu;
mod relayed;
mod routed;
mod rules;
mod scope;
mod shares;
mod tags;
mod tunnels;

use expect_test::Expect;
use weft_pmd::Offload;
use weft_tests::{packets::describe, sim::Sim};

/// One node, three pods on three kinds of port, the node itself and another node.
const NODE: &str = r#"
[node]
name = "test"
addresses = ["192.0.2.1", "2001:db8::1"]
gateway_mac = "02:00:00:00:00:01"
[pmd]
cores = [0]
flows = 4096
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24", "fd00:244::/64"]
gateways = ["10.244.0.1", "fd00:244::1"]
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
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
[fabric]
mode = "native"
[[fabric.peer]]
name = "peer"
address = "192.0.2.2"
prefixes = ["10.244.1.0/24"]
[[fabric.peer]]
name = "peer6"
address = "2001:db8::2"
prefixes = ["fd00:244:1::/64"]
"#;

/// One packet into a switch: the ports that something leaves by, and the port's drops by reason; empty where there are none.
fn fate(sim: &mut Sim, port: &str, bytes: Vec<u8>) -> String {
    let counts =
        |sim: &Sim| weft_dataplane::reason::DropReason::ALL.map(|reason| (reason, sim.drops(port, reason)));
    let before = counts(sim);
    sim.put(port, bytes);
    sim.run();
    let sent = sim
        .desired
        .ports
        .iter()
        .flat_map(|it| sim.tape(&it.name).take().into_iter().map(|_| it.name.clone()));
    let sent: Vec<String> = sent.collect();
    let more = |((reason, now), (_, then)): (&(weft_dataplane::reason::DropReason, u64), &(_, u64))| {
        (now > then).then(|| reason.word().to_owned())
    };
    let dropped: Vec<String> = counts(sim).iter().zip(&before).filter_map(more).collect();
    [sent, dropped].concat().join(" ")
}

/// What becomes of each packet, one after the other in one switch, and twice: decided anew, and from the flow table.
#[track_caller]
fn check_fates(config: &str, packets: Vec<(&str, &str, Vec<u8>, &str)>) {
    let mut sim = Sim::new(config);
    let mut wrong = Vec::new();
    for (what, port, bytes, expected) in packets {
        for time in ["first", "again"] {
            let found = fate(&mut sim, port, bytes.clone());
            if found != expected {
                wrong.push(format!("{what}, by {port}, {time}: {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    sim.check_laws();
    sim.finish();
}

/// Runs packets through a fresh switch; compares what comes out, and the drops, with what is expected.
fn check(config: &str, packets: Vec<(&str, Vec<u8>)>, expect: Expect) {
    let packets = packets.into_iter().map(|(port, bytes)| (port, bytes, Offload::default())).collect();
    check_with_offload(config, packets, expect);
}

fn check_with_offload(config: &str, packets: Vec<(&str, Vec<u8>, Offload)>, expect: Expect) {
    let mut sim = Sim::new(config);
    for (port, bytes, offload) in packets {
        sim.tape(port).put(bytes, offload);
        sim.run();
    }
    expect.assert_eq(&outcome(&sim));
    sim.check_laws();
    sim.finish();
}

/// What was sent by each port, then the drops.
fn outcome(sim: &Sim) -> String {
    let mut lines = Vec::new();
    for port in &sim.desired.ports {
        for (bytes, offload) in sim.tape(&port.name).take() {
            let intent = match offload.gso {
                Some(gso) => format!(" gso {}", gso.size),
                None if offload.csum != weft_pmd::Csum::Complete => " partial".into(),
                None => String::new(),
            };
            lines.push(format!("{} < {}{intent}", port.name, describe(&bytes)));
        }
    }
    for port in &sim.desired.ports {
        for reason in weft_dataplane::reason::DropReason::ALL {
            let count = sim.drops(&port.name, reason);
            if count > 0 {
                lines.push(format!("{} drops {count} {}", port.name, reason.word()));
            }
        }
    }
    lines.join("\n")
}
