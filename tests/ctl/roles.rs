//! Roles, and the audit log.

use std::{os::unix::fs::PermissionsExt, path::Path};

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

use super::CONFIG;

/// Runs weftctl as somebody else.
fn run_as(node: &NetNs, weftd: &Weftd, uid: &str, gid: &str, args: &[&str]) -> (bool, String) {
    let dir = weftd.socket().parent().map(Path::to_owned).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("root may");
    let weftctl = dir.join("weftctl");
    if !weftctl.exists() {
        std::fs::copy(weft_tests::daemon::binary("weftctl"), &weftctl).expect("a copy that anybody may run");
    }
    let (weftctl, socket) = (weftctl.display().to_string(), weftd.socket().display().to_string());
    let user = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", &weftctl, "--socket", &socket];
    let output = node.run(&[&user[..], args].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

const ROLES: &str = "[roles]\nview = [\"@7001\"]\noperate = [\"7002\"]\nadmin = [\"7003\"]\n";

#[test]
fn each_role_may_what_it_may_and_is_told_what_it_may_not() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, &format!("{ROLES}{CONFIG}"));
    let mode = std::fs::metadata(weftd.socket()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "weftd tells who they are");
    let own = weftd.config().display().to_string();
    let look = ["flow", "list"];
    let change = ["flow", "add", "f", "--action", "drop", "--match", "protocol=tcp"];
    let undo = ["flow", "del", "f"];
    let kept = ["--persist", "flow", "add", "f", "--action", "drop", "--match", "protocol=tcp"];
    let asked = ["trace", "--from", "sink", "arp who-has 10.0.0.1 tell 10.0.0.2"];
    let against = ["trace", "--against", &own, "--from", "sink", asked[3]];
    let diff = ["config", "diff"];
    let diff_file = ["config", "diff", "/etc/shadow"];
    let apply = ["config", "apply", &own];
    let pcap = ["port", "add", "x", "--kind", "pcap", "--tx-file", "/etc/weft-was-here"];
    for (uid, gid, args, needed) in [
        ("7001", "7001", &look[..], None),
        ("7001", "7001", &diff, None),
        ("7001", "7001", &change, Some("operate")),
        ("7001", "7001", &diff_file, Some("admin")),
        ("7001", "7001", &["audit"], None),
        ("7001", "7001", &asked, None),
        ("7001", "7001", &against, Some("operate")),
        ("7002", "7009", &against, None),
        ("7002", "7009", &look, None),
        ("7002", "7009", &change, None),
        ("7002", "7009", &undo, None),
        ("7002", "7009", &kept, Some("admin")),
        ("7002", "7009", &pcap, Some("admin")),
        ("7002", "7009", &apply, Some("admin")),
        ("7003", "7009", &change, None),
        ("7003", "7009", &apply, None),
    ] {
        let (done, said) = run_as(&node, &weftd, uid, gid, args);
        match needed {
            None => assert!(done, "{uid} {args:?}: {said}"),
            Some(role) => {
                let says = format!("takes the role {role}: uid {uid} (weftctl");
                let remedy = format!("name you in roles.{role}");
                assert!(!done && said.contains(&says) && said.contains(&remedy), "{uid} {args:?}: {said}");
            }
        }
    }
    let (done, said) = run_as(&node, &weftd, "7004", "7009", &look);
    assert!(!done && said.contains("user 7004 may not control weftd"), "{said}");
    assert!(!Path::new("/etc/weft-was-here").exists());
}

#[test]
fn roles_change_with_the_configuration() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let weftd = Weftd::start(&node, CONFIG);
    let mode = || std::fs::metadata(weftd.socket()).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    weftd.write(&format!("{ROLES}{CONFIG}"));
    weftd.must(&["config", "reload"]);
    assert_eq!(mode(), 0o666);
    assert!(run_as(&node, &weftd, "7002", "7009", &["flow", "list"]).0);
    weftd.write(CONFIG);
    weftd.must(&["config", "reload"]);
    assert_eq!(mode(), 0o600);
    let bad = CONFIG.replace("[pmd]", "[roles]\nview = [\"no-such-user\"]\n[pmd]");
    weftd.write(&bad);
    let output = weftd.ctl(&["config", "reload"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("roles.view: there is no user \"no-such-user\""),
        "{text}"
    );
}

#[test]
fn every_change_and_every_attempt_is_in_the_audit_log() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let mut weftd = Weftd::start(&node, &format!("{ROLES}{CONFIG}"));
    weftd.must(&["flow", "add", "f", "--action", "drop", "--match", "protocol=tcp"]);
    weftd.ctl(&["flow", "del", "nope"]);
    run_as(&node, &weftd, "7001", "7001", &["port", "del", "sink", "--force"]);
    weftd.must(&["flow", "list"]);
    weftd.reload();
    weftd.wait_for("the reload", |weftd| weftd.must(&["audit"]).contains("SIGHUP"));
    let entries = |weftd: &Weftd| weftd.json(&["audit"])["entries"].as_array().expect("a list").clone();
    let all = entries(&weftd);
    let told: Vec<(String, String, bool)> = all
        .iter()
        .map(|entry| {
            let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (word(&entry["verb"]), word(&entry["who"]["comm"]), entry["done"] == true)
        })
        .collect();
    let of = |verb: &str, comm: &str, done| (verb.to_owned(), comm.to_owned(), done);
    assert_eq!(
        told,
        [
            of("flow add", "weftctl", true),
            of("flow del", "weftctl", false),
            of("port del", "weftctl", false),
            of("config reload", "weftd (SIGHUP)", true),
        ]
    );
    assert_eq!((&all[2]["who"]["uid"], &all[2]["args"]["name"]), (&7001.into(), &"sink".into()));
    assert!(
        all[0]["who"]["pid"].is_number()
            && all[0]["generation"].is_number()
            && all[0]["who"]["user"] == "root"
    );
    assert!(all[0]["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    let lines = std::fs::read_to_string(weftd.state().join("audit.log")).expect("there");
    assert_eq!(lines.lines().count(), 4, "{lines}");
    weftd.kill();
    weftd.run();
    assert_eq!(entries(&weftd), all, "it outlives weftd");
    assert_eq!(weftd.json(&["audit", "-n", "1"])["entries"].as_array().map(Vec::len), Some(1));
}
