//! Where packets go: drops with what decided them, and traces, with real traffic.

use serde_json::Value;
use weft_tests::{
    cluster::{Cluster, Shape},
    daemon::Weftd,
    netns::{NetNs, require_root},
    node::{Kind, Node, OUTSIDE, Plan},
    probe::{must_ping, ping},
};

const RULE: &str = r#"
[[flow]]
name = "no-pings-to-b"
priority = 100
match = { protocol = "icmp", dst = "10.244.0.11" }
actions = ["drop"]
"#;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

#[test]
fn drops_name_rule_and_endpoints_and_outlive_their_port() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan { more: RULE.into(), ..Plan::new(&[Kind::Tap, Kind::Xsk]) });
    let (a, b) = (&node.pods[0], &node.pods[1]);
    assert_eq!(ping(&a.ns, b.v4(), 3, 56), 0, "a rule is against it");
    let reply = node.weftd.json(&["drops", "--last", "50", "--endpoint", &a.name]);
    let last = reply["last"].as_array().expect("a list");
    assert!(last.len() >= 3, "{reply:#}");
    for packet in last {
        assert_eq!(text(packet, "decided_by"), "rule:no-pings-to-b", "{packet:#}");
        assert_eq!((text(packet, "ingress"), text(packet, "reason")), (&*a.name, "rule"));
        assert_eq!((text(packet, "source"), text(packet, "destination")), (&*a.name, &*b.name));
        let words = format!("icmp {} > {} echo ttl 64 df size 98", a.v4(), b.v4());
        assert!(text(packet, "packet").contains(&words), "{packet:#}");
    }
    let rows = node.weftd.json(&["drops", "--endpoint", &a.name]);
    assert!(
        rows["drops"].as_array().is_some_and(|rows| rows.iter().any(|row| {
            (text(row, "port"), text(row, "reason")) == (&a.name, "rule") && count(row, "packets") >= 3
        })),
        "{rows:#}"
    );
    // A packet as shown can be asked about: the same verdict, by the same rule.
    let traced = node.weftd.json(&["trace", "--from", &a.name, text(&last[0], "packet")]);
    assert_eq!(text(&traced["now"], "verdict"), "drop:rule");
    assert_eq!(text(&traced["now"], "decided_by"), "rule:no-pings-to-b");
    // What was dropped stays known when the port has gone.
    node.weftd.must(&["port", "del", &a.name, "--force"]);
    let rows = node.weftd.json(&["drops", &a.name]);
    let of_a = rows["drops"].as_array().expect("a list");
    assert!(of_a.iter().any(|row| text(row, "reason") == "rule" && row["removed"] == true), "{rows:#}");
    println!("{}", node.weftd.must(&["drops", "--last"]));
}

/// Two packets that a live trace sees while something goes on.
fn live(weftd: &Weftd, which: &[&str], goes_on: impl Fn()) -> Vec<Value> {
    let args = [&["--json", "trace", "--live", "-n", "2", "--seconds", "10"], which].concat();
    let seen = std::thread::scope(|scope| {
        let live = scope.spawn(|| weftd.must(&args));
        while !live.is_finished() {
            goes_on();
        }
        live.join().expect("weftctl ends")
    });
    let seen: Vec<Value> = seen.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    seen
}

/// A packet that came went the way that was foretold.
fn agree(packet: &Value, foretold: &Value) {
    for key in ["verdict", "from", "source", "destination"] {
        assert_eq!(packet[key], foretold[key], "{packet:#}");
    }
    let changed = |packet: &Value| -> Vec<(String, String)> {
        let changes = packet["outputs"][0]["changes"].as_array().expect("a list").clone();
        let words = |change: &Value| (text(change, "what").to_owned(), text(change, "after").to_owned());
        // Nobody foretells what ping writes into a packet, which its checksum covers: seen first out of a tunnel.
        let is_payloads = |it: &Value| text(it, "what") == "ICMP checksum" && text(it, "before") == "-";
        let foretold = changes.iter().filter(|change| !is_payloads(change));
        foretold.map(words).filter(|(what, _)| what != "IP checksum").collect()
    };
    assert_eq!(changed(packet), changed(foretold), "{packet:#}");
    let tables = |packet: &Value| -> Vec<String> {
        let steps = packet["steps"].as_array().expect("a list");
        steps
            .iter()
            .filter(|step| step["stage"] == "resolve")
            .map(|step| text(step, "table").into())
            .collect()
    };
    assert_eq!(tables(packet), tables(foretold), "{packet:#}");
}

