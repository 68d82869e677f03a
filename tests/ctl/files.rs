//! Files and directories that are damaged, planted or somebody else's.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use weft_tests::{
    daemon::Weftd,
    netns::{NetNs, require_root},
};

use super::{
    CONFIG,
    transaction::{beside, refused, rules, with_rule},
    weftd,
};

fn problems(weftd: &Weftd) -> String {
    weftd.json(&["status"])["problems"].to_string()
}

#[test]
fn a_damaged_file_never_brings_weftd_up_silently_with_another_configuration() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    weftd.must(&["config", "apply", &beside(&weftd, "new.toml", &with_rule("confirmed"))]);
    weftd.kill();
    let path = weftd.state().join("startup.json");
    let whole = fs::read(&path).expect("there");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let in_the_rule = whole.windows(9).position(|part| part == b"confirmed").expect("it is in there");
    let damaged =
        [flipped(3), flipped(in_the_rule), flipped(whole.len() - 1), whole[..90].to_vec(), Vec::new()];
    for bytes in damaged {
        fs::write(&path, bytes).expect("ours");
        weftd.run();
        assert_eq!(rules(&weftd), Vec::<String>::new(), "it has come up with its file");
        assert!(weftd.log().contains("ERROR") && weftd.log().contains("startup.json"), "{}", weftd.log());
        assert!(problems(&weftd).contains("startup.json"), "{}", problems(&weftd));
        assert!(weftd.must(&["status"]).contains("PROBLEM: "));
        let doctor = weftd.ctl(&["doctor", "--quiet", "lo"]);
        let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.status.code() == Some(1) && text.contains("startup.json"), "{text}");
        weftd.kill();
    }
    fs::write(&path, &whole).expect("ours");
    weftd.run();
    assert_eq!(rules(&weftd), ["confirmed"]);
    assert_eq!(problems(&weftd), "null");
    // Writing it anew puts an end to it.
    weftd.kill();
    fs::write(&path, &whole[1..]).expect("ours");
    weftd.run();
    weftd.must(&["config", "apply", &beside(&weftd, "new.toml", &with_rule("again"))]);
    assert_eq!(problems(&weftd), "null");
    weftd.kill();
    weftd.run();
    assert_eq!(rules(&weftd), ["again"]);
}

#[test]
fn a_damaged_history_and_audit_log_are_told_of_and_the_rest_serves() {
    if !require_root() {
        return;
    }
    let (_node, mut weftd) = weftd();
    for name in ["a", "b"] {
        weftd.must(&["flow", "add", name, "--action", "drop", "--match", "protocol=tcp"]);
    }
    let newest = weftd.json(&["status"])["generation"].as_u64().expect("a number");
    weftd.kill();
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).expect("there");
        let at = bytes.len() - 30;
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("ours");
    };
    damage(&weftd.state().join(format!("history/{newest:020}.json")));
    damage(&weftd.state().join("audit.log"));
    weftd.run();
    let told = problems(&weftd);
    assert!(told.contains(&format!("history, which can't lead back to them: {newest}")), "{told}");
    assert!(told.contains("audit.log: damaged or cut off, and left out: 1 of its lines"), "{told}");
    assert_eq!(weftd.json(&["audit"])["entries"].as_array().map(Vec::len), Some(1));
    refused(
        &weftd,
        &["config", "rollback", &newest.to_string()],
        "the history has no configuration of generation",
    );
    weftd.must(&["config", "rollback"]);
    assert_eq!(rules(&weftd), ["a"]);
}

