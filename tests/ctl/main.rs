//! The control socket: every verb against a real weftd, and what nobody should send. Needs root.

mod doctor;
mod files;
mod kept;
mod large;
mod metrics;
mod past;
mod queues;
mod roles;
mod socket;
mod stay;
mod transaction;

use std::time::{Duration, Instant};

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

const CONFIG: &str = r#"
[node]
name = "ctl"
addresses = ["192.0.2.1"]
control = "CONTROL"
[pmd]
memory_mib = 64
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24"]
gateways = ["10.244.0.1"]
[[port]]
name = "sink"
kind = "null"
[[port]]
name = "source"
kind = "gen"
flows = 100
size = 64
limit = 50000
[[endpoint]]
name = "source"
network = "pods"
port = "source"
mac = "02:00:00:00:00:0a"
addresses = ["10.244.0.10"]
[[endpoint]]
name = "sink"
network = "pods"
port = "sink"
mac = "02:00:00:00:00:0b"
addresses = ["10.244.0.11"]
"#;

fn weftd() -> (NetNs, Weftd) {
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, CONFIG);
    (node, weftd)
}

#[test]
fn every_verb_answers_in_words_and_in_json() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    weftd.wait_for("all packets", |weftd| {
        weftd.json(&["stats", "source"])["queues"][0]["rx_packets"] == 50_000
    });
    for verb in [
        "status",
        "port list",
        "port show sink",
        "network list",
        "endpoint list",
        "flow list",
        "flow cache",
        "flow top",
        "history",
        "top --once",
        "fdb list",
        "pmd list",
        "stats",
        "drops",
        "config show",
        "config history",
        "config diff",
        "audit",
    ] {
        let words: Vec<&str> = verb.split(' ').collect();
        assert!(!weftd.must(&words).trim().is_empty(), "{verb}");
        assert!(weftd.json(&words).is_object(), "{verb}");
    }
    // Verdicts partition what came in; the generator's address is its endpoint's for all its flows.
    let source = weftd.json(&["port", "show", "source"]);
    let count = |name: &str| source[name].as_u64().unwrap_or(0);
    assert_eq!(
        count("forwarded") + count("flooded") + count("punted") + count("dropped"),
        50_000,
        "{source}"
    );
    assert_eq!(count("forwarded"), 50_000);
    assert_eq!(weftd.json(&["stats", "sink"])["queues"][0]["tx_packets"], 50_000);
    let cached = weftd.json(&["flow", "cache", "--limit", "10", "--protocol", "udp"]);
    assert_eq!((cached["flows"].as_array().map(Vec::len), &cached["truncated"]), (Some(10), &true.into()));
}

#[test]
fn changes_say_what_they_did_and_survive_a_save() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let says = |args: &[&str], what: &str| {
        let text = weftd.must(args);
        assert!(text.contains(what), "{args:?}: {text}");
    };
    says(&["network", "add", "lan", "--mode", "bridged", "--vlan", "7"], "network lan added");
    says(
        &["port", "add", "x", "--kind", "null", "--role", "access", "--network", "lan"],
        "port x (null) added: in memory, 1 queue",
    );
    says(
        &["flow", "add", "f", "--priority", "3", "--match", "port=x", "--action", "drop"],
        "flow rule f added",
    );
    says(&["config", "save"], "configuration saved to");
    let saved = std::fs::read_to_string(weftd.config()).expect("saved");
    assert!(saved.contains("name = \"lan\"") && saved.contains("actions = [\"drop\"]"), "{saved}");
    says(&["config", "check", &weftd.config().display().to_string()], "is a valid configuration");
    says(&["config", "reload"], "configuration reloaded");
    says(&["flow", "del", "f"], "flow rule f removed");
    says(&["port", "del", "x"], "port x removed");
    says(&["network", "del", "lan"], "network lan removed");
}

