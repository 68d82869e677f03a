//! The configuration as a transaction: planned, applied wholly or not at all, confirmed or taken back, kept over every death.

use std::{path::PathBuf, time::Duration};

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

use super::{CONFIG, weftd};

/// Another configuration beside weftd's own.
pub(super) fn beside(weftd: &Weftd, name: &str, config: &str) -> String {
    let path: PathBuf = weftd.config().with_file_name(name);
    std::fs::write(&path, weftd.own(config)).expect("writable");
    path.display().to_string()
}

pub(super) fn with_rule(name: &str) -> String {
    format!("{CONFIG}[[flow]]\nname = \"{name}\"\nactions = [\"drop\"]\n")
}

pub(super) fn rules(weftd: &Weftd) -> Vec<String> {
    let flows = weftd.json(&["flow", "list"]);
    let rows = flows["flows"].as_array().expect("a list").iter();
    rows.filter_map(|row| row["spec"]["name"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
pub(super) fn refused(weftd: &Weftd, args: &[&str], says: &str) {
    let output = weftd.ctl(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains(says), "{args:?}: {text}");
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    weftd.wait_for("flows", |weftd| weftd.json(&["status"])["flows"] == 100);
    let generation = weftd.json(&["status"])["generation"].clone();
    let file = beside(
        &weftd,
        "new.toml",
        &with_rule("all")
            .replace("name = \"sink\"\nkind = \"null\"", "name = \"sink\"\nkind = \"null\"\nmtu = 1400"),
    );
    let plan = weftd.must(&["config", "plan", &file]);
    for says in [
        "~ port sink\n    mtu: (default) → 1400",
        "+ flow all\n    actions = [\"drop\"]",
        "! port sink is closed and opened again (mtu changed): pods sink is interrupted",
        "100 cached flows are resolved again on their next packets; 100 would go another way",
        "output:sink → rule:all, drop:rule",
    ] {
        assert!(plan.contains(says), "{says}:\n{plan}");
    }
    let exit = |args: &[&str]| weftd.ctl(args).status.code();
    assert_eq!(exit(&["config", "plan", &file, "--exit-code"]), Some(3));
    let own = weftd.config().display().to_string();
    assert_eq!(exit(&["config", "plan", &own, "--exit-code"]), Some(0));
    assert!(weftd.must(&["config", "plan", &own]).contains("nothing would change"));
    // What can't be is refused, or said to be.
    refused(&weftd, &["config", "plan", "/no/such/file"], "name a configuration file");
    let other = beside(&weftd, "pmd.toml", &CONFIG.replace("memory_mib = 64", "memory_mib = 32"));
    let output = weftd.ctl(&["config", "plan", &other]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("it would be refused: [pmd]"), "{text}");
    let absent = format!("{CONFIG}[[port]]\nname = \"x\"\nkind = \"packet\"\ndevice = \"nope0\"\n");
    let plan = String::from_utf8(weftd.ctl(&["config", "plan", &beside(&weftd, "x.toml", &absent)]).stdout);
    let plan = plan.expect("text");
    assert!(plan.contains("it would be refused: port \"x\": device nope0 does not exist"), "{plan}");
    assert_eq!(weftd.json(&["status"])["generation"], generation);
    assert!(rules(&weftd).is_empty());
}

#[test]
fn what_is_not_confirmed_is_taken_back() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let file = beside(&weftd, "new.toml", &with_rule("tried"));
    let said = weftd.must(&["config", "apply", &file, "--confirm-within", "2s"]);
    assert!(said.contains("1 change") && said.contains("taken back in 2 s unless confirmed"), "{said}");
    assert_eq!(rules(&weftd), ["tried"]);
    assert!(weftd.must(&["status"]).contains("unless confirmed"));
    for change in [
        &["flow", "del", "tried"][..],
        &["config", "apply", &file],
        &["config", "reload"],
        &["config", "rollback"],
        &["config", "save"],
    ] {
        refused(&weftd, change, "weftctl config confirm) or take it back (weftctl config cancel) first");
    }
    weftd.wait_for("taking back", |weftd| rules(weftd).is_empty());
    assert!(weftd.must(&["config", "history"]).contains("taken back (not confirmed in time)"));
    refused(&weftd, &["config", "confirm"], "no configuration waits");
    // Taken back by hand, at once; and kept.
    weftd.must(&["config", "apply", &file, "--confirm-within", "60s"]);
    assert!(weftd.must(&["config", "cancel"]).contains("taken back (cancelled)"));
    assert!(rules(&weftd).is_empty());
    weftd.must(&["config", "apply", &file, "--confirm-within", "4s"]);
    weftd.must(&["config", "confirm"]);
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(rules(&weftd), ["tried"]);
    refused(&weftd, &["config", "apply", &file, "--confirm-within", "0s"], "use 1s to 24h");
}

#[test]
fn what_was_confirmed_is_there_after_a_kill_and_nothing_else() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    let restarted = |weftd: &mut Weftd, is: &[&str]| {
        weftd.kill();
        weftd.run();
        assert_eq!(rules(weftd), is);
    };
    // Another file, not confirmed; then confirmed.
    let file = beside(&weftd, "new.toml", &with_rule("other"));
    weftd.must(&["config", "apply", &file, "--confirm-within", "60s"]);
    restarted(&mut weftd, &[]);
    weftd.must(&["config", "apply", &file]);
    restarted(&mut weftd, &["other"]);
    // Its own file, edited in place: not even then, and not after the next restart either.
    weftd.write(&with_rule("edited"));
    let own = weftd.config().display().to_string();
    weftd.must(&["config", "apply", &own, "--confirm-within", "60s"]);
    assert_eq!(rules(&weftd), ["edited"]);
    restarted(&mut weftd, &["other"]);
    assert!(weftd.log().contains("coming up with the configuration last confirmed"), "{}", weftd.log());
    restarted(&mut weftd, &["other"]);
    let diff = weftd.must(&["config", "diff"]);
    assert!(diff.contains("- flow edited") && diff.contains("+ flow other"), "{diff}");
    weftd.must(&["config", "reload"]);
    restarted(&mut weftd, &["edited"]);
    // What verbs change is gone, unless it was to persist.
    weftd.must(&["flow", "add", "gone", "--action", "drop"]);
    weftd.must(&["--persist", "flow", "add", "kept", "--action", "drop", "--match", "protocol=tcp"]);
    restarted(&mut weftd, &["edited", "gone", "kept"]);
    weftd.must(&["flow", "del", "gone"]);
    restarted(&mut weftd, &["edited", "gone", "kept"]);
    // Whoever edits the file means it.
    weftd.write(&with_rule("newest"));
    restarted(&mut weftd, &["newest"]);
    refused(&weftd, &["--persist", "status"], "changes nothing that --persist could write");
}

#[test]
fn what_fails_on_the_way_leaves_all_as_it_was() {
    if !require_root() {
        return;
    }
    let (node, weftd) = weftd();
    let before = weftd.must(&["config", "show"]);
    let startup = || std::fs::read(weftd.state().join("startup.json")).ok();
    // Only opening it tells that there is such a device already.
    node.ip(&["link", "add", "taken0", "type", "veth", "peer", "name", "taken1"]);
    let taken = format!("{}[[port]]\nname = \"x\"\nkind = \"tap\"\ndevice = \"taken0\"\n", with_rule("f"));
    let file = beside(&weftd, "new.toml", &taken);
    for confirm in [&[][..], &["--confirm-within", "60s"]] {
        refused(&weftd, &[&["config", "apply", &file], confirm].concat(), "of this name already");
        assert_eq!((weftd.must(&["config", "show"]), startup()), (before.clone(), None));
        assert!(weftd.json(&["status"])["confirm_within_s"].is_null());
    }
    assert_eq!(weftd.json(&["config", "history"])["entries"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_pod_that_is_gone_keeps_nobody_from_going_back() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    node.ip(&["link", "add", "pod0", "type", "veth", "peer", "name", "pod1"]);
    let with_pod = format!("{CONFIG}[[port]]\nname = \"pod\"\nkind = \"packet\"\ndevice = \"pod0\"\n");
    let weftd = Weftd::start(&node, &with_pod);
    let file = beside(&weftd, "new.toml", &with_rule("tried"));
    weftd.must(&["config", "apply", &file, "--confirm-within", "60s"]);
    node.ip(&["link", "del", "pod0"]);
    let said = weftd.must(&["config", "cancel"]);
    assert!(said.contains("warning: port left out: \"pod\": device pod0 does not exist"), "{said}");
    assert_eq!((rules(&weftd).len(), &weftd.json(&["status"])["ports_waiting"]), (0, &1.into()));
}

#[test]
fn without_a_state_directory_nothing_can_wait_to_be_confirmed() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let weftd = Weftd::prepare(&node, CONFIG);
    std::fs::write(weftd.state(), "in the way").expect("writable");
    let mut weftd = weftd;
    weftd.run();
    assert!(weftd.log().contains("no state directory"), "{}", weftd.log());
    let file = beside(&weftd, "new.toml", &with_rule("new"));
    refused(&weftd, &["config", "apply", &file, "--confirm-within", "60s"], "weftd has no state directory");
    assert!(rules(&weftd).is_empty());
    let said = weftd.must(&["config", "apply", &file]);
    assert!(said.contains("warning: without a state directory"), "{said}");
    weftd.must(&["config", "rollback"]);
    assert!(rules(&weftd).is_empty());
}
