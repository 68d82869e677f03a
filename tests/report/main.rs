//! The report's page, in a real browser: headless Chromium draws it, has nothing to complain of, and loads nothing.
//!
//! Chromium is skipped where it is absent, but not under `WEFT_REQUIRE_ROOT` (CI).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use weft_tests::daemon::binary;

fn weft_perf(arguments: &[&str]) -> Output {
    Command::new(binary("weft-perf")).args(arguments).output().expect("weft-perf runs")
}

/// Every kind of thing that a report shows; values are what the test says, not what was measured.
fn results(rates: &[f64]) -> Value {
    let measurement = |test: &str, system: &str, axes: Value, unit: &str, better: &str, runs: &[f64]| {
        json!({ "test": test, "metric": "rate", "title": format!("{test} & more"), "system": system, "axes": axes,
                "unit": unit, "better": better, "runs": runs })
    };
    let series = |plot: &str, scale: &str, points: &[(f64, f64)]| {
        let points: Vec<_> = points.iter().map(|(x, y)| json!({ "x": x, "y": y })).collect();
        json!({ "plot": plot, "name": "weft-tap", "x": { "name": "x", "unit": "", "scale": scale },
                "y": { "name": "y", "unit": "µs" }, "points": points, "marks": [{ "x": 50.0, "label": "restart" }] })
    };
    let flows = |count: u64, rate: f64| {
        measurement("l3", "weft-tap", json!({ "flows": count }), "Mpps", "more", &[rate, rate * 1.1])
    };
    json!({
        "format": 1, "benchmark": "pods", "version": "0.0.0", "commands": ["weft-perf pods"],
        "date": "2026-01-01T00:00:00Z", "limits": ["A veth is no <card>."],
        "testbed": { "cpu": "A processor", "cores": 2, "kernel": "6.18", "system": "Debian" },
        "systems": [{ "name": "weft-tap", "about": "weft, tap", "version": "0", "mode": "vnet_hdr", "is_weft": true },
                    { "name": "bridge", "about": "Linux bridge", "version": "6.18", "mode": "", "is_weft": false,
                      "is_baseline": true }],
        "measurements": [
            measurement("udp64", "weft-tap", json!({}), "Mpps", "more", rates),
            measurement("udp64", "bridge", json!({}), "Mpps", "more", &[0.5; 6]),
            flows(1, 9.0), flows(1000, 8.0), flows(1_000_000, 6.0),
        ],
        "series": [series("Loss over load", "linear", &[(10.0, 0.0), (90.0, 40.0)]),
                   series("Latency", "percentile", &[(0.0, 10.0), (99.0, 20.0), (100.0, 90.0)])],
        "missing": [{ "system": "testpmd", "reason": "dpdk-testpmd is not there: apt-get install dpdk-dev" }],
    })
}

const RATES: [f64; 6] = [1.0, 1.01, 0.99, 1.02, 0.98, 1.03];

fn put(dir: &Path, name: &str, results: &Value) -> String {
    let path = dir.join(name);
    fs::write(&path, results.to_string()).expect("the temporary directory is writable");
    path.display().to_string()
}

