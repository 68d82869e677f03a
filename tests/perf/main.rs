//! weft-perf's generator and sink, over veth pairs in namespaces of their own. Nothing of weft is between them.
#![forbid(unsafe_code)]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use weft_tests::{
    daemon::binary,
    netns::{NetNs, Running, require_root, veth},
};

fn perf(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("weft-perf"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    perf(arguments).output().expect("weft-perf runs")
}

fn json(output: &Output) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

/// Two namespaces and a veth pair, `eth0` at both ends.
struct Pair {
    a: NetNs,
    b: NetNs,
}

impl Pair {
    fn new(queues: u16) -> Self {
        let pair = Self { a: NetNs::new("gen"), b: NetNs::new("sink") };
        veth(&pair.a, "eth0", &pair.b, "eth0", queues);
        pair
    }

    /// A sink that ends half a second after the last frame; it listens already.
    fn sink(&self, more: &[&str]) -> Running {
        let usual = [
            "sink",
            "-i",
            "eth0",
            "--netns",
            self.b.name(),
            "--silence",
            "0.5",
            "--duration",
            "20",
            "--json",
        ];
        let mut command = perf(&[&usual, more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a sink");
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        stderr.read_line(&mut said).expect("it says something");
        assert!(said.contains("listening"), "{said}");
        // What it says later is read by nobody, and must not end it.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Running::from(child)
    }

    fn generate(&self, more: &[&str]) -> Value {
        let usual = ["gen", "-i", "eth0", "--netns", self.a.name(), "--json", "--duration", "10"];
        let output = output(&[&usual, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    }
}

const TO: [&str; 4] = ["-m", "02:00:00:00:00:09", "-d", "198.18.0.0/28"];

/// Slow enough for the slowest machine's sink to take all of it.
const SLOW: [&str; 2] = ["--rate", "20kpps"];

#[test]
fn a_sink_finds_loss_order_copies_and_damage_to_the_last_frame() {
    if !require_root() {
        return;
    }
    let pair = Pair::new(1);
    for (what, flows) in [
        ("drop=every:100,dup=every:75,reorder=every:70:3,corrupt=every:110", "1"),
        ("drop=2%,dup=1%,reorder=3%,corrupt=1%", "1"),
        ("drop=every:107", "13"),
        ("dup=every:2,corrupt=every:17", "13"),
        ("reorder=every:50:2", "13"),
    ] {
        let sink = pair.sink(&[]);
        let count = ["-n", "10001", "--flows", flows, "--impair", what];
        let sent = pair.generate(&[&TO[..], &SLOW, &count].concat());
        let found = json(&sink.wait());
        let damage = &sent["total"]["damage"];
        assert_eq!(found["sink_missed"], 0, "{what}: the sink is too slow: {found}");
        assert_eq!(found["lost"], damage["dropped"], "{what}: {found}");
        assert_eq!(found["duplicates"], damage["duplicated"], "{what}: {found}");
        assert_eq!(found["reordered"], damage["reordered"], "{what}: {found}");
        assert_eq!(found["corrupt"], damage["corrupted"], "{what}: {found}");
        assert_eq!(found["frames"].as_u64(), sent["total"]["frames"].as_u64(), "{what}: {found}");
        assert_eq!(
            (found["late"].as_u64(), found["foreign"].as_u64()),
            (Some(0), Some(0)),
            "{what}: {found}"
        );
        let done =
            ["dropped", "duplicated", "reordered", "corrupted"].map(|one| damage[one].as_u64().unwrap());
        assert!(done.iter().sum::<u64>() > 50, "{what}: {damage}");
    }
}

#[test]
fn nothing_is_found_where_nothing_was_done() {
    if !require_root() {
        return;
    }
    let pair = Pair::new(2);
    for more in [
        &["-t", "2", "--flows", "100", "-s", "imix", "--pattern", "zipf"][..],
        &["-s", "1514", "-d", "fd00:1::/120", "--pattern", "random"],
        &["--vxlan", "42", "--tunnel-src", "192.0.2.1", "--tunnel-dst", "192.0.2.2", "-b", "1"],
    ] {
        let sink = pair.sink(&["--expect", "lost=0,duplicates=0,reordered=0,corrupt=0,foreign=0,late=0"]);
        let to = if more.contains(&"-d") { &TO[..2] } else { &TO };
        let sent = pair.generate(&[to, &SLOW, &["-n", "5000"], more].concat());
        let output = sink.wait();
        let found = json(&output);
        assert_eq!(output.status.code(), Some(0), "{more:?}: {found}");
        assert_eq!(found["received"], sent["total"]["frames"], "{more:?}");
        assert!(found["latency"]["p50_us"].as_f64().unwrap() > 0.0, "{found}");
        // The rate that was asked for, within what a busy machine does to it.
        let (seconds, frames) =
            (sent["seconds"].as_f64().unwrap(), sent["total"]["frames"].as_f64().unwrap());
        assert!(frames / seconds < 22e3, "{more:?}: {frames} frames in {seconds} s");
    }
}

#[test]
fn a_capture_is_replayed_frame_by_frame() {
    if !require_root() {
        return;
    }
    let pair = Pair::new(1);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path of letters");
    let mut tcpdump = pair.b.command(&["tcpdump", "-i", "eth0", "-w", path, "-U", "-c", "50", "udp"]);
    let mut child = tcpdump.stderr(Stdio::piped()).spawn().expect("tcpdump");
    let mut said = String::new();
    let _ = BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut said);
    let tcpdump = Running::from(child);
    pair.generate(&[&TO[..], &["--rate", "1kpps", "-n", "50", "--run-id", "77"]].concat());
    assert!(tcpdump.wait().status.success(), "{said}");
    let sink = pair.sink(&[]);
    let sent = pair.generate(&["--pcap", path, "--loop", "2"]);
    let found = json(&sink.wait());
    assert_eq!((sent["total"]["frames"].as_u64(), &found["run_id"]), (Some(100), &Value::from(77)));
    assert_eq!((found["received"].as_u64(), found["duplicates"].as_u64()), (Some(50), Some(50)), "{found}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    if !require_root() {
        return;
    }
    let pair = Pair::new(1);
    let gen_at = ["gen", "-i", "eth0", "--netns", pair.a.name()];
    for (arguments, code, says) in [
        (&[&gen_at[..], &["-d", "198.18.0.1"]].concat()[..], 2, "-m is missing"),
        (&[&gen_at[..], &TO, &["-s", "59"]].concat(), 2, "without FCS"),
        (&[&gen_at[..], &TO, &["-6"]].concat(), 2, "IPv6"),
        (&[&gen_at[..], &TO, &["-t", "3"]].concat(), 3, "queue 1"),
        (&[&gen_at[..], &["-i", "eth1"], &TO].concat(), 2, "cannot be used multiple times"),
        (&["gen", "-i", "eth9", "--netns", pair.a.name(), "-m", "02:00:00:00:00:09"], 3, "eth9"),
        (&["gen", "-i", "eth0", "--netns", "no-such", "-m", "02:00:00:00:00:09"], 3, "No such file"),
        (&["sink", "-i", "eth0", "--netns", pair.b.name(), "--expect", "loss=0"], 2, "lost_percent"),
    ] {
        let output = output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    }
    if !pair.a.run(&["ls", "/proc/net/pktgen"]).status.success() {
        let output = output(&[&gen_at[..], &TO, &["--kernel"]].concat());
        assert_eq!(output.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&output.stderr).contains("modprobe pktgen"));
    }
    let sink = pair.sink(&["--expect", "lost=0"]);
    pair.generate(&[&TO[..], &SLOW, &["-n", "1001", "--impair", "drop=every:100"]].concat());
    assert_eq!(sink.wait().status.code(), Some(1));
}

fn measured<'a>(results: &'a Value, test: &str, metric: &str) -> Option<&'a Value> {
    let all = results["measurements"].as_array().expect("measurements");
    all.iter().find(|one| one["test"] == test && one["metric"] == metric)
}

#[test]
fn a_change_costs_traffic_nothing_and_a_death_a_while() {
    if !require_root() {
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path of letters");
    let scenarios = ["disrupt", "--scenarios", "rule,endpoint,kill", "--runs", "1", "--rate", "5kpps"];
    let expect =
        ["--expect", "rule/blocked<=50", "--expect", "endpoint/blocked<=50", "--expect", "kill/blocked>=1"];
    let output = output(&[&scenarios[..], &["--json", path], &expect].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let results: Value = serde_json::from_reader(file).expect("JSON");
    assert_eq!(results["missing"].as_array().map_or(0, Vec::len), 0, "{said}");
    assert!(measured(&results, "kill", "lost").is_some());
    let series = results["series"].as_array().expect("series");
    assert_eq!(series.len(), 3, "a line for each scenario");
    assert!(series.iter().all(|one| one["marks"].as_array().is_some_and(|marks| marks.len() == 2)));
}

/// The self-test's law: where nothing is between them, generator and sink learn nothing but their own limit.
#[test]
fn a_search_over_a_bare_wire_is_refused() {
    if !require_root() {
        return;
    }
    let pair = Pair::new(2);
    let ends = ["--in", "eth0", "--in-netns", pair.a.name(), "--out", "eth0", "--out-netns", pair.b.name()];
    let quick = ["--trial", "0.1", "--cores", "1,2", "--flows", "2", "-s", "1000", "--json"];
    let to = ["search", "--topo", "p2p", "--dut", "wire", "--dst-mac", "02:00:00:00:00:09"];
    let output = output(&[&to[..], &ends, &quick].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let results = json(&output);
    let missing = results["missing"].as_array().expect("gaps");
    assert_eq!(missing.len(), 2, "one for each number of queues: {results}");
    assert!(missing.iter().all(|gap| gap["system"] == "wire"), "{results}");
    assert!(measured(&results, "throughput", "mrr").is_none(), "{results}");
}

/// On a busy machine the generator may be kept from its work: then there is no figure, and the exit code says so.
#[test]
fn a_search_gives_figures_or_says_why_not() {
    if !require_root() {
        return;
    }
    let quick = ["--trial", "0.1", "--trials", "1", "--width", "20", "-s", "1000", "--latency", "--json"];
    for what in [
        &["--systems", "weft-packet"][..],
        &["--topo", "fabric-pod", "--fabric", "vxlan", "--cores", "2", "--flows", "8", "--cpu-switch", "0"],
    ] {
        gives_figures_or_says_why_not(&output(&[&["search"], what, &quick].concat()));
    }
}

fn gives_figures_or_says_why_not(output: &Output) {
    let results = json(output);
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(0) {
        for metric in ["mrr", "ndr", "pdr"] {
            let found = measured(&results, "throughput", metric).expect(metric);
            assert!(found["runs"][0].as_f64().is_some_and(|rate| rate >= 0.0), "{found}");
        }
    } else {
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("refused") && results["missing"][0]["reason"].as_str().is_some(), "{said}");
        assert!(measured(&results, "throughput", "pdr").is_none(), "{results}");
    }
}