#[test]
fn mistakes_are_explained_with_the_right_exit_code() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let endpoint = |address: &'static str| {
        let place = ["endpoint", "add", "y", "--network", "pods", "--port", "sink"];
        [&place[..], &["--mac", "02:00:00:00:00:0c", "--address", address]].concat()
    };
    explains(
        &weftd,
        &[
            (&["port", "add", "sink", "--kind", "null"][..], 1, "there is a port \"sink\" already"),
            (&["port", "del", "nope"], 1, "there is no port \"nope\"; there is sink, source"),
            (
                &["port", "add", "x", "--kind", "packet", "--device", "nope0"],
                1,
                "device nope0 does not exist",
            ),
            (&["port", "add", "x", "--kind", "tap", "--device", "e", "--netns", "no-such"], 1, "no-such"),
            (&["port", "add", "x", "--kind", "packet"], 1, "needs a device"),
            (&["port", "del", "sink"], 1, "still has endpoints: sink"),
            (&["network", "del", "pods"], 1, "still used by"),
            (&endpoint("10.9.9.9"), 1, "in none of the prefixes"),
            (&endpoint("10.244.0.10"), 1, "already"),
            (
                &["flow", "add", "f", "--match", "port=nope", "--action", "drop"],
                1,
                "there is no port \"nope\"",
            ),
            (&["flow", "add", "f", "--match", "dst_port=5", "--action", "drop"], 1, "without a protocol"),
            (&["flow", "add", "f", "--action", "mirror:sink"], 1, "does not say what becomes of the packet"),
            (&["stats", "nope"], 1, "there is no port"),
            (&["endpoint", "list", "--network", "nope"], 1, "there is no network \"nope\"; there is pods"),
            (&["fdb", "list", "--network", "nope"], 1, "there is no network \"nope\"; there is pods"),
            (
                &["port", "add", "x", "--kind", "tap", "--device", "e", "--netns", "/proc/version"],
                1,
                "no namespace",
            ),
            (&["config", "check", "/no/such/file"], 1, "name a configuration file"),
            (&["port", "add"], 2, "required"),
            (&["flow", "add", "f", "--action", "dorp"], 2, "use drop"),
        ],
    );
}

/// Each of these fails with an exit code and says why; none of them changes anything.
fn explains(weftd: &Weftd, mistakes: &[(&[&str], i32, &str)]) {
    for (args, code, says) in mistakes {
        let output = weftd.ctl(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
    assert_eq!(weftd.json(&["status"])["ports"], 2, "nothing has changed");
}

#[test]
fn names_that_mislead_are_refused() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    explains(
        &weftd,
        &[
            (
                &["port", "add", "\u{202e}txt", "--kind", "null"],
                1,
                "\"\\u{202e}txt\" can't be a name: U+202E turns",
            ),
            (&["port", "add", "a\u{200b}", "--kind", "null"], 1, "U+200B can't be seen"),
            (&["port", "add", "any", "--kind", "null"], 1, "a word of weftctl's verbs"),
            (&["port", "add", "peer:b", "--kind", "null"], 1, "stands before the name of another node"),
            (&["port", "add", "--kind", "null", "--", "-x"], 1, "begins like an option"),
            (&["network", "add", "drops"], 1, "a word of weftctl's verbs"),
            (&["flow", "add", "a b", "--action", "drop"], 1, "U+0020 is white space"),
            (&["port", "del", "\u{1b}[31m"], 1, "there is no port \"\\u{1b}[31m\""),
        ],
    );
}

#[test]
fn what_is_refused_leaves_the_generation_alone() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let before = weftd.json(&["status"])["generation"].clone();
    for args in [
        &["port", "add", "x", "--kind", "packet", "--device", "nope0"][..],
        &["port", "add", "x", "--kind", "tap", "--device", "lo"],
    ] {
        assert_eq!(weftd.ctl(args).status.code(), Some(1));
    }
    assert_eq!(weftd.json(&["status"])["generation"], before);
}

#[test]
fn what_is_still_used_says_by_whom() {
    if !require_root() {
        return;
    }
    let fabric = "[[port]]\nname = \"u\"\nkind = \"null\"\nrole = \"fabric\"\n[fabric]\nmode = \"native\"\n[[fabric.peer]]\n\
                  name = \"b\"\naddress = \"198.51.100.2\"\n";
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, &format!("{CONFIG}{fabric}"));
    let refused = |args: &[&str], says: &str| {
        let reply = weftd.ctl(&[&["--json"], args].concat());
        let text = String::from_utf8_lossy(&reply.stdout).into_owned();
        assert!(text.contains("in_use") && text.contains(says), "{args:?}: {text}");
    };
    weftd.must(&["port", "add", "x", "--kind", "null"]);
    weftd.must(&["flow", "add", "f", "--match", "network=pods", "--action", "output:x"]);
    weftd.must(&["flow", "add", "g", "--match", "port=x", "--action", "drop"]);
    refused(&["port", "del", "x"], "named by flow rules: f, g");
    refused(&["network", "del", "pods"], "flow rule f");
    refused(&["port", "del", "u"], "port u still leads to peers: b");
    weftd.must(&["fabric", "peer", "del", "b"]);
    weftd.must(&["port", "del", "u"]);
    weftd.must(&["port", "del", "x", "--force"]);
}