fn report(dir: &Path) -> PathBuf {
    let page = dir.join("report.html");
    let json = put(dir, "a.json", &results(&RATES));
    let output = weft_perf(&["report", &json, "-o", &page.display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("report.html"), "it tells where the page is");
    page
}

/// Chromium's arguments, or `None` if it is not there.
fn chromium(dir: &Path, arguments: &[&str]) -> Option<Output> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let there = |name: &&&str| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let Some(name) = names.iter().find(there) else {
        assert!(
            std::env::var_os("WEFT_REQUIRE_ROOT").is_none(),
            "this test needs chromium: apt-get install chromium"
        );
        eprintln!("SKIPPED: no chromium");
        return None;
    };
    // As root it refuses its sandbox; /dev/shm is small in containers; a profile of its own is left behind by nobody.
    let own = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    let quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
    let mut command = Command::new("timeout");
    command
        .args(["60", name])
        .args(own)
        .args(quiet)
        .args(["--enable-logging=stderr", "--window-size=1200,3000"]);
    command.arg(format!("--user-data-dir={}", dir.join("profile").display())).args(arguments);
    let output = command.output().expect("chromium runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

/// What pages complain of: script errors, and loads that their policy forbids.
fn complaints(output: &Output) -> Vec<String> {
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect()
}

#[test]
fn a_browser_draws_the_page_without_complaint_and_without_loading() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let page = report(dir.path());
    let Some(output) = chromium(dir.path(), &["--dump-dom", &format!("file://{}", page.display())]) else {
        return;
    };
    let dom = String::from_utf8_lossy(&output.stdout);
    assert_eq!(complaints(&output), Vec::<String>::new());
    assert_eq!(dom.matches("<svg").count(), 4, "loss, latency, rate over flows, systems beside each other");
    assert_eq!(dom.matches("<polyline").count(), 3);
    assert_eq!(dom.matches("class=\"bar\"").count(), 2);
    assert!(dom.matches("<circle").count() >= 2 + 3 + 3);
    for loaded in [" src=", "<link", "@import", "url(", "href=\"http"] {
        assert!(!dom.contains(loaded), "{loaded}");
    }
    for words in
        ["A veth is no &lt;card&gt;.", "apt-get install dpdk-dev", "A processor", "fewer than 10 runs"]
    {
        assert!(dom.contains(words), "{words}");
    }
}

#[test]
fn lines_and_bars_are_on_the_screen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (page, picture) = (report(dir.path()), dir.path().join("page.png"));
    let arguments = [format!("--screenshot={}", picture.display()), format!("file://{}", page.display())];
    if chromium(dir.path(), &[&arguments[0], &arguments[1]]).is_none() {
        return;
    }
    let file = std::io::BufReader::new(fs::File::open(&picture).expect("a screenshot"));
    let mut reader = png::Decoder::new(file).read_info().expect("a picture");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a picture that fits into memory")];
    let info = reader.next_frame(&mut pixels).expect("a picture");
    let step = info.buffer_size() / (info.width * info.height) as usize;
    let blue = pixels.chunks(step).filter(|pixel| pixel[..3] == [0x00, 0x72, 0xb2]).count();
    assert!(blue > 1000, "{blue} pixels have the first line's colour");
}

#[test]
fn a_page_that_loads_something_is_complained_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let page = report(dir.path());
    let text = fs::read_to_string(&page).expect("the page");
    let bad = "<img src=\"http://192.0.2.1/x.png\"><script>undefined_function()</script></body>";
    fs::write(&page, text.replace("</body>", bad)).expect("the page is writable");
    let Some(output) = chromium(dir.path(), &["--dump-dom", &format!("file://{}", page.display())]) else {
        return;
    };
    let complaints = complaints(&output);
    assert!(complaints.len() >= 2, "the picture and the script: {complaints:?}");
}

#[test]
fn comparing_exits_with_1_if_worse_with_2_if_misused_and_with_3_without_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let before = put(dir.path(), "before.json", &results(&RATES));
    let worse = put(dir.path(), "worse.json", &results(&RATES.map(|rate| rate * 0.8)));
    let code = |arguments: &[&str]| weft_perf(arguments).status.code();
    assert_eq!(code(&["compare", &before, &before]), Some(0));
    assert_eq!(code(&["compare", &before, &worse]), Some(1));
    assert_eq!(code(&["compare", &worse, &before]), Some(0));
    assert_eq!(code(&["compare", &before, &worse, "--bound", "30%"]), Some(0));
    assert_eq!(code(&["compare", &before, &worse, "--system", "bridge"]), Some(0));
    assert_eq!(code(&["compare", &before]), Some(2));
    assert_eq!(code(&["compare", &before, &worse, "--bound", "x"]), Some(2));
    assert_eq!(code(&["compare", &before, "/nonexistent"]), Some(3));
    let other = put(dir.path(), "other.json", &json!({ "figures": [] }));
    assert_eq!(code(&["compare", &before, &other]), Some(3));
    assert_eq!(code(&["report", &other, "-o", &format!("{before}.html")]), Some(3));
    let said = weft_perf(&["compare", &before, &worse, "--json"]).stdout;
    let said: Value = serde_json::from_slice(&said).expect("JSON");
    assert_eq!(said["rows"][0]["verdict"], "worse");
    assert_eq!(said["rows"].as_array().map(Vec::len), Some(5));
}

#[test]
fn expectations_decide_the_exit_code() {
    let code = |expect: &str| {
        weft_perf(&["core", "--case", "l2", "--seconds", "0.05", "--cpu", "0", "--json", "--expect", expect])
            .status
            .code()
    };
    assert_eq!(code("rate>=0.0001"), Some(0));
    assert_eq!(code("rate>=100000"), Some(1));
    assert_eq!(code("rate=1"), Some(2));
}
