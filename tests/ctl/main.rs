//! The control socket: every verb against a real weftd, and what nobody should send. Needs root.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::{Duration, Instant},
};

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
        "fdb list",
        "pmd list",
        "stats",
        "drops",
        "config show",
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
    for (args, code, says) in [
        (&["port", "add", "sink", "--kind", "null"][..], 1, "there is a port \"sink\" already"),
        (&["port", "del", "nope"], 1, "there is no port \"nope\"; there is sink, source"),
        (&["port", "add", "x", "--kind", "packet", "--device", "nope0"], 1, "device nope0 does not exist"),
        (&["port", "add", "x", "--kind", "tap", "--device", "e", "--netns", "no-such"], 1, "no-such"),
        (&["port", "add", "x", "--kind", "packet"], 1, "needs a device"),
        (&["port", "del", "sink"], 1, "still has endpoints: sink"),
        (&["network", "del", "pods"], 1, "still used by"),
        (
            &[
                "endpoint",
                "add",
                "y",
                "--network",
                "pods",
                "--port",
                "sink",
                "--mac",
                "02:00:00:00:00:0c",
                "--address",
                "10.9.9.9",
            ],
            1,
            "in none of the prefixes",
        ),
        (
            &[
                "endpoint",
                "add",
                "y",
                "--network",
                "pods",
                "--port",
                "sink",
                "--mac",
                "02:00:00:00:00:0c",
                "--address",
                "10.244.0.10",
            ],
            1,
            "already",
        ),
        (&["flow", "add", "f", "--match", "port=nope", "--action", "drop"], 1, "there is no port \"nope\""),
        (&["flow", "add", "f", "--match", "dst_port=5", "--action", "drop"], 1, "without a protocol"),
        (&["flow", "add", "f", "--action", "mirror:sink"], 1, "does not say what becomes of the packet"),
        (&["stats", "nope"], 1, "there is no port"),
        (&["config", "check", "/no/such/file"], 1, "name a configuration file"),
        (&["port", "add"], 2, "required"),
        (&["flow", "add", "f", "--action", "dorp"], 2, "use drop"),
    ] {
        let output = weftd.ctl(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
    assert_eq!(weftd.json(&["status"])["ports"], 2, "nothing has changed");
}

/// Sends bytes, closes, and returns what comes back.
fn send(weftd: &Weftd, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(weftd.socket()).expect("the socket listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(bytes).expect("it takes what it is sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half-closed");
    let mut answer = Vec::new();
    // What was answered comes first; bytes that weftd did not care to read then reset the connection.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn framed(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat()
}

#[test]
fn garbage_harms_nobody() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let huge = [&u32::MAX.to_be_bytes()[..], &[b'x'; 1000]].concat();
    for (bytes, says) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "bad_request"),
        (huge, "are allowed"),
        (framed("not json"), "can't be read"),
        (framed("{}"), "can't be read"),
        (framed(r#"{"version":1,"verb":"port list","args":{},"more":1}"#), "can't be read"),
        (framed(r#"{"version":9,"verb":"port list","args":{}}"#), "protocol version 9"),
        (framed(r#"{"version":1,"verb":"reboot","args":{}}"#), "there is no verb"),
        (framed(r#"{"version":1,"verb":"port del","args":{"name":7}}"#), "can't be read"),
        (
            framed(&format!(
                r#"{{"version":1,"verb":"port list","args":{}1{}}}"#,
                "[".repeat(5000),
                "]".repeat(5000)
            )),
            "can't be read",
        ),
        (framed("half a request")[..8].to_vec(), "half a request"),
        (vec![0], "half a request"),
        (Vec::new(), ""),
    ] {
        let answer = send(&weftd, &bytes);
        assert!(
            answer.contains(says),
            "{:?}: {answer}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    }
    assert_eq!(weftd.json(&["status"])["ports"], 2);
}

#[test]
fn clients_that_hang_or_crowd_do_not_hold_others_up() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    // Half a request each, never ended; and one that asks and never reads.
    let hanging: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(weftd.socket()).expect("the socket listens");
            stream.write_all(&[0, 0]).expect("two bytes");
            stream
        })
        .collect();
    let mut deaf = UnixStream::connect(weftd.socket()).expect("the socket listens");
    deaf.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let ask = framed(r#"{"version":1,"verb":"flow cache","args":{"limit":100000}}"#);
    while deaf.write_all(&ask).is_ok() {}
    let began = Instant::now();
    weftd.must(&["status"]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Those who hang are let go after their time.
    for mut stream in hanging {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("closed by weftd");
        assert!(String::from_utf8_lossy(&answer).contains("did not end in time"));
    }
}

#[test]
fn only_those_who_may_can_use_the_socket() {
    if !require_root() {
        return;
    }
    let (node, weftd) = weftd();
    let mode = std::fs::metadata(weftd.socket()).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Even where the file's mode lets them, others are told no (SO_PEERCRED).
    std::fs::set_permissions(weftd.socket(), std::fs::Permissions::from_mode(0o666)).expect("root may");
    let dir = weftd.socket().parent().map(std::path::Path::to_owned).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("root may");
    let weftctl = dir.join("weftctl");
    std::fs::copy(weft_tests::daemon::binary("weftctl"), &weftctl).expect("a copy that nobody may run");
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let socket = weftd.socket().display().to_string();
    let command = format!("{nobody} {} --socket {socket} status", weftctl.display());
    let output = node.run(&["sh", "-c", &command]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("user 65534 may not control weftd"), "{text}");
}

#[test]
fn a_second_weftd_on_the_same_socket_is_refused() {
    if !require_root() {
        return;
    }
    let (node, weftd) = weftd();
    let second = node.run(&[
        weft_tests::daemon::binary("weftd").to_str().expect("a path"),
        "--config",
        weftd.config().to_str().expect("a path"),
    ]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && text.contains("another weftd listens"), "{text}");
    weftd.must(&["status"]);
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
