//! What is kept over every death of weftd: the configuration last confirmed, and the history of those that were in force.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use weft_tests::{
    daemon::{Weftd, binary},
    netns::{NetNs, require_root},
};

use super::{
    CONFIG,
    transaction::{beside, refused, rules, with_rule},
    weftd,
};

fn add(rule: &str) -> [&str; 7] {
    ["flow", "add", rule, "--action", "drop", "--match", "protocol=tcp"]
}

#[test]
fn history_leads_back() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    refused(&weftd, &["config", "rollback"], "no other configuration before");
    for name in ["a", "b"] {
        weftd.must(&add(name));
    }
    let history =
        |weftd: &Weftd| weftd.json(&["config", "history"])["entries"].as_array().expect("a list").clone();
    let all = history(&weftd);
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!((&all[0]["current"], &all[0]["who"]["uid"]), (&Value::Bool(true), &0.into()));
    assert!(all[1]["what"].as_str().is_some_and(|what| what.contains("flow rule a added")));
    weftd.must(&["config", "rollback"]);
    assert_eq!(rules(&weftd), ["a"]);
    weftd.must(&["config", "rollback"]);
    assert_eq!(rules(&weftd), ["a", "b"]);
    let first = all[2]["generation"].to_string();
    let plan = weftd.must(&["config", "plan", "--generation", &first]);
    assert!(plan.contains("- flow a") && plan.contains("- flow b"), "{plan}");
    weftd.must(&["config", "rollback", &first]);
    assert_eq!(rules(&weftd), Vec::<String>::new());
    refused(
        &weftd,
        &["config", "rollback", "999999"],
        "the history has no configuration of generation 999999; there is ",
    );
    // It goes on after a restart, and so do generations.
    let newest = history(&weftd)[0]["generation"].as_u64();
    weftd.kill();
    weftd.run();
    weftd.must(&add("c"));
    let after = history(&weftd);
    assert_eq!(after.len(), 7, "{after:?}");
    assert!(after[0]["generation"].as_u64() > newest, "{after:?}");
}

/// Ends weftd at every step of its writing in turn; says what it had answered, and what it then came up with.
fn at_every_step(changes: &[&[&str]], check: impl Fn(usize, &Weftd)) -> usize {
    let node = NetNs::new("ctl");
    let (mut deaths, mut step) = (0, 0);
    loop {
        step += 1;
        let mut weftd = Weftd::prepare(&node, CONFIG);
        let file = beside(&weftd, "new.toml", &with_rule("new"));
        weftd.spawn(&[("WEFT_CRASH_AT", &step.to_string())]);
        while !weftd.has_ended() && !weftd.ctl(&["status"]).status.success() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let answers = changes.iter().take_while(|change| {
            let change: Vec<&str> =
                change.iter().map(|word| if *word == "FILE" { &file } else { *word }).collect();
            weftd.ctl(&change).status.success()
        });
        let answered = answers.count();
        let has_died = answered < changes.len() || weftd.has_ended();
        if has_died {
            deaths += 1;
        }
        if !weftd.has_ended() {
            weftd.kill();
        }
        weftd.run();
        check(answered, &weftd);
        if !has_died {
            return deaths;
        }
    }
}

#[test]
fn whatever_step_weftd_dies_at_it_comes_up_with_one_configuration_or_the_other() {
    if !require_root() {
        return;
    }
    let deaths = at_every_step(&[&["config", "apply", "FILE"]], |answered, weftd| {
        let rules = rules(weftd);
        assert!(rules == ["new"] || answered == 0 && rules.is_empty(), "{answered}: {rules:?}");
    });
    assert!(deaths >= 12, "{deaths}");
    let confirmed = [&["config", "apply", "FILE", "--confirm-within", "60s"][..], &["config", "confirm"]];
    let deaths = at_every_step(&confirmed, |answered, weftd| match (answered, rules(weftd)) {
        (0, rules) => assert!(rules.is_empty(), "{rules:?}"),
        (1, rules) => assert!(rules.is_empty() || rules == ["new"], "{rules:?}"),
        (_, rules) => assert_eq!(rules, ["new"]),
    });
    assert!(deaths >= 18, "{deaths}");
}

