//! Metrics for Prometheus: scraped as it does, read strictly, compared with what weftctl says.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use weft_tests::{
    daemon::Weftd,
    exposition::{Dialect, check},
    netns::{NetNs, require_root},
};

use crate::CONFIG;

const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// A reply's head and body.
fn get(mut stream: impl Read + Write, path: &str, headers: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn start(listen: &str) -> (NetNs, Weftd) {
    let node = NetNs::new("ctl");
    let config = format!("{CONFIG}[metrics]\nlisten = \"{listen}\"\n");
    let weftd = Weftd::start(&node, &config);
    weftd.wait_for("all packets", |weftd| {
        weftd.json(&["stats", "source"])["queues"][0]["rx_packets"] == 50_000
    });
    (node, weftd)
}

/// The value of one metric.
fn value(text: &str, metric: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == metric));
    let line = line.unwrap_or_else(|| panic!("no {metric} in\n{text}"));
    line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).expect("a number")
}

#[test]
fn a_scrape_over_tcp_is_sound_and_says_what_weftctl_says() {
    if !require_root() {
        return;
    }
    let (node, weftd) = start("127.0.0.1:9100");
    let netns = node.netns();
    let scrape = |path: &str, headers: &str| {
        let stream =
            netns.run(|| TcpStream::connect("127.0.0.1:9100")).expect("namespace").expect("connected");
        get(stream, path, headers)
    };
    let (head, text) = scrape("/metrics", OPENMETRICS);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    check(&text, Dialect::OpenMetrics);
    let (head, plain) = scrape("/metrics", "");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    check(&plain, Dialect::Text);
    for row in weftd.json(&["stats"])["queues"].as_array().expect("queues") {
        for (metric, field) in [
            ("receive_packets", "rx_packets"),
            ("receive_bytes", "rx_bytes"),
            ("receive_lost_packets", "rx_lost"),
            ("transmit_packets", "tx_packets"),
            ("transmit_bytes", "tx_bytes"),
        ] {
            let name = format!("weft_port_{metric}_total{{port={},queue=\"{}\"}}", row["port"], row["queue"]);
            assert_eq!(value(&text, &name), row[field].as_f64().expect("a count"), "{name}");
        }
    }
    // Every frame that left was in the switch for some time, and all times are in one bucket or another.
    let labels = "port=\"sink\",endpoint=\"sink\"";
    for name in ["count{LABELS}", "bucket{le=\"+Inf\",LABELS}"] {
        let name = format!("weft_port_residence_seconds_{}", name.replace("LABELS", labels));
        assert_eq!(value(&text, &name), 50_000.0, "{name}");
    }
    // From some nanoseconds to what a busy machine takes away from a thread.
    let mean = value(&text, &format!("weft_port_residence_seconds_sum{{{labels}}}")) / 50_000.0;
    assert!((10e-9..0.1).contains(&mean), "{mean}");
    let endpoint =
        "weft_endpoint_receive_packets_total{endpoint=\"source\",network=\"pods\",port=\"source\"}";
    assert_eq!(value(&text, endpoint), 50_000.0);
    assert!(scrape("/", "").0.starts_with("HTTP/1.1 404"));
    dashboard_uses_only(&text);
}

/// The dashboard shows nothing that is not there.
fn dashboard_uses_only(scraped: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/grafana-dashboard.json");
    let dashboard = std::fs::read_to_string(path).expect("the dashboard");
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("JSON");
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut known = BTreeSet::new();
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let used: BTreeSet<&str> =
        dashboard.split(|c| !is_name(c)).filter(|word| word.starts_with("weft_")).collect();
    assert!(used.len() > 15, "{used:?}");
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "the dashboard uses {unknown:?}");
}

#[test]
fn a_scrape_over_a_unix_socket_answers_too_and_a_restart_takes_it_over() {
    if !require_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("metrics.sock");
    let (_node, mut weftd) = start(&format!("unix:{}", socket.display()));
    let scrape = || get(UnixStream::connect(&socket).expect("connected"), "/metrics", OPENMETRICS).1;
    check(&scrape(), Dialect::OpenMetrics);
    weftd.kill();
    weftd.run();
    assert!(scrape().ends_with("# EOF\n"));
}

#[test]
fn silent_and_slow_clients_keep_nobody_out() {
    if !require_root() {
        return;
    }
    let (node, weftd) = start("127.0.0.1:9100");
    let netns = node.netns();
    let connect = || {
        let stream =
            netns.run(|| TcpStream::connect("127.0.0.1:9100")).expect("namespace").expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    };
    let sent = |text: &str| {
        let mut stream = connect();
        stream.write_all(text.as_bytes()).expect("it is taken");
        stream
    };
    let request = "GET /metrics HTTP/1.1\r\nHost: weft\r\n\r\n";
    let began = Instant::now();
    let mut first = connect();
    let mut crowd: Vec<TcpStream> = Vec::new();
    crowd.extend((0..200).map(|_| connect())); // say nothing
    crowd.extend((0..200).map(|_| sent(&request[..30]))); // half a request
    crowd.extend((0..200).map(|_| sent(request))); // never read
    let (head, text) = get(connect(), "/metrics", OPENMETRICS);
    assert!(head.starts_with("HTTP/1.1 200") && text.ends_with("# EOF\n"), "{head}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    weftd.must(&["status"]);
    // Room was made by those silent longest.
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0);
    // A request is as long as one is.
    let mut long = sent("GET /metrics HTTP/1.1\r\n");
    let header = format!("X: {}\r\n", "x".repeat(1000));
    let taken = (0..1000).take_while(|_| long.write_all(header.as_bytes()).is_ok()).count();
    let mut said = String::new();
    let _ = long.read_to_string(&mut said);
    assert!(taken < 1000 || said.contains("431"), "{taken} headers were taken: {said}");
    drop(crowd);
}

#[test]
fn those_who_ask_at_one_time_share_a_reading() {
    if !require_root() {
        return;
    }
    let (node, weftd) = start("127.0.0.1:9100");
    let netns = node.netns();
    let scrape = || {
        let stream =
            netns.run(|| TcpStream::connect("127.0.0.1:9100")).expect("namespace").expect("connected");
        get(stream, "/metrics", "").1
    };
    let uptime = |text: &str| text.lines().find(|line| line.starts_with("weft_uptime")).map(str::to_owned);
    let first = scrape();
    let at_once = (0..5).map(|_| scrape()).filter(|next| *next == first).count();
    assert!(at_once > 0, "no two of them were of one reading");
    std::thread::sleep(Duration::from_millis(1200));
    let later = scrape();
    assert_ne!(later, first, "{:?}", uptime(&later));
    weftd.must(&["status"]);
}
