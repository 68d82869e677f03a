use std::fs;

use super::*;

fn figure(metric: &'static str) -> Figure<'static> {
    Figure { test: "udp64", metric, title: "UDP, delivered", unit: "Mpps", better: Better::More }
}

fn some() -> Results {
    let mut results = Results::new("pods");
    let axes = axes([("size", 64_u32.into()), ("flows", 10_000_u32.into()), ("port", "tap".into())]);
    for value in [0.5, 0.7, 0.6] {
        results.add(figure("rate"), "weft-tap", &axes, value);
        results.add(figure("rate"), "bridge", &axes, value / 2.0);
    }
    results.missing.push(Missing {
        test: String::new(),
        system: "testpmd".into(),
        axes: Axes::new(),
        reason: "dpdk-testpmd is not there, \"yet\"".into(),
        failed: false,
    });
    results
}

#[test]
fn what_is_written_is_read_again() {
    let (results, dir) = (some(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a.json");
    results.write(&path).unwrap();
    assert_eq!(Results::read(&path).unwrap(), results);
    assert_eq!(results.measurements.len(), 2);
    assert_eq!(results.measurements[0].runs, [0.5, 0.7, 0.6]);
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let newer = some().json().unwrap().replace("\"format\": 1", "\"format\": 2");
    for (text, why) in [("{}", "no \"format\""), (&*newer, "format is 2"), ("{", "EOF"), ("[1]", "invalid")] {
        fs::write(&path, text).unwrap();
        let error = Results::read(&path).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("a.json"), "{error}");
    }
    assert!(Results::read(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn csv_has_a_line_for_each_run_and_each_gap() {
    let text = some().csv().unwrap();
    assert_eq!(text.lines().count(), 1 + 6 + 1);
    assert!(text.contains("udp64,rate,weft-tap,flows=10000 port=tap size=64,Mpps,more,2,0.7,"), "{text}");
    assert!(text.contains("\"dpdk-testpmd is not there, \"\"yet\"\"\""), "{text}");
}

#[test]
fn expectations_hold_medians_to_numbers_and_to_peers() {
    let results = some();
    let broken = |text: &str| text.parse::<Expect>().unwrap().check(&results).len();
    assert_eq!(broken("rate>=0.2"), 0);
    assert_eq!(broken("rate>=0.4"), 1, "the bridge's is 0.3");
    assert_eq!(broken("weft-tap/rate>=0.6"), 0);
    assert_eq!(broken("weft-tap/udp64/rate>=0.61"), 1);
    assert_eq!(broken("weft-tap/udp64/rate<=0.59"), 1);
    assert_eq!(broken("weft-tap/rate>=1.9*bridge"), 0);
    assert_eq!(broken("weft-tap/rate>=2.1*bridge"), 1);
    assert_eq!(broken("weft-tap/rate>=2.1*vpp"), 1, "no such peer");
    assert_eq!(broken("nothing>=0"), 1);
    for bad in ["rate", "rate>=", "rate>=x", ">=1", "a/b/c/d>=1", "rate>=1*", "rate==1"] {
        assert!(bad.parse::<Expect>().is_err(), "{bad}");
    }
}

#[test]
fn measurements_are_grouped_by_what_they_measure() {
    let mut results = some();
    results.add(figure("offered"), "bridge", &Axes::new(), 1.0);
    let groups = by_what(&results.measurements);
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_failure_of_a_peer_is_not_wefts() {
    let mut results = some();
    let system = |name: &str, is_weft| System { name: name.into(), is_weft, ..System::default() };
    results.systems = vec![system("weft-tap", true), system("testpmd", false)];
    results.missing[0].failed = true;
    assert!(!results.weft_failed());
    results.missing[0].system = "weft-tap".into();
    assert!(results.weft_failed());
}