#[test]
fn a_trace_foretells_what_a_live_one_sees() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    must_ping(&a.ns, b.v4(), 56);
    let words = format!("icmp {} > {} echo df size 98", a.v4(), b.v4());
    let foretold = node.weftd.json(&["trace", "--from", &a.name, &words])["now"].clone();
    assert_eq!(text(&foretold, "verdict"), format!("output:{}", b.name), "{foretold:#}");
    let seen = live(&node.weftd, &["--from", &a.name, "icmp[icmptype]=8"], || {
        ping(&a.ns, b.v4(), 3, 56);
    });
    seen.iter().for_each(|packet| agree(packet, &foretold));
    println!("{}", node.weftd.must(&["trace", "--from", &a.name, &words]));
}

/// `from` stands behind another node, `to` is a pod of this one; `others` talk meanwhile, and are not seen.
fn packets_of(weftd: &Weftd, peer: &str, (from, src): (&NetNs, &str), to: &str, ttl: u8, others: impl Fn()) {
    let words = format!("icmp {src} > {to} echo ttl {ttl} df size 98");
    let foretold = weftd.json(&["trace", "--from", peer, &words])["now"].clone();
    assert!(text(&foretold, "verdict").starts_with("output:tap-0"), "{foretold:#}");
    let seen = live(weftd, &["--from", peer], || {
        others();
        ping(from, to.parse().expect("an address"), 2, 56);
    });
    for packet in &seen {
        assert!(text(packet, "packet").contains(src), "somebody else's: {packet:#}");
        agree(packet, &foretold);
    }
    println!("{}", weftd.must(&["trace", "--from", peer, &words]));
}

#[test]
fn what_another_node_sends_is_foretold_and_told_from_what_others_send() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Tap]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    let to = a.v4().to_string();
    must_ping(&node.outside, a.v4(), 56);
    packets_of(&node.weftd, "peer:outside", (&node.outside, OUTSIDE[0]), &to, 64, || {
        ping(&b.ns, a.v4(), 1, 56);
        ping(&node.outside, a.v6(), 1, 56);
    });
    let output = node.weftd.ctl(&["trace", "--from", "peer:b", "icmp 10.244.1.9 > 10.244.0.10"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("there is no peer \"b\"") && error.contains("outside, outside-v6"), "{error}");
}

#[test]
fn what_comes_out_of_a_tunnel_is_foretold() {
    if !require_root() {
        return;
    }
    for (mode, is_v4) in [("vxlan", true), ("geneve", false)] {
        let cluster = Cluster::new(Shape { nodes: 3, pods: &[Kind::Tap], ..Shape::new(mode, is_v4) });
        let [here, there, other] = [0, 1, 2].map(|index| &cluster.nodes[index]);
        let pod = here.pods[0].v4();
        let from = (&there.pods[0].ns, &*there.pods[0].v4().to_string());
        must_ping(from.0, pod, 56);
        packets_of(&here.weftd, "peer:n1", from, &pod.to_string(), 63, || {
            ping(&other.pods[0].ns, pod, 1, 56);
        });
    }
}

