//! What a trace says of a packet is what happens to it, and asking leaves no trace. A packet of another node is the one that
//! node sends.

use proptest::prelude::*;
use weft_ctl_api::{spec::Config, trace::TracePacket};
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

fn view<'a>(sim: &'a Sim, config: &'a Config) -> View<'a> {
    let snapshot = sim.snapshot();
    let names = Names::new(&sim.desired, &sim.facts, &snapshot).into();
    View { config, desired: &sim.desired, snapshot, names }
}

/// A packet in words, as its sender sends it.
fn frame(sim: &Sim, config: &str, from: &str, words: &str) -> Vec<u8> {
    let config = config::parse(config).expect("it was parsed before");
    let view = view(sim, &config);
    let packet = TracePacket::Words(words.parse().expect("a packet"));
    view.frame(&view.sender(from).expect("a sender"), &packet, None).expect("a frame")
}

/// Asks about a packet, then sends it: compares what leaves, and the drops.
fn compare(sim: &mut Sim, config: &str, port: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let config = config::parse(config).expect("it was parsed before");
    let (snapshot, before, counted) = (sim.snapshot(), drops(sim), hits(sim));
    let view = view(sim, &config);
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

/// One of two nodes, each the other's peer.
fn node(index: usize, mode: &str, is_v4: bool, fabric: &str) -> String {
    let other = 1 - index;
    let addresses = |node: usize| [format!("192.0.2.{}", 1 + node), format!("2001:db8::{}", 1 + node)];
    let [v4, v6] = addresses(index);
    let (near, far) = (usize::from(!is_v4), usize::from(is_v4));
    let (peer, also) = (&addresses(other)[near], &addresses(other)[far]);
    format!(
        r#"
[node]
name = "n{index}"
addresses = ["{v4}", "{v6}"]
[pmd]
cores = [0]
flows = 256
[[network]]
name = "lan"
mode = "bridged"
vni = 7
[[network]]
name = "pods"
vni = 42
prefixes = ["10.244.{index}.0/24", "fd00:244:{index}::/64"]
gateways = ["10.244.{index}.1", "fd00:244:{index}::1"]
[[port]]
name = "uplink"
kind = "xsk"
role = "fabric"
device = "ens1"
[[port]]
name = "host"
kind = "tap"
role = "host"
device = "weft0"
[[port]]
name = "pod"
kind = "xsk"
device = "pod"
[[endpoint]]
name = "pod"
network = "pods"
port = "pod"
mac = "02:00:00:00:0{index}:0a"
addresses = ["10.244.{index}.10", "fd00:244:{index}::10"]
[[port]]
name = "lan"
kind = "xsk"
device = "lan"
role = "access"
network = "lan"
[fabric]
mode = "{mode}"
{fabric}
[[fabric.peer]]
name = "n{other}"
address = "{peer}"
addresses = ["{also}"]
prefixes = ["10.244.{other}.0/24", "fd00:244:{other}::/64"]
"#
    )
}

/// A frame without what the other node need not know or agree on: the underlay's MACs, the flow's hash.
fn anonymous(mut frame: Vec<u8>, is_tunnelled: bool) -> Vec<u8> {
    frame[..12].fill(0);
    let is_v4 = frame[12..14] == [8, 0];
    if is_tunnelled {
        let port = if is_v4 { 34 } else { 54 };
        frame[port..port + 2].fill(0);
    }
    if is_tunnelled && !is_v4 {
        frame[15] &= 0xf0; // the flow label,
        frame[16..18].fill(0);
        frame[60..62].fill(0); // and the checksum, which covers the port
    }
    frame
}

const MODES: [(&str, &str); 5] = [
    ("native", ""),
    ("vxlan", ""),
    ("vxlan", "dscp = 46\nudp_port = 8472"),
    ("geneve", ""),
    ("geneve", "dscp = 0"),
];

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

    /// A learning bridge: what is learnt meanwhile counts. It relays frames that are cut short, too.
    #[test]
    fn what_is_said_happens_when_bridged(
        frames in prop::collection::vec(
            (0_usize..4, 0_u8..4, prop_oneof![3 => 0_u8..5, 1 => Just(9)], prop::option::weighted(0.2, 18_usize..50)),
            1..20,
        ),
    ) {
        let mut sim = Sim::new(bridge::CONFIG);
        for (from, src, dst, cut) in frames {
            let vlan = (bridge::PORTS[from] == "t").then_some(10);
            let eth = Eth { src: bridge::mac(src), dst: bridge::mac(dst), vlan };
            let mut bytes = eth.udp("10.0.0.1", "10.0.0.2", (1, 2), 64, 5);
            bytes.truncate(cut.unwrap_or(usize::MAX));
            compare(&mut sim, bridge::CONFIG, bridge::PORTS[from], &bytes)?;
            sim.check_laws();
        }
        sim.finish();
    }

    /// What another node sends, here and there; sent on by this one, it does what was said.
    #[test]
    fn a_packet_of_another_node_is_as_that_node_sends_it(
        (mode, fabric) in prop::sample::select(&MODES[..]),
        (underlay_v4, is_v4) in (any::<bool>(), any::<bool>()),
        by_pod in any::<bool>(),
        dst in 0_usize..4,
        (dscp, size, ttl) in (0_u8..64, 100_usize..1400, 1_u8..65),
    ) {
        let (here, there) = (node(0, mode, underlay_v4, fabric), node(1, mode, underlay_v4, fabric));
        let (mut near, mut far) = (Sim::new(&here), Sim::new(&there));
        let (src, dst) = if is_v4 {
            let dst = ["10.244.0.10", "10.244.0.1", "10.244.0.77", "192.0.2.1"][dst];
            (if by_pod { "10.244.1.10" } else { "192.0.2.2" }, format!("{dst}:2000"))
        } else {
            let dst = ["fd00:244::10", "fd00:244::1", "fd00:244::77", "2001:db8::1"][dst];
            (if by_pod { "[fd00:244:1::10]" } else { "[2001:db8::2]" }, format!("[{dst}]:2000"))
        };
        // Nodes talk to each other by their own stacks.
        prop_assume!(by_pod || !["192.0.2.1:2000", "[2001:db8::1]:2000"].contains(&&*dst));
        let words = |ttl: u8| format!("udp {src}:1000 > {dst} ttl {ttl} dscp {dscp} size {size}");
        let from = if by_pod { "pod" } else { "host" };
        let sent = frame(&far, &there, from, &words(ttl + 1));
        far.put(from, sent);
        far.run();
        let mut left = far.tape("uplink").take();
        prop_assert_eq!(left.len(), 1);
        let made = frame(&near, &here, "peer:n1", &words(ttl));
        prop_assert!(!weft_tests::packets::describe(&made).contains("BAD"));
        let is_tunnelled = mode != "native";
        let left = anonymous(left.remove(0).0, is_tunnelled);
        prop_assert_eq!(
            weftd::packet::hex(&anonymous(made.clone(), is_tunnelled)),
            weftd::packet::hex(&left)
        );
        compare(&mut near, &here, "uplink", &made)?;
        near.finish();
        far.finish();
    }
}

