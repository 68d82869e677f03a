//! `weftctl capture`, read back by tshark and tcpdump.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use weft_tests::{
    daemon::{Weftd, binary},
    netns::{Running, must, require_root},
    node::{Kind, Node, Plan},
    probe::{must_ping, tcp_round_trip},
};

fn weftctl(weftd: &Weftd, args: &[&str]) -> Command {
    let mut command = Command::new(binary("weftctl"));
    command.arg("--socket").arg(weftd.socket()).arg("capture").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn running(weftd: &Weftd) -> u64 {
    weftd.json(&["status"])["captures"].as_u64().unwrap_or(0)
}

/// Starts a capture, and waits until weftd has it.
fn start(weftd: &Weftd, args: &[&str]) -> Running {
    let before = running(weftd);
    let capture = Running::from(weftctl(weftd, args).spawn().expect("weftctl runs"));
    weftd.wait_for("a capture", |weftd| running(weftd) > before);
    capture
}

/// Ends it as Ctrl-C does.
fn end(capture: Running) -> Output {
    let output = capture.signal("-INT");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn summary(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Vec<String> {
    let file = file.display().to_string();
    let fields: Vec<&str> = fields.iter().flat_map(|field| ["-e", *field]).collect();
    let text = must(&[&["tshark", "-n", "-r", &file, "-Y", filter, "-T", "fields"], &fields[..]].concat());
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_ports_packets_are_read_back_by_tshark() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.pcapng");
    let capture = start(&node.weftd, &[&a.name, "-w", &file.display().to_string()]);
    must_ping(&a.ns, b.v4(), 56);
    must_ping(&a.ns, b.v6(), 1000);
    tcp_round_trip(&a.ns.netns(), &b.ns.netns(), b.v4(), 1 << 20);
    let output = end(capture);
    assert!(summary(&output).ends_with(" matched, 0 lost"), "{}", summary(&output));
    assert!(tshark(&file, "_ws.malformed", &["frame.number"]).is_empty(), "no malformed packet");
    let interfaces = tshark(&file, "frame", &["frame.interface_name"]);
    assert!(interfaces.iter().all(|name| *name == a.name));
    let captured: usize = summary(&output).split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert_eq!(captured, interfaces.len(), "{}", summary(&output));
    let fields = ["frame.packet_flags_direction", "ip.ttl", "frame.comment"];
    let requests = tshark(&file, "icmp.type == 8", &fields);
    assert_eq!(requests.len(), 3, "pings: {requests:?}");
    let forward = format!("verdict=forward to={} generation=", b.name);
    assert!(requests.iter().all(|line| line.contains("\t64\t") && line.contains(&forward)), "{requests:?}");
    let replies = tshark(&file, "icmp.type == 0", &fields);
    assert_eq!(replies.len(), 3);
    assert!(
        replies.iter().all(|line| line.contains("\t63\t") && line.contains("verdict=sent")),
        "{replies:?}"
    );
    assert_eq!(tshark(&file, "icmpv6.type == 128 || icmpv6.type == 129", &["frame.len"]).len(), 6);
    let sizes = tshark(&file, "tcp", &["frame.len"]);
    assert!(sizes.iter().any(|size| size.parse::<u32>().is_ok_and(|size| size > 9000)), "super-frames whole");
    must(&["capinfos", &file.display().to_string()]);
}

#[test]
fn drops_are_captured_with_their_reason() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b) = (&node.pods[0], &node.pods[1]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("drops.pcapng");
    let capture = start(&node.weftd, &["drops", "-w", &file.display().to_string(), "icmp"]);
    a.ns.ip(&["addr", "add", "10.9.9.9/32", "dev", "lo"]);
    a.ns.run(&["ping", "-c", "2", "-i", "0.05", "-W", "1", "-I", "10.9.9.9", &b.v4().to_string()]);
    must_ping(&a.ns, b.v4(), 56);
    end(capture);
    let drops = tshark(&file, "frame", &["ip.src", "frame.interface_name", "frame.comment"]);
    assert_eq!(drops.len(), 2, "{drops:?}");
    let wanted = format!("10.9.9.9\t{}\tverdict=drop reason=spoofed", a.name);
    assert!(drops.iter().all(|line| line.starts_with(&wanted)), "{drops:?}");
}

#[test]
fn captures_stream_filter_count_and_end() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b, weftd) = (&node.pods[0], &node.pods[1], &node.weftd);
    // Into tcpdump, as it comes.
    let socket = weftd.socket().display().to_string();
    let pipe = format!(
        "{} --socket {socket} capture {} -w - -c 2 icmp | tcpdump -n -r -",
        binary("weftctl").display(),
        a.name
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &pipe]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let piped = Running::from(shell.spawn().expect("sh"));
    weftd.wait_for("a capture", |weftd| running(weftd) == 1);
    tcp_round_trip(&a.ns.netns(), &b.ns.netns(), b.v4(), 1000);
    must_ping(&a.ns, b.v4(), 56);
    let output = piped.wait();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("ICMP echo").count(), 2, "{text}{}", String::from_utf8_lossy(&output.stderr));
    weftd.wait_for("its end", |weftd| running(weftd) == 0);
    // In lines, and as JSON, one way only.
    let lines = start(weftd, &[&a.name, "--direction", "in", "-c", "3", "icmp"]);
    must_ping(&a.ns, b.v4(), 56);
    let output = lines.wait();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = format!("{} in IP {} > {}: icmp echo request", a.name, a.v4(), b.v4());
    assert_eq!(text.matches(&line).count(), 3, "{text}");
    assert_eq!(text.matches(&format!("length 98: forward to {}", b.name)).count(), 3, "{text}");
    let json = start(weftd, &["any", "--json", "-c", "2", "icmp"]);
    must_ping(&a.ns, b.v4(), 56);
    let output = json.wait();
    let objects: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!((objects.len(), &objects[0]["verdict"]), (2, &"forward".into()));
    // Whoever is killed leaves nothing behind.
    let killed = start(weftd, &[&a.name]);
    killed.signal("-KILL");
    weftd.wait_for("its end", |weftd| running(weftd) == 0);
    // Time is up.
    let output = weftctl(weftd, &[&a.name, "--duration", "0.2", "port 9"]).output().expect("weftctl runs");
    assert_eq!(
        (output.status.code(), summary(&output).as_str()),
        (Some(0), "0 packets captured, 0 matched, 0 lost")
    );
}

