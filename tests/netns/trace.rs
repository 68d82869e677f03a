//! Where packets go: drops with what decided them, and traces, with real traffic.

use serde_json::Value;
use weft_tests::{
    daemon::Weftd,
    netns::require_root,
    node::{Kind, Node, Plan},
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
    let seen = std::thread::scope(|scope| {
        let live = scope.spawn(|| {
            let args =
                ["trace", "--live", "-n", "2", "--seconds", "10", "--from", &a.name, "icmp[icmptype]=8"];
            node.weftd.must(&[&["--json"], &args[..]].concat())
        });
        while !live.is_finished() {
            ping(&a.ns, b.v4(), 3, 56);
        }
        live.join().expect("weftctl ends")
    });
    let seen: Vec<Value> = seen.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    for packet in &seen {
        for key in ["verdict", "from", "source", "destination"] {
            assert_eq!(packet[key], foretold[key], "{packet:#}");
        }
        let changed = |packet: &Value| -> Vec<(String, String)> {
            let changes = packet["outputs"][0]["changes"].as_array().expect("a list").clone();
            let words = |change: &Value| (text(change, "what").to_owned(), text(change, "after").to_owned());
            changes.iter().map(words).filter(|(what, _)| what != "IP checksum").collect()
        };
        assert_eq!(changed(packet), changed(&foretold), "{packet:#}");
        let tables = |packet: &Value| -> Vec<String> {
            let steps = packet["steps"].as_array().expect("a list");
            steps
                .iter()
                .filter(|step| step["stage"] == "resolve")
                .map(|step| text(step, "table").into())
                .collect()
        };
        assert_eq!(tables(packet), tables(&foretold), "{packet:#}");
    }
    println!("{}", node.weftd.must(&["trace", "--from", &a.name, &words]));
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
