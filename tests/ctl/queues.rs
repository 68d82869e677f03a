//! Queues by load and by hand.

use std::{cell::RefCell, time::Duration};

use serde_json::Value;
use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

/// Both generators are on the second core: queues are dealt out in turn.
const LOPSIDED: &str = r#"
[node]
name = "ctl"
control = "CONTROL"
[pmd]
cores = [0, 1]
memory_mib = 64
[[network]]
name = "pods"
prefixes = ["10.244.0.0/24"]
gateways = ["10.244.0.1"]
[[port]]
name = "sink"
kind = "null"
[[port]]
name = "one"
kind = "gen"
[[port]]
name = "idle"
kind = "null"
[[port]]
name = "two"
kind = "gen"
[[endpoint]]
name = "sink"
network = "pods"
port = "sink"
mac = "02:00:00:00:00:0b"
addresses = ["10.244.0.11"]
[[endpoint]]
name = "one"
network = "pods"
port = "one"
mac = "02:00:00:00:00:0c"
addresses = ["10.244.0.12"]
[[endpoint]]
name = "two"
network = "pods"
port = "two"
mac = "02:00:00:00:00:0d"
addresses = ["10.244.0.13"]
"#;

/// A third one there makes it plain whatever else the machine does.
const MORE: &str = r#"
[[port]]
name = "void"
kind = "null"
[[port]]
name = "three"
kind = "gen"
[[endpoint]]
name = "three"
network = "pods"
port = "three"
mac = "02:00:00:00:00:0e"
addresses = ["10.244.0.14"]
"#;

fn cores(weftd: &Weftd) -> Vec<Value> {
    let ports = weftd.json(&["port", "list"]);
    ports["ports"].as_array().expect("a list").iter().map(|port| port["cores"][0].clone()).collect()
}

/// Waits until load has been measured long enough.
fn rebalance(weftd: &Weftd, how: &str) -> Value {
    weftd.wait_for("load", |weftd| weftd.ctl(&["pmd", "rebalance", "--plan"]).status.success());
    weftd.json(&["pmd", "rebalance", how])
}

#[test]
fn the_busiest_thread_is_relieved() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, &format!("{LOPSIDED}{MORE}"));
    let begun = cores(&weftd);
    // What varies much is known well enough after a while.
    let until = |args: &[&str], says: &str| {
        let said = RefCell::new(String::new());
        weftd.wait_for(says, |weftd| {
            let output = weftd.ctl(args);
            said.replace(String::from_utf8_lossy(&output.stdout).into_owned());
            said.borrow().contains(says)
        });
        said.into_inner()
    };
    let plan = until(&["--json", "pmd", "rebalance", "--plan"], "1 queue would be moved");
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let share =
        |reply: &Value, core: usize, when: &str| reply["threads"][core][when].as_f64().unwrap_or(-1.0);
    assert!(share(&plan, 1, "before") > share(&plan, 0, "before") + 20.0, "{plan}");
    assert!(share(&plan, 1, "after") < share(&plan, 1, "before") - 10.0, "{plan}");
    assert_eq!(plan["applied"], false, "{plan}");
    assert_eq!(cores(&weftd), begun, "a plan moves nothing");
    let table = until(&["pmd", "rebalance", "--apply"], "1 queue moved");
    assert!(table.contains("0 ←"), "{table}");
    let moved = cores(&weftd).iter().zip(&begun).filter(|(now, then)| now != then).count();
    assert_eq!(moved, 1, "{table}");
    // Another look takes nothing back.
    for _ in 0..3 {
        let next = rebalance(&weftd, "--plan");
        assert!(next["summary"].as_str().is_some_and(|said| said.contains("stay where they are")), "{next}");
        std::thread::sleep(Duration::from_secs(1));
    }
    // What the generators make still arrives, all of it: nothing but a moment passes between the two counts.
    assert!(weftd.must(&["drops"]).contains("no drops"), "{}", weftd.must(&["drops"]));
    let sent = || weftd.json(&["stats", "sink"])["queues"][0]["tx_packets"].as_u64();
    let before = sent();
    std::thread::sleep(Duration::from_millis(200));
    assert!(sent() > before);
}

#[test]
fn a_queue_stays_where_it_is_put() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, LOPSIDED);
    for (queue, core, says) in [
        ("three:0", "0", "there is no queue \"three:0\"; there is idle:0, one:0, sink:0, two:0"),
        ("one:1", "0", "there is no queue"),
        ("one", "0", "there is no queue"),
        ("one:0", "7", "no PMD thread runs on core 7; use one of [0, 1]"),
    ] {
        let output = weftd.ctl(&["pmd", "set", queue, "--core", core]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(says), "{queue}: {text}");
    }
    for queue in ["one:0", "two:0"] {
        let said = weftd.must(&["pmd", "set", queue, "--core", "0"]);
        assert!(said.contains(&format!("queue {queue} is polled on core 0")), "{said}");
    }
    assert_eq!(cores(&weftd), [0, 0, 0, 0]);
    let reply = rebalance(&weftd, "--apply");
    let is_set = |row: &Value| row["pinned"] == true && row["after"] == 0;
    let rows = reply["queues"].as_array().expect("a list");
    assert_eq!(rows.iter().filter(|row| is_set(row)).count(), 2, "{reply}");
    assert_eq!((cores(&weftd)[1].clone(), cores(&weftd)[3].clone()), (0.into(), 0.into()));
}
