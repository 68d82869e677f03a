//! What weftd remembers, and how it is looked at.

use std::{thread::sleep, time::Duration};

use weft_tests::netns::require_root;

use crate::weftd;

#[test]
fn what_happened_is_remembered_whole_and_shown_at_its_time() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    // The generator sends 50,000 packets at once and is silent afterwards.
    let received = |moments: &serde_json::Value| -> u64 {
        let moments = moments["moments"].as_array().expect("a list");
        moments.iter().filter_map(|moment| moment["sum"]["rx_packets"].as_u64()).sum()
    };
    let whole = ["history", "--from", "5m", "--step", "1s"];
    weftd.wait_for("the past", |weftd| received(&weftd.json(&whole)) == 50_000);
    sleep(Duration::from_millis(2100));
    let past = weftd.json(&whole);
    let moments = past["moments"].as_array().expect("a list");
    let busiest = moments.iter().max_by_key(|moment| moment["sum"]["rx_packets"].as_u64()).expect("one");
    // One step for all of it says the same as one for each second, and sums the same as ports.
    let joined = weftd.json(&["history", "--from", "5m", "--step", "5m"]);
    assert_eq!((received(&joined), joined["moments"].as_array().map(Vec::len)), (50_000, Some(1)));
    let all = &joined["moments"][0];
    let ports = all["ports"].as_array().expect("ports");
    let find = |name: &str| ports.iter().find(|port| port["port"] == name).expect("the port").clone();
    assert_eq!(find("source")["rx_packets"], find("sink")["tx_packets"], "{all}");
    assert_eq!(all["threads"][0]["packets"], all["sum"]["rx_packets"], "{all}");
    assert_eq!(received(&weftd.json(&["history", "--from", "5m", "--sums"])), 50_000);
    assert_eq!(received(&weftd.json(&["history", "--from", "5m", "--port", "sink"])), 0);
    // Nothing is idle now; the moment it happened, the port was busy.
    let ago = (past["now_ms"].as_u64().unwrap_or(0) - busiest["at_ms"].as_u64().unwrap_or(0) + 500) / 1000;
    let row = |args: &[&str]| {
        let text = weftd.must(args);
        text.lines().find(|line| line.starts_with("source")).expect("a row").to_owned()
    };
    assert!(row(&["top", "--once"]).contains(" 0 "), "live");
    // The next second may have passed since.
    let then = |ago: u64| weftd.json(&["top", "--once", "--at", &format!("-{ago}s")])["moment"].clone();
    assert!((ago..=ago + 1).any(|ago| then(ago) == *busiest), "{busiest}");
}

#[test]
fn what_can_not_be_remembered_is_said() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    for (args, says) in [
        (&["history", "--from", "1m", "--to", "2m"][..], "begin longer ago than you end"),
        (&["history", "--step", "0"], "use 1s or more"),
        (&["history", "--port", "nope"], "there is no port \"nope\""),
        (&["top", "--once", "--at", "14m"], "nothing older; use a smaller --at"),
        (&["top"], "no terminal; use --once"),
    ] {
        let output = weftd.ctl(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(says), "{args:?}: {error}");
    }
}