#[test]
fn a_state_directory_that_is_not_weftds_is_refused_and_left_as_it_is() {
    if !require_root() {
        return;
    }
    let node = NetNs::new("ctl");
    let mut weftd = Weftd::prepare(&node, CONFIG);
    let state = weftd.state();
    let victim = state.with_file_name("victim");
    fs::write(&victim, "precious").expect("ours");
    let mode = |mode| fs::Permissions::from_mode(mode);
    let others: [(&str, &dyn Fn()); 5] = [
        ("others than weftd may write to it", &|| fs::set_permissions(&state, mode(0o1777)).expect("ours")),
        ("it belongs to user 65534", &|| {
            std::os::unix::fs::chown(&state, Some(65534), None).expect("root may");
        }),
        ("something else in it (else)", &|| fs::write(state.join("else"), "").expect("ours")),
        ("it is a symbolic link", &|| {
            fs::rename(&state, state.with_file_name("elsewhere")).expect("ours");
            symlink(state.with_file_name("elsewhere"), &state).expect("ours");
        }),
        ("it is a symbolic link", &|| symlink(&victim, state.join("lock")).expect("ours")),
    ];
    for (says, make) in others {
        fs::create_dir(&state).expect("ours");
        fs::set_permissions(&state, mode(0o755)).expect("ours");
        make();
        let before = fs::metadata(&state).expect("there");
        weftd.run();
        assert!(problems(&weftd).contains(says), "{says}: {}", problems(&weftd));
        assert!(weftd.log().contains("ERROR"), "{}", weftd.log());
        let after = fs::metadata(&state).expect("there");
        assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()), "{says}");
        assert!(!state.join("startup.json").exists() && !state.join("history").exists(), "{says}");
        // It runs all the same, and says what it can't.
        let said = weftd.must(&["config", "apply", &beside(&weftd, "new.toml", &with_rule("x"))]);
        assert!(said.contains("without a state directory it is not kept"), "{said}");
        refused(
            &weftd,
            &["config", "apply", &weftd.config().display().to_string(), "--confirm-within", "60s"],
            "weftd has no state directory",
        );
        weftd.kill();
        if state.is_symlink() {
            fs::remove_file(&state).expect("ours");
            fs::remove_dir_all(state.with_file_name("elsewhere")).expect("ours");
        } else {
            fs::remove_dir_all(&state).expect("ours");
        }
    }
    assert_eq!(fs::read_to_string(victim).expect("there"), "precious");
}

#[test]
fn planted_links_and_files_of_others_are_neither_followed_nor_replaced() {
    if !require_root() {
        return;
    }
    let (_node, weftd) = weftd();
    let victim = weftd.state().with_file_name("victim");
    fs::write(&victim, "precious").expect("ours");
    for name in ["audit.log", "startup.json"] {
        let path = weftd.state().join(name);
        let _ = fs::remove_file(&path);
        symlink(&victim, path).expect("ours");
    }
    weftd.must(&["config", "apply", &beside(&weftd, "new.toml", &with_rule("x"))]);
    assert!(weftd.log().contains("the audit log can't be written"), "{}", weftd.log());
    assert!(!weftd.state().join("startup.json").is_symlink(), "it took the link's place");
    // Where everybody may write, links and files of others' are not weftd's to follow or replace.
    let shared = weftd.state().with_file_name("shared");
    fs::create_dir(&shared).expect("ours");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("ours");
    let own = shared.join("own");
    symlink(shared.join("place"), &own).expect("ours");
    weftd.must(&["config", "save", &own.display().to_string()]);
    assert!(own.is_symlink() && shared.join("place").is_file());
    let (link, file) = (shared.join("link"), shared.join("file"));
    symlink(&victim, &link).expect("ours");
    std::os::unix::fs::lchown(&link, Some(65534), None).expect("root may");
    fs::write(&file, "").expect("ours");
    std::os::unix::fs::chown(&file, Some(65534), None).expect("root may");
    for (path, says) in [(&link, "user 65534's symbolic link"), (&file, "user 65534's file in a directory")] {
        refused(&weftd, &["config", "save", &path.display().to_string()], says);
    }
    assert_eq!(fs::read_to_string(victim).expect("there"), "precious");
    // A file that is there keeps its mode and owner.
    let file = weftd.state().with_file_name("kept.toml");
    fs::write(&file, "").expect("ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    std::os::unix::fs::chown(&file, Some(65534), Some(1)).expect("root may");
    weftd.must(&["config", "save", &file.display().to_string()]);
    let meta = fs::metadata(&file).expect("there");
    assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o640, 65534, 1));
}