#[test]
fn mistakes_are_told_and_slow_readers_hold_nobody_up() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let (a, b, weftd) = (&node.pods[0], &node.pods[1], &node.weftd);
    for (args, code, says) in [
        (&["nobody"][..], 1, "there is no port or endpoint \"nobody\"; there is"),
        (&[&a.name, "tcp", "prt", "80"], 2, "syntax error"),
        (&[&a.name, "ip", "protochain", "6"], 1, "protochain"),
        (&[&a.name, "--at", &b.name], 1, "only drops"),
        (&[&a.name, "-w", "/nowhere/x.pcapng"], 1, "/nowhere/x.pcapng"),
    ] {
        let output = weftctl(weftd, args).output().expect("weftctl runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(code) && text.contains(says),
            "{args:?}: {} {text}",
            output.status
        );
    }
    // A reader that does not read: traffic passes, weftd answers, and what was lost is told.
    let mut slow = start(weftd, &[&a.name, "-w", "-"]);
    let pid = slow.child().id().to_string();
    must(&["kill", "-STOP", &pid]);
    let began = Instant::now();
    tcp_round_trip(&a.ns.netns(), &b.ns.netns(), b.v4(), 32 << 20);
    must_ping(&a.ns, b.v4(), 56);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let others: Vec<Running> = (0..7).map(|_| start(weftd, &[&b.name, "icmp"])).collect();
    let ninth = weftctl(weftd, &[&b.name]).output().expect("weftctl runs");
    assert!(summary(&ninth).contains("8 captures run already"), "{}", summary(&ninth));
    drop(others);
    must(&["kill", "-CONT", &pid]);
    must(&["kill", "-INT", &pid]);
    let output = slow.wait();
    assert!(!summary(&output).contains(" 0 lost"), "{}", summary(&output));
    weftd.wait_for("the end of all", |weftd| running(weftd) == 0);
}

#[test]
fn a_capture_ends_with_its_port() {
    if !require_root() {
        return;
    }
    let node = Node::new(&Plan::new(&[Kind::Tap, Kind::Packet]));
    let name = &node.pods[0].name;
    let capture = start(&node.weftd, &[name]);
    node.weftd.must(&["port", "del", name, "--force"]);
    let output = capture.wait();
    assert!(summary(&output).ends_with("it ended because the port is gone"), "{}", summary(&output));
}