#[test]
fn a_candidate_configuration_is_compared_and_not_applied() {
    if !require_root() {
        return;
    }
    let plan = Plan::new(&[Kind::Tap, Kind::Tap]);
    let node = Node::new(&plan);
    let (a, b) = (&node.pods[0], &node.pods[1]);
    let other =
        Node::config(&Plan { more: RULE.into(), ..plan }, &node.pods).replace("CONTROL", "/tmp/x.sock");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), other).expect("writable");
    let words = format!("icmp {} > {}", a.v4(), b.v4());
    let path = file.path().display().to_string();
    let generation = node.weftd.json(&["status"])["generation"].clone();
    let reply = node.weftd.json(&["trace", "--from", &a.name, "--against", &path, &words]);
    assert_eq!(text(&reply["now"], "verdict"), format!("output:{}", b.name));
    assert_eq!(text(&reply["against"], "verdict"), "drop:rule");
    assert_eq!(reply["differences"][1]["after"], "rule:no-pings-to-b", "{reply:#}");
    assert_eq!(node.weftd.json(&["status"])["generation"], generation);
    must_ping(&a.ns, b.v4(), 56);
    // Mistakes get a sentence.
    for (args, says) in [
        (vec!["trace", "--from", "nobody", &words], "there is no endpoint or port"),
        (vec!["trace", "--from", &a.name, "icmp", "10.244.0.10"], "see weftctl trace --help"),
        (vec!["trace", "--from", &a.name, "--hex", "0"], "half a byte"),
        (vec!["trace", "--live", "tcp prt 80"], "pcap-filter"),
        (vec!["trace", "--live", "-n", "5000"], "1 to 1000 packets"),
    ] {
        let output = node.weftd.ctl(&args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(says), "{args:?}: {error}");
    }
}

/// While more comes than a pod takes, verdicts partition what was received, and what came to be sent was sent or dropped.
#[test]
fn counters_partition_under_load() {
    if !require_root() {
        return;
    }
    const LOAD: &str = r#"
[[port]]
name = "source"
kind = "gen"
flows = 3000
size = 64
limit = 100000
[[endpoint]]
name = "source"
network = "pods"
port = "source"
mac = "02:00:0a:f4:00:fe"
addresses = ["10.244.0.200"]
[[flow]]
name = "some"
priority = 1
match = { protocol = "udp", src_port = "1024-2048" }
actions = ["drop"]
"#;
    let node = Node::new(&Plan { more: LOAD.into(), ..Plan::new(&[Kind::Packet]) });
    let received = |weftd: &Weftd| count(&weftd.json(&["stats", "source"])["queues"][0], "rx_packets");
    node.weftd.wait_for("all packets", |weftd| received(weftd) == 100_000);
    // Of the egress side: ICMP errors that the generator, which takes nothing, was sent.
    let at_egress = node.weftd.drops("source", "refused") + node.weftd.drops("source", "tx_full");
    let source = node.weftd.json(&["port", "show", "source"]);
    let decided: u64 =
        ["forwarded", "flooded", "punted", "dropped"].iter().map(|key| count(&source, key)).sum();
    assert_eq!(decided - at_egress, 100_000, "{source:#}");
    let by_rule = node.weftd.drops("source", "rule");
    assert!(by_rule > 10_000 && by_rule + count(&source, "forwarded") == 100_000, "{source:#}");
    // What came to be sent to the pod was sent, or dropped with a reason.
    let pod = &node.pods[0].name;
    let sent = count(&node.weftd.json(&["stats", pod])["queues"][0], "tx_packets");
    let reply = node.weftd.json(&["drops", pod]);
    let dropped: u64 =
        reply["drops"].as_array().expect("a list").iter().map(|row| count(row, "packets")).sum();
    assert!(sent + dropped >= count(&source, "forwarded"), "{reply:#}");
    // Of a flood, a sample is remembered.
    let reply = node.weftd.json(&["drops", "source", "--last", "1000"]);
    let remembered = reply["last"].as_array().map_or(0, Vec::len);
    assert!((64..=256).contains(&remembered) && count(&reply, "not_remembered") > 1000, "{remembered}");
}