#[test]
fn completions_go_into_a_pipe_that_closes_early() {
    if !require_root() {
        return;
    }
    let (node, _weftd) = weftd();
    let weftctl = weft_tests::daemon::binary("weftctl");
    let command = format!("{} completions bash | head -1; echo ${{PIPESTATUS[0]}}", weftctl.display());
    let output = node.run(&["bash", "-c", &command]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.ends_with(b"\n0\n") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_fifo_or_a_device_holds_nobody_up() {
    if !require_root() {
        return;
    }
    let (node, weftd) = weftd();
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo").display().to_string();
    node.must(&["mkfifo", &fifo]);
    let began = Instant::now();
    for file in [fifo.as_str(), "/dev/zero"] {
        for args in [
            &["config", "check", file][..],
            &["config", "save", file],
            &["port", "add", "x", "--kind", "tap", "--device", "e", "--netns", file],
            &["port", "add", "x", "--kind", "packet", "--device", "e", "--netns", file],
            &["port", "add", "x", "--kind", "pcap", "--rx-file", file],
            &["port", "add", "x", "--kind", "pcap", "--tx-file", file],
        ] {
            let output = weftd.ctl(args);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && text.contains("no regular file"), "{args:?}: {text}");
        }
    }
    // Whoever opens one of them waits for ever; the rest of the time is the machine's.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// A capture of so many broadcasts, each from a MAC of its own.
fn flood(path: &std::path::Path, macs: u32) {
    let mut bytes: Vec<u8> = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for i in 0..macs {
        for word in [0, 0, 60, 60_u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([0xff; 6]);
        bytes.extend([2, 0]);
        bytes.extend(i.to_be_bytes());
        bytes.extend([0x88, 0xb5]); // IEEE 802 local experimental EtherType
        bytes.extend([0; 46]);
    }
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn a_flood_of_addresses_does_not_keep_requests_waiting() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("flood.pcap");
    flood(&file, 100_000);
    weftd.must(&["network", "add", "lan", "--mode", "bridged"]);
    let file = file.display().to_string();
    let forty = || {
        let (mut slowest, all) = (Duration::ZERO, Instant::now());
        for _ in 0..40 {
            let began = Instant::now();
            weftd.must(&["status"]);
            slowest = slowest.max(began.elapsed());
        }
        (all.elapsed(), slowest)
    };
    // What a machine that has other things to do takes for them anyway.
    let (quiet, _) = forty();
    let port = ["port", "add", "storm", "--kind", "pcap", "--role", "access", "--network", "lan", "--repeat"];
    weftd.must(&[&port[..], &["--rx-file", &file]].concat());
    // By then tens of thousands are known, and each time that they are published takes long.
    std::thread::sleep(Duration::from_secs(6));
    let (all, slowest) = forty();
    println!("40 answers under a flood of addresses: {all:?} ({quiet:?} without), the slowest {slowest:?}");
    let bound = Duration::from_secs(4).max(3 * quiet);
    assert!(all < bound && slowest < Duration::from_secs(2), "{all:?}, {slowest:?}");
}

#[test]
fn a_pod_whose_device_is_not_there_yet_comes_up_by_itself() {
    if !require_root() {
        return;
    }
    let (node, pod) = (NetNs::new("ctl"), NetNs::new("pod"));
    let late = pod.name().to_owned() + "-late";
    let pods = format!(
        "[[port]]\nname = \"early\"\nkind = \"packet\"\ndevice = \"early0\"\n[[port]]\nname = \"lost\"\n\
         kind = \"tap\"\ndevice = \"eth0\"\nnetns = \"{late}\"\n"
    );
    let weftd = Weftd::start(&node, &format!("{CONFIG}{pods}"));
    assert!(
        weftd.log().contains("port left out") && weftd.log().contains("early0 does not exist"),
        "{}",
        weftd.log()
    );
    let state = |port: &str| weftd.json(&["port", "show", port])["port"]["state"].clone();
    assert_eq!(
        (state("early"), state("lost"), state("sink")),
        ("waiting".into(), "waiting".into(), "up".into())
    );
    assert_eq!(weftd.json(&["status"])["ports_waiting"], 2);
    assert!(weftd.must(&["status"]).contains("(2 waiting: weftctl port list)"));
    let said = weftd.must(&["config", "reload"]);
    assert!(said.contains("warning: port left out: \"lost\": "), "{said}");
    node.ip(&["link", "add", "early0", "type", "veth", "peer", "name", "early1"]);
    weftd.wait_for("early's opening", |_| state("early") != "waiting");
    weftd.must(&["port", "del", "early"]);
    // The namespace comes, and the port with it, whatever was tried in vain before.
    std::thread::sleep(Duration::from_secs(4));
    let _late = NetNs::named(&late);
    weftd.wait_for("lost's opening", |_| state("lost") == "up");
    assert_eq!(weftd.json(&["status"])["ports_waiting"], 0);
    assert!(!weftd.log().contains('\u{1b}'), "no escape codes in a file");
}

#[test]
fn the_nodes_own_ports_wait_at_the_start_too_but_its_addresses_must_be_its_own() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let uplink = "[[port]]\nname = \"u\"\nkind = \"xsk\"\nrole = \"fabric\"\ndevice = \"none0\"\n";
    let host = "[[port]]\nname = \"h\"\nkind = \"tap\"\nrole = \"host\"\ndevice = \"weft0\"\n";
    let weftd = Weftd::prepare(&node, &format!("{CONFIG}{host}"));
    let path = weftd.config();
    let program = weft_tests::daemon::binary("weftd");
    let output = node.run(&[program.to_str().expect("a path"), "--config", path.to_str().expect("a path")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let says = "node.addresses: 192.0.2.1 is no address of this node; put it on";
    assert!(!output.status.success() && said.contains(says), "{said}");
    // What may come by itself is waited for: the uplink's device, and the name of the node's own tap.
    node.ip(&["addr", "add", "192.0.2.1/32", "dev", "lo"]);
    node.ip(&["link", "add", "weft0", "type", "veth", "peer", "name", "weft1"]);
    let weftd = Weftd::start(&node, &format!("{CONFIG}{uplink}{host}"));
    let port = |port: &str| weftd.json(&["port", "show", port])["port"].clone();
    assert_eq!((&port("u")["state"], &port("h")["state"]), (&"waiting".into(), &"waiting".into()));
    assert!(port("h")["why"].to_string().contains("of this name already"), "{}", port("h"));
    node.ip(&["link", "del", "weft0"]);
    node.ip(&["link", "add", "none0", "type", "veth", "peer", "name", "none1"]);
    node.ip(&["link", "set", "none0", "up"]);
    node.ip(&["link", "set", "none1", "up"]);
    weftd.wait_for("the node's ports", |_| port("u")["state"] == "up" && port("h")["state"] == "up");
    // Once weftd runs, a device that the node does not have is a slip of the pen.
    for (wrong, says) in [
        (format!("{CONFIG}{host}{}", uplink.replace("none0", "nope0")), "device nope0 does not exist"),
        (format!("{CONFIG}{uplink}{}", host.replace("weft0", "lo")), "of this name already"),
    ] {
        weftd.write(&wrong);
        let refused = weftd.ctl(&["config", "reload"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && text.contains(says), "{text}");
        assert_eq!((&port("u")["state"], &port("h")["state"]), (&"up".into(), &"up".into()));
    }
}

#[test]
fn bad_configurations_get_one_clear_error() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let dir = tempfile::tempdir().expect("a directory");
    let good = CONFIG.replace("CONTROL", &dir.path().join("s").display().to_string());
    for (bad, says) in [
        (good.replace("kind = \"null\"", "kidn = \"null\""), "line "),
        (
            good.replace("memory_mib = 64", "memory_mib = 1"),
            "pmd.memory_mib: 1 MiB of frame memory; use 8 to",
        ),
        (good.replace("[pmd]", "[pmd]\ncores = [999]"), "pmd.cores: core 999"),
        (
            good.replace("port = \"sink\"", "port = \"skin\""),
            "endpoint \"sink\".port: there is no port \"skin\"; use one of sink, source",
        ),
        (good.replace("10.244.0.11", "10.245.0.11"), "is in none of the prefixes"),
        (good.replace("02:00:00:00:00:0b", "03:00:00:00:00:0b"), "is no station's address"),
        (good.replace("10.244.0.0/24", "10.244.0.0/240"), "line "),
    ] {
        let path = dir.path().join("weft.toml");
        std::fs::write(&path, &bad).expect("writable");
        for flag in ["--check", "--config"] {
            let weftd = weft_tests::daemon::binary("weftd");
            let output = node.run(&[weftd.to_str().expect("a path"), flag, path.to_str().expect("a path")]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(says) && text.contains("weft.toml"), "{flag}: {text}");
        }
    }
}