#[test]
fn who_sends_what_in_which_network_is_told_or_asked_for() {
    let text = node(0, "vxlan", true, "");
    let (sim, config) = (Sim::new(&text), config::parse(&text).expect("it parses"));
    let view = view(&sim, &config);
    let ask = |from: &str, words: &str, network: Option<&str>| {
        let sender = view.sender(from).map_err(|error| error.to_string())?;
        let packet = TracePacket::Words(words.parse().expect("a packet"));
        let frame = view.frame(&sender, &packet, network).map_err(|error| error.to_string())?;
        Ok(weft_tests::packets::describe(&frame))
    };
    for (from, words, network, says) in [
        ("peer:n1", "udp 10.244.1.10:1 > 10.244.0.10:2", None, "vxlan 42"),
        // A frame for somebody behind a bridged network's port, who is nobody's endpoint.
        ("peer:n1", "mac 02:00:00:00:00:aa > 02:00:00:00:00:bb udp 10.0.0.1:1 > 10.0.0.2:2", None, "vxlan 7"),
        ("peer:n1", "mac 02:00:00:00:00:aa > 02:00:00:00:00:bb ethertype 0x88cc", Some("pods"), "vxlan 42"),
    ] {
        let text = ask(from, words, network).unwrap_or_else(|error: String| panic!("{words}: {error}"));
        assert!(text.contains("192.0.2.2>192.0.2.1") && text.contains(says), "{words}: {text}");
    }
    for (from, words, network, says) in [
        ("peer:n7", "udp 10.244.1.10:1 > 10.244.0.10:2", None, "there is no peer \"n7\"; there is n1"),
        ("peer:n1", "udp 10.0.0.1:1 > 10.0.0.2:2", Some("lan"), "mac SOURCE > DESTINATION"),
        ("peer:n1", "udp 10.0.0.1:1 > 10.0.0.2:2", Some("wan"), "no network \"wan\""),
        ("pod", "udp 10.244.0.10:1 > 10.244.1.10:2", Some("pods"), "leave it out"),
        ("peers", "udp 10.244.0.10:1 > 10.244.1.10:2", None, "no endpoint or port"),
    ] {
        let error = ask(from, words, network).expect_err("refused");
        assert!(error.contains(says), "{from} {words}: {error}");
    }
}