/// What the history tells of rules that came and went: how, and the generation.
fn past_of_rules(weftd: &Weftd) -> Vec<(String, u64)> {
    let history = weftd.json(&["config", "history"]);
    let rows = history["entries"].as_array().expect("a list").iter().rev();
    let told = |row: &Value| Some((row["what"].as_str()?.to_owned(), row["generation"].as_u64()?));
    rows.filter_map(told).filter(|(what, _)| what.starts_with("flow rule")).collect()
}

#[test]
fn whatever_step_weftd_dies_at_what_was_answered_is_in_the_history() {
    if !require_root() {
        return;
    }
    let changes = [&add("one")[..], &add("two"), &["flow", "del", "one"]];
    let were: [&[&str]; 3] = [&["one"], &["one", "two"], &["two"]];
    let deaths = at_every_step(&changes, |answered, weftd| {
        let past = past_of_rules(weftd);
        assert!((answered..=answered + 1).contains(&past.len()), "{answered}: {past:?}");
        for ((_, generation), were) in past.iter().zip(were) {
            weftd.must(&["config", "rollback", &generation.to_string()]);
            assert_eq!(rules(weftd), were);
        }
    });
    assert!(deaths >= 24, "{deaths}");
}

#[test]
fn what_can_not_be_written_is_said_and_spoils_nothing_after_it() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    let add = |weftd: &Weftd, name| weftd.must(&add(name));
    let (history, aside) = (weftd.state().join("history"), weftd.state().join("aside"));
    assert!(!add(&weftd, "a").contains("warning"));
    std::fs::rename(&history, &aside).expect("ours");
    for name in ["b", "c"] {
        assert!(add(&weftd, name).contains("warning: not in the history: "));
    }
    std::fs::rename(&aside, &history).expect("ours");
    for name in ["d", "e"] {
        assert!(!add(&weftd, name).contains("warning"));
    }
    weftd.kill();
    weftd.run();
    let past = past_of_rules(&weftd);
    let names: Vec<&str> = past.iter().filter_map(|(what, _)| what.split(' ').nth(2)).collect();
    assert_eq!(names, ["a", "d", "e"]);
    weftd.must(&["config", "rollback", &past[2].1.to_string()]);
    assert_eq!(rules(&weftd), ["a", "b", "c", "d", "e"]);
}

#[test]
fn nobody_waits_for_a_slow_disk_but_who_made_the_change() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let mut weftd = Weftd::prepare(&node, CONFIG);
    weftd.spawn(&[("WEFT_STEP_MS", "300")]);
    weftd.await_answer();
    let mut change = Command::new(binary("weftctl"))
        .arg("--socket")
        .arg(weftd.socket())
        .args(add("slow"))
        .stdout(Stdio::null())
        .spawn()
        .expect("weftctl runs");
    weftd.wait_for("the change", |weftd| rules(weftd) == ["slow"]);
    assert_eq!(past_of_rules(&weftd).len(), 1);
    assert!(change.try_wait().expect("it was started").is_none(), "it was answered before it was kept");
    assert!(change.wait().expect("it ends").success());
}

#[test]
fn a_kill_at_any_moment_leaves_whole_files() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    let files = ["one", "two"].map(|name| beside(&weftd, &format!("{name}.toml"), &with_rule(name)));
    // A loaded machine may not come to the first change before the first kill.
    weftd.must(&["config", "apply", &files[0]]);
    for round in 0_u64..8 {
        let socket = weftd.socket().display().to_string();
        let weftctl = binary("weftctl").display().to_string();
        let apply = |file: &str| format!("{weftctl} --socket {socket} config apply {file}");
        let script = format!("while {} && {}; do :; done", apply(&files[0]), apply(&files[1]));
        let mut busy = Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        std::thread::sleep(Duration::from_millis(60 + 37 * round));
        weftd.kill();
        busy.wait().expect("it ends when weftd does");
        weftd.run();
        let rules = rules(&weftd);
        assert!(rules == ["one"] || rules == ["two"], "{rules:?}");
        assert!(!weftd.log().contains("can't be read"), "{}", weftd.log());
    }
}
